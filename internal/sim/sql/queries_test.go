package sql

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// recordedCatalog holds what the recorded server held when queries.sql ran, as
// far as its answers in queries.out show it.
func recordedCatalog(t testing.TB) *memory {
	acl := `{=U/u1,u1=UC/u1,mz=U/u1}`
	object := func(id, schema, name, kind string, cluster any) []any {
		return []any{id, schema, name, kind, "u1", cluster}
	}
	column := func(id string, position int, name, kind, nullable string) []any {
		return []any{id, name, position, nullable, kind, -1}
	}
	var columns [][]any
	for _, v := range []string{"u330", "u335"} {
		columns = append(columns, column(v, 1, "version", "text", "f"), column(v, 2, "k", "integer", "t"), column(v, 3, "v", "text", "t"))
	}
	for _, v := range []string{"u341", "u339", "u334", "u333", "u338", "u332", "u337"} {
		columns = append(columns, column(v, 1, "version", "text", "f"))
	}
	for _, v := range []string{"u333", "u338"} {
		columns = append(columns, column(v, 2, "k", "integer", "t"))
	}
	columns = append(columns, column("u338", 3, "v", "text", "t"), column("u332", 2, "n", "bigint", "f"), column("u337", 2, "n", "bigint", "f"))
	audit := func(id int, object, details string) []any {
		return []any{id, "alter", object, details, "materialize", "2026-01-01 00:00:00"}
	}
	return &memory{
		relations: map[string]*Relation{
			"mz_databases": relation(t, "id text!, name text!", []any{"u1", "materialize"}),
			"mz_roles":     relation(t, "id text!, oid oid!, name text!", []any{"u1", 20001, "materialize"}, []any{"mz", 20002, "mz_support"}, []any{"u2", 20003, "app"}),
			"mz_schemas": relation(t, "id text!, oid oid!, database_id text, name text!, owner_id text!, privileges mz_aclitem[]!",
				[]any{"u125", 30125, "u1", "prod", "u1", acl}, []any{"u126", 30126, "u1", "prod_deploy", "u1", acl}, []any{"u128", 30128, "u1", "reports", "u1", acl}),
			"mz_clusters": relation(t, "id text!, name text!, owner_id text!, managed bool!, size text, replication_factor uint4",
				[]any{"u60", "prod", "u1", "t", "bootstrap", 1}, []any{"u61", "prod_deploy", "u1", "t", "bootstrap", 1}, []any{"u3", "quickstart", "u1", "t", "bootstrap", 1}),
			"mz_cluster_replicas": relation(t, "id text!, name text!, cluster_id text!, size text", []any{"r60", "r1", "u60", "bootstrap"}, []any{"r61", "r1", "u61", "bootstrap"}),
			"mz_cluster_replica_statuses": relation(t, "replica_id text!, process_id uint8!, status text!, reason text, updated_at timestamptz!",
				[]any{"r60", 0, "online", nil, "2026-01-01 00:00:00"}, []any{"r61", 0, "online", nil, "2026-01-01 00:00:00"}),
			"mz_cluster_replica_status_history": relation(t, "replica_id text!, process_id uint8!, status text!, reason text, occurred_at timestamptz!",
				[]any{"r60", 0, "offline", "oom-killed", "2020-01-01 00:00:00"}),
			"mz_objects": relation(t, "id text!, schema_id text!, name text!, type text!, owner_id text!, cluster_id text",
				object("u330", "u125", "answer", "view", nil), object("u331", "u125", "answer_idx", "index", "u60"),
				object("u332", "u125", "total", "materialized-view", "u60"), object("u333", "u125", "shape", "view", nil),
				object("u334", "u125", "only_old", "view", nil), object("u335", "u126", "answer", "view", nil),
				object("u336", "u126", "answer_idx", "index", "u61"), object("u337", "u126", "total", "materialized-view", "u61"),
				object("u338", "u126", "shape", "view", nil), object("u339", "u126", "only_new", "view", nil),
				object("u341", "u126", "bad_reader", "materialized-view", "u61"), object("u342", "u128", "daily", "view", nil),
				object("u343", "u128", "daily_idx", "index", "u60"), object("u344", "u128", "deep", "view", nil)),
			"mz_columns": relation(t, "id text!, name text!, position uint8!, nullable bool!, type text!, type_mod int!", columns...),
			"mz_indexes": relation(t, "id text!, name text!, on_id text!, cluster_id text!",
				[]any{"u331", "answer_idx", "u330", "u60"}, []any{"u336", "answer_idx", "u335", "u61"}, []any{"u343", "daily_idx", "u342", "u60"}),
			"mz_index_columns": relation(t, "index_id text!, index_position uint8!, on_position uint8, on_expression text, nullable bool!",
				[]any{"u331", 1, 2, nil, "t"}, []any{"u336", 1, 2, nil, "t"}, []any{"u343", 1, 1, nil, "t"}),
			"mz_materialized_views": relation(t, "id text!, name text!, cluster_id text!", []any{"u332", "total", "u60"}, []any{"u337", "total", "u61"}, []any{"u341", "bad_reader", "u61"}),
			"mz_object_transitive_dependencies": relation(t, "object_id text!, referenced_object_id text!",
				[]any{"u341", "u334"}, []any{"u342", "u332"}, []any{"u343", "u332"}, []any{"u344", "u332"}, []any{"u343", "u342"}, []any{"u331", "u330"}),
			"mz_hydration_statuses": relation(t, "object_id text!, replica_id text, hydrated bool",
				[]any{"u336", "r61", "t"}, []any{"u337", "r61", "t"}, []any{"u341", "r61", "t"}),
			"mz_compute_hydration_statuses": relation(t, "object_id text!, replica_id text, hydrated bool!",
				[]any{"u336", "r61", "t"}, []any{"u337", "r61", "f"}, []any{"u341", "r61", "t"}),
			"mz_materialization_lag": relation(t, "object_id text!, local_lag interval, global_lag interval", []any{"u336", "0s", "0s"}, []any{"u337", "0s", "0s"}),
			"mz_wallclock_global_lag": relation(t, "object_id text!, lag interval",
				[]any{"u336", "2s"}, []any{"u337", "1s"}, []any{"u341", "0s"}),
			"mz_subscriptions":   relation(t, "id text!, session_id uuid!, cluster_id text!, referenced_object_ids text list!"),
			"mz_sessions":        relation(t, "id uuid!, connection_id uint4!"),
			"mz_role_parameters": relation(t, "role_id text!, parameter_name text!, parameter_value text!", []any{"u2", "cluster", "prod"}),
			"mz_comments":        relation(t, "id text!, object_type text!, object_sub_id int, comment text!", []any{"u61", "cluster", nil, "mzcanary: rollout r1"}),
			"prod.shape":         relation(t, "version text!, k int", []any{"old", 1}, []any{"old", 2}, []any{"old", 3}),
			"prod_deploy.shape":  relation(t, "version text!, k int, v text", []any{"new", 1, "a"}, []any{"new", 3, "c"}, []any{"new", 2, "b"}),
			"mz_audit_events": relation(t, "id uint8!, event_type text!, object_type text!, details jsonb!, user text, occurred_at timestamptz!",
				audit(1, "schema", `{"id":"u125","database_name":"materialize","old_name":"prod","new_name":"mz_schema_swap_fd70eb386b3b"}`),
				audit(2, "schema", `{"id":"u126","database_name":"materialize","old_name":"prod_deploy","new_name":"prod"}`),
				audit(3, "schema", `{"id":"u125","database_name":"materialize","old_name":"mz_schema_swap_fd70eb386b3b","new_name":"prod_deploy"}`),
				audit(4, "cluster", `{"id":"u60","old_name":"prod","new_name":"mz_cluster_swap_48eeb43e588e"}`),
				audit(5, "cluster", `{"id":"u61","old_name":"prod_deploy","new_name":"prod"}`),
				audit(6, "cluster", `{"id":"u60","old_name":"mz_cluster_swap_48eeb43e588e","new_name":"prod_deploy"}`)),
		},
		functions: map[string]Value{
			"current_user": "materialize", "mz_is_superuser": false, "has_database_privilege": true, "pg_has_role": true,
			"current_setting": "prod", "current_schemas": []Value{"public"}, "pg_backend_pid": int64(7),
		},
	}
}

