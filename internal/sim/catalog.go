package sim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mzcanary/internal/sim/sql"
)

// A catalog is one state of everything that has a name. It is never changed once it is published: a change clones it
// (see draft), and whoever holds the old one keeps reading the old names. The things inside are shared between
// clones and replaced, not changed, when one of them moves.
//
// Names are held apart from things: an id stays with its contents for ever, a SWAP exchanges two names.
type catalog struct {
	// revision counts committed changes; a DDL transaction fails when it moved under it.
	revision uint64

	databases map[string]*database
	schemas   map[string]*schema
	clusters  map[string]*cluster
	objects   map[string]*object
	roles     map[string]*role

	// by name: databases, clusters and roles are global, schemas belong to a database ("" for system schemas),
	// objects to a schema.
	databaseNames, clusterNames, roleNames map[string]string
	schemaNames, objectNames               map[ownedName]string

	comments     map[commentKey]string
	defaultPrivs []defaultPriv
	systemAcl    acl
	audit        []AuditEvent
	systemVars   map[string]value
	nextID       map[string]int // by kind of id

	// published is set before anybody else can see the catalog; only from then on are plans and rows remembered.
	published bool
	memoMu    sync.Mutex
	plans     map[planKey]*planned
	memo      map[string][][]sql.Value // of static system relations, by id
}

type ownedName struct{ owner, name string }

type database struct {
	id, name, owner string
	oid             int64
	acl             acl
}

type schema struct {
	id, name string
	database string // "" for system schemas
	owner    string
	oid      int64
	acl      acl
	tempConn uint32 // the session of a temporary schema, else 0
}

func (s *schema) system() bool { return s.database == "" && s.tempConn == 0 }

type cluster struct {
	id, name, owner string
	acl             acl
	managed         bool
	size            string
	factor          int // replication factor of a managed cluster
	replicas        []replica
}

func (c *cluster) system() bool { return strings.HasPrefix(c.id, "s") }

type replica struct {
	id, name, size string
	owner          string
	since          time.Time
}

// objectKind is the type as mz_objects prints it.
type objectKind string

const (
	kindTable      objectKind = "table"
	kindView       objectKind = "view"
	kindMatView    objectKind = "materialized-view"
	kindIndex      objectKind = "index"
	kindSource     objectKind = "source"
	kindSink       objectKind = "sink"
	kindSecret     objectKind = "secret"
	kindConnection objectKind = "connection"
	kindType       objectKind = "type"
)

// words is the kind as messages print it: MATERIALIZED VIEW.
func (k objectKind) words() string { return strings.ToUpper(strings.ReplaceAll(string(k), "-", " ")) }

// relation says whether queries can read it.
func (k objectKind) relation() bool {
	return k == kindTable || k == kindView || k == kindMatView || k == kindSource
}

// dataflow says whether a cluster runs something for it.
func (k objectKind) dataflow() bool {
	return k == kindMatView || k == kindIndex || k == kindSource || k == kindSink
}

func kindOf(k sql.Kind) (objectKind, bool) {
	switch k {
	case sql.KindTable, sql.KindView, sql.KindMaterializedView, sql.KindIndex, sql.KindSource, sql.KindSink,
		sql.KindSecret, sql.KindConnection, sql.KindType:
		return objectKind(strings.ToLower(strings.ReplaceAll(string(k), " ", "-"))), true
	}
	return "", false
}

type object struct {
	id, name, schema string
	kind             objectKind
	owner, cluster   string
	oid              int64
	acl              acl
	since            time.Time
	columns          []sql.Column
	// deps are the ids it reads directly, in the order of first mention; on is an index's relation (also in deps).
	deps []string
	on   string
	keys []sql.IndexKey
	// view is set for views and materialized views, sys for system relations.
	view *viewBody
	sys  *systemRelation
}

// viewBody is a view's definition with its names resolved once, when it was created.
type viewBody struct {
	text  string
	plan  *sql.Plan
	names names
}

type role struct {
	id, name  string
	oid       int64
	super     bool
	login     bool
	vars      map[string]value
	memberOf  []string // role ids
	createdAt time.Time
}

type commentKey struct {
	kind   string // "schema", "cluster", "database", "role"; "" for objects: each has ids of its own
	id     string
	column int // 0: the object itself
}

