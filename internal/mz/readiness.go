package mz

import (
	"context"
	"slices"
	"strconv"
	"time"

	"mzcanary/deploy"
)

// sample is what one look at the server found about the deploy clusters, as plain
// data. assess judges it without asking anybody.
type sample struct {
	clusters  []clusterSample
	hydrated  map[string]map[string]bool // object id → replica id → what it reported
	frontiers map[string]frontier        // object id → how far it has come
	now       int64                      // the server's clock with the frontiers, in milliseconds
	twins     map[string]string          // object id → the same object of the old version
	constant  map[string]bool            // objects that certainly read no data; looked up only where lag is unknown
}

// clusterSample is one deploy cluster.
type clusterSample struct {
	name      string
	missing   bool
	borrowed  bool // none of the deployment's: whatever cluster its sessions use
	replicas  []replica
	temporary int            // replicas beyond those the cluster is meant to have
	outOfMem  map[string]int // replica id → kills in the last day
	dataflows []dataflow
	// readable is a relation of the new version, looked up where nothing runs on the
	// cluster: the one thing that can be asked there.
	readable []dataflow
}

// dataflow is one index or materialized view, from the catalog.
type dataflow struct {
	id, name, kind             string
	schemaID, schema, database string
	relationSchema, relation   string // what a SELECT names to use it
	local, global              lag
}

// lag is a reported lag; known is false where the server said NULL or nothing.
type lag struct {
	d     time.Duration
	known bool
}

// frontier is a write frontier in milliseconds; done means complete for ever.
type frontier struct {
	ms   int64
	done bool
}

// Readiness takes one strict sample: replicas and processes, hydration of every
// dataflow the catalog names, lag, frontiers beside the old version's, and, if all of
// that is well, probes through the canary's own settings.
func (w *Warehouse) Readiness(ctx context.Context, spec deploy.Spec, opts deploy.ReadyOptions) (deploy.Readiness, error) {
	if w.dialect.postgres() {
		return w.postgresReadiness(ctx, spec, opts)
	}
	s, err := w.readSample(ctx, spec)
	if err != nil {
		return deploy.Readiness{}, err
	}
	result := s.assess(opts)
	result.At = time.Now()
	if result.Ready && opts.Probe > 0 {
		if err := w.probe(ctx, spec, s, opts.Probe, &result); err != nil {
			return deploy.Readiness{}, err
		}
	}
	return result, nil
}

func (w *Warehouse) readSample(ctx context.Context, spec deploy.Spec) (*sample, error) {
	ids, err := w.namesOf(ctx, spec.Database)
	if err != nil {
		return nil, err
	}
	replicas, factors, err := w.replicasOf(ctx)
	if err != nil {
		return nil, err
	}
	kills, err := w.read(ctx, "memory")
	if err != nil {
		return nil, err
	}
	s := &sample{hydrated: map[string]map[string]bool{}, frontiers: map[string]frontier{}, twins: map[string]string{}, constant: map[string]bool{}}
	where, err := w.clustersOf(ctx, spec, ids)
	if err != nil {
		return nil, err
	}
	var live []dataflow
	for _, c := range where {
		cs := clusterSample{name: c.name, missing: c.id == "", replicas: replicas[c.id], outOfMem: map[string]int{}}
		if factor, ok := factors[c.id]; ok {
			cs.temporary = max(0, len(cs.replicas)-factor)
		}
		for _, k := range kills {
			cs.outOfMem[k.text(0)] = k.number(1)
		}
		if !cs.missing {
			all, err := w.dataflowsOn(ctx, c.id)
			if err != nil {
				return nil, err
			}
			if c.shared {
				live = append(live, all...)
				all = slices.DeleteFunc(slices.Clone(all), func(d dataflow) bool { return !ofNewVersion(spec, d) })
			}
			cs.dataflows = all
			if err := w.readHydration(ctx, c.id, s); err != nil {
				return nil, err
			}
		}
		s.clusters = append(s.clusters, cs)
	}
	for _, p := range spec.Clusters {
		if id := ids[nameKey{deploy.KindCluster, p.Live}]; id != "" {
			all, err := w.dataflowsOn(ctx, id)
			if err != nil {
				return nil, err
			}
			live = append(live, all...)
		}
	}
	s.pairTwins(spec, live)
	if err := w.readFrontiers(ctx, s); err != nil {
		return nil, err
	}
	if err := w.readReadable(ctx, spec, ids, s); err != nil {
		return nil, err
	}
	return s, w.readConstants(ctx, s)
}

