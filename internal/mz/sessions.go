package mz

import (
	"context"
	"fmt"
	"strconv"

	"mzcanary/deploy"
)

// BackendGone reports whether the session of a lost DDL connection has ended.
// Servers use the numbers again: a session of another role, or one of our own live
// connections, under the same number proves that the lost one is gone.
func (w *Warehouse) BackendGone(ctx context.Context, backend uint32) (bool, error) {
	rows, err := w.read(ctx, "backend", strconv.FormatUint(uint64(backend), 10))
	if err != nil {
		return false, err
	}
	// Looked at after the reading: a number that is ours by now was free before.
	if w.reading.backend.Load() == backend || w.ddl.backend.Load() == backend && !w.inTransaction.Load() {
		return true, nil
	}
	for _, r := range rows {
		if r.null(0) || r.yes(0) {
			return false, nil
		}
	}
	return true, nil
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
// given backends. PostgreSQL has none.
func (w *Warehouse) Subscriptions(ctx context.Context, clusters []deploy.Ref, ours []uint32) ([]deploy.Dependent, error) {
	if w.dialect.postgres() {
		return nil, nil
	}
	rows, err := w.read(ctx, "subscriptions")
	if err != nil {
		return nil, err
	}
	names := make(map[string]string, len(clusters))
	for _, c := range clusters {
		names[c.ID] = c.Name
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
