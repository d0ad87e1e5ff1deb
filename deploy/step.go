package deploy

import (
	"errors"
	"fmt"
	"time"

	"mzcanary/router"
)

// Step is the rollout's state machine: what happened, to what is to be done. It
// has no clock, no randomness and no side effect; the same arguments give the
// same answer. The caller saves the state whenever Seq has moved, performs the
// actions in their order, and feeds what comes of them back as events.
func Step(s State, ev Event, p Plan) (State, []Action) {
	m := &machine{s: s.clone(), p: p, at: ev.when()}
	m.take(ev)
	m.stamp()
	return m.s, m.acts
}

// machine is one call of Step.
type machine struct {
	s    State
	p    Plan
	at   time.Time
	acts []Action
}

func (m *machine) take(ev Event) {
	switch e := ev.(type) {
	case Began:
		m.began()
	case HandOpened:
		m.handOpened(e)
	case Adopted:
		m.adopted(e)
	case StrayFound:
		m.strayFound(e)
	case Restarted:
		m.restarted()
	case ClockStepped:
		m.clockStepped(e)
	case Preflighted:
		m.preflighted(e)
	case Granted:
		m.granted(e)
	case Revoked:
		m.revoked(e)
	case Marked:
		m.marked(e)
	case Unmarked:
		m.unmarked(e)
	case Sampled:
		m.sampled(e)
	case Looked:
		m.looked(e)
	case Ticked:
		m.ticked(e)
	case SwapPrepared:
		m.swapPrepared(e)
	case SwapEnded:
		m.swapEnded(e)
	case Resolved:
		m.resolved(e)
	case CensusTaken:
		m.census(e)
	case Notified:
		m.notified(e)
	case Dropped:
		m.dropped(e)
	case VerbAsked:
		m.verb(e)
	default:
		panic(fmt.Sprintf("deploy: no rule for event %T", ev))
	}
}

// ticked is the clock: it brings back what failed, notices that the server is
// gone for good, and lets the phase have its time.
func (m *machine) ticked(e Ticked) {
	if m.s.Pending != "" {
		if m.s.RetryIn -= e.Elapsed; m.s.RetryIn <= 0 {
			m.again()
		}
	}
	if m.s.Recovering {
		return
	}
	m.s.Ready.Age += e.Elapsed
	m.noticeOutage(e)
	m.settle(e)
	switch m.s.Phase {
	case PhaseHydrating:
		m.tickHydrating(e)
	case PhaseRamping:
		m.tickRamping(e)
	case PhasePromoting, PhaseSwappingBack:
		m.tickSwap(e)
	case PhaseRollingBack:
		m.tickRollingBack(e)
	case PhaseWindow:
		m.tickWindow(e)
	case PhaseDraining:
		m.tickDraining(e)
	case PhaseCleaning:
		m.tickCleaning(e)
	case PhaseDropping:
		m.tickDropping(e)
	}
}

// routing is what the router is told in this state. Whatever is unclear means
// live names for everybody.
func (s *State) routing() Routing {
	r := Routing{Salt: s.Salt, Swaps: s.Swaps, Canary: router.CanaryClosed}
	if s.Swap.Stage == StageResolving {
		r.Canary = router.CanaryLive
		return r
	}
	if s.Recovering || s.Stop != nil && s.Stop.Live {
		return r
	}
	if s.Phase == PhaseRamping || s.Phase == PhasePromoting {
		r.Weight, r.Canary = s.Weight, router.CanaryDeploy
	}
	return r
}

func (m *machine) do(a Action) { m.acts = append(m.acts, a) }

// decide makes the runner save the state before it acts.
func (m *machine) decide(who, what, why string) {
	m.s.Seq++
	m.s.note(m.at, who, what, why)
}

// stamp says in the new lines of the log what the routing is after them.
func (m *machine) stamp() {
	r := m.s.routing()
	for i := len(m.s.Log) - 1; i >= 0 && m.s.Log[i].Canary == "" && m.s.Log[i].At.Equal(m.at); i-- {
		m.s.Log[i].Weight, m.s.Log[i].Canary = r.Weight, r.Canary.String()
	}
}

