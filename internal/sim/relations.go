package sim

import (
	"slices"
	"strings"

	"mzcanary/internal/sim/sql"
)

// systemRelation is a relation of the system catalog: its rows are computed from the server's state.
type systemRelation struct {
	schema, name string
	kind         objectKind
	columns      []sql.Column
	// static rows depend on the catalog alone.
	static bool
	// restricted: readable by mz_monitor only.
	restricted bool
	rows       func(r *resolver) ([][]sql.Value, error)
}

// columnsOf reads "id text, name text?, privileges mz_aclitem[]"; a question mark means nullable.
func columnsOf(spec string) []sql.Column {
	var out []sql.Column
	for field := range strings.SplitSeq(spec, ",") {
		name, typ, _ := strings.Cut(strings.TrimSpace(field), " ")
		typ, nullable := strings.CutSuffix(typ, "?")
		out = append(out, sql.Column{Name: name, Type: typeNamed(typ), TypeMod: -1, Nullable: nullable})
	}
	return out
}

func typeNamed(name string) sql.Type {
	switch name {
	case "text":
		return sql.Text
	case "bool":
		return sql.Bool
	case "oid":
		return sql.Oid
	case "int4":
		return sql.Int4
	case "int8":
		return sql.Int8
	case "uint4":
		return sql.Uint4
	case "uint8":
		return sql.Uint8
	case "float8":
		return sql.Float8
	case "bytea":
		return sql.Bytea
	case "uuid":
		return sql.UUID
	case "jsonb":
		return sql.JSONB
	case "interval":
		return sql.IntervalT
	case "timestamptz":
		return sql.Timestamptz
	case "mz_timestamp":
		return sql.MzTimestamp
	case "mz_aclitem[]":
		return sql.ArrayOf(sql.MzACLItem)
	case "text[]":
		return sql.ArrayOf(sql.Text)
	case "text list":
		return sql.ListOf(sql.Text)
	}
	panic("simulator: no type " + name + " for a system relation")
}

// systemRelations lists them all. Order gives ids, so new ones go to the end.
func systemRelations() []*systemRelation {
	return slices.Concat(catalogRelations(), objectRelations(), internalRelations())
}

// static makes a relation whose rows depend on the catalog alone.
func static(schema, name, columns string, rows func(c *catalog) [][]sql.Value) *systemRelation {
	return &systemRelation{schema: schema, name: name, kind: kindView, columns: columnsOf(columns), static: true,
		rows: func(r *resolver) ([][]sql.Value, error) { return rows(r.cat), nil }}
}

// live makes a relation whose rows depend on the moment.
func live(schema, name, columns string, rows func(r *resolver) [][]sql.Value) *systemRelation {
	return &systemRelation{schema: schema, name: name, kind: kindView, columns: columnsOf(columns),
		rows: func(r *resolver) ([][]sql.Value, error) { return rows(r), nil }}
}

func orNull(s string) sql.Value {
	if s == "" {
		return nil
	}
	return s
}

func (a acl) value() sql.Value {
	out := []sql.Value{}
	for _, g := range a.sorted() {
		out = append(out, a.item(g))
	}
	return out
}

