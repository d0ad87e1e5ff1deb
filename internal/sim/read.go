package sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mzcanary/internal/sim/sql"
)

// runSelect plans the query again, as execution does, compares with what the client was told, and reads.
func (se *session) runSelect(ctx context.Context, q *sql.Query, desc description, args []sql.Value) ([][]sql.Value, error) {
	c := se.catalog()
	p, err := c.plan(q, se.scope(), desc.params, se)
	if err != nil {
		return nil, err
	}
	now := description{rows: true, columns: p.plan.Columns, params: p.plan.Params}
	if desc.rows && !desc.copy && !now.equal(desc) {
		return nil, errPlanChanged
	}
	return se.peek(ctx, c, p, args)
}

// peek answers a planned query inside the session's transaction.
func (se *session) peek(ctx context.Context, c *catalog, p *planned, args []sql.Value) ([][]sql.Value, error) {
	if err := se.tx.admit(opsPeeks, p.constant); err != nil {
		return nil, err
	}
	if se.tx.now.IsZero() {
		se.tx.now = se.s.now()
	}
	if !p.constant && se.tx.data == nil {
		se.tx.data = se.s.latest()
	}
	r := se.reader(c, p.names, cmp.Or(se.tx.data, se.s.latest()), se.tx.now)
	if p.constant {
		return r.evaluate(ctx, p.plan, args)
	}
	cl, err := se.place(c, p)
	if err != nil {
		return nil, err
	}
	if err := se.timedomain(c, p, cl); err != nil {
		return nil, err
	}
	waited, err := se.awaitRead(ctx, c, p, cl)
	if err != nil {
		return nil, err
	}
	if waited && se.tx.status == txnStarted {
		// A single statement's time is chosen when it is answered.
		r.eval.data, r.eval.now = se.s.latest(), se.s.now()
	}
	if err := se.s.faults.selectError(c, p.reads); err != nil {
		return nil, err
	}
	return r.evaluate(ctx, p.plan, args)
}

// place finds the cluster a read runs on and checks all access to it and to what it names.
func (se *session) place(c *catalog, p *planned) (*cluster, error) {
	cl, err := se.targetCluster(c, p)
	if err != nil {
		return nil, err
	}
	if cl.name == catalogServer && !p.system {
		var names []string
		for _, id := range p.ids {
			names = append(names, fmt.Sprintf("%q", c.fullName(c.objects[id])))
		}
		return nil, &sql.Error{Code: "2F003",
			Message: fmt.Sprintf("querying the following items %s is not allowed from the %q cluster", strings.Join(names, ", "), cl.name),
			Detail:  fmt.Sprintf("The transaction is executing on the %s cluster, maybe having been routed there by the first statement in the transaction.", cl.name)}
	}
	if err := c.mayRead(se.role, p.ids); err != nil {
		return nil, err
	}
	if err := c.check(se.role, cl.acl, privUsage, "CLUSTER", cl.name); err != nil {
		return nil, err
	}
	if len(cl.replicas) == 0 {
		return nil, &sql.Error{Code: "0A000", Message: fmt.Sprintf("CLUSTER %q has no replicas available to service request", cl.name),
			Hint: "Use ALTER CLUSTER to adjust the replication factor of the cluster. Example:`ALTER CLUSTER <cluster-name> SET (REPLICATION FACTOR 1)`"}
	}
	se.tx.cluster = cl.id
	return cl, nil
}

// targetCluster is the one the transaction is pinned to, else the catalog's own for catalog queries, else the
// session's.
func (se *session) targetCluster(c *catalog, p *planned) (*cluster, error) {
	if se.tx.cluster != "" {
		if cl := c.clusters[se.tx.cluster]; cl != nil {
			return cl, nil
		}
		return nil, failf("25000", "the transaction's active cluster has been dropped")
	}
	name := se.vars.get("cluster").text
	wanted := se.vars.get("cluster_replica").text
	if p.system && wanted == "" && se.vars.get("auto_route_catalog_queries").text == "on" {
		name = catalogServer
	}
	cl := c.clusterByName(name)
	if cl == nil {
		return nil, failf("XX000", "unknown cluster '%s'", name)
	}
	if wanted != "" && !slices.ContainsFunc(cl.replicas, func(r replica) bool { return r.name == wanted }) {
		return nil, failf("42704", "cluster replica '%s.%s' does not exist", cl.name, wanted)
	}
	return cl, nil
}

// sufficient are the collections that answer a read of the ids on a cluster: an index there, else the thing itself,
// else, for a view, what it reads.
func (c *catalog) sufficient(ids []string, clusterID string) map[string]bool {
	out, seen := map[string]bool{}, map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		o := c.objects[id]
		if seen[id] || o == nil {
			return
		}
		seen[id] = true
		if indexes := c.indexesOn(id, clusterID); len(indexes) > 0 {
			for _, i := range indexes {
				out[i.id] = true
			}
			return
		}
		switch {
		case o.sys != nil:
			out[id] = true
		case o.kind == kindView:
			for _, d := range o.deps {
				visit(d)
			}
		case o.kind.relation():
			out[id] = true
		}
	}
	for _, id := range ids {
		visit(id)
	}
	return out
}

