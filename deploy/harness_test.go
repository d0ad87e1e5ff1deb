package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

const shopName = "shop"

func testSpec() Spec {
	return Spec{Name: shopName, Database: "materialize",
		Schemas:  []router.Pair{{Live: "prod", Deploy: "prod_deploy"}},
		Clusters: []router.Pair{{Live: "prod", Deploy: "prod_deploy"}}}
}

func testPlan() Plan {
	p := DefaultPlan()
	p.Name = "test"
	p.Steps = []PlanStep{{Weight: 500, Bake: 4 * time.Second}, {Weight: 2500, Bake: 4 * time.Second}, {Promote: true}}
	p.Ready.Poll, p.Ready.Consecutive, p.Ready.Within = time.Second, 2, time.Minute
	p.OnRollback = OnRollback{CancelAfter: 2 * time.Second, EndStreamsAfter: 4 * time.Second}
	p.Promote.Patience = 20 * time.Second
	p.Window.For = 6 * time.Second
	p.Drain = DrainPlan{For: 4 * time.Second, Then: ThenTerminate, Settle: 3 * time.Second}
	return p
}

// program is a Controller running on a world for one life.
type program struct {
	t    *testing.T
	w    *world
	l    *life
	c    *Controller
	stop func()
}

// boot starts the program; crashAt 0 means that it lives until it is stopped.
func boot(t *testing.T, w *world, plan Plan, crashAt int, change ...func(*Options)) *program {
	t.Helper()
	l := w.restart(crashAt)
	o := Options{Warehouse: fakeWarehouse{l}, Traffic: fakeTraffic{l}, Store: fakeStore{l},
		Deployments: []DeploymentConfig{{Spec: w.spec, Plan: plan}}}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.onAction = l.onAction
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	p := &program{t: t, w: w, l: l, c: c}
	p.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		p.stop = func() {}
	}
	return p
}

// await follows the status until it is as wanted. A crash of the life ends it.
func (p *program) await(what string, want func(Status) bool) (Status, bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Hour)
	defer cancel()
	go func() {
		select {
		case <-p.l.died:
			cancel()
		case <-ctx.Done():
		}
	}()
	var since uint64
	for {
		s, err := p.c.Changed(ctx, shopName, since)
		if err != nil {
			if !p.crashed() {
				p.t.Fatalf("waiting for %s: %v; the status is %s: %s", what, err, s.Phase, s.Sentence)
			}
			return s, false
		}
		if want(s) {
			return s, true
		}
		since = s.Revision
	}
}

func (p *program) crashed() bool {
	select {
	case <-p.l.died:
		return true
	default:
		return false
	}
}

func (p *program) awaitPhase(phase Phase) Status {
	p.t.Helper()
	s, _ := p.await(string(phase), func(s Status) bool { return s.Phase == phase })
	return s
}

// awaitOver waits for the end of the rollout, its marks and record included.
func (p *program) awaitOver() (Status, bool) {
	p.t.Helper()
	return p.await("the end", func(s Status) bool {
		if s.Rollout == "" || !s.Phase.Final() || s.Recovering != "" {
			return false
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		_, kept := p.w.records[s.Rollout]
		return kept
	})
}

func (p *program) start() Status {
	p.t.Helper()
	<-p.c.Recovered()
	s, err := p.c.Start(p.t.Context(), shopName, StartRequest{Who: "ann", Reason: "release 7"})
	if err != nil {
		p.t.Fatalf("start: %v", err)
	}
	return s
}

func (p *program) do(v Verb) Status {
	p.t.Helper()
	s, err := p.c.Do(p.t.Context(), shopName, v, Request{Who: "bob", Reason: "because", Force: true})
	if err != nil {
		p.t.Fatalf("%s: %v", v, err)
	}
	return s
}

// refusedWith runs f and expects a refusal with that exit code.
func refusedWith(t *testing.T, exit int, err error) *Refusal {
	t.Helper()
	no, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("got %v, want a refusal with exit %d", err, exit)
	}
	if no.Exit != exit || no.Sentence == "" {
		t.Errorf("refused with exit %d (%s), want %d", no.Exit, no.Sentence, exit)
	}
	return no
}

func (w *world) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) name(k Kind, n string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[k][n]
}

// happened lists events without reads, saves and repetitions.
func (w *world) happened() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, e := range w.events {
		switch e {
		case "server", "identify", "readiness", "marks", "foreign", "subscriptions", "dependents", "clusters", "backend gone", "preflight":
			continue
		}
		if strings.HasPrefix(e, "save ") {
			continue
		}
		out = append(out, e)
	}
	return slices.Compact(out)
}

// bubble runs a test under a fake clock.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// outage is evidence of a server that fails everybody alike.
func outage(rollout string, w router.Weight) []armstats.Cohort {
	return []armstats.Cohort{{Weight: w, Metric: armstats.MetricServer, N: 12, K: 1}}
}

// sick is evidence that the canary fails where stable does not.
func sick(rollout string, w router.Weight) []armstats.Cohort {
	if w == 0 {
		return nil
	}
	return []armstats.Cohort{{Weight: w, Metric: armstats.MetricServer, N: 12, K: 12}}
}
