package mz

import (
	"strings"
	"testing"
	"time"

	"mzcanary/deploy"
)

var lenient = deploy.ReadyOptions{MaxLag: 5 * time.Second}

func secs(s float64) lag { return lag{d: time.Duration(s * float64(time.Second)), known: true} }

// healthy is a cluster with one replica of two processes, an index and a materialized
// view, all hydrated and current.
func healthy() *sample {
	return &sample{
		clusters: []clusterSample{{
			name:     "prod_deploy",
			replicas: []replica{{id: "u1", name: "r1", processes: []process{{"0", "online", ""}, {"1", "online", ""}}}},
			outOfMem: map[string]int{},
			dataflows: []dataflow{
				{id: "u10", name: "total", schema: "prod_deploy", kind: "materialized-view", local: secs(0), global: secs(0)},
				{id: "u11", name: "answer_idx", schema: "prod_deploy", kind: "index", local: secs(0), global: secs(0)},
			},
		}},
		hydrated:  map[string]map[string]bool{"u10": {"u1": true}, "u11": {"u1": true}},
		frontiers: map[string]frontier{"u10": {ms: 100_000}, "u11": {ms: 100_000}, "u5": {ms: 101_000}},
		twins:     map[string]string{"u10": "u5"},
		now:       101_000,
		constant:  map[string]bool{},
	}
}

func addReplica(s *sample, hydrated bool) {
	c := &s.clusters[0]
	c.replicas = append(c.replicas, replica{id: "u2", name: "r2", processes: []process{{"0", "online", ""}}})
	for id := range s.hydrated {
		s.hydrated[id]["u2"] = hydrated
	}
}

