package deploy

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// meddling is what somebody else does to names of ours.
type meddling struct {
	name string
	do   func(w *world, retired string)
}

// meddlings before the swap and after it: what stands under the live names is always
// production, and the other version stands under its deploy or its retired name.
func meddlings() []meddling {
	other := func(w *world, k Kind, retired string) string {
		if w.names[k][retired] != "" {
			return retired
		}
		return "prod_deploy"
	}
	return []meddling{
		{"swap", func(w *world, retired string) {
			for k, names := range w.names {
				o := other(w, k, retired)
				names["prod"], names[o] = names[o], names["prod"]
			}
		}},
		{"rename", func(w *world, _ string) {
			w.names[KindSchema]["prod_old"] = w.names[KindSchema]["prod"]
			delete(w.names[KindSchema], "prod")
		}},
		{"drop", func(w *world, _ string) { delete(w.names[KindCluster], "prod") }},
		{"drop and create", func(w *world, _ string) { w.names[KindCluster]["prod"] = "c99" }},
		{"create under the name we need", func(w *world, retired string) {
			if w.names[KindSchema][retired] == "" {
				w.names[KindSchema][retired] = "u99"
				return
			}
			w.names[KindSchema][retired] = "u98" // it stands there: another in its place
		}},
	}
}

// TestInterferenceInEveryPhase: somebody changes our names. At once everybody is on
// live names, a person is told what was and what is, and nothing of ours touches a
// name. When the names are mended, retry goes on to the end it would have had.
func TestInterferenceInEveryPhase(t *testing.T) {
	for _, m := range meddlings() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, pl place) {
				if pl.phase == PhasePreflight {
					return // it has not recorded any ids yet
				}
				w := newWorld(t)
				p := pl.boot(t, w)
				defer p.stop()
				retired := RetiredName("prod_deploy", p.now().Rollout)
				var mended map[Kind]map[string]string
				w.with(func() {
					mended = map[Kind]map[string]string{KindSchema: maps.Clone(w.names[KindSchema]), KindCluster: maps.Clone(w.names[KindCluster])}
					m.do(w, retired)
					w.events = nil
				})
				began := time.Now()
				s, _ := p.await("told", stopped(CauseInterference))
				if took := time.Since(began); took > 5*time.Second || s.Weight != 0 || s.Canary != "closed" || len(s.Stop.Diff) == 0 || s.Stop.Exit != ExitRace {
					t.Errorf("after %s: %s, canary %s, diff %+v", took, show(s), s.Canary, s.Stop.Diff)
				}
				if !pl.in(s) || !strings.Contains(s.Stop.Reason, " was ") {
					t.Errorf("%s", show(s))
				}
				time.Sleep(time.Minute)
				for _, e := range w.happened() {
					if strings.HasPrefix(e, "drop") || e == "prepare" || e == "commit" {
						t.Errorf("while the names are wrong: %q", e)
					}
				}
				if pl.phase == PhaseRollingBack { // it does not wait, and does not claim what it cannot know
					pl.free(p)
					if s, _ := p.awaitOver(); s.Phase != PhaseAborted || s.Exit != ExitRace || !strings.Contains(s.End, " was ") {
						t.Errorf("%s", show(s))
					}
					return
				}
				p.do(VerbRetry) // too early
				time.Sleep(time.Second)
				if s := p.now(); !stopped(CauseInterference)(s) {
					t.Errorf("retry went on: %s", show(s))
				}
				w.with(func() { w.names = mended })
				p.do(VerbRetry)
				p.await("going on", func(s Status) bool { return !stopped(CauseInterference)(s) })
				pl.leave(p)
			})
		})
	}
}

// What the next build creates under the free deploy name after the swap is not
// interference, and swapping back goes around it.
func TestNextBuildAfterTheSwap(t *testing.T) {
	everywhere(t, func(t *testing.T, pl place) {
		if !pl.phase.swapped() {
			return
		}
		w := newWorld(t)
		p := pl.boot(t, w)
		defer p.stop()
		w.with(func() { w.names[KindSchema]["prod_deploy"], w.names[KindCluster]["prod_deploy"] = "u7", "c7" })
		time.Sleep(time.Minute)
		if s := p.now(); stopped(CauseInterference)(s) || !pl.in(s) {
			t.Errorf("%s", show(s))
		}
		s := pl.leave(p)
		if w.name(KindSchema, "prod_deploy") != "u7" || w.name(KindCluster, "prod_deploy") != "c7" {
			t.Errorf("the next build is %v", w.names)
		}
		if pl.end == PhaseRolledBack && w.name(KindSchema, RejectedName("prod_deploy", s.Rollout)) != newSchema {
			t.Errorf("the rejected version is not where it should be: %v", w.names)
		}
	})
}

// An abort that was to drop the new version does not, once nobody knows the names.
func TestNothingIsDroppedOverInterference(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.hanging = 1
		plan := testPlan()
		plan.Steps[0].Bake, plan.OnRollback = time.Hour, OnRollback{CancelAfter: time.Hour}
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.await("5%", func(s Status) bool { return s.Weight == 500 })
		if _, err := p.abortAndDrop(); err != nil {
			t.Fatal(err)
		}
		w.with(func() { w.names[KindSchema]["prod"] = "u99" })
		p.await("told", stopped(CauseInterference))
		w.with(func() { w.hanging = 0 })
		if s, _ := p.awaitOver(); s.Phase != PhaseAborted || s.Exit != ExitRace || w.name(KindSchema, "prod_deploy") != newSchema || !strings.Contains(s.End, "schema prod was u1, is u99") {
			t.Errorf("%s; names %v", show(s), w.names)
		}
	})
}