// settings gives current_setting its argument, which memory cannot see.
type settings struct{ *memory }

func (s settings) Relation(name Name) (*Relation, error) {
	if rel, ok := s.relations[name.String()]; ok {
		return rel, nil
	}
	return s.memory.Relation(name)
}

func (s settings) Function(name string, args []Value) (Value, bool, error) {
	if name == "current_setting" && args[0] == "search_path" {
		return "public", true, nil
	}
	return s.memory.Function(name, args)
}

// readTables reads the answers as psql printed them: header, then rows.
func readTables(t *testing.T) [][][]string {
	data, err := os.ReadFile("testdata/queries.out")
	if err != nil {
		t.Fatal(err)
	}
	var tables [][][]string
	var current [][]string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "-- ") || strings.Trim(line, "-+") == "":
		case strings.HasPrefix(line, "(") && strings.HasSuffix(line, ")") && strings.Contains(line, " row"):
			tables = append(tables, current)
			current = nil
		default:
			cells := strings.Split(line, "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			current = append(current, cells)
		}
	}
	return tables
}

// TestRecordedQueries answers every query of queries.sql from the recorded
// catalog; names of columns and all rows must be those of the real server.
func TestRecordedQueries(t *testing.T) {
	data, err := os.ReadFile("testdata/queries.sql")
	if err != nil {
		t.Fatal(err)
	}
	statements, err := Parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	tables := readTables(t)
	if len(statements) != len(tables) {
		t.Fatalf("%d statements, %d answers", len(statements), len(tables))
	}
	r := settings{recordedCatalog(t)}
	for i, st := range statements {
		plan, err := st.(*Select).Query.Plan(r, nil)
		if err != nil {
			t.Errorf("%s\n%v", st.Text(), err)
			continue
		}
		rows, err := plan.Eval(t.Context(), r, nil)
		if err != nil {
			t.Errorf("%s\n%v", st.Text(), err)
			continue
		}
		got := [][]string{{}}
		for _, c := range plan.Columns {
			got[0] = append(got[0], c.Name)
		}
		for _, row := range rows {
			var cells []string
			for j, v := range row {
				text := ""
				if v != nil {
					text = string(EncodeText(v, plan.Columns[j].Type))
				}
				cells = append(cells, text)
			}
			got = append(got, cells)
		}
		if !slices.EqualFunc(got, tables[i], slices.Equal) {
			t.Errorf("%s\ngot  %q\nwant %q", st.Text(), got, tables[i])
		}
	}
}

