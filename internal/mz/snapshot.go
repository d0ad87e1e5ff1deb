package mz

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// snapshot is the part of the catalog that preflight looks at, as plain data: the
// checks are functions of it. Names that do not exist are missing from the maps.
type snapshot struct {
	spec    deploy.Spec
	rollout string
	dialect dialect // for the remedies

	databaseExists bool
	ids            map[nameKey]string // every schema of the database and every cluster
	role           controlRole
	owners         map[nameKey]owner // by kind and id
	comments       []comment
	graph          *graph // never nil

	replicas     map[string][]replica // by cluster id
	columns      map[string][]column  // by relation id
	indexKeys    map[string][]string  // by index id
	grants       map[nameKey][]grant  // by kind and id of what is granted
	memberOf     map[string][]string  // role id → roles it is a direct member of
	roleNames    map[string]string    // role id → name
	roleSettings []roleSetting

	// swap is what the server said to a swap of all pairs that was rolled back:
	// nil if it would have worked or could not be tried.
	swap *refusal
}

type controlRole struct {
	name                 string
	superuser, canCreate bool // canCreate: CREATE on the database
	noInherit            bool // a membership gives it nothing by itself; PostgreSQL only
}

type owner struct {
	role, roleID string
	member       bool // the control role is the owner or a member of it
}

type replica struct {
	id, name, size string
	processes      []process
}

type process struct{ id, status, reason string }

type column struct{ name, kind, mod, nullable string }

type grant struct{ grantee, privilege string }

type roleSetting struct{ role, parameter, value string }

// public is the grantee PUBLIC in the catalog of Materialize.
const public = "p"

// snapshotTries bounds how often a snapshot is read again because names moved while
// it was read.
const snapshotTries = 3