// readReadable finds, for clusters on which nothing runs, what a session of the new
// version could read there.
func (w *Warehouse) readReadable(ctx context.Context, spec deploy.Spec, ids map[nameKey]string, s *sample) error {
	if len(s.clusters) == 0 {
		s.clusters = []clusterSample{{borrowed: true}} // the sessions' own
	}
	idle := func(c clusterSample) bool { return !c.missing && len(c.dataflows) == 0 }
	if !slices.ContainsFunc(s.clusters, idle) {
		return nil
	}
	g, err := w.readGraph(ctx)
	if err != nil {
		return err
	}
	for i := range s.clusters {
		if c := &s.clusters[i]; idle(*c) {
			c.readable = g.readable(spec, ids)
		}
	}
	return nil
}

// readable is the relation of the new version that is cheapest to read a row of, if
// there is one.
func (g *graph) readable(spec deploy.Spec, ids map[nameKey]string) []dataflow {
	for _, kind := range []string{"materialized-view", "table", "source", "view"} {
		for _, id := range g.order {
			o := g.objects[id]
			of := g.pairedObject(spec, o)
			for _, p := range spec.Schemas {
				of = of || ids[nameKey{deploy.KindSchema, p.Deploy}] == o.schemaID
			}
			if o.kind == kind && of {
				return []dataflow{{id: id, name: o.name, schema: o.schema, database: o.database, relationSchema: o.schema, relation: o.name}}
			}
		}
	}
	return nil
}

// clusterRef is a cluster that runs the new version; shared says that the old one
// runs there too, because the deployment has no cluster pairs.
type clusterRef struct {
	id, name string
	shared   bool
}