// TestReadinessQueries runs the queries that other tools use to wait for a
// deployment; they are as complicated as catalog queries become.
func TestReadinessQueries(t *testing.T) {
	data, err := os.ReadFile("testdata/readiness.sql")
	if err != nil {
		t.Fatal(err)
	}
	statements, err := Parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	r := settings{recordedCatalog(t)}
	want := [][2]string{
		{"cluster_name:25! cluster_id:25! status:25! failure_reason:25 hydrated_count:20! total_count:20! max_lag_secs:20! total_replicas:20! problematic_replicas:20! threshold_secs:20",
			"prod_deploy|u61|lagging|NULL|3|3|2|1|0|1"},
		{"id:25!", "u337"},
	}
	for i, st := range statements {
		q := st.(*Select).Query
		plan, err := q.Plan(r, nil)
		if err != nil {
			t.Fatalf("%s\n%v", st.Text(), err)
		}
		rows, err := plan.Eval(t.Context(), r, nil)
		if err != nil {
			t.Fatalf("%s\n%v", st.Text(), err)
		}
		if cols, out := showColumns(plan.Columns), showRows(rows, plan.Columns); cols != want[i][0] || out != want[i][1] {
			t.Errorf("got  %s\n     %s\nwant %s\n     %s", cols, out, want[i][0], want[i][1])
		}
	}
}