// timedomain pins, at a transaction's first read, what the transaction may read; later reads must stay inside.
func (se *session) timedomain(c *catalog, p *planned, cl *cluster) error {
	needs := c.sufficient(p.ids, cl.id)
	if se.tx.domain == nil {
		se.tx.timestamped = true
		if se.tx.status == txnStarted {
			return nil // nothing can follow
		}
		schemas := map[string]bool{}
		for _, id := range p.ids {
			schemas[c.objects[id].schema] = true
		}
		var items []string
		for _, o := range c.sortedObjects() {
			if schemas[o.schema] {
				items = append(items, o.id)
			}
		}
		se.tx.domain = c.sufficient(items, cl.id)
		return nil
	}
	var outside []string
	for id := range needs {
		if o := c.objects[id]; o.sys == nil && !se.tx.domain[id] {
			outside = append(outside, fmt.Sprintf("%q", c.fullName(o)))
		}
	}
	if outside == nil {
		return nil
	}
	slices.Sort(outside)
	var inside []string
	for id := range se.tx.domain {
		if o := c.objects[id]; o != nil && o.sys == nil {
			inside = append(inside, fmt.Sprintf("%q", c.fullName(o)))
		}
	}
	slices.Sort(inside)
	for _, name := range systemCollections {
		inside = append(inside, fmt.Sprintf("%q", name))
	}
	return &sql.Error{Code: "25000",
		Message: "Transactions can only reference objects in the same timedomain. See https://materialize.com/docs/sql/begin/#same-timedomain-error",
		Detail: "The following relations in the query are outside the transaction's time domain:\n" + strings.Join(outside, "\n") +
			"\nOnly the following relations are available:\n" + strings.Join(inside, "\n")}
}

// systemCollections are the stored system relations every time domain of 26.4 lists.
var systemCollections = [...]string{
	"mz_catalog.mz_array_types", "mz_catalog.mz_base_types", "mz_catalog.mz_columns", "mz_catalog.mz_connections",
	"mz_catalog.mz_databases", "mz_catalog.mz_functions", "mz_catalog.mz_index_columns", "mz_catalog.mz_indexes",
	"mz_catalog.mz_list_types", "mz_catalog.mz_map_types", "mz_catalog.mz_materialized_views", "mz_catalog.mz_operators",
	"mz_catalog.mz_pseudo_types", "mz_catalog.mz_role_auth", "mz_catalog.mz_role_members", "mz_catalog.mz_role_parameters",
	"mz_catalog.mz_roles", "mz_catalog.mz_schemas", "mz_catalog.mz_secrets", "mz_catalog.mz_sinks", "mz_catalog.mz_sources",
	"mz_catalog.mz_system_privileges", "mz_catalog.mz_tables", "mz_catalog.mz_types", "mz_catalog.mz_views",
	"mz_internal.mz_aggregates", "mz_internal.mz_comments", "mz_internal.mz_continual_tasks",
	"mz_internal.mz_object_dependencies", "mz_internal.mz_type_pg_metadata",
}

// awaitRead waits until the read can be answered: the cluster's latency, replicas that answer, dataflows that have
// hydrated. It ends with a cancel request, the drop of something it reads, or the session.
func (se *session) awaitRead(ctx context.Context, c *catalog, p *planned, cl *cluster) (waited bool, err error) {
	s := se.s
	s.health.mu.Lock()
	latency := s.health.latency[cl.id]
	s.health.mu.Unlock()
	if latency > 0 {
		waited = true
		if err := se.wait(ctx, latency); err != nil {
			return waited, err
		}
	}
	var flows []*object
	for id := range c.sufficient(p.ids, cl.id) {
		if o := c.objects[id]; o.kind.dataflow() {
			flows = append(flows, o)
		}
	}
	var l *liveRead
	for {
		watch := s.health.watch()
		ok, again := s.readable(cl, flows, c.clusters, s.now())
		if s.hangs(p) {
			ok, again = false, time.Time{}
		}
		if ok {
			if l != nil {
				s.unregister(l)
			}
			return waited, nil
		}
		if l == nil {
			l = &liveRead{session: se, cluster: cl.id, ids: p.ids}
			s.register(l)
			defer s.unregister(l)
			if gone := se.s.stillThere(l); gone != nil {
				return waited, gone
			}
		}
		waited = true
		if err := se.awaitChange(ctx, watch, l, again); err != nil {
			return waited, err
		}
	}
}

// stillThere catches what was dropped between planning and registration.
func (s *Server) stillThere(l *liveRead) error {
	c := s.catalog.Load()
	if l.session.tx.ddl != nil {
		return nil
	}
	if c.clusters[l.cluster] == nil {
		return failf("42704", "cluster '%s' was dropped", l.cluster)
	}
	for _, id := range l.ids {
		if c.objects[id] == nil {
			return failf("42704", "collection '%s' was dropped", id)
		}
	}
	return nil
}

func (se *session) awaitChange(ctx context.Context, watch <-chan struct{}, l *liveRead, again time.Time) error {
	var timer <-chan time.Time
	if !again.IsZero() {
		t := time.NewTimer(again.Sub(se.s.now()))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-watch:
	case <-timer:
	case err := <-l.ended:
		return err
	case <-ctx.Done():
		return ended(ctx)
	}
	return nil
}

// hangs says whether a fault holds reads of system relations.
func (s *Server) hangs(p *planned) bool {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	return s.health.hangSys && p.system
}