// catalogRelations are what holds or runs objects, and who owns them.
func catalogRelations() []*systemRelation {
	return []*systemRelation{
		static("mz_catalog", "mz_databases", "id text, oid oid, name text, owner_id text, privileges mz_aclitem[]",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.databases) {
					d := c.databases[id]
					rows = append(rows, []sql.Value{d.id, d.oid, d.name, d.owner, d.acl.value()})
				}
				return rows
			}),
		static("mz_catalog", "mz_schemas", "id text, oid oid, database_id text?, name text, owner_id text, privileges mz_aclitem[]",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.schemas) {
					if s := c.schemas[id]; s.tempConn == 0 {
						rows = append(rows, []sql.Value{s.id, s.oid, orNull(s.database), s.name, s.owner, s.acl.value()})
					}
				}
				return rows
			}),
		static("mz_catalog", "mz_clusters", "id text, name text, owner_id text, privileges mz_aclitem[], managed bool, size text?, "+
			"replication_factor uint4?, disk bool?, availability_zones text list?, introspection_debugging bool?, introspection_interval interval?",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.clusters) {
					cl := c.clusters[id]
					row := []sql.Value{cl.id, cl.name, cl.owner, cl.acl.value(), cl.managed, nil, nil, nil, nil, nil, nil}
					if cl.managed {
						copy(row[5:], []sql.Value{cl.size, int64(cl.factor), true, []sql.Value{}, false, sql.Interval{Micros: 1_000_000}})
					}
					rows = append(rows, row)
				}
				return rows
			}),
		static("mz_catalog", "mz_cluster_replicas", "id text, name text, cluster_id text, size text?, availability_zone text?, owner_id text, disk bool?",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.clusters) {
					for _, r := range c.clusters[id].replicas {
						rows = append(rows, []sql.Value{r.id, r.name, id, orNull(r.size), nil, r.owner, true})
					}
				}
				return rows
			}),
		static("mz_catalog", "mz_roles", "id text, oid oid, name text, inherit bool, rolcanlogin bool?, rolsuper bool?",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.roles) {
					r := c.roles[id]
					rows = append(rows, []sql.Value{r.id, r.oid, r.name, true, r.login, r.super})
				}
				return rows
			}),
		static("mz_catalog", "mz_role_members", "role_id text, member text, grantor text",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.roles) {
					for _, group := range c.roles[id].memberOf {
						rows = append(rows, []sql.Value{group, id, "s1"})
					}
				}
				return rows
			}),
		static("mz_catalog", "mz_role_parameters", "role_id text, parameter_name text, parameter_value text",
			func(c *catalog) (rows [][]sql.Value) {
				for _, id := range sortedIDs(c.roles) {
					for _, d := range varTable {
						if v, ok := c.roles[id].vars[d.name]; ok {
							rows = append(rows, []sql.Value{id, d.name, v.text})
						}
					}
				}
				return rows
			}),
		static("mz_catalog", "mz_default_privileges", "role_id text, database_id text?, schema_id text?, object_type text, grantee text, privileges text",
			func(c *catalog) (rows [][]sql.Value) {
				for _, p := range c.defaultPrivs {
					rows = append(rows, []sql.Value{p.creator, orNull(p.database), orNull(p.schema), p.kind, p.grantee, letters(p.privs)})
				}
				return rows
			}),
		static("mz_catalog", "mz_system_privileges", "privileges mz_aclitem[]",
			func(c *catalog) [][]sql.Value { return [][]sql.Value{{c.systemAcl.value()}} }),
		static("mz_catalog", "mz_audit_events", "id uint8, event_type text, object_type text, details jsonb, user text?, occurred_at timestamptz",
			func(c *catalog) (rows [][]sql.Value) {
				for _, e := range c.audit {
					rows = append(rows, []sql.Value{int64(e.ID), e.EventType, e.ObjectType, sql.JSON(e.Details), e.User, e.OccurredAt.UTC()})
				}
				return rows
			}),
		static("mz_internal", "mz_comments", "id text, object_type text, object_sub_id int4?, comment text", commentRows),
	}
}

func letters(p privilege) string {
	return strings.TrimSuffix(acl{}.with(publicRole, "", p).item(grant{publicRole, ""})[1:], "/")
}

func commentRows(c *catalog) (rows [][]sql.Value) {
	for key, text := range c.comments {
		kind := key.kind
		if kind == "" {
			kind = string(c.objects[key.id].kind)
		}
		rows = append(rows, []sql.Value{key.id, kind, nil, text})
		if key.column > 0 {
			rows[len(rows)-1][2] = int64(key.column)
		}
	}
	slices.SortFunc(rows, func(a, b []sql.Value) int { return cmpID(a[0].(string), b[0].(string)) })
	return rows
}