func TestAssess(t *testing.T) {
	cases := []struct {
		name    string
		change  func(*sample)
		all     bool
		ready   bool
		state   string // of u10
		failing string
		why     string
		count   int
	}{
		{name: "healthy", ready: true, state: stateReady, why: "ready", count: 2},
		{name: "just created, no row at all, while others hydrated (weakness 1)",
			change: func(s *sample) { delete(s.hydrated, "u10") }, state: stateNoRow, why: "has hydrated all 2", count: 1},
		{name: "hydrating", change: func(s *sample) { s.hydrated["u10"]["u1"] = false }, state: stateHydrating, why: "no replica of cluster", count: 1},
		{name: "no wallclock row, but its inputs say it is late (weakness 2)",
			change: func(s *sample) { s.clusters[0].dataflows[0].local = secs(30) }, state: stateLagging, why: "30s behind", count: 2},
		{name: "two replicas, each with half of it (weakness 3)",
			change: func(s *sample) {
				addReplica(s, false)
				s.hydrated["u11"]["u1"], s.hydrated["u11"]["u2"] = false, true
			}, state: stateReady, why: "no replica of cluster prod_deploy has hydrated all 2", count: 2},
		{name: "one process offline, rows still say hydrated (weakness 4)",
			change: func(s *sample) { s.clusters[0].replicas[0].processes[1] = process{"1", "offline", "oom-killed"} },
			state:  stateUnreachable, why: "process 1 is offline (oom-killed)", count: 0},
		{name: "no process has reported", change: func(s *sample) { s.clusters[0].replicas[0].processes = nil }, state: stateUnreachable, why: "no process has reported", count: 0},
		{name: "lag unknown (weakness 5)", change: func(s *sample) { s.clusters[0].dataflows[0].local = lag{} }, state: stateLagUnknown, why: "does not say yet", count: 2},
		{name: "constant, never gets a lag",
			change: func(s *sample) {
				s.clusters[0].dataflows[0].local = lag{}
				delete(s.frontiers, "u10")
				s.constant["u10"] = true
			}, ready: true, state: stateNoInputs, why: "ready", count: 2},
		{name: "constant, but not hydrated",
			change: func(s *sample) {
				s.clusters[0].dataflows[0].local = lag{}
				s.constant["u10"] = true
				s.hydrated["u10"]["u1"] = false
			}, state: stateHydrating, why: "no replica", count: 1},
		{name: "behind the sources", change: func(s *sample) { s.clusters[0].dataflows[0].global = secs(7) }, state: stateLagging, why: "7s behind", count: 2},
		{name: "behind the clock", change: func(s *sample) { s.now = 106_000 }, state: stateLagging, why: "6s behind", count: 2},
		{name: "ahead of the clock (REFRESH EVERY)", change: func(s *sample) { s.frontiers["u10"] = frontier{ms: 9_000_000} }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "lag since 1970", change: func(s *sample) { s.now, s.frontiers["u10"] = 1795381621_000, frontier{} }, state: stateLagUnknown, why: "cannot be", count: 2},
		{name: "behind its twin", change: func(s *sample) { s.frontiers["u5"] = frontier{ms: 105_001} }, state: stateLagging, why: "behind the same object in production", count: 2},
		{name: "twin is late, we are not", change: func(s *sample) { s.frontiers["u5"] = frontier{ms: 5_000} }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "twin complete", change: func(s *sample) { s.frontiers["u5"] = frontier{done: true} }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "complete itself", change: func(s *sample) { s.frontiers["u10"] = frontier{done: true} }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "frontier missing", change: func(s *sample) { delete(s.frontiers, "u10") }, state: stateNoRow, why: "how far it has come", count: 2},
		{name: "no replica", change: func(s *sample) { s.clusters[0].replicas = nil }, state: stateUnreachable, failing: "has no replica", why: "has no replica"},
		{name: "cluster gone", change: func(s *sample) { s.clusters[0] = clusterSample{name: "prod_deploy", missing: true} }, failing: "does not exist", why: "does not exist"},
		{name: "out of memory again and again", change: func(s *sample) { s.clusters[0].outOfMem["u1"] = 3 }, state: stateReady, failing: "want of memory", why: "want of memory", count: 2},
		{name: "out of memory twice", change: func(s *sample) { s.clusters[0].outOfMem["u1"] = 2 }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "second replica behind", change: func(s *sample) { addReplica(s, false) }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "second replica behind, all wanted", change: func(s *sample) { addReplica(s, false) }, all: true, state: stateReady, why: "1 of 2 replicas", count: 2},
		{name: "second replica too, all wanted", change: func(s *sample) { addReplica(s, true) }, all: true, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "second replica offline", change: func(s *sample) { addReplica(s, true); s.clusters[0].replicas[1].processes[0].status = "offline" }, state: stateReady, why: "replica r2", count: 2},
		{name: "second replica loops out of memory", change: func(s *sample) { addReplica(s, true); s.clusters[0].outOfMem["u2"] = 9 }, state: stateReady, why: "replica r2 of cluster prod_deploy was killed for want of memory 9 times", count: 2},
		{name: "nothing runs there, and nothing is there to read", change: func(s *sample) { s.clusters[0].dataflows = nil }, why: "has not been built yet"},
		{name: "nothing runs there, but something can be read", change: func(s *sample) { s.clusters[0].readable, s.clusters[0].dataflows = s.clusters[0].dataflows[:1], nil }, ready: true, why: "ready; nothing runs on cluster prod_deploy, where prod_deploy.total is what can be read"},
		{name: "schemas only, with nothing in them", change: func(s *sample) { s.clusters = []clusterSample{{borrowed: true}} }, why: "has not been built yet"},
		{name: "schemas only, with views", change: func(s *sample) { s.clusters = []clusterSample{{borrowed: true, readable: s.clusters[0].dataflows[:1]}} }, ready: true, why: "nothing runs on a cluster for it"},
		{name: "only a replica that may go away again has hydrated", change: func(s *sample) { addReplica(s, false); s.clusters[0].temporary = 1 }, state: stateReady, why: "where 1 are meant to be", count: 2},
		{name: "the one that stays has hydrated too", change: func(s *sample) { addReplica(s, true); s.clusters[0].temporary = 1 }, ready: true, state: stateReady, why: "ready", count: 2},
		{name: "second cluster without a replica", change: func(s *sample) { s.clusters = append(s.clusters, clusterSample{name: "prod_deploy_serve"}) },
			state: stateReady, failing: "prod_deploy_serve has no replica", why: "prod_deploy_serve", count: 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := healthy()
			if c.change != nil {
				c.change(s)
			}
			opts := lenient
			opts.AllReplicas = c.all
			r := s.assess(opts)
			if r.Ready != c.ready {
				t.Errorf("ready %v, want %v (%s)", r.Ready, c.ready, r.Why)
			}
			if !strings.Contains(r.Why, c.why) {
				t.Errorf("why %q, want %q", r.Why, c.why)
			}
			if (r.Failing == "") != (c.failing == "") || !strings.Contains(r.Failing, c.failing) {
				t.Errorf("failing %q, want %q", r.Failing, c.failing)
			}
			if r.Hydrated != c.count {
				t.Errorf("%d of %d hydrated, want %d", r.Hydrated, r.Total, c.count)
			}
			for _, o := range r.Objects {
				if o.ID == "u10" && o.State != c.state {
					t.Errorf("state %s (%s), want %s", o.State, o.Why, c.state)
				}
				if o.State != stateReady && o.Why == "" {
					t.Errorf("%s is %s and nobody says why", o.Name, o.State)
				}
			}
		})
	}
}

func TestReadsData(t *testing.T) {
	g := &graph{objects: map[string]*object{}, uses: map[string][]string{}, usedBy: map[string][]string{}}
	for _, o := range []*object{
		{id: "t", kind: "table"}, {id: "cv", kind: "view"}, {id: "cm", kind: "materialized-view"}, {id: "ci", kind: "index", on: "cv"},
		{id: "v", kind: "view"}, {id: "m", kind: "materialized-view"}, {id: "mm", kind: "materialized-view"},
	} {
		g.add(o)
	}
	g.link("v", "t")
	g.link("cm", "cv")
	g.link("m", "v")
	g.link("mm", "cm")
	for id, want := range map[string]bool{"cm": false, "ci": false, "m": true, "mm": true} {
		if got := g.readsData(id); got != want {
			t.Errorf("%s reads data: %v, want %v", id, got, want)
		}
	}
}
