package sim

import (
	"slices"
	"strconv"
)

// systemSchemas are the schemas without a database.
var systemSchemas = [...]string{"mz_catalog", "pg_catalog", "mz_internal", "information_schema", "mz_unsafe", "mz_introspection"}

// bootstrap makes the catalog of a fresh installation.
func (s *Server) bootstrap() {
	d := &draft{catalog: newCatalog(), at: s.now(), user: "mz_system", random: s.random}
	system := &role{id: "s1", name: "mz_system", oid: 16661, super: true, login: true, createdAt: d.at}
	for i, r := range []*role{system,
		{id: "s2", name: "mz_support", login: true},
		{id: "s3", name: "mz_monitor"},
		{id: "s4", name: "mz_monitor_redacted"},
		{id: "s5", name: "mz_analytics"}} {
		r.oid = int64(16661 + i)
		r.createdAt = d.at
		d.roles[r.id], d.roleNames[r.name] = r, r.id
	}
	d.defaultPrivs = []defaultPriv{
		{creator: publicRole, kind: "database", grantee: "s2", privs: privUsage},
		{creator: publicRole, kind: "schema", grantee: "s2", privs: privUsage},
		{creator: publicRole, kind: "cluster", grantee: "s2", privs: privUsage},
		{creator: publicRole, kind: "type", grantee: publicRole, privs: privUsage},
	}
	materialize := d.addRole("materialize", true, slices.Contains(s.o.Superusers, "materialize"))
	d.systemAcl = acl{}.with(materialize.id, system.id, privCreateRole|privCreateDB|privCreateCluster)

	for i, name := range systemSchemas {
		sch := &schema{id: "s" + strconv.Itoa(i+1), name: name, owner: system.id, oid: int64(16600 + i),
			acl: acl{}.with(publicRole, system.id, privUsage).with(system.id, system.id, privUsage|privCreate)}
		d.schemas[sch.id], d.schemaNames[ownedName{"", name}] = sch, sch.id
	}
	for i, rel := range systemRelations() {
		sch := d.schemaIn("", rel.schema)
		list := acl{}.with(publicRole, system.id, privSelect)
		if rel.restricted {
			list = acl{}.with("s3", system.id, privSelect)
		}
		o := &object{id: "s" + strconv.Itoa(i+401), name: rel.name, schema: sch.id, kind: rel.kind, owner: system.id,
			oid: int64(17000 + i), acl: list, columns: rel.columns, since: d.at, sys: rel}
		d.objects[o.id], d.objectNames[ownedName{sch.id, o.name}] = o, o.id
	}
	s.bootstrapClusters(d, system, materialize)
	s.publish(d)
}

// bootstrapClusters makes the clusters and the database everybody starts in.
func (s *Server) bootstrapClusters(d *draft, system, materialize *role) {
	shared := func(a acl) acl {
		return a.with(publicRole, system.id, privUsage).with(materialize.id, system.id, privUsage|privCreate)
	}
	for i, name := range []string{"mz_system", "mz_catalog_server", "mz_probe", "mz_support"} {
		c := &cluster{id: "s" + strconv.Itoa(i+1), name: name, owner: system.id, managed: true, size: "25cc", factor: 1,
			acl: acl{}.with(system.id, system.id, privUsage|privCreate)}
		if name == catalogServer {
			c.acl = c.acl.with(publicRole, system.id, privUsage)
		}
		c.replicas = []replica{{id: "s" + strconv.Itoa(i+1), name: "r1", size: c.size, owner: system.id, since: d.at}}
		d.clusters[c.id], d.clusterNames[name] = c, c.id
	}
	quick := d.addCluster("quickstart", system.id, "25cc", 1, true, nil)
	quick.acl = shared(quick.acl)
	db := d.addDatabase("materialize", system.id)
	db.acl = shared(db.acl)
	public := d.addSchema(db.id, "public", system.id)
	public.acl = shared(public.acl)
}

// catalogServer is where queries of system relations and constants run.
const catalogServer = "mz_catalog_server"
