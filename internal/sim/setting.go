package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// setting executes SET, RESET and DISCARD.
func (se *session) setting(stmt sql.Statement) error {
	switch st := stmt.(type) {
	case *sql.Set:
		var v *value
		d := findVar(st.Name)
		if d == nil {
			return errUnknownVar(st.Name)
		}
		if !st.Default {
			parsed, err := d.parse(st.Values, false)
			if err != nil {
				return err
			}
			v = &parsed
		}
		return se.change(d, st.Name, v, st.Local)
	case *sql.Reset:
		d := findVar(st.Name)
		if d == nil {
			return errUnknownVar(st.Name)
		}
		return se.change(d, st.Name, nil, false)
	case *sql.Discard:
		return se.discard(st)
	}
	return nil
}

// change sets one variable in the open transaction and reports it when it was spelled as its canonical name.
func (se *session) change(d *varDef, spelled string, v *value, local bool) error {
	if d.kind == varFixed && v == nil {
		return failf("55P02", "parameter %s cannot be changed", strconv.Quote(d.name))
	}
	if d.name == "cluster" && se.tx.kind != opsNone && se.tx.kind != opsDDL {
		return failf("25001", "SET cluster cannot be called in an active transaction")
	}
	se.vars.set(d.name, v, local)
	c := se.catalog()
	now := se.vars.get(d.name).text
	if v != nil {
		switch {
		case d.name == "cluster" && c.clusterByName(now) == nil:
			se.notice("MZ007", fmt.Sprintf("cluster %s does not exist", strconv.Quote(now)), hintCluster)
		case d.name == "database" && c.databaseByName(now) == nil:
			se.notice("MZ006", fmt.Sprintf("database %s does not exist", strconv.Quote(now)), hintDatabase)
		}
	}
	se.sendNotices()
	if spelled == d.name {
		se.send(&pgproto3.ParameterStatus{Name: d.name, Value: now})
	}
	return nil
}

// discard is DISCARD ALL and DISCARD TEMP. Neither reports anything.
func (se *session) discard(st *sql.Discard) error {
	if st.Temp {
		se.dropTemp()
		return nil
	}
	if se.tx.status != txnStarted || se.tx.kind != opsNone {
		return failf("25001", "DISCARD ALL cannot be run inside a transaction block")
	}
	se.rollback()
	se.dropTemp()
	clear(se.prepared)
	se.vars.resetAll(se.s.behaves().discardDurable)
	return nil
}

// prepare executes PREPARE and DEALLOCATE.
func (se *session) prepare(stmt sql.Statement) error {
	switch st := stmt.(type) {
	case *sql.Prepare:
		if se.prepared[st.Name] != nil {
			return failf("42P05", "prepared statement %q already exists", st.Name)
		}
		desc, err := se.describe(st.Statement, nil)
		if err != nil {
			return err
		}
		se.prepared[st.Name] = &statement{ast: st.Statement, desc: desc}
	case *sql.Deallocate:
		if st.All {
			clear(se.prepared)
			return nil
		}
		if se.prepared[st.Name] == nil {
			return failf("26000", "prepared statement %q does not exist", st.Name)
		}
		delete(se.prepared, st.Name)
	}
	return nil
}

func (se *session) describeShow(st *sql.Show) (description, error) {
	switch st.Name {
	case "all":
		return description{rows: true, columns: textColumns("name", "setting", "description")}, nil
	case "schema":
		return description{rows: true, columns: textColumns("schema")}, nil
	}
	if findVar(st.Name) == nil {
		return description{}, errUnknownVar(st.Name)
	}
	return description{rows: true, columns: textColumns(st.Name)}, nil
}

