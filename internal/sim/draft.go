package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"mzcanary/internal/sim/sql"
)

// A draft is a catalog being changed: a clone nobody else has seen. It is published as a whole or thrown away. A DDL
// transaction keeps one open for its whole length, so that its later statements see its earlier ones.
type draft struct {
	*catalog
	at     time.Time
	user   string        // audit
	random func() uint64 // names of swaps
	// dropped is what went, with the names of that moment: live reads that hold one of them end.
	dropped []droppedThing
	// touched says that there is something to publish.
	touched bool
}

// A droppedThing is an object, a cluster, or anything else: ids of schemas and replicas are numbers of their own and
// say nothing about objects.
type droppedThing struct {
	id, name        string
	object, cluster bool
}

func (d *draft) newID(counter, prefix string) string {
	d.nextID[counter]++
	return prefix + strconv.Itoa(d.nextID[counter])
}

func (d *draft) newOID() int64 {
	d.nextID["oid"]++
	return 20000 + int64(d.nextID["oid"])
}

// event adds a row to the audit log; details must marshal.
func (d *draft) event(eventType, objectType string, details map[string]any) {
	d.touched = true
	text, err := json.Marshal(details)
	if err != nil {
		text = []byte("{}")
	}
	d.audit = append(d.audit, AuditEvent{
		ID: uint64(len(d.audit) + 1), EventType: eventType, ObjectType: objectType,
		Details: string(text), User: d.user, OccurredAt: d.at,
	})
}

// itemDetails is how audit rows name an item.
func (d *draft) itemDetails(o *object) map[string]any {
	m := d.itemName(o)
	m["id"] = o.id
	return m
}

func (d *draft) itemName(o *object) map[string]any {
	s := d.schemas[o.schema]
	db := any(nil)
	if x := d.databases[s.database]; x != nil {
		db = x.name
	}
	return map[string]any{"database": db, "schema": s.name, "item": o.name}
}

func (d *draft) defaultACL(kind, owner, database, schemaID string, ownerPrivs privilege) acl {
	a := acl{}
	if ownerPrivs != 0 {
		a = a.with(owner, owner, ownerPrivs)
	}
	for _, p := range d.defaultPrivs {
		if p.kind != kind || p.creator != publicRole && p.creator != owner ||
			p.database != "" && p.database != database || p.schema != "" && p.schema != schemaID {
			continue
		}
		a = a.with(p.grantee, owner, p.privs)
	}
	return a
}

func (d *draft) addDatabase(name, owner string) *database {
	db := &database{id: d.newID("database", "u"), oid: d.newOID(), name: name, owner: owner}
	db.acl = d.defaultACL("database", owner, "", "", privUsage|privCreate)
	d.databases[db.id], d.databaseNames[name] = db, db.id
	d.event("create", "database", map[string]any{"id": db.id, "name": name})
	return db
}

func (d *draft) addSchema(databaseID, name, owner string) *schema {
	s := &schema{id: d.newID("schema", "u"), oid: d.newOID(), name: name, database: databaseID, owner: owner}
	s.acl = d.defaultACL("schema", owner, databaseID, "", privUsage|privCreate)
	d.schemas[s.id], d.schemaNames[ownedName{databaseID, name}] = s, s.id
	d.event("create", "schema", map[string]any{"id": s.id, "name": name, "database_name": d.databases[databaseID].name})
	return s
}

// tempSchema is the schema of a session's temporary objects, made at their first.
func (d *draft) tempSchema(conn uint32, owner string) *schema {
	id := tempSchemaID(conn)
	if s := d.schemas[id]; s != nil {
		return s
	}
	s := &schema{id: id, name: "mz_temp", owner: owner, tempConn: conn, acl: acl{}.with(owner, owner, privUsage|privCreate)}
	d.schemas[id] = s
	return s
}

func (d *draft) addCluster(name, owner, size string, factor int, managed bool, replicas []sql.Replica) *cluster {
	c := &cluster{id: d.newID("cluster", "u"), name: name, owner: owner, managed: managed, size: size, factor: factor}
	c.acl = d.defaultACL("cluster", owner, "", "", privUsage|privCreate)
	d.clusterNames[name] = c.id
	d.event("create", "cluster", map[string]any{"id": c.id, "name": name})
	for i := range factor {
		d.addReplica(c, "r"+strconv.Itoa(i+1), size)
	}
	for _, r := range replicas {
		d.addReplica(c, r.Name, r.Size)
	}
	d.clusters[c.id] = c
	return c
}

// addReplica changes c, which must be the draft's own copy.
func (d *draft) addReplica(c *cluster, name, size string) {
	r := replica{id: d.newID("replica", "u"), name: name, size: size, owner: c.owner, since: d.at}
	c.replicas = append(slices.Clip(c.replicas), r)
	d.event("create", "cluster-replica", map[string]any{"cluster_id": c.id, "cluster_name": c.name, "replica_id": r.id,
		"replica_name": name, "logical_size": size})
}

func (d *draft) setFactor(id string, factor int) {
	c := *d.clusters[id]
	for len(c.replicas) > factor {
		last := c.replicas[len(c.replicas)-1]
		c.replicas = slices.Clip(c.replicas[:len(c.replicas)-1])
		d.dropped = append(d.dropped, droppedThing{id: last.id, name: last.name})
		d.event("drop", "cluster-replica", map[string]any{"cluster_id": c.id, "cluster_name": c.name, "replica_id": last.id, "replica_name": last.name})
	}
	for i := len(c.replicas); i < factor; i++ {
		d.addReplica(&c, "r"+strconv.Itoa(i+1), c.size)
	}
	c.factor = factor
	d.clusters[id] = &c
	d.touched = true
}

