package sim

import (
	"fmt"

	"mzcanary/internal/sim/sql"
)

// objectRelations list items and their parts.
func objectRelations() []*systemRelation {
	of := func(schema, name, columns string, kinds []objectKind, row func(c *catalog, o *object) []sql.Value) *systemRelation {
		return static(schema, name, columns, func(c *catalog) (rows [][]sql.Value) {
			for _, o := range c.sortedObjects() {
				for _, k := range kinds {
					if o.kind == k && c.schemas[o.schema].tempConn == 0 {
						rows = append(rows, row(c, o))
					}
				}
			}
			return rows
		})
	}
	all := []objectKind{kindTable, kindView, kindMatView, kindIndex, kindSource, kindSink, kindSecret, kindConnection, kindType}
	listed := func(c *catalog, o *object) []sql.Value {
		return []sql.Value{o.id, o.oid, o.schema, o.name, string(o.kind), o.owner, orNull(o.cluster), o.acl.value()}
	}
	const objectColumns = "id text, oid oid, schema_id text, name text, type text, owner_id text, cluster_id text?, privileges mz_aclitem[]"
	return []*systemRelation{
		of("mz_catalog", "mz_objects", objectColumns, all, listed),
		of("mz_catalog", "mz_relations", objectColumns, []objectKind{kindTable, kindView, kindMatView, kindSource}, listed),
		of("mz_catalog", "mz_views", "id text, oid oid, schema_id text, name text, definition text, owner_id text, privileges mz_aclitem[], create_sql text, redacted_create_sql text",
			[]objectKind{kindView}, func(c *catalog, o *object) []sql.Value {
				def := o.definition()
				create := fmt.Sprintf("CREATE VIEW %s AS %s", c.quotedName(o), def)
				return []sql.Value{o.id, o.oid, o.schema, o.name, def, o.owner, o.acl.value(), create, create}
			}),
		of("mz_catalog", "mz_materialized_views", "id text, oid oid, schema_id text, name text, cluster_id text, definition text, owner_id text, privileges mz_aclitem[], create_sql text, redacted_create_sql text",
			[]objectKind{kindMatView}, func(c *catalog, o *object) []sql.Value {
				def := o.definition()
				create := fmt.Sprintf("CREATE MATERIALIZED VIEW %s IN CLUSTER %s AS %s", c.quotedName(o), c.clusterName(o.cluster), def)
				return []sql.Value{o.id, o.oid, o.schema, o.name, o.cluster, def, o.owner, o.acl.value(), create, create}
			}),
		of("mz_catalog", "mz_tables", "id text, oid oid, schema_id text, name text, owner_id text, privileges mz_aclitem[], create_sql text?, redacted_create_sql text?, source_id text?",
			[]objectKind{kindTable}, func(c *catalog, o *object) []sql.Value {
				return []sql.Value{o.id, o.oid, o.schema, o.name, o.owner, o.acl.value(), nil, nil, nil}
			}),
		of("mz_catalog", "mz_indexes", "id text, oid oid, name text, on_id text, cluster_id text, owner_id text, create_sql text, redacted_create_sql text",
			[]objectKind{kindIndex}, func(c *catalog, o *object) []sql.Value {
				create := fmt.Sprintf("CREATE INDEX %s IN CLUSTER %s ON %s", sql.QuoteIdent(o.name), c.clusterName(o.cluster), c.quotedName(c.objects[o.on]))
				return []sql.Value{o.id, o.oid, o.name, o.on, o.cluster, o.owner, create, create}
			}),
		static("mz_catalog", "mz_index_columns", "index_id text, index_position uint8, on_position uint8?, on_expression text?, nullable bool", indexColumnRows),
		of("mz_catalog", "mz_sources", "id text, oid oid, schema_id text, name text, type text, connection_id text?, size text?, cluster_id text?, owner_id text, privileges mz_aclitem[]",
			[]objectKind{kindSource}, func(c *catalog, o *object) []sql.Value {
				return []sql.Value{o.id, o.oid, o.schema, o.name, "load-generator", nil, nil, orNull(o.cluster), o.owner, o.acl.value()}
			}),
		of("mz_catalog", "mz_sinks", "id text, oid oid, schema_id text, name text, type text, connection_id text?, size text?, cluster_id text, owner_id text",
			[]objectKind{kindSink}, func(c *catalog, o *object) []sql.Value {
				return []sql.Value{o.id, o.oid, o.schema, o.name, "kafka", nil, nil, o.cluster, o.owner}
			}),
		of("mz_catalog", "mz_secrets", "id text, oid oid, schema_id text, name text, owner_id text, privileges mz_aclitem[]",
			[]objectKind{kindSecret}, func(c *catalog, o *object) []sql.Value {
				return []sql.Value{o.id, o.oid, o.schema, o.name, o.owner, o.acl.value()}
			}),
		of("mz_catalog", "mz_connections", "id text, oid oid, schema_id text, name text, type text, owner_id text, privileges mz_aclitem[]",
			[]objectKind{kindConnection}, func(c *catalog, o *object) []sql.Value {
				return []sql.Value{o.id, o.oid, o.schema, o.name, "kafka", o.owner, o.acl.value()}
			}),
		static("mz_catalog", "mz_columns", "id text, name text, position uint8, nullable bool, type text, default text?, type_oid oid, type_mod int4", columnRows),
		static("mz_internal", "mz_object_dependencies", "object_id text, referenced_object_id text", func(c *catalog) (rows [][]sql.Value) {
			for _, o := range c.sortedObjects() {
				for _, d := range o.deps {
					rows = append(rows, []sql.Value{o.id, d})
				}
			}
			return rows
		}),
		static("mz_internal", "mz_object_transitive_dependencies", "object_id text, referenced_object_id text", func(c *catalog) (rows [][]sql.Value) {
			for _, o := range c.sortedObjects() {
				for _, d := range sortedIDs(c.closure(o.deps)) {
					rows = append(rows, []sql.Value{o.id, d})
				}
			}
			return rows
		}),
	}
}

func (o *object) definition() string {
	if o.view == nil {
		return ""
	}
	return o.view.text + ";"
}

func (c *catalog) clusterName(id string) string {
	if cl := c.clusters[id]; cl != nil {
		return sql.QuoteIdent(cl.name)
	}
	return id
}

func (c *catalog) quotedName(o *object) string {
	s := c.schemas[o.schema]
	name := sql.Name{s.name, o.name}
	if d := c.databases[s.database]; d != nil {
		name = sql.Name{d.name, s.name, o.name}
	}
	return name.String()
}

func indexColumnRows(c *catalog) (rows [][]sql.Value) {
	for _, o := range c.sortedObjects() {
		if o.kind != kindIndex {
			continue
		}
		on := c.objects[o.on]
		for i, k := range o.keys {
			row := []sql.Value{o.id, int64(i + 1), nil, nil, true}
			if j := columnIndex(on, k.Column); k.Column != "" && j >= 0 {
				row[2], row[4] = int64(j+1), on.columns[j].Nullable
			} else {
				row[3] = k.Expr
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func columnRows(c *catalog) (rows [][]sql.Value) {
	for _, o := range c.sortedObjects() {
		if c.schemas[o.schema].tempConn != 0 {
			continue
		}
		for i, col := range o.columns {
			rows = append(rows, []sql.Value{o.id, col.Name, int64(i + 1), col.Nullable, col.Type.Name, nil, int64(col.Type.OID), int64(col.TypeMod)})
		}
	}
	return rows
}