func (se *session) show(st *sql.Show) (outcome, error) {
	out := outcome{tag: "SELECT", hasRows: true, counted: true}
	desc, err := se.describeShow(st)
	if err != nil {
		return out, err
	}
	out.columns = desc.columns
	switch st.Name {
	case "all":
		for _, d := range varTable {
			out.rows = append(out.rows, []sql.Value{d.name, se.vars.get(d.name).text, ""})
		}
		return out, nil
	case "schema":
		sc := se.scope()
		if s := se.catalog().firstSchema(sc); s != nil {
			out.rows = [][]sql.Value{{s.name}}
			return out, nil
		}
		se.notice("MZ008", "no schema on the search path exists: "+strings.Join(sc.path, ", "), hintSchema)
		out.rows = [][]sql.Value{{nil}}
		return out, nil
	}
	d := findVar(st.Name)
	text := se.vars.get(d.name).text
	switch {
	case d.name == "cluster" && se.catalog().clusterByName(text) == nil:
		se.notice("MZ007", fmt.Sprintf("cluster %s does not exist", strconv.Quote(text)), hintCluster)
	case d.name == "database" && se.catalog().databaseByName(text) == nil:
		se.notice("MZ004", fmt.Sprintf("session database %s does not exist", strconv.Quote(text)), hintDatabase)
	}
	out.rows = [][]sql.Value{{text}}
	return out, nil
}

// showObjectsQuery is the catalog query behind SHOW CLUSTERS and its like.
func showObjectsQuery(st *sql.ShowObjects) (*sql.Query, error) {
	if len(st.From) > 0 || st.Like != "" {
		return nil, refuse("SHOW %s with a filter is not supported; read mz_catalog", st.What)
	}
	here := "(SELECT id FROM mz_catalog.mz_schemas WHERE name = current_schema() AND database_id IN (SELECT id FROM mz_catalog.mz_databases WHERE name = current_database()))"
	var text string
	switch st.What {
	case "DATABASES":
		text = "SELECT name FROM mz_catalog.mz_databases ORDER BY name"
	case "SCHEMAS":
		text = "SELECT name FROM mz_catalog.mz_schemas WHERE database_id IS NULL OR database_id IN (SELECT id FROM mz_catalog.mz_databases WHERE name = current_database()) ORDER BY name"
	case "CLUSTERS":
		text = "SELECT c.name, (SELECT string_agg(r.name || ' (' || r.size || ')', ', ') FROM mz_catalog.mz_cluster_replicas r WHERE r.cluster_id = c.id) AS replicas FROM mz_catalog.mz_clusters c ORDER BY c.name"
	case "OBJECTS":
		text = "SELECT name, type FROM mz_catalog.mz_objects WHERE schema_id IN " + here + " ORDER BY name"
	case "TABLES", "VIEWS", "SOURCES", "SINKS", "SECRETS", "CONNECTIONS":
		kind := strings.ToLower(strings.TrimSuffix(st.What, "S"))
		text = "SELECT name FROM mz_catalog.mz_objects WHERE type = '" + kind + "' AND schema_id IN " + here + " ORDER BY name"
	case "MATERIALIZED VIEWS":
		text = "SELECT v.name, c.name AS cluster FROM mz_catalog.mz_materialized_views v JOIN mz_catalog.mz_clusters c ON c.id = v.cluster_id WHERE v.schema_id IN " + here + " ORDER BY v.name"
	case "ROLES":
		text = "SELECT name FROM mz_catalog.mz_roles ORDER BY name"
	default:
		return nil, refuse("SHOW %s is not supported; read mz_catalog", st.What)
	}
	return sql.ParseQuery(text)
}

// parseTimeout reads "60s", "2 min", "0" (none) and plain milliseconds.
func parseTimeout(text string) (time.Duration, error) {
	t := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(text)), " ", "")
	if ms, err := strconv.Atoi(t); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	for _, unit := range []struct {
		suffix string
		d      time.Duration
	}{{"ms", time.Millisecond}, {"us", time.Microsecond}, {"min", time.Minute}, {"s", time.Second}, {"h", time.Hour}, {"d", 24 * time.Hour}} {
		if digits, ok := strings.CutSuffix(t, unit.suffix); ok {
			if n, err := strconv.Atoi(digits); err == nil {
				return time.Duration(n) * unit.d, nil
			}
		}
	}
	return 0, fmt.Errorf("not a duration: %q", text)
}