func (d *draft) addRole(name string, login, super bool) *role {
	r := &role{id: d.newID("role", "u"), oid: d.newOID(), name: name, login: login, super: super, createdAt: d.at, vars: map[string]value{}}
	d.roles[r.id], d.roleNames[name] = r, r.id
	d.event("create", "role", map[string]any{"id": r.id, "name": name})
	return r
}

// addObject gives o its id, oid and rights and names it.
func (d *draft) addObject(o *object) *object {
	o.id, o.oid, o.since = d.newID("item", "u"), d.newOID(), d.at
	s := d.schemas[o.schema]
	var own privilege
	switch o.kind {
	case kindTable:
		own = privSelect | privInsert | privUpdate | privDelete
	case kindView, kindMatView, kindSource:
		own = privSelect
	case kindSecret, kindConnection, kindType:
		own = privUsage
	}
	def := string(o.kind)
	if o.kind.relation() {
		def = "table"
	}
	o.acl = d.defaultACL(def, o.owner, s.database, s.id, own)
	d.objects[o.id], d.objectNames[ownedName{o.schema, o.name}] = o, o.id
	d.event("create", string(o.kind), d.itemDetails(o))
	return o
}

func (d *draft) renameSchema(id, to string) {
	s := *d.schemas[id]
	d.event("alter", "schema", map[string]any{"id": id, "database_name": d.databases[s.database].name, "old_name": s.name, "new_name": to})
	if key := (ownedName{s.database, s.name}); d.schemaNames[key] == id {
		delete(d.schemaNames, key)
	}
	s.name = to
	d.schemas[id], d.schemaNames[ownedName{s.database, to}] = &s, id
}

func (d *draft) renameCluster(id, to string) {
	c := *d.clusters[id]
	d.event("alter", "cluster", map[string]any{"id": id, "old_name": c.name, "new_name": to})
	if d.clusterNames[c.name] == id {
		delete(d.clusterNames, c.name)
	}
	c.name = to
	d.clusters[id], d.clusterNames[to] = &c, id
}

func (d *draft) renameObject(id, to string) {
	o := *d.objects[id]
	from := d.itemName(&o)
	if key := (ownedName{o.schema, o.name}); d.objectNames[key] == id {
		delete(d.objectNames, key)
	}
	o.name = to
	d.objects[id], d.objectNames[ownedName{o.schema, to}] = &o, id
	d.event("alter", string(o.kind), map[string]any{"id": id, "old_name": from, "new_name": d.itemName(&o)})
}

// swap exchanges two names by three renames, the middle one to a name nobody has.
func (d *draft) swap(kind sql.Kind, a, b string) {
	if a == b {
		d.touched = true
		return
	}
	suffix := fmt.Sprintf("%012x", d.random()&0xffffffffffff)
	if kind == sql.KindSchema {
		nameA, nameB := d.schemas[a].name, d.schemas[b].name
		temp := "mz_schema_swap_" + suffix
		d.renameSchema(a, temp)
		d.renameSchema(b, nameA)
		d.renameSchema(a, nameB)
		return
	}
	nameA, nameB := d.clusters[a].name, d.clusters[b].name
	temp := "mz_cluster_swap_" + suffix
	d.renameCluster(a, temp)
	d.renameCluster(b, nameA)
	d.renameCluster(a, nameB)
}

func (d *draft) comment(key commentKey, objectType string, text *string) {
	if text == nil {
		delete(d.comments, key)
	} else {
		d.comments[key] = *text
	}
	d.event("comment", objectType, map[string]any{"id": key.id})
}

func (d *draft) removeObject(id string) {
	o := d.objects[id]
	d.dropped = append(d.dropped, droppedThing{id: id, name: d.fullName(o), object: true})
	d.event("drop", string(o.kind), d.itemDetails(o))
	delete(d.objects, id)
	delete(d.objectNames, ownedName{o.schema, o.name})
	d.uncomment("", id)
}

func (d *draft) removeSchema(id string) {
	s := d.schemas[id]
	if db := d.databases[s.database]; db != nil {
		d.event("drop", "schema", map[string]any{"id": id, "name": s.name, "database_name": db.name})
	}
	d.dropped = append(d.dropped, droppedThing{id: id, name: s.name})
	delete(d.schemas, id)
	delete(d.schemaNames, ownedName{s.database, s.name})
	d.uncomment("schema", id)
}

func (d *draft) removeCluster(id string) {
	c := d.clusters[id]
	for _, r := range c.replicas {
		d.event("drop", "cluster-replica", map[string]any{"cluster_id": id, "cluster_name": c.name, "replica_id": r.id, "replica_name": r.name})
	}
	d.event("drop", "cluster", map[string]any{"id": id, "name": c.name})
	d.dropped = append(d.dropped, droppedThing{id: id, name: c.name, cluster: true})
	delete(d.clusters, id)
	delete(d.clusterNames, c.name)
	d.uncomment("cluster", id)
}

func (d *draft) uncomment(kind, id string) {
	maps.DeleteFunc(d.comments, func(k commentKey, _ string) bool { return k.kind == kind && k.id == id })
}

// removeTemp drops a session's temporary objects and what reads them; false when it had none.
func (d *draft) removeTemp(conn uint32) bool {
	id := tempSchemaID(conn)
	if d.schemas[id] == nil {
		return false
	}
	for _, o := range d.sortedObjects() {
		if o.schema == id {
			d.removeObject(o.id)
		}
	}
	delete(d.schemas, id)
	d.touched = true
	return true
}
