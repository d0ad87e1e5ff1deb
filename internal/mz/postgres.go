package mz

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"mzcanary/deploy"
)

// What PostgreSQL has instead: schemas only, ids are oids, DDL is transactional, and
// SWAP is three renames in one transaction. Renaming rewrites the schema's own row,
// so whoever else renames or drops one of the two waits for our COMMIT and then fails;
// what was verified before the COMMIT stays true until it.

// schemaStatement matches the statements a promotion is made of; names are quoted.
func schemaStatement() *regexp.Regexp {
	name := `"((?:[^"]|"")+)"`
	return regexp.MustCompile(`^ALTER SCHEMA (?:` + name + `\.)?` + name + ` (SWAP WITH|RENAME TO) ` + name + `;?$`)
}

// translate makes PostgreSQL's statements of Materialize's. For Materialize they are
// what they are.
func (w *Warehouse) translate(statements []string) ([]string, error) {
	if !w.dialect.postgres() {
		return statements, nil
	}
	var out []string
	for _, statement := range statements {
		m := schemaStatement().FindStringSubmatch(quoteBare(strings.TrimSpace(statement)))
		if m == nil {
			return nil, fmt.Errorf("%w: PostgreSQL cannot run %q; only schemas can be swapped or renamed there", ErrUnsupported, statement)
		}
		database, a, verb, b := unquote(m[1]), unquote(m[2]), m[3], unquote(m[4])
		if database != "" && database != w.cfg.Database {
			return nil, fmt.Errorf("%w: %q names database %s, and the control connection is in %s", ErrUnsupported, statement, database, w.cfg.Database)
		}
		if verb == "RENAME TO" {
			out = append(out, renameSchema(a, b))
			continue
		}
		between, err := temporaryName()
		if err != nil {
			return nil, err
		}
		out = append(out, renameSchema(a, between), renameSchema(b, a), renameSchema(between, b))
	}
	return out, nil
}

// quoteBare quotes the plain names of a statement written without quotes.
func quoteBare(statement string) string {
	if strings.Contains(statement, `"`) {
		return statement
	}
	bare := regexp.MustCompile(`^(?i)ALTER SCHEMA (?:([a-z_][a-z0-9_]*)\.)?([a-z_][a-z0-9_]*) (SWAP WITH|RENAME TO) ([a-z_][a-z0-9_]*);?$`)
	m := bare.FindStringSubmatch(statement)
	if m == nil {
		return statement
	}
	name := quoteIdent(strings.ToLower(m[2]))
	if m[1] != "" {
		name = quoteIdent(strings.ToLower(m[1])) + "." + name
	}
	return "ALTER SCHEMA " + name + " " + strings.ToUpper(m[3]) + " " + quoteIdent(strings.ToLower(m[4]))
}

func unquote(name string) string { return strings.ReplaceAll(name, `""`, `"`) }

func renameSchema(from, to string) string {
	return "ALTER SCHEMA " + quoteIdent(from) + " RENAME TO " + quoteIdent(to)
}

func temporaryName() (string, error) {
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("making a temporary name: %w", err)
	}
	return "mzcanary_swap_" + hex.EncodeToString(b[:]), nil
}

// postgresDependents lists what DROP SCHEMA … CASCADE takes along from elsewhere.
func (w *Warehouse) postgresDependents(ctx context.Context, refs []deploy.Ref) ([]deploy.Dependent, error) {
	dropped := map[string]bool{}
	for _, r := range refs {
		if r.Kind == deploy.KindSchema {
			dropped[r.Name] = true
		}
	}
	var found []deploy.Dependent
	seen := map[string]bool{}
	for _, r := range refs {
		if r.Kind != deploy.KindSchema {
			continue
		}
		rows, err := w.read(ctx, "cascade", r.ID)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if seen[row.text(0)+row.text(1)] || dropped[row.text(3)] {
				continue
			}
			seen[row.text(0)+row.text(1)] = true
			found = append(found, deploy.Dependent{
				Kind: row.text(0), ID: row.text(1), Name: row.text(2), Reason: "it depends on an object of schema " + r.Name,
			})
		}
	}
	return found, nil
}

// postgresLocks lists the sessions that hold locks on relations of the schemas: a DROP
// would wait for them.
func (w *Warehouse) postgresLocks(ctx context.Context, refs []deploy.Ref, ours []uint32) ([]deploy.Dependent, error) {
	var schemas []string
	for _, r := range refs {
		if r.Kind == deploy.KindSchema {
			schemas = append(schemas, r.ID)
		}
	}
	if len(schemas) == 0 {
		return nil, nil
	}
	rows, err := w.read(ctx, "locks", strings.Join(schemas, ","))
	if err != nil {
		return nil, err
	}
	known := w.knownBackends(ours)
	var found []deploy.Dependent
	for _, r := range rows {
		pid, role := r.text(0), r.text(1)
		if known[pid] {
			continue
		}
		reason := "role " + role
		if app := r.text(2); app != "" {
			reason += " (" + app + ")"
		}
		reason += " holds locks on " + r.text(5)
		if since := r.text(4); since != "" {
			reason += " since " + since + " UTC"
		}
		if state := r.text(3); state != "" {
			reason += ", " + state
		}
		found = append(found, deploy.Dependent{Kind: "session", ID: pid, Name: role, Reason: reason + " (pid " + pid + ")"})
	}
	return found, nil
}

// postgresReadiness has no hydration or lag to look at: a relation is ready when it
// is populated (materialized views) and answers a probe.
func (w *Warehouse) postgresReadiness(ctx context.Context, spec deploy.Spec, opts deploy.ReadyOptions) (deploy.Readiness, error) {
	r := deploy.Readiness{At: time.Now()}
	ids, err := w.namesOf(ctx, spec.Database)
	if err != nil {
		return r, err
	}
	var flows []dataflow
	for _, p := range spec.Schemas {
		id, ok := ids[nameKey{deploy.KindSchema, p.Deploy}]
		if !ok {
			r.Failing = "schema " + p.Deploy + " does not exist"
			note(&r, r.Failing)
			return r, nil
		}
		rows, err := w.read(ctx, "relations", id)
		if err != nil {
			return r, err
		}
		for _, row := range rows {
			o := deploy.ObjectReadiness{ID: row.text(0), Name: p.Deploy + "." + row.text(1), State: stateReady}
			if row.yes(3) {
				r.Hydrated++
				flows = append(flows, dataflow{id: o.ID, relationSchema: p.Deploy, relation: row.text(1), database: spec.Database})
			} else {
				o.State, o.Why = stateHydrating, "the materialized view is not populated: REFRESH it"
				note(&r, o.State+" "+o.Name+": "+o.Why)
			}
			r.Objects = append(r.Objects, o)
			r.Total++
		}
	}
	if r.Ready = r.Why == ""; !r.Ready {
		return r, nil
	}
	r.Why = "ready"
	if opts.Probe <= 0 {
		return r, nil
	}
	return r, w.probe(ctx, spec, &sample{clusters: []clusterSample{{dataflows: flows}}}, opts.Probe, &r)
}
