package checker

import "fmt"

// Names are the objects of a run.
type Names struct {
	// Live is the schema and the cluster in production; Base the schema that nobody
	// swaps.
	Live, Base string
	// Wide gives the deployment a second schema and a second cluster, which hold the
	// materialized view.
	Wide bool
	// Postgres: there are no clusters, and what Materialize calls a materialized view is a
	// table.
	Postgres bool
	// Database, Control and Size are the server's.
	Database, Control, Size string
}

// Deploy is the schema and the cluster of the next version.
func (n Names) Deploy() string { return n.Live + "_deploy" }

// second is the schema and the cluster of the materialized view beside a name.
func (n Names) second(name string) string {
	if n.Wide {
		return name + "_more"
	}
	return name
}

// path is the search_path of a client of a version.
func (n Names) path(name string) string {
	if n.Wide {
		return name + "," + n.second(name)
	}
	return name
}

// each lists the schemas, and clusters, of a version.
func (n Names) each(name string) []string {
	if n.Wide {
		return []string{name, n.second(name)}
	}
	return []string{name}
}

// pairs is the configuration's list.
func (n Names) pairs() string {
	text := fmt.Sprintf("{live: %s, deploy: %s}", n.Live, n.Deploy())
	if n.Wide {
		text += fmt.Sprintf(", {live: %s, deploy: %s}", n.second(n.Live), n.second(n.Deploy()))
	}
	return text
}

// Written is the table the clients write to.
func (n Names) Written() string { return n.Base + ".written" }

// base makes what no swap touches.
func (n Names) base(app string) []string {
	return []string{
		fmt.Sprintf("CREATE TABLE %s.base (k int, v text)", n.Base),
		fmt.Sprintf("CREATE TABLE %s (id text)", n.Written()),
		fmt.Sprintf("INSERT INTO %s.base VALUES (1,'a'),(2,'b'),(3,'c')", n.Base),
		fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", n.Base, app),
		fmt.Sprintf("GRANT SELECT ON %s.base TO %s", n.Base, app),
		fmt.Sprintf("GRANT SELECT, INSERT ON %s TO %s", n.Written(), app),
	}
}

// version builds a version under a name: an indexed view and a materialized view
// that say which version they are.
func (n Names) version(name string, version int) []string {
	if n.Postgres {
		return n.postgresVersion(name, version)
	}
	var out []string
	for _, each := range n.each(name) {
		out = append(out,
			fmt.Sprintf("CREATE CLUSTER %s (SIZE = '%s')", each, n.Size),
			fmt.Sprintf("CREATE SCHEMA %s", each))
	}
	out = append(out,
		fmt.Sprintf("CREATE VIEW %s.answer AS SELECT %d::int AS version, k, v FROM %s.base", name, version, n.Base),
		fmt.Sprintf("CREATE INDEX answer_idx IN CLUSTER %[1]s ON %[1]s.answer (k)", name),
		fmt.Sprintf("CREATE MATERIALIZED VIEW %[1]s.total IN CLUSTER %[1]s AS SELECT %[2]d::int AS version, count(*) AS n FROM %[3]s.base", n.second(name), version, n.Base))
	for _, each := range n.each(name) {
		out = append(out,
			fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO PUBLIC", each),
			fmt.Sprintf("GRANT USAGE ON CLUSTER %s TO PUBLIC", each),
			fmt.Sprintf("GRANT SELECT ON ALL TABLES IN SCHEMA %s TO PUBLIC", each),
			fmt.Sprintf("ALTER SCHEMA %s OWNER TO %s", each, n.Control),
			fmt.Sprintf("ALTER CLUSTER %s OWNER TO %s", each, n.Control))
	}
	return out
}

// postgresVersion builds a version where there are schemas only.
func (n Names) postgresVersion(name string, version int) []string {
	var out []string
	for _, each := range n.each(name) {
		out = append(out, "CREATE SCHEMA "+each)
	}
	return append(out,
		fmt.Sprintf("CREATE VIEW %s.answer AS SELECT %d::int AS version, k, v FROM %s.base", name, version, n.Base),
		fmt.Sprintf("CREATE MATERIALIZED VIEW %s.total AS SELECT %d::int AS version, count(*) AS n FROM %s.base", n.second(name), version, n.Base))
}

// drop removes a version, whatever is left of it.
func (n Names) drop(name string) []string {
	var out []string
	for _, each := range n.each(name) {
		if !n.Postgres {
			out = append(out, fmt.Sprintf("DROP CLUSTER IF EXISTS %s CASCADE", each))
		}
		out = append(out, fmt.Sprintf("DROP SCHEMA IF EXISTS %s CASCADE", each))
	}
	return out
}

// clusterPairs is the configuration's list of clusters.
func (n Names) clusterPairs() string {
	if n.Postgres {
		return ""
	}
	return n.pairs()
}

// kind is the configuration's word for the server.
func (n Names) kind() string {
	if n.Postgres {
		return "postgres"
	}
	return "materialize"
}
