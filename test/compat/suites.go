package main

// suite is one program run: one driver in one way of using it.
type suite struct {
	group string // what --only names and what CI chooses by
	name  string // of the driver, as in the table
	lang  string // which builder prepares it, and its directory
	args  []string
}

// suites lists all, in the order of the table. The first argument of a program
// says which of its drivers or modes to run.
func suites() []suite {
	return []suite{
		{"go", "pgx-simple", "go", []string{"pgx", "simple_protocol"}},
		{"go", "pgx-exec", "go", []string{"pgx", "exec"}},
		{"go", "pgx-describe", "go", []string{"pgx", "describe_exec"}},
		{"go", "pgx-cache-describe", "go", []string{"pgx", "cache_describe"}},
		{"go", "pgx-cache-statement", "go", []string{"pgx", "cache_statement"}},
		{"go", "lib/pq", "go", []string{"pq"}},
		{"libpq", "psql", "go", []string{"psql"}},
		{"libpq", "pgbench-simple", "go", []string{"pgbench", "simple"}},
		{"libpq", "pgbench-extended", "go", []string{"pgbench", "extended"}},
		{"libpq", "pgbench-prepared", "go", []string{"pgbench", "prepared"}},
		{"psycopg", "psycopg3-sync", "python", []string{"psycopg3_sync.py"}},
		{"psycopg", "psycopg3-async", "python", []string{"psycopg3_async.py"}},
		{"psycopg", "psycopg2", "python", []string{"psycopg2_sync.py"}},
		{"python", "asyncpg", "python", []string{"asyncpg_async.py"}},
		{"python", "sqlalchemy", "python", []string{"sqlalchemy_orm.py"}},
		{"node", "node-postgres", "node", []string{"node-postgres.mjs"}},
		{"node", "postgres.js", "node", []string{"postgres-js.mjs"}},
		{"java", "pgjdbc-hikari", "java", []string{"Jdbc"}},
		{"rust", "tokio-postgres", "rust", nil},
	}
}

// leftOut says what is done on PostgreSQL and not on Materialize, and which of it is
// Materialize's limit and which the simulator's.
var leftOut = [...]struct{ who, what, why string }{
	{"all", "savepoints (pgjdbc's `autosave`, psql's ON_ERROR_ROLLBACK), LISTEN and NOTIFY, advisory locks, two-phase commit, cursors WITH HOLD, `set_config`, reads and writes in one transaction", "Materialize has none"},
	{"all", "INSERT … RETURNING, PREPARE with types, `pg_type` and its like (metadata, reflection, \\gdesc, `fetch_types` of postgres.js, `hstore` of SQLAlchemy)", "Materialize has them, the simulator does not"},
	{"all", "trust, password, md5 and scram side by side", "Materialize has one kind per listener"},
	{"pgx, psycopg, asyncpg, tokio-postgres", "COPY in, binary", "Materialize refuses it; binary COPY out the simulator alone"},
	{"pgx on v26.4", "COPY into a table that is missing", "pgx sends its data unasked; before 26.33 the server is then deaf until a Sync, which never comes. It hangs without the proxy"},
	{"postgres.js on v26.4", "COPY in", "it sends a CopyFail behind its CopyDone: the same"},
	{"psql", "FETCH_COUNT", "it declares its cursor NO SCROLL, which Materialize does not parse"},
	{"psycopg2, asyncpg", "`reset()` and the pools' default resets", "RESET ALL, UNLISTEN and SET SESSION AUTHORIZATION do not exist there; asyncpg's pool takes one of its own"},
	{"node-postgres, postgres.js", "cursors and query streams outside a transaction", "a portal ends there with the first message that is not its Execute"},
	{"SQLAlchemy", "engine on asyncpg; AUTOCOMMIT of one connection", "it looks for a type `json` at connect, which Materialize lacks; it cannot go back to an isolation level called STRICT SERIALIZABLE"},
	{"pgbench", "its own scripts", "they read and write in one transaction; custom scripts work"},
}
