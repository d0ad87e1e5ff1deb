package deploy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

// TestTwoOperatorsInEveryState lets two people ask anything of a rollout at the same
// time, in every state that a walk came to. The loop serves one after the other, so
// all pairs of requests in both orders are all there is, and after a refusal the
// second meets what the first met. A refusal changes nothing,
// says why and what it is worth; what was done once is not done twice; and nothing
// happens that neither of them asked for.
func TestTwoOperatorsInEveryState(t *testing.T) {
	states := reachedStates(t)
	phases := map[Phase]bool{}
	asked := requests()
	pairs, accepted := 0, 0
	for _, m := range states {
		phases[m.s.Phase] = true
		for _, first := range asked {
			one, did := m.ask(first, "ann")
			if m.lawfulPair(first, first, did, false, one.s); !did {
				continue
			}
			for _, second := range asked {
				two, didToo := one.ask(second, "bob")
				pairs++
				if didToo {
					accepted++
				}
				if didToo && first.once && first.name == second.name {
					t.Errorf("%s: two times %s", m.where(), first.name)
				}
				m.lawfulPair(first, second, did, didToo, two.s)
			}
		}
	}
	for _, info := range Phases() {
		if info.Phase != PhasePaused && info.Phase != PhaseBlocked && !phases[info.Phase] {
			t.Errorf("no state in %s", info.Phase)
		}
	}
	t.Logf("%d states, %d pairs, both accepted in %d", len(states), pairs, accepted)
}

// An asking is one request as a person may make it.
type asking struct {
	name string
	ev   VerbAsked
	once bool // the second of two equal ones is refused
}

func requests() []asking {
	var out []asking
	add := func(name string, v Verb, weight router.Weight, once bool, r Request) {
		out = append(out, asking{name, VerbAsked{Verb: v, Weight: weight, Request: r}, once})
	}
	for _, v := range Verbs() {
		if v == VerbWeight || v == VerbAdopt {
			continue
		}
		once := v != VerbRetry && v != VerbPromote
		add(string(v), v, 0, once, Request{})
		add(string(v)+" --force", v, 0, once, Request{Force: true, Reason: "now"})
		add(string(v)+" of another rollout", v, 0, true, Request{Rollout: "r9"})
	}
	add("abort --drop-deploy", VerbAbort, 0, true, Request{DropDeploy: true})
	add("rollback --drop-deploy", VerbRollback, 0, true, Request{DropDeploy: true})
	for _, w := range []router.Weight{0, 100, router.Full} {
		add("weight "+w.String(), VerbWeight, w, false, Request{})
	}
	return out
}

// ask is one request of one person; it insists that a refusal changes nothing.
func (m *scripted) ask(a asking, who string) (after *scripted, did bool) {
	m.t.Helper()
	ev := a.ev
	ev.At, ev.Request.Who = At{m.at}, who
	next, acts := Step(m.s, ev, m.plan)
	after = &scripted{t: m.t, at: m.at, plan: m.plan, s: next}
	did = true
	for _, act := range acts {
		if act.Kind == ActRefuse {
			did = false
			if act.Refusal.Sentence == "" || act.Refusal.Exit == 0 {
				m.t.Errorf("%s: %s is refused with %+v", m.where(), a.name, act.Refusal)
			}
		}
	}
	switch {
	case !did && (len(acts) != 1 || !reflect.DeepEqual(next, m.s)):
		m.t.Errorf("%s: %s is refused and changes something", m.where(), a.name)
	case did && next.Seq == m.s.Seq:
		m.t.Errorf("%s: %s is accepted and not journaled", m.where(), a.name)
	}
	return after, did
}

// lawfulPair compares what came of both with what they asked for.
func (m *scripted) lawfulPair(first, second asking, did, didToo bool, after State) {
	m.t.Helper()
	asked := func(yes func(asking) bool) bool { return did && yes(first) || didToo && yes(second) }
	both := first.name + ", then " + second.name
	if drop := after.DropNew || after.Swap.WishDrop; drop && !m.s.DropNew && !m.s.Swap.WishDrop && !asked(func(a asking) bool { return a.ev.Verb == VerbAbort && a.ev.Request.DropDeploy }) {
		m.t.Errorf("%s: %s: the new version will be dropped, which nobody asked for", m.where(), both)
	}
	raised := after.routing().Weight > m.s.routing().Weight
	if raised && !asked(func(a asking) bool { return a.ev.Verb == VerbWeight || a.ev.Verb == VerbResume }) {
		m.t.Errorf("%s: %s: the weight rises to %s", m.where(), both, after.Weight)
	}
	if raised && !m.s.sure() {
		m.t.Errorf("%s: %s: the weight rises to %s while the server is in doubt", m.where(), both, after.Weight)
	}
	if after.Phase == PhaseSwappingBack && m.s.Phase != PhaseSwappingBack && !asked(func(a asking) bool { return a.ev.Verb == VerbRollback }) {
		m.t.Errorf("%s: %s: it swaps back", m.where(), both)
	}
	if after.After.Cleanup && !m.s.After.Cleanup && !asked(func(a asking) bool { return a.ev.Verb == VerbCleanup }) {
		m.t.Errorf("%s: %s: it will be cleaned up", m.where(), both)
	}
}

// where is the kind of state this is.
func (m *scripted) where() string {
	s := m.s
	cause := Cause("")
	if s.Stop != nil {
		cause = s.Stop.Cause
	}
	return fmt.Sprintf("%s/%s stopped %q wish %q recovering %t down %t unwell %t asked %t regress %t taken back %t hand %t fence %t", s.Phase, s.Swap.Stage, cause, s.Swap.Wish,
		s.Recovering, !s.Down.IsZero(), s.Unwell != "", s.Ramp.Asked != nil, s.Ramp.Regress, s.Ramp.TakenBack, s.Hand, m.plan.Promote.Fence)
}

// reachedStates walks at random and keeps one state of every kind.
func reachedStates(t *testing.T) map[string]*scripted {
	t.Helper()
	out := map[string]*scripted{}
	pool := walkPool()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := &scripted{t: t, at: time.Unix(0, 0).UTC(), plan: testPlan()}
		m.plan.Promote.Fence = seed%2 == 0
		if seed%3 == 0 {
			m.plan.Steps[0].Approve = &Approve{Within: time.Minute}
		}
		if seed%5 == 0 {
			m.plan.OnRegress = PolicyPause
		}
		m.command("start")
		for range 120 {
			line := pool[r.IntN(len(pool))]
			if r.IntN(100) < 70 {
				line = m.natural()
			}
			if strings.HasPrefix(line, "dropped") && m.s.After.Dropped >= len(m.s.drops()) {
				continue
			}
			m.s, _ = Step(m.s, m.event(strings.Fields(line)), m.plan)
			if _, seen := out[m.where()]; !seen {
				out[m.where()] = &scripted{t: t, at: m.at, plan: m.plan, s: m.s}
			}
		}
	}
	idle := &scripted{t: t, plan: testPlan(), s: State{Deployment: shopName, Phase: PhaseIdle}}
	out[idle.where()] = idle
	return out
}
