package sql

import (
	"reflect"
	"strings"
	"testing"
)

// parseOne parses a text of one statement.
func parseOne(t *testing.T, text string) Statement {
	t.Helper()
	list, err := Parse(text)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %d statements, %v", text, len(list), err)
	}
	return list[0]
}

// bare clears what all statements carry, so that trees can be compared.
func bare(s Statement) Statement {
	s.(nodeSetter).setNode(node{})
	return s
}

func ptr[T any](v T) *T { return &v }

func TestStatements(t *testing.T) {
	for _, c := range []struct {
		text, tag string
		want      Statement
	}{
		{"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "BEGIN", &Begin{Modes: TransactionModes{Isolation: "SERIALIZABLE", ReadOnly: true}}},
		{"start transaction isolation level strict serializable, read write", "START TRANSACTION", &Begin{Modes: TransactionModes{Isolation: "STRICT SERIALIZABLE", ReadWrite: true}}},
		{"COMMIT AND NO CHAIN", "COMMIT", &Commit{}},
		{"END", "COMMIT", &Commit{}},
		{"ABORT WORK", "ROLLBACK", &Rollback{}},
		{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET", &SetTransaction{Modes: TransactionModes{Isolation: "READ COMMITTED"}}},
		{"SET cluster = prod_deploy", "SET", &Set{Name: "cluster", Values: []string{"prod_deploy"}}},
		{"SET LOCAL search_path TO Prod, \"B\", 'c d'", "SET", &Set{Local: true, Name: "search_path", Values: []string{"prod", "B", "c d"}}},
		{"SET SESSION \"CLUSTER\" TO DEFAULT", "SET", &Set{Name: "CLUSTER", Default: true}},
		{"SET SCHEMA prod", "SET", &Set{Name: "search_path", Values: []string{"prod"}}},
		{"SET schema = 'a, b'", "SET", &Set{Name: "search_path", Values: []string{"a, b"}}},
		{"SET TIME ZONE 'UTC'", "SET", &Set{Name: "timezone", Values: []string{"UTC"}}},
		{"SET NAMES 'UTF8'", "SET", &Set{Name: "client_encoding", Values: []string{"UTF8"}}},
		{"SET extra_float_digits = -1", "SET", &Set{Name: "extra_float_digits", Values: []string{"-1"}}},
		{"SET x = on", "SET", &Set{Name: "x", Values: []string{"on"}}},
		{"RESET ALL", "RESET", &Reset{Name: "all"}},
		{"RESET SCHEMA", "RESET", &Reset{Name: "search_path"}},
		{"SHOW schema", "SELECT", &Show{Name: "schema"}},
		{"SHOW TRANSACTION ISOLATION LEVEL", "SELECT", &Show{Name: "transaction_isolation"}},
		{"SHOW CLUSTERS", "SELECT", &ShowObjects{What: "CLUSTERS"}},
		{"SHOW MATERIALIZED VIEWS FROM prod LIKE 'a%'", "SELECT", &ShowObjects{What: "MATERIALIZED VIEWS", From: Name{"prod"}, Like: "a%"}},
		{"DISCARD ALL", "DISCARD ALL", &Discard{}},
		{"DISCARD TEMPORARY", "DISCARD TEMP", &Discard{Temp: true}},
		{"DEALLOCATE PREPARE ALL", "DEALLOCATE ALL", &Deallocate{All: true}},
		{"DEALLOCATE p", "DEALLOCATE", &Deallocate{Name: "p"}},
		{"FETCH FORWARD 5 c", "FETCH", &Fetch{Count: 5, Cursor: "c"}},
		{"FETCH ALL FROM c WITH (TIMEOUT = '1s')", "FETCH", &Fetch{Count: 1, All: true, Cursor: "c", Timeout: "1s"}},
		{"FETCH c", "FETCH", &Fetch{Count: 1, Cursor: "c"}},
		{"CLOSE c", "CLOSE CURSOR", &CloseCursor{Cursor: "c"}},
		{"SUBSCRIBE TO prod.total WITH (SNAPSHOT = false, PROGRESS)", "SUBSCRIBE", &Subscribe{Relation: Name{"prod", "total"}, NoSnapshot: true, Progress: true}},
		{"COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER true, DELIMITER ';', NULL '')", "COPY",
			&Copy{From: true, Relation: Name{"t"}, Columns: []string{"a", "b"}, Format: "csv", Header: true, Delimiter: ";", NullSet: true}},
		{"CREATE SCHEMA IF NOT EXISTS materialize.prod", "CREATE SCHEMA", &CreateSchema{IfNotExists: true, Name: Name{"materialize", "prod"}}},
		{"CREATE CLUSTER c (SIZE = 'small', REPLICATION FACTOR 2)", "CREATE CLUSTER",
			&CreateCluster{Name: "c", Size: "small", ReplicationFactor: 2, Options: []Option{{"SIZE", "small"}, {"REPLICATION FACTOR", "2"}}}},
		{"CREATE CLUSTER c SIZE 'small'", "CREATE CLUSTER", &CreateCluster{Name: "c", Size: "small", ReplicationFactor: -1, Options: []Option{{"SIZE", "small"}}}},
		{"CREATE CLUSTER c REPLICAS (r1 (SIZE 'a'), r2 (SIZE = 'b'))", "CREATE CLUSTER",
			&CreateCluster{Name: "c", ReplicationFactor: -1, Unmanaged: true, Replicas: []Replica{
				{"r1", "a", []Option{{"SIZE", "a"}}}, {"r2", "b", []Option{{"SIZE", "b"}}}}}},
		{"CREATE CLUSTER REPLICA c.r SIZE 'x'", "CREATE CLUSTER REPLICA", &CreateClusterReplica{Cluster: "c", Replica: Replica{"r", "x", []Option{{"SIZE", "x"}}}}},
		{"CREATE TEMP TABLE t (a int NOT NULL, b numeric(10,2))", "CREATE TABLE",
			&CreateTable{Temporary: true, Name: Name{"t"}, Columns: []Column{{"a", Int4, -1, false}, {"b", NumericT, 10<<16 | 2 + 4, true}}}},
		{"CREATE INDEX i IN CLUSTER c ON s.t (a, lower(b))", "CREATE INDEX",
			&CreateIndex{Name: "i", Cluster: "c", On: Name{"s", "t"}, Keys: []IndexKey{{Column: "a"}, {Expr: "lower(b)"}}}},
		{"CREATE DEFAULT INDEX ON t", "CREATE INDEX", &CreateIndex{Default: true, On: Name{"t"}}},
		{"CREATE ROLE r WITH LOGIN PASSWORD 'x'", "CREATE ROLE", &CreateRole{Name: "r", Options: []Option{{"LOGIN", ""}, {"PASSWORD", "x"}}}},
		{"CREATE SINK s.k IN CLUSTER c FROM prod.total INTO KAFKA CONNECTION q (TOPIC 'x;y') FORMAT JSON", "CREATE SINK",
			&CreateObject{Kind: KindSink, Name: Name{"s", "k"}, Cluster: "c", From: Name{"prod", "total"}}},
		{"DROP CLUSTER IF EXISTS a, b CASCADE", "DROP CLUSTER", &Drop{Kind: KindCluster, IfExists: true, Names: []Name{{"a"}, {"b"}}, Cascade: true}},
		{"DROP MATERIALIZED VIEW a.b", "DROP MATERIALIZED VIEW", &Drop{Kind: KindMaterializedView, Names: []Name{{"a", "b"}}}},
		{"ALTER SCHEMA IF EXISTS materialize.prod SWAP WITH prod_deploy", "ALTER SCHEMA",
			&AlterSwap{Kind: KindSchema, IfExists: true, Name: Name{"materialize", "prod"}, With: "prod_deploy"}},
		{"ALTER CLUSTER prod SWAP WITH \"Prod-Deploy\"", "ALTER CLUSTER", &AlterSwap{Kind: KindCluster, Name: Name{"prod"}, With: "Prod-Deploy"}},
		{"ALTER CLUSTER REPLICA c.r RENAME TO s", "ALTER CLUSTER REPLICA", &AlterRename{Kind: KindClusterReplica, Name: Name{"c", "r"}, To: "s"}},
		{"ALTER INDEX prod.i RENAME TO j", "ALTER INDEX", &AlterRename{Kind: KindIndex, Name: Name{"prod", "i"}, To: "j"}},
		{"ALTER SCHEMA prod OWNER TO team", "ALTER SCHEMA", &AlterOwner{Kind: KindSchema, Name: Name{"prod"}, Owner: "team"}},
		{"ALTER CLUSTER c SET (REPLICATION FACTOR 0)", "ALTER CLUSTER", &AlterClusterSet{Name: "c", Options: []Option{{"REPLICATION FACTOR", "0"}}}},
		{"ALTER CLUSTER c SET (SIZE = 'x', MANAGED true) WITH (WAIT FOR '1s')", "ALTER CLUSTER", &AlterClusterSet{Name: "c", Options: []Option{{"SIZE", "x"}, {"MANAGED", "true"}}}},
		{"ALTER CLUSTER c RESET (REPLICATION FACTOR)", "ALTER CLUSTER", &AlterClusterSet{Name: "c", Reset: []string{"REPLICATION FACTOR"}}},
		{"ALTER ROLE app SET cluster = prod", "ALTER ROLE", &AlterRoleSet{Role: "app", Name: "cluster", Values: []string{"prod"}}},
		{"ALTER ROLE app RESET search_path", "ALTER ROLE", &AlterRoleSet{Role: "app", Name: "search_path", Default: true}},
		{"ALTER SYSTEM SET max_connections = 10", "ALTER SYSTEM", &AlterSystem{Name: "max_connections", Values: []string{"10"}}},
		{"ALTER SINK s SET FROM prod.total", "ALTER SINK", &AlterSinkFrom{Name: Name{"s"}, From: Name{"prod", "total"}}},
		{"COMMENT ON CLUSTER prod IS 'it''s'", "COMMENT", &Comment{Kind: KindCluster, Name: Name{"prod"}, Comment: ptr("it's")}},
		{"COMMENT ON COLUMN a.b.c.d IS NULL", "COMMENT", &Comment{Kind: KindColumn, Name: Name{"a", "b", "c", "d"}}},
		{"GRANT SELECT, INSERT ON prod.t TO PUBLIC, app", "GRANT", &Grant{Privileges: []string{"SELECT", "INSERT"}, Kind: KindTable, Names: []Name{{"prod", "t"}}, Roles: []string{"PUBLIC", "app"}}},
		{"GRANT ALL PRIVILEGES ON SCHEMA prod, reports TO app", "GRANT", &Grant{All: true, Kind: KindSchema, Names: []Name{{"prod"}, {"reports"}}, Roles: []string{"app"}}},
		{"REVOKE SELECT ON ALL TABLES IN SCHEMA prod FROM app", "REVOKE",
			&Grant{Revoke: true, Privileges: []string{"SELECT"}, Kind: KindTable, AllIn: true, InKind: KindSchema, In: []Name{{"prod"}}, Roles: []string{"app"}}},
		{"GRANT CREATECLUSTER ON SYSTEM TO app", "GRANT", &Grant{Privileges: []string{"CREATECLUSTER"}, Kind: KindSystem, Roles: []string{"app"}}},
		{"GRANT release_team TO deployer", "GRANT ROLE", &GrantRole{Roles: []string{"release_team"}, Members: []string{"deployer"}}},
		{"REVOKE a, b FROM c, d", "REVOKE ROLE", &GrantRole{Revoke: true, Roles: []string{"a", "b"}, Members: []string{"c", "d"}}},
		{"ALTER DEFAULT PRIVILEGES FOR ROLE x IN SCHEMA prod GRANT SELECT ON TABLES TO app", "ALTER DEFAULT PRIVILEGES",
			&AlterDefaultPrivileges{ForRoles: []string{"x"}, InKind: KindSchema, In: []Name{{"prod"}}, Privileges: []string{"SELECT"}, Kind: KindTable, Roles: []string{"app"}}},
	} {
		s := parseOne(t, c.text)
		if s.Tag() != c.tag || s.Text() != c.text {
			t.Errorf("%s: tag %q, text %q", c.text, s.Tag(), s.Text())
		}
		if !reflect.DeepEqual(bare(s), c.want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", c.text, s, c.want)
		}
	}
}

func TestNestedStatements(t *testing.T) {
	prepare := parseOne(t, "PREPARE p AS SELECT $1::int").(*Prepare)
	if prepare.Name != "p" || prepare.Statement.Text() != "SELECT $1::int" || prepare.Statement.Tag() != "SELECT" {
		t.Errorf("got %+v", prepare)
	}
	declare := parseOne(t, "DECLARE c CURSOR WITHOUT HOLD FOR SUBSCRIBE (SELECT 1) UP TO 5").(*Declare)
	sub, ok := declare.Statement.(*Subscribe)
	if !ok || sub.Query == nil || sub.UpTo == nil || declare.Cursor != "c" {
		t.Errorf("got %+v", declare)
	}
	c := parseOne(t, "COPY (SUBSCRIBE total) TO STDOUT").(*Copy)
	if c.Subscribe == nil || c.Subscribe.Text() != "SUBSCRIBE total" || c.From {
		t.Errorf("got %+v", c)
	}
	view := parseOne(t, "CREATE OR REPLACE VIEW v (a) AS SELECT k FROM public.base, (SELECT * FROM x) y WHERE k IN (TABLE z)").(*CreateView)
	names := []string{}
	for _, n := range view.Query.Relations() {
		names = append(names, n.String())
	}
	if got := strings.Join(names, " "); got != "public.base x z" || !view.OrReplace || view.Columns[0] != "a" {
		t.Errorf("got %s, %+v", got, view)
	}
	cte := parseOne(t, "WITH t AS (SELECT * FROM a) SELECT * FROM t, other.t").(*Select)
	if got := cte.Query.Relations(); len(got) != 2 || got[1].String() != "other.t" {
		t.Errorf("got %v", got)
	}
	if !parseOne(t, "SELECT 1, generate_series(1, 2)").(*Select).Query.Constant() {
		t.Error("a query without relations is not constant")
	}
}

// TestReprint checks how statements are printed in errors.
func TestReprint(t *testing.T) {
	for _, c := range [][2]string{
		{"drop  cluster prod_deploy\n cascade", "DROP CLUSTER prod_deploy CASCADE"},
		{"DROP TABLE IF EXISTS nope", "DROP TABLE IF EXISTS nope"},
		{"drop schema \"Prod-Deploy\" , b -- gone", `DROP SCHEMA "Prod-Deploy", b`},
		{"drop schema materialize . prod", "DROP SCHEMA materialize.prod"},
		{"create view prod.v as select count(*) from t where a='x''y'", "CREATE VIEW prod.v AS SELECT count(*) FROM t WHERE a = 'x''y'"},
		{"discard all", "DISCARD ALL"},
	} {
		if got := parseOne(t, c[0]).String(); got != c[1] {
			t.Errorf("%s\ngot  %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestSplitting(t *testing.T) {
	list, err := Parse(" ;; SELECT 'a;b' ; /* x; /* y */ ; */ SELECT $$;$$;-- ;\nCOMMIT;")
	if err != nil || len(list) != 3 || list[0].Text() != "SELECT 'a;b'" || list[1].Text() != "SELECT $$;$$" || list[2].Text() != "COMMIT" {
		t.Errorf("got %v, %v", list, err)
	}
	for _, empty := range []string{"", "  ", ";", "-- nothing", "/* nothing */ ;"} {
		if list, err := Parse(empty); err != nil || len(list) != 0 {
			t.Errorf("%q: %v, %v", empty, list, err)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		pos  int
		want string
	}{
		{"SELECT 1; SELEC 2", 11, `Expected a keyword at the beginning of a statement, found identifier "selec"`},
		{"SELECT FROM", 12, "Expected identifier, found EOF"},
		{"SELECT (1", 10, "Expected right parenthesis, found EOF"},
		{"SELECT 'é' é 1", 14, `Expected end of statement, found number "1"`},
		{"SET a", 6, "Expected equals sign or TO, found EOF"},
		{"SELECT 'x", 8, "unterminated quoted string"},
		{"FROM t", 1, "Unexpected keyword FROM at the beginning of a statement"},
		{"ALTER SCHEMA a SWAP b", 21, `Expected WITH, found identifier "b"`},
		{"SELECT * FROM t JOIN u", 23, "Expected ON, or USING after JOIN, found EOF"},
		{`SELECT ""`, 8, "zero-length delimited identifier"},
		{"SELECT " + strings.Repeat("(", 300) + "1", 134, "statement exceeds nested expression limit of 128"},
	} {
		_, err := Parse(c.text)
		e, ok := err.(*Error)
		if !ok || e.Code != "42601" || e.Position != c.pos || e.Message != c.want {
			t.Errorf("%s\ngot  %#v\nwant %d %s", c.text, err, c.pos, c.want)
		}
	}
	if _, err := Parse(strings.Repeat(" ", maxBatchBytes) + ";"); err == nil || err.(*Error).Code != "54000" {
		t.Errorf("a batch over the limit: %v", err)
	}
}

func TestSplitIdents(t *testing.T) {
	for text, want := range map[string][]string{
		"prod": {"prod"}, "Prod, \"B b\"": {"prod", "B b"}, "": nil, "prod-deploy": {"prod"}, "prod deploy": {"prod"},
		`"prod-deploy", prod, Public`: {"prod-deploy", "prod", "public"}, `"a""b"`: {`a"b`},
	} {
		got, err := SplitIdents(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	if _, err := SplitIdents(`"open`); err == nil {
		t.Error("an open quote is no list")
	}
}

func TestQuoteIdent(t *testing.T) {
	for name, want := range map[string]string{
		"prod": "prod", "x, y": `"x, y"`, "prod-deploy": `"prod-deploy"`, "Prod": `"Prod"`, `a"b`: `"a""b"`, "": `""`, "1a": `"1a"`, "a1$": "a1$", "select": `"select"`, "public": "public",
	} {
		if got := QuoteIdent(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