// readSnapshot reads everything. The reads are separate statements; that the ids
// behind all names are the same at the end as at the start says that they fit
// together.
func (w *Warehouse) readSnapshot(ctx context.Context, spec deploy.Spec, rollout string) (*snapshot, error) {
	for range snapshotTries {
		s, err := w.readSnapshotOnce(ctx, spec, rollout)
		if err != nil {
			return nil, err
		}
		after, err := w.namesOf(ctx, spec.Database)
		if err != nil {
			return nil, err
		}
		if maps.Equal(after, s.ids) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: names changed during each of %d readings of the catalog; wait until the other deployment has finished", deploy.ErrChanged, snapshotTries)
}

func (w *Warehouse) readSnapshotOnce(ctx context.Context, spec deploy.Spec, rollout string) (*snapshot, error) {
	s := &snapshot{spec: spec, rollout: rollout, dialect: w.dialect, owners: map[nameKey]owner{}, graph: &graph{}}
	var err error
	if s.ids, err = w.namesOf(ctx, spec.Database); err != nil {
		return nil, err
	}
	for key := range s.ids {
		s.databaseExists = s.databaseExists || key.kind == deploy.KindSchema
	}
	if !s.databaseExists {
		return s, nil
	}
	parts := []func(context.Context, *snapshot) error{w.readRole, w.readOwners, w.readComments}
	if !w.dialect.postgres() {
		parts = append(parts, w.readObjects, w.readReplicas, w.readShapes, w.readGrants, w.readRoles)
	}
	for _, part := range parts {
		if err := part(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (w *Warehouse) readRole(ctx context.Context, s *snapshot) error {
	rows, err := w.read(ctx, "role", s.spec.Database)
	if err != nil {
		return err
	}
	if len(rows) == 1 {
		s.role = controlRole{name: rows[0].text(0), superuser: rows[0].yes(1), canCreate: rows[0].yes(2), noInherit: s.dialect.postgres() && !rows[0].yes(3)}
	}
	return nil
}

func (w *Warehouse) readOwners(ctx context.Context, s *snapshot) error {
	rows, err := w.read(ctx, "owners", s.spec.Database)
	for _, r := range rows {
		s.owners[nameKey{deploy.Kind(r.text(0)), r.text(1)}] = owner{role: r.text(2), roleID: r.text(3), member: r.yes(4)}
	}
	return err
}

func (w *Warehouse) readComments(ctx context.Context, s *snapshot) (err error) {
	s.comments, err = w.comments(ctx, s.spec.Database, len(s.spec.Objects) > 0 && !w.dialect.postgres())
	return err
}

func (w *Warehouse) readObjects(ctx context.Context, s *snapshot) (err error) {
	s.graph, err = w.readGraph(ctx)
	return err
}

func (w *Warehouse) readReplicas(ctx context.Context, s *snapshot) (err error) {
	s.replicas, _, err = w.replicasOf(ctx)
	return err
}

// replicasOf reads the replicas of every user cluster, by cluster id. A cluster
// without replicas has an empty entry.
func (w *Warehouse) replicasOf(ctx context.Context) (map[string][]replica, map[string]int, error) {
	rows, err := w.read(ctx, "replicas")
	if err != nil {
		return nil, nil, err
	}
	all, factors := map[string][]replica{}, map[string]int{}
	for _, r := range rows {
		cluster := r.text(0)
		if !r.null(8) {
			factors[cluster] = r.number(8)
		}
		if r.null(2) {
			all[cluster] = nil
			continue
		}
		list := all[cluster]
		if n := len(list); n == 0 || list[n-1].id != r.text(2) {
			list = append(list, replica{id: r.text(2), name: r.text(3), size: r.text(4)})
		}
		if !r.null(5) {
			last := &list[len(list)-1]
			last.processes = append(last.processes, process{id: r.text(5), status: r.text(6), reason: r.text(7)})
		}
		all[cluster] = list
	}
	return all, factors, nil
}

// schemaIDs of both sides of the schema pairs that exist, and of those that hold pairs
// of single objects.
func (s *snapshot) schemaIDs() []string {
	var ids []string
	for _, p := range s.spec.Objects {
		schema, _, _ := strings.Cut(p.Live, ".")
		if id, ok := s.ids[nameKey{deploy.KindSchema, schema}]; ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, p := range s.spec.Schemas {
		for _, name := range []string{p.Live, p.Deploy} {
			if id, ok := s.ids[nameKey{deploy.KindSchema, name}]; ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// readShapes reads columns and index keys of both sides.
func (w *Warehouse) readShapes(ctx context.Context, s *snapshot) error {
	s.columns, s.indexKeys = map[string][]column{}, map[string][]string{}
	for _, id := range s.schemaIDs() {
		rows, err := w.read(ctx, "columns", id)
		if err != nil {
			return err
		}
		for _, r := range rows {
			s.columns[r.text(0)] = append(s.columns[r.text(0)], column{name: r.text(2), kind: r.text(3), mod: r.text(4), nullable: r.text(5)})
		}
		if rows, err = w.read(ctx, "indexes", id); err != nil {
			return err
		}
		for _, r := range rows {
			s.indexKeys[r.text(0)] = append(s.indexKeys[r.text(0)], r.text(2))
		}
	}
	return nil
}

// readGrants reads who may use what.
func (w *Warehouse) readGrants(ctx context.Context, s *snapshot) error {
	s.grants = map[nameKey][]grant{}
	read := func(kind deploy.Kind, name string, args ...string) error {
		rows, err := w.read(ctx, name, args...)
		for _, r := range rows {
			key := nameKey{kind, r.text(0)}
			s.grants[key] = append(s.grants[key], grant{grantee: r.text(1), privilege: r.text(2)})
		}
		return err
	}
	if err := read(deploy.KindSchema, "schema_grants"); err != nil {
		return err
	}
	if err := read(deploy.KindCluster, "cluster_grants"); err != nil {
		return err
	}
	for _, id := range s.schemaIDs() {
		if err := read(deploy.KindObject, "object_grants", id); err != nil {
			return err
		}
	}
	return nil
}

// readRoles reads memberships and the roles' own start values.
func (w *Warehouse) readRoles(ctx context.Context, s *snapshot) error {
	rows, err := w.read(ctx, "roles")
	if err != nil {
		return err
	}
	s.memberOf, s.roleNames = map[string][]string{}, map[string]string{}
	for _, r := range rows {
		s.roleNames[r.text(0)] = r.text(1)
		if !r.null(2) {
			s.memberOf[r.text(0)] = append(s.memberOf[r.text(0)], r.text(2))
		}
	}
	rows, err = w.read(ctx, "role_settings")
	for _, r := range rows {
		s.roleSettings = append(s.roleSettings, roleSetting{role: r.text(0), parameter: r.text(1), value: r.text(2)})
	}
	return err
}
