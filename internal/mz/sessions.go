package mz

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mzcanary/deploy"
)

// BackendGone reports whether the session of a lost DDL connection has ended.
// Servers use the numbers again, so it is looked for by what identifies it. Where
// that is not known a session of another role, or one of our own live connections,
// under the same number proves that the lost one is gone; any other of the control role
// is taken for it.
func (w *Warehouse) BackendGone(ctx context.Context, backend deploy.Backend) (bool, error) {
	rows, err := w.read(ctx, "backend", strconv.FormatUint(uint64(backend.Number), 10))
	if err != nil {
		return false, err
	}
	if backend.Session != "" {
		return !slices.ContainsFunc(rows, func(r row) bool { return r.text(1) == backend.Session }), nil
	}
	// Looked at after the reading: a number that is ours by now was free before.
	if n := backend.Number; w.reading.backend.Load() == n || w.ddl.backend.Load() == n && !w.inTransaction.Load() {
		return true, nil
	}
	return !slices.ContainsFunc(rows, func(r row) bool { return r.null(0) || r.yes(0) }), nil
}

// backends are the numbers of our own live connections.
func (w *Warehouse) backends() []uint32 {
	var live []uint32
	for _, c := range []*control{w.reading, w.ddl} {
		if b := c.backend.Load(); b != 0 {
			live = append(live, b)
		}
	}
	return live
}

// Foreign counts sessions by role that came neither through the given backends nor
// are our own.
func (w *Warehouse) Foreign(ctx context.Context, ours []uint32) (map[string]int, error) {
	rows, err := w.read(ctx, "sessions")
	if err != nil {
		return nil, err
	}
	known := w.knownBackends(ours)
	foreign := map[string]int{}
	for _, r := range rows {
		if !known[r.text(0)] {
			foreign[r.text(1)]++
		}
	}
	return foreign, nil
}

func (w *Warehouse) knownBackends(ours []uint32) map[string]bool {
	known := make(map[string]bool, len(ours)+2)
	for _, b := range append(w.backends(), ours...) {
		known[strconv.FormatUint(uint64(b), 10)] = true
	}
	return known
}

// Subscriptions lists live subscriptions on the clusters that do not belong to the
// given backends. PostgreSQL has none; there it is sessions that hold locks on
// relations of the schemas.
func (w *Warehouse) Subscriptions(ctx context.Context, refs []deploy.Ref, ours []uint32) ([]deploy.Dependent, error) {
	if w.dialect.postgres() {
		return w.postgresLocks(ctx, refs, ours)
	}
	names := map[string]string{}
	for _, r := range refs {
		if r.Kind == deploy.KindCluster {
			names[r.ID] = r.Name
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := w.read(ctx, "subscriptions")
	if err != nil {
		return nil, err
	}
	known := w.knownBackends(ours)
	var found []deploy.Dependent
	for _, r := range rows {
		id, cluster, backend, role := r.text(0), r.text(1), r.text(2), r.text(3)
		name, ours := names[cluster]
		if !ours || known[backend] {
			continue
		}
		found = append(found, deploy.Dependent{
			Kind: "subscription", ID: id, Name: role,
			Reason: fmt.Sprintf("role %s subscribes on cluster %s since %s (connection %s)", role, name, r.text(4), backend),
		})
	}
	return found, nil
}

// Clusters says how large the clusters among the refs are. One that is gone is left
// out; PostgreSQL has none.
func (w *Warehouse) Clusters(ctx context.Context, refs []deploy.Ref) ([]deploy.StandbyCluster, error) {
	refs = slices.DeleteFunc(slices.Clone(refs), func(r deploy.Ref) bool { return r.Kind != deploy.KindCluster })
	if len(refs) == 0 || w.dialect.postgres() {
		return nil, nil
	}
	all, _, err := w.replicasOf(ctx)
	if err != nil {
		return nil, err
	}
	var found []deploy.StandbyCluster
	for _, r := range refs {
		replicas, stands := all[r.ID]
		if !stands {
			continue
		}
		var sizes []string
		for _, replica := range replicas {
			if replica.size != "" && !slices.Contains(sizes, replica.size) {
				sizes = append(sizes, replica.size)
			}
		}
		found = append(found, deploy.StandbyCluster{ID: r.ID, Name: r.Name, Size: strings.Join(sizes, ", "), Replicas: len(replicas)})
	}
	return found, nil
}
