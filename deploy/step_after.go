package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tickWindow counts observed, healthy time only: a window that passes while
// nobody can look proves nothing.
func (m *machine) tickWindow(e Ticked) {
	if !m.s.healthy() || e.blind() || !m.s.Swap.Confirmed {
		return
	}
	if m.s.After.Observed += e.Elapsed; m.s.After.Observed >= m.p.Window.For {
		m.drain(controller, "the rollback window of "+m.p.Window.For.String()+" is over")
	}
}

// settle counts down the time after a restart in which nothing may be dropped,
// whatever the phase: healthy time, and none in which it is open how the names stand.
func (m *machine) settle(e Ticked) {
	switch st := m.s.Stop; {
	case !m.s.sure(), e.blind(), st != nil && st.Cause != CauseInUse:
	case m.s.Swap.Stage.active(), m.s.Names == NamesAfter && !m.s.Swap.Confirmed:
	default:
		m.s.After.Settle = max(0, m.s.After.Settle-e.Elapsed)
	}
}

func (m *machine) tickDraining(e Ticked) {
	if !m.s.sure() || e.blind() || m.s.Stop != nil && m.s.Stop.Cause != CauseInUse {
		return
	}
	m.s.After.Drained += e.Elapsed
}

// census says who still uses the old version.
func (m *machine) census(e CensusTaken) {
	if m.s.Phase != PhaseWindow && m.s.Phase != PhaseDraining || m.s.Recovering {
		return
	}
	if m.heard(e.Err) || m.refused(asksCensus, e.Err) {
		return
	}
	m.s.After.Old, m.s.After.Others = e.Old, e.Others
	if e.Standby != nil {
		m.s.After.Standby = e.Standby
	}
	if m.s.Phase != PhaseDraining || m.s.Stop != nil && m.s.Stop.Cause != CauseInUse {
		return
	}
	if len(e.Old)+len(e.Others) == 0 {
		m.drained()
		return
	}
	if m.s.After.Drained >= m.p.Drain.For {
		m.drainDeadline(e)
	}
}

func (m *machine) drained() {
	m.s.Stop = nil
	m.enter(PhaseCleaning, controller, "nobody uses the old version any more")
	m.byHandOnly()
}

// fenced: no part of the old version stands under a deploy name.
func (s *State) fenced() bool {
	return !slices.ContainsFunc(s.Pairs, func(p PairState) bool { return p.Retired == p.Deploy })
}

// byHandOnly: without a fence the old version stands under the deploy names, and
// nothing is dropped before a person said so. True means that it still waits.
func (m *machine) byHandOnly() bool {
	if m.s.fenced() || m.s.After.Cleanup {
		return false
	}
	if m.s.Stop == nil {
		m.stop(Stop{Kind: PhasePaused, Cause: CauseCleanup, Exit: ExitHuman, Next: "mzcanary rollout cleanup",
			Reason: "fence is off, so the old version stands under the deploy names; cleanup is by hand"})
	}
	return true
}

// drainDeadline follows drain.then. What others use is never ended by us.
func (m *machine) drainDeadline(e CensusTaken) {
	a := &m.s.After
	if m.p.Drain.Then == ThenTerminate && len(e.Old) > 0 && a.Drained >= m.p.Drain.For {
		if !a.Terminated {
			a.Terminated = true
			m.decide(controller, "ends sessions on the old version", fmt.Sprintf("%s after the drain began: %s", m.p.Drain.For, names(e.Old)))
		}
		m.do(Action{Kind: ActEndOld, Sentence: "mzcanary: this session still read the version that was replaced; connect again to read production"})
		if len(e.Others) == 0 {
			return
		}
	}
	if m.s.Stop == nil {
		m.standInUse(len(e.Old), e.Others)
	}
}