type defaultPriv struct {
	creator  string // role id, or publicRole for everybody
	database string // "" any
	schema   string // "" any
	kind     string // "table", "schema", "cluster", "database", …
	grantee  string
	privs    privilege
}

func newCatalog() *catalog {
	return &catalog{
		databases: map[string]*database{}, schemas: map[string]*schema{}, clusters: map[string]*cluster{},
		objects: map[string]*object{}, roles: map[string]*role{},
		databaseNames: map[string]string{}, clusterNames: map[string]string{}, roleNames: map[string]string{},
		schemaNames: map[ownedName]string{}, objectNames: map[ownedName]string{},
		comments: map[commentKey]string{}, systemVars: map[string]value{}, nextID: map[string]int{},
		systemAcl: acl{},
	}
}

func (c *catalog) clone() *catalog {
	return &catalog{
		revision:  c.revision,
		databases: maps.Clone(c.databases), schemas: maps.Clone(c.schemas), clusters: maps.Clone(c.clusters),
		objects: maps.Clone(c.objects), roles: maps.Clone(c.roles),
		databaseNames: maps.Clone(c.databaseNames), clusterNames: maps.Clone(c.clusterNames),
		roleNames: maps.Clone(c.roleNames), schemaNames: maps.Clone(c.schemaNames), objectNames: maps.Clone(c.objectNames),
		comments: maps.Clone(c.comments), defaultPrivs: slices.Clip(c.defaultPrivs), systemAcl: c.systemAcl,
		audit: slices.Clip(c.audit), systemVars: maps.Clone(c.systemVars), nextID: maps.Clone(c.nextID),
	}
}

func (c *catalog) databaseByName(name string) *database { return c.databases[c.databaseNames[name]] }
func (c *catalog) clusterByName(name string) *cluster   { return c.clusters[c.clusterNames[name]] }
func (c *catalog) roleByName(name string) *role         { return c.roles[c.roleNames[name]] }

// schemaIn finds a schema of a database, or a system schema when the database is "".
func (c *catalog) schemaIn(databaseID, name string) *schema {
	return c.schemas[c.schemaNames[ownedName{databaseID, name}]]
}

func (c *catalog) objectIn(schemaID, name string) *object {
	return c.objects[c.objectNames[ownedName{schemaID, name}]]
}

// closure walks dependencies from ids down, the ids themselves included.
func (c *catalog) closure(ids []string) map[string]bool {
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		if o := c.objects[id]; o != nil {
			for _, d := range o.deps {
				visit(d)
			}
		}
	}
	for _, id := range ids {
		visit(id)
	}
	return seen
}

// dependents are the ids of everything that reads one of the ids, directly or not, the ids not included.
func (c *catalog) dependents(ids map[string]bool) map[string]bool {
	readers := map[string][]string{}
	for id, o := range c.objects {
		for _, d := range o.deps {
			readers[d] = append(readers[d], id)
		}
	}
	out := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		for _, r := range readers[id] {
			if !out[r] && !ids[r] {
				out[r] = true
				visit(r)
			}
		}
	}
	for id := range ids {
		visit(id)
	}
	return out
}

// indexesOn lists the indexes on a relation that run on the cluster.
func (c *catalog) indexesOn(id, clusterID string) []*object {
	var out []*object
	for _, o := range c.objects {
		if o.kind == kindIndex && o.on == id && o.cluster == clusterID {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return cmpID(a.id, b.id) })
	return out
}

// grantees are the ids whose privileges a role has: its own, those it is a member of, PUBLIC.
func (c *catalog) grantees(roleID string) map[string]bool {
	out := map[string]bool{publicRole: true}
	var visit func(id string)
	visit = func(id string) {
		if out[id] {
			return
		}
		out[id] = true
		if r := c.roles[id]; r != nil {
			for _, m := range r.memberOf {
				visit(m)
			}
		}
	}
	visit(roleID)
	return out
}

// sortedObjects lists all objects by id, system ones first.
func (c *catalog) sortedObjects() []*object {
	return slices.SortedFunc(maps.Values(c.objects), func(a, b *object) int { return cmpID(a.id, b.id) })
}

// cmpID orders "s2" < "s10" < "u1".
func cmpID(a, b string) int {
	if len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		x, errX := strconv.Atoi(a[1:])
		y, errY := strconv.Atoi(b[1:])
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(a, b)
}