func (m *machine) route() {
	r := m.s.routing()
	m.do(Action{Kind: ActRoute, Routing: &r, Safe: r.Weight == 0 && r.Canary != router.CanaryDeploy})
}

func (m *machine) enter(p Phase, who, why string) {
	m.s.Phase, m.s.Entered = p, m.at
	m.s.Pending, m.s.Retries, m.s.RetryIn, m.s.Refused = "", 0, 0, nil
	m.decide(who, string(p), why)
}

// retry asks for the same act again a little later.
func (m *machine) retry(kind ActionKind, in time.Duration) {
	m.s.Pending, m.s.RetryIn = kind, in
}

// again performs what is pending.
func (m *machine) again() {
	kind := m.s.Pending
	m.s.Pending, m.s.RetryIn = "", 0
	switch kind {
	case ActPreflight:
		m.do(Action{Kind: ActPreflight})
	case ActMark:
		m.do(Action{Kind: ActMark, Marks: m.s.marks(m.s.Phase)})
	case ActUnmark:
		m.do(Action{Kind: ActUnmark, Refs: m.s.marked()})
	case ActRevoke:
		m.do(Action{Kind: ActRevoke, Grants: m.s.Revoke})
	case ActLook:
		m.do(Action{Kind: ActLook, For: m.lookFor()})
	case ActResolve:
		m.do(Action{Kind: ActResolve, Backend: m.s.Swap.Backend})
	}
}

// lookFor says why the state would look at the ids now.
func (m *machine) lookFor() LookFor {
	switch {
	case m.s.Recovering:
		return LookRecover
	case m.s.Stop != nil && m.s.Stop.Kind == PhaseBlocked:
		return LookRetry
	case m.s.Swap.Stage == StageLooking:
		return LookAttempt
	}
	return LookConfirm
}

// heard keeps account of whether the server can be asked; true means it cannot. A
// refusal proves neither: see refused.
func (m *machine) heard(err error) bool {
	switch {
	case errors.Is(err, errCalledOff):
		return true // by us; it says nothing about the server
	case errors.Is(err, ErrUnavailable):
		if m.s.Down.IsZero() {
			m.s.Down, m.s.DownFor = m.at, 0
		}
		m.s.DownWhy, m.s.DownMend = plain(err), mend(err)
		return true
	case err != nil:
		return false
	}
	long := !m.s.Down.IsZero() && m.s.DownFor >= outageGrace
	m.s.Down, m.s.DownFor, m.s.DownWhy, m.s.DownMend = time.Time{}, 0, "", ""
	if long && (m.s.Phase == PhaseRamping || m.s.Phase == PhasePromoting) && !m.s.Recovering {
		m.restoreEvidence() // what was counted while the server was away is its fault
	}
	return false
}

// outageGrace is how long the server may be silent before the rollout says that
// it stands still because of it. Nothing advances in the meantime either.
const outageGrace = 10 * time.Second

// attention is how long a rollout may wait for a person before it counts as
// overdue.
const attention = 24 * time.Hour

// stop makes the rollout stand still. The phase keeps its place.
func (m *machine) stop(st Stop) {
	st.Since = m.at
	if st.Deadline.IsZero() {
		st.Deadline = m.at.Add(attention)
	}
	if st.Owner == "" {
		st.Owner = "operator"
	}
	m.s.Stop = &st
	m.decide(controller, string(st.Kind)+": "+string(st.Cause), st.Reason)
}

// goOn ends a stop.
func (m *machine) goOn(who, why string) {
	live := m.s.Stop != nil && m.s.Stop.Live
	m.s.Stop = nil
	m.decide(who, "goes on: "+string(m.s.Phase), why)
	if live {
		m.route()
	}
}

// finish ends the rollout: everybody on live names, marks removed, record written.
func (m *machine) finish(p Phase, exit int, sentence string) {
	unknown := m.s.Swap.Stage == StageResolving
	m.s.Stop, m.s.Ramp.Asked = nil, nil
	m.s.Weight, m.s.Swap.Stage, m.s.Swap.Wish = 0, StageNone, ""
	m.s.Recovering, m.s.Unwell, m.s.Ramp.Suspect = false, "", ""
	m.s.Exit, m.s.End = exit, sentence
	m.enter(p, controller, sentence)
	m.undoGrants(p, unknown)
	m.route()
	m.close()
}

