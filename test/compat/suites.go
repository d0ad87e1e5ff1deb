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
	{"all", "savepoints, LISTEN and NOTIFY, advisory locks, temporary tables, two-phase commit, set_config, cursors WITH HOLD", "Materialize has none"},
}
