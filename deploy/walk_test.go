package deploy

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

// TestStepWalks lets anything happen in any order, thousands of times, and looks
// at what must hold whatever happened.
func TestStepWalks(t *testing.T) {
	pool := walkPool()
	reached := map[Phase]int{}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &scripted{t: t, at: time.Unix(0, 0).UTC(), plan: testPlan()}
		m.plan.Promote.Fence = seed%2 == 0
		m.command("start")
		for range 120 {
			line := pool[r.IntN(len(pool))]
			if r.IntN(100) < 70 {
				line = m.natural()
			}
			m.walk(line)
			reached[m.s.Phase]++
		}
	}
	for _, p := range Phases() {
		if p.Phase != PhaseIdle && p.Phase != PhasePaused && p.Phase != PhaseBlocked && reached[p.Phase] == 0 {
			t.Errorf("no walk came to %s", p.Phase)
		}
	}
}

// walkPool is everything that may happen, in the words of the scripts.
func walkPool() []string {
	return []string{
		"preflighted", "preflighted down", "preflighted refuse=P04", "marked", "marked down", "unmarked", "unmarked err=x",
		"sampled ready", "sampled ready", "sampled ready", "sampled hydrating", "sampled lagging", "sampled ready down", "sampled ready version=v22",
		"tick 250ms", "tick 1s minimum", "tick 5s minimum", "tick 5s minimum", "tick 5s verdict=regress", "tick 3s stuck=s1", "tick 1s left=2", "tick 1m minimum",
		"looked watch names=before", "looked watch names=after", "looked watch names=mixed", "looked watch down",
		"looked attempt names=before", "looked attempt names=after", "looked confirm names=before", "looked confirm names=after",
		"looked recover names=before", "looked recover names=after", "looked recover names=foreign", "looked retry names=before", "looked retry names=after",
		"prepared", "prepared", "ended done held", "ended done held", "ended conflict", "ended not_gathered held", "ended unknown held", "ended stopped", "ended failed err=x", "ended changed",
		"resolved names=before", "resolved names=after", "resolved names=mixed", "resolved down",
		"census", "census old=s1", "census others=v", "notified n=2", "dropped", "dropped err=x", "dropped users=v",
		"verb pause", "verb resume force reason=x", "verb approve", "verb promote force reason=x", "verb rollback", "verb abort force reason=x", "verb retry", "verb cleanup",
		"weight 0%", "weight 30%", "restart", "verb abort drop", "verb abort", "clock 48h", "clock -48h", "looked judge names=before", "looked judge down",
		"looked watch version=v22 names=before", "looked watch err=x", "sampled ready err=x", "census err=x", "resolved err=x", "tick 1s silent=11s", "dropped users=v",
	}
}

// natural is what a healthy world would answer now; without it no walk would
// come far.
func (m *scripted) natural() string {
	s := &m.s
	standing := " names=before"
	if s.Names == NamesAfter {
		standing = " names=after"
	}
	switch {
	case s.Recovering && s.Swap.Stage == StageResolving, s.Swap.Stage == StageResolving:
		return "resolved names=after"
	case s.Recovering:
		return "looked recover" + standing
	case s.Stop != nil && s.Stop.Kind == PhaseBlocked:
		return "looked retry" + standing
	case s.Stop != nil && s.Stop.Cause == CauseCleanup:
		return "verb cleanup"
	case s.Stop != nil && s.Stop.Cause == CauseUpstream, !s.Down.IsZero(), s.Ramp.TakenBack:
		return "sampled ready"
	case s.Stop != nil:
		return "verb resume force reason=x"
	case s.Phase == PhasePreflight && !s.Marked:
		return "preflighted"
	case s.Phase == PhasePreflight:
		return "marked"
	case s.Phase == PhaseHydrating:
		return "sampled ready"
	case s.Swap.Stage == StageLooking:
		return "looked attempt" + standing
	case s.Swap.Stage == StagePreparing:
		return "prepared"
	case s.Swap.Stage == StagePrepared:
		return "ended done held"
	case s.Phase == PhaseWindow && !s.Swap.Confirmed, s.Phase == PhaseSwappingBack && s.Swap.Stage == StageNone:
		return "looked confirm" + standing
	case s.Phase == PhaseDraining:
		return "census"
	case s.After.Dropping:
		return "dropped"
	}
	return "tick 5s minimum"
}