// healthy: the server can be asked and what is looked at is as it should be.
func (s *State) healthy() bool { return s.sure() && s.Stop == nil }

// sure: the server can be asked, answers what it is asked, and is known to be well.
func (s *State) sure() bool { return s.Down.IsZero() && s.Unwell == "" && len(s.Refused) == 0 }

// serverSeen notices that another server process answers than before.
func (m *machine) serverSeen(now ServerInfo) {
	was := m.s.Server
	if now.Version == "" && now.Started.IsZero() {
		return
	}
	m.s.Server = now
	if was.Version == "" {
		return
	}
	restarted := !was.Started.IsZero() && !now.Started.Equal(was.Started)
	switch {
	case restarted || now.Version != was.Version:
		m.upstreamChanged(fmt.Sprintf("upstream restart: %s, started %s", now.Version, now.Started.UTC().Format(time.RFC3339)))
	case now.ReadOnly && !was.ReadOnly:
		m.readOnly()
	}
}

const takesNoChanges = "the server does not accept changes yet (read-only generation)"

// readOnly: the server refused a change because it takes none. The next reading says
// when it does again.
func (m *machine) readOnly() {
	m.s.Server.ReadOnly = true
	m.upstreamChanged(takesNoChanges)
}

// upstreamChanged discards what was counted since the server was last known to
// be well, and waits for it to be well again.
func (m *machine) upstreamChanged(reason string) {
	m.s.Ready.Good, m.s.Ramp.Suspect = 0, ""
	m.s.After.Settle = m.p.Drain.Settle
	if m.s.Phase == PhaseRamping || m.s.Phase == PhasePromoting {
		m.restoreEvidence()
	}
	if m.s.Running() && m.s.Phase != PhasePreflight && m.s.Phase != PhaseHydrating && m.s.Phase != PhaseRollingBack {
		m.s.Unwell = reason
		if m.standUnwell() {
			return
		}
		if st := m.s.Stop; st.Cause == CauseUpstream {
			st.Reason = reason
		}
	}
	m.decide(controller, "upstream restart", reason)
}

// restoreEvidence sets the counters to what was last proven good.
func (m *machine) restoreEvidence() {
	if m.s.Evidence == nil {
		m.do(Action{Kind: ActBeginEvidence})
		return
	}
	e := *m.s.Evidence
	m.do(Action{Kind: ActRestore, Evidence: &e})
}

// wellAgain ends a pause that was the server's fault. Before the swap that takes
// the new version to be ready again, afterwards one good look is enough.
func (m *machine) wellAgain() {
	if m.s.Unwell == "" || !m.s.Down.IsZero() || m.s.Server.ReadOnly {
		return
	}
	needsReady := m.s.Phase == PhaseRamping || m.s.Phase == PhasePromoting
	forced := m.s.Hand && m.s.Ramp.Accepted // somebody opened it without asking whether it is ready
	if needsReady && !forced && m.s.Ready.Good < m.p.Ready.Consecutive {
		return
	}
	m.s.Unwell = ""
	if needsReady {
		m.restoreEvidence() // what was counted since then is the server's fault
	}
	if st := m.s.Stop; st != nil && st.Cause != CauseUpstream {
		m.decide(controller, "the server is well again", "it stands still for another reason")
		return
	}
	m.goOn(controller, "the server is well again")
	if !m.s.Hand {
		m.restep()
	}
}

// clockStepped: only observed time counts. What is shown as a time of day is moved
// along, so that it stays as far away as it was.
func (m *machine) clockStepped(e ClockStepped) {
	m.s.After.Settle = m.p.Drain.Settle
	if st := m.s.Stop; st != nil {
		st.Since, st.Deadline = st.Since.Add(e.By), st.Deadline.Add(e.By)
	}
	if !m.s.Down.IsZero() {
		m.s.Down = m.s.Down.Add(e.By)
	}
	if asked := m.s.Ramp.Asked; asked != nil {
		asked.Since, asked.Deadline = asked.Since.Add(e.By), asked.Deadline.Add(e.By)
	}
	m.decide(controller, "clock stepped by "+e.By.String(), "observed time counts, the wall clock does not")
}