// clustersOf finds the clusters that run the new version.
func (w *Warehouse) clustersOf(ctx context.Context, spec deploy.Spec, ids map[nameKey]string) ([]clusterRef, error) {
	var refs []clusterRef
	for _, p := range spec.Clusters {
		refs = append(refs, clusterRef{id: ids[nameKey{deploy.KindCluster, p.Deploy}], name: p.Deploy})
	}
	if len(refs) > 0 && len(spec.Objects) == 0 {
		return refs, nil
	}
	paired := len(refs) > 0
	g, err := w.readGraph(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range g.order {
		o := g.objects[id]
		known := slices.ContainsFunc(refs, func(r clusterRef) bool { return r.id == o.clusterID })
		of := false
		for _, p := range spec.Schemas {
			of = of || !paired && o.schemaID == ids[nameKey{deploy.KindSchema, p.Deploy}]
		}
		if o.clusterID != "" && !known && (of || g.pairedObject(spec, o)) {
			refs = append(refs, clusterRef{id: o.clusterID, name: o.cluster, shared: true})
		}
	}
	return refs, nil
}

// pairedObject says whether an object is the new side of a pair of single objects, or
// an index on one.
func (g *graph) pairedObject(spec deploy.Spec, o *object) bool {
	if on := g.objects[o.on]; on != nil && g.pairedObject(spec, on) {
		return true
	}
	return o.database == spec.Database && slices.ContainsFunc(spec.Objects, func(p deploy.ObjectPair) bool { return p.Deploy == o.schema+"."+o.name })
}

// ofNewVersion says whether a dataflow on a shared cluster belongs to the new version:
// by its schema, by its own name, or by the relation an index is on.
func ofNewVersion(spec deploy.Spec, d dataflow) bool {
	if d.database != spec.Database {
		return false
	}
	for _, p := range spec.Objects {
		if p.Deploy == d.schema+"."+d.name || p.Deploy == d.relationSchema+"."+d.relation {
			return true
		}
	}
	for _, p := range spec.Schemas {
		if d.database == spec.Database && d.schema == p.Deploy {
			return true
		}
	}
	return false
}

func (w *Warehouse) dataflowsOn(ctx context.Context, clusterID string) ([]dataflow, error) {
	rows, err := w.read(ctx, "dataflows", clusterID)
	if err != nil {
		return nil, err
	}
	list := make([]dataflow, 0, len(rows))
	for _, r := range rows {
		d := dataflow{
			id: r.text(0), name: r.text(1), kind: r.text(2), schemaID: r.text(3), schema: r.text(4), database: r.text(5),
			relationSchema: r.text(4), relation: r.text(1),
		}
		if !r.null(7) {
			d.relationSchema, d.relation = r.text(6), r.text(7)
		}
		for i, l := range []*lag{&d.local, &d.global} {
			l.d, l.known = r.duration(8 + i)
		}
		list = append(list, d)
	}
	return list, nil
}

func (w *Warehouse) readHydration(ctx context.Context, clusterID string, s *sample) error {
	rows, err := w.read(ctx, "hydration", clusterID)
	for _, r := range rows {
		id := r.text(0)
		if s.hydrated[id] == nil {
			s.hydrated[id] = map[string]bool{}
		}
		s.hydrated[id][r.text(1)] = r.yes(2)
	}
	return err
}

// pairTwins finds for each dataflow the one of the same name and kind in the paired
// live schema.
func (s *sample) pairTwins(spec deploy.Spec, live []dataflow) {
	byName := map[string]string{}
	for _, d := range live {
		if d.database == spec.Database {
			byName[d.kind+" "+d.schema+"."+d.name] = d.id
		}
	}
	for _, c := range s.clusters {
		for _, d := range c.dataflows {
			for _, p := range spec.Schemas {
				if twin, ok := byName[d.kind+" "+p.Live+"."+d.name]; ok && d.schema == p.Deploy && d.database == spec.Database {
					s.twins[d.id] = twin
				}
			}
			for _, p := range spec.Objects {
				if twin, ok := byName[d.kind+" "+p.Live]; ok && p.Deploy == d.schema+"."+d.name && d.database == spec.Database {
					s.twins[d.id] = twin
				}
			}
		}
	}
}

func (w *Warehouse) readFrontiers(ctx context.Context, s *sample) error {
	rows, err := w.read(ctx, "frontiers")
	for _, r := range rows {
		ms, parseErr := strconv.ParseInt(r.text(1), 10, 64)
		if r.null(1) || parseErr == nil {
			s.frontiers[r.text(0)] = frontier{ms: ms, done: r.null(1)}
		}
		if now, ok := r.seconds(2); ok {
			s.now = int64(now * 1000)
		}
	}
	return err
}

// readConstants looks up, for dataflows without a known lag, whether they read any
// data at all: a constant never gets a lag.
func (w *Warehouse) readConstants(ctx context.Context, s *sample) error {
	doubtful := func(d dataflow) bool { return !d.local.known }
	if !slices.ContainsFunc(s.clusters, func(c clusterSample) bool { return slices.ContainsFunc(c.dataflows, doubtful) }) {
		return nil
	}
	g, err := w.readGraph(ctx)
	if err != nil {
		return err
	}
	for _, c := range s.clusters {
		for _, d := range c.dataflows {
			s.constant[d.id] = doubtful(d) && g.objects[d.id] != nil && !g.readsData(d.id)
		}
	}
	return nil
}

// readsData says whether an object reads, directly or through views, anything that
// holds data. What is not among the user objects does.
func (g *graph) readsData(id string) bool {
	inputs := g.reach(g.uses, func(o *object) bool { return o.id == id })
	for input := range inputs {
		if input == id {
			continue
		}
		o := g.objects[input]
		if o == nil || o.kind != "view" && o.kind != "type" && o.kind != "function" {
			return true
		}
	}
	return false
}