// standInUse ends by itself when they have left.
func (m *machine) standInUse(ours int, others []Dependent) {
	parts := make([]string, 0, len(others)+1)
	if ours > 0 {
		parts = append(parts, fmt.Sprintf("%d proxied sessions", ours))
	}
	for _, d := range others {
		parts = append(parts, d.Kind+" "+d.Name+" ("+d.Reason+")")
	}
	m.stop(Stop{Kind: PhaseBlocked, Cause: CauseInUse, Auto: true, Exit: ExitHuman,
		Reason: m.s.inUse() + sentence(parts, 5),
		Next:   nextInUse(ours, others) + "; it goes on by itself when they have left"})
}

// nextInUse says where to look for whom: our sessions are listed by us, what others
// have built or subscribed to is theirs to end.
func nextInUse(ours int, others []Dependent) string {
	var parts, subscribe, built []string
	for _, d := range others {
		switch d.Kind {
		case "sessions":
			ours++
		case "subscription":
			subscribe = append(subscribe, d.Name)
		default:
			built = append(built, d.Kind+" "+d.Name)
		}
	}
	if ours > 0 {
		parts = append(parts, "mzcanary sessions --why names the proxied sessions")
	}
	if len(subscribe) > 0 {
		parts = append(parts, "end the subscriptions of "+sentence(subscribe, 5)+", which did not come through this proxy")
	}
	if len(built) > 0 {
		parts = append(parts, "drop "+sentence(built, 5)+", or build it anew on the version that stays")
	}
	return strings.Join(parts, "; ")
}

func (m *machine) tickCleaning(e Ticked) {
	if m.s.Stop != nil && m.s.Stop.Cause != CauseInUse || !m.s.sure() || e.blind() || m.s.After.Dropping {
		return
	}
	if m.s.After.Settle > 0 || m.s.Pending != "" || m.byHandOnly() {
		return
	}
	m.nextDrop()
}

// nextDrop journals the intent of one drop and then asks for it.
func (m *machine) nextDrop() {
	drops := m.s.drops()
	if m.s.After.Dropped >= len(drops) {
		m.finishDrops()
		return
	}
	ref := drops[m.s.After.Dropped]
	m.s.After.Dropping = true
	m.s.Epoch++
	m.decide(controller, fmt.Sprintf("drops %s %s (%s)", ref.Kind, ref.Name, ref.ID), "")
	m.do(Action{Kind: ActDrop, Ref: &ref})
}

func (m *machine) dropped(e Dropped) {
	if !m.s.After.Dropping {
		return
	}
	m.s.After.Dropping = false
	m.s.Epoch++
	switch {
	case len(e.Diff) > 0:
		m.interference(e.Diff)
	case errors.Is(e.Err, ErrChanged):
		m.interference([]Change{{Kind: e.Ref.Kind, Name: e.Ref.Name, Was: e.Ref.ID, Is: "another object"}})
	case len(e.Users)+len(e.OldOwn) > 0:
		m.s.After.Old, m.s.After.Others = e.OldOwn, e.Users
		if m.s.Stop == nil {
			m.standInUse(len(e.OldOwn), e.Users)
		}
		m.retry(ActDrop, 5*time.Second)
	case m.heard(e.Err):
		m.retry(ActDrop, retryPause)
	case errors.Is(e.Err, ErrReadOnly):
		m.readOnly()
	case e.Err != nil:
		m.dropFailed(e)
	default:
		m.dropDone(e.Ref)
	}
}

func (m *machine) dropFailed(e Dropped) {
	m.s.Retries++
	if m.s.Retries < maxRetries {
		m.retry(ActDrop, retryPause)
		return
	}
	m.block(CauseError, fmt.Sprintf("%s %s could not be dropped: %v", e.Ref.Kind, e.Ref.Name, e.Err))
	if how := mend(e.Err); how != "" {
		m.s.Stop.Next = how + ", then " + m.s.Stop.Next
	}
}

func (m *machine) dropDone(ref Ref) {
	m.s.After.Dropped++
	m.s.Retries = 0
	if m.s.Stop != nil && m.s.Stop.Cause == CauseInUse {
		m.s.Stop = nil
	}
	m.decide(controller, fmt.Sprintf("%s %s is gone", ref.Kind, ref.Name), "")
	if m.s.Stop == nil {
		m.nextDrop()
	}
}
