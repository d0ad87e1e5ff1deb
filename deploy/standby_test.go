package deploy

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// In the window already a status says what the old version costs and what is in the
// way of its drop, and it goes on saying so while the rollout is blocked.
func TestStandbyIsShown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.deps = []Dependent{{Kind: "view", ID: "u8", Name: "reports.daily"}, {Kind: "view", ID: "u9", Name: "reports.known"}}
		w.spec.Accept = append(w.spec.Accept, "dependent:reports.known")
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		retired := RetiredName("prod_deploy", p.start().Rollout)
		s, _ := p.await("standby", func(s Status) bool { return s.Phase == PhaseWindow && s.After.Standby != nil })
		want := []StandbyCluster{{ID: oldCluster, Name: retired, Size: "25cc", Replicas: 2, Since: s.After.Swapped}}
		if !slices.Equal(s.After.Standby.Clusters, want) || s.After.Swapped.IsZero() {
			t.Errorf("clusters %+v, want %+v", s.After.Standby.Clusters, want)
		}
		if d := s.After.Standby.Dependents; len(d) != 1 || d[0].Name != "reports.daily" {
			t.Errorf("dependents %+v", d)
		}
		s = p.awaitPhase(PhaseBlocked)
		if s.After.Standby == nil || len(s.After.Standby.Clusters) != 1 || s.After.Standby.Dependents != nil || len(s.After.Others) == 0 {
			t.Errorf("blocked in %s: %+v, others %+v", s.Under, s.After.Standby, s.After.Others)
		}
		w.with(func() { w.deps = nil })
		s, _ = p.await("the cluster's end", func(s Status) bool { return s.After != nil && s.After.Dropped == 1 || s.Phase.Final() })
		if s.After.Standby != nil {
			t.Errorf("a cluster that was dropped goes on running: %+v", s.After.Standby)
		}
		if s, _ = p.awaitOver(); s.Phase != PhaseDone || s.After.Standby != nil {
			t.Errorf("%s: %+v", s.Phase, s.After.Standby)
		}
	})
}

// What the server refuses to tell is said to be unknown and holds nothing up.
func TestStandbyThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.refusesClusters = errors.New("permission denied")
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.start()
		s, _ := p.await("standby", func(s Status) bool { return s.Phase == PhaseWindow && s.After.Standby != nil })
		if s.After.Standby.Unseen != "sizes of the old clusters: permission denied" {
			t.Errorf("%+v", s.After.Standby)
		}
		if s, _ := p.awaitOver(); s.Phase != PhaseDone {
			t.Errorf("%s", s.Sentence)
		}
	})
}

// The costly readings are made once a minute, not with every census.
func TestStandbyIsReadSeldom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		plan := testPlan()
		plan.Window.For = 10 * time.Minute
		p := boot(t, w, plan, 0)
		defer p.stop()
		p.start()
		p.awaitPhase(PhaseWindow)
		time.Sleep(5*time.Minute + 30*time.Second)
		var census, clusters int
		w.with(func() {
			for _, e := range w.events {
				switch e {
				case "subscriptions":
					census++
				case "clusters":
					clusters++
				}
			}
		})
		if clusters < 5 || clusters > 7 || census < 5*clusters {
			t.Errorf("%d readings of clusters beside %d of a census", clusters, census)
		}
	})
}