// walk is one event, and everything that must hold after it.
func (m *scripted) walk(line string) {
	m.t.Helper()
	before := m.s
	words := strings.Fields(line)
	if m.looks++; m.looks%8 == 0 { // costly
		frozen, err := json.Marshal(before)
		if err != nil {
			m.t.Fatal(err)
		}
		defer func() {
			if now, err := json.Marshal(before); err != nil || string(now) != string(frozen) {
				m.t.Fatalf("%q in %s changed the state it was given", line, before.Phase)
			}
		}()
	}
	if words[0] == "dropped" && before.After.Dropped >= len(before.drops()) {
		return
	}
	ev := m.event(words)
	next, acts := Step(before, ev, m.plan)
	if again, actsAgain := Step(before, ev, m.plan); !reflect.DeepEqual(next, again) || !reflect.DeepEqual(acts, actsAgain) {
		m.t.Fatalf("%q in %s: two answers to one question", line, before.Phase)
	}
	m.s = next
	for _, a := range acts {
		m.lawful(line, before, a)
	}
	rt := next.routing()
	if was := before.routing(); rt != was && len(next.Log) == len(before.Log) && len(next.Log) < maxLog {
		m.t.Fatalf("%q in %s: the routing went from %+v to %+v and the log has no line of it", line, before.Phase, was, rt)
	}
	if last := next.Log[len(next.Log)-1]; last.Weight != rt.Weight || last.Canary != rt.Canary.String() {
		m.t.Fatalf("%q in %s: the last line of the log says %s %s, the routing is %+v", line, before.Phase, last.Weight, last.Canary, rt)
	}
	if rt.Canary == router.CanaryDeploy && next.Names != NamesBefore {
		m.t.Fatalf("%q: the canary is sent to the deploy names while the names stand %s", line, next.Names)
	}
	if rt.Weight > 0 && next.Phase != PhaseRamping && next.Phase != PhasePromoting {
		m.t.Fatalf("%q: weight %s in %s", line, rt.Weight, next.Phase)
	}
	if next.Phase == PhaseRolledBack && next.Names == NamesAfter || next.Phase == PhaseDone && next.After.Dropped != len(next.Pairs) {
		m.t.Fatalf("%q: %s while the names stand %s and %d parts were dropped", line, next.Phase, next.Names, next.After.Dropped)
	}
	if back, _ := rollbackIn(next.Phase); next.Stop != nil && !back && strings.Contains(next.Stop.Next, "rollback") {
		m.t.Fatalf("%q: in %s it is advised %q", line, next.Phase, next.Stop.Next)
	}
	if next.Stop != nil && (next.Stop.Owner == "" || next.Stop.Deadline.IsZero() || next.Stop.Next == "" || next.Stop.Reason == "") {
		m.t.Fatalf("%q: a stop without owner, deadline, reason or next: %+v", line, next.Stop)
	}
}

// lawful checks one action against the state that asked for it.
func (m *scripted) lawful(line string, before State, a Action) {
	m.t.Helper()
	s := m.s
	saved := s.Seq != before.Seq
	switch a.Kind {
	case ActRefuse:
		if !reflect.DeepEqual(s, before) || a.Refusal.Sentence == "" || a.Refusal.Exit == 0 {
			m.t.Fatalf("%q was refused (%+v) and changed something:\n%+v\n%+v", line, a.Refusal, before, s)
		}
	case ActSwap:
		if !saved || s.Swap.Stage != StagePreparing || before.Swap.Stage.active() {
			m.t.Fatalf("%q: a swap out of stage %s, saved %t", line, before.Swap.Stage, saved)
		}
	case ActDrop:
		if s.Phase == PhaseDropping {
			if !saved || s.Names != NamesBefore || a.Ref.ID != "u2" && a.Ref.ID != "c2" {
				m.t.Fatalf("%q: a drop of %+v in %s with names %s, saved %t", line, a.Ref, s.Phase, s.Names, saved)
			}
			return
		}
		if !saved || s.Phase != PhaseCleaning || s.Names != NamesAfter || a.Ref.ID != "u1" && a.Ref.ID != "c1" {
			m.t.Fatalf("%q: a drop of %+v in %s with names %s, saved %t", line, a.Ref, s.Phase, s.Names, saved)
		}
		if !m.plan.Promote.Fence && !s.After.Cleanup {
			m.t.Fatalf("%q: a drop without a fence and without a person", line)
		}
	case ActRoute:
		if a.Routing.Weight > before.routing().Weight && (!s.Down.IsZero() || s.Recovering) {
			m.t.Fatalf("%q: the weight is raised while the server cannot be asked", line)
		}
	}
}
