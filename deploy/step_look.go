package deploy

import (
	"fmt"
)

// looked takes a reading of the ids.
func (m *machine) looked(e Looked) {
	if !m.s.Running() {
		return // it was begun before the end, and the names are nobody's any more
	}
	switch e.For {
	case LookWatch:
		m.watched(e)
		return
	case LookJudge:
		m.lookedToJudge(e)
		return
	}
	if m.heard(e.Err) || m.refused(asksLook, e.Err) {
		m.lookFailed(e)
		return
	}
	switch e.For {
	case LookRecover:
		m.recovered(e)
	case LookAttempt:
		m.lookedForAttempt(e)
	case LookConfirm:
		m.lookedToConfirm(e)
	case LookRetry:
		m.lookedToRetry(e)
	}
}

func (m *machine) lookFailed(e Looked) {
	switch e.For {
	case LookAttempt:
		if m.s.Swap.Stage == StageLooking {
			m.s.Swap.Stage, m.s.Swap.Backoff = StageBackoff, retryPause
		}
	default:
		m.retry(ActLook, retryPause)
	}
}

// watched is the outside watcher. A reading that overlaps with our own change of
// names says nothing about others.
func (m *machine) watched(e Looked) {
	if m.heard(e.Err) {
		m.s.DownFor = max(m.s.DownFor, e.Took) // it has been waiting all that time
		return
	}
	if m.s.Recovering || m.refused(asksLook, e.Err) {
		return
	}
	m.serverSeen(e.Server)
	if e.Epoch != m.s.Epoch || m.s.Swap.Stage.active() || m.s.After.Dropping {
		return
	}
	if diff := m.s.diff(e.Refs); len(diff) > 0 {
		if m.s.Stop == nil || m.s.Stop.Cause != CauseInterference {
			m.interference(diff)
		}
		return
	}
	m.s.LastLook = m.at
	if e.Evidence != nil && e.Evidence.Rollout == m.s.Rollout && m.s.Unwell == "" {
		m.s.Evidence = e.Evidence
	}
	m.wellAgain()
}

// interference: the names do not stand for what was recorded. Everybody on live
// names at once, and a person decides.
func (m *machine) interference(diff []Change) {
	next := "mzcanary rollout retry (once the names stand as recorded), or "
	switch {
	case m.s.Phase == PhaseRollingBack:
		next = "nothing: it ends as aborted when the sessions have come back"
	case m.s.Names == NamesBefore && m.s.Phase != PhaseDropping:
		next += "rollback"
	default:
		next += "abort --force --reason …"
	}
	m.s.Swap.Impatient, m.s.Swap.Stage = false, m.idleStage()
	m.stop(Stop{Kind: PhaseBlocked, Cause: CauseInterference, Live: true, Diff: diff, Exit: ExitRace,
		Reason: "the names do not stand for the recorded objects: " + changes(diff), Next: next})
	m.route()
}

// idleStage is where a promotion goes on when it was stopped.
func (m *machine) idleStage() Stage {
	if m.s.Swap.Stage == StageNone {
		return StageNone
	}
	return StagePatience
}

func changes(diff []Change) string {
	parts := make([]string, len(diff))
	for i, c := range diff {
		parts[i] = fmt.Sprintf("%s %s was %s, is %s", c.Kind, c.Name, orNothing(c.Was), orNothing(c.Is))
	}
	return sentence(parts, 6)
}

func orNothing(id string) string {
	if id == "" {
		return "nothing"
	}
	return id
}

func (m *machine) lookedForAttempt(e Looked) {
	if m.s.Swap.Stage != StageLooking {
		return
	}
	if m.s.Stop != nil || m.s.Ramp.Suspect != "" {
		m.s.Swap.Stage = StagePatience
		return
	}
	m.serverSeen(e.Server)
	if diff := m.s.diff(e.Refs); len(diff) > 0 {
		m.interference(diff)
		return
	}
	if m.s.Stop != nil || e.Server.ReadOnly {
		m.s.Swap.Stage = StagePatience
		return
	}
	m.attempt(e)
}

// lookedToConfirm: after a swap, now that nobody waits.
func (m *machine) lookedToConfirm(e Looked) {
	if m.s.Swap.Confirmed || m.s.Swap.Stage != StageNone {
		return
	}
	m.serverSeen(e.Server)
	if diff := m.s.diff(e.Refs); len(diff) > 0 {
		m.interference(diff)
		return
	}
	m.s.Swap.Confirmed, m.s.LastLook = true, m.at
	if m.back() {
		m.finish(m.s.Back.Final, m.s.Back.Exit, m.s.Back.Sentence)
		return
	}
	m.decide(controller, "confirmed by ids", "")
	if m.s.Marked {
		m.do(Action{Kind: ActMark, Marks: m.s.marks(m.s.Phase)})
	}
}

// lookedToRetry: a person said that what blocked the rollout is mended.
func (m *machine) lookedToRetry(e Looked) {
	if m.s.Stop == nil || m.s.Stop.Kind != PhaseBlocked {
		return
	}
	m.serverSeen(e.Server)
	if diff := m.s.diff(e.Refs); len(diff) > 0 {
		m.s.Stop.Diff, m.s.Stop.Reason = diff, "the names still do not stand for the recorded objects: "+changes(diff)
		m.decide(controller, "retry looked and found no change", m.s.Stop.Reason)
		return
	}
	m.s.LastLook, m.s.Retries = m.at, 0
	m.s.Swap.Attempts, m.s.Swap.Conflicts, m.s.Swap.Waited = 0, 0, 0
	m.goOn(controller, "the names stand as recorded")
	m.confirmAgain()
}

// confirmAgain asks for the proof of a swap that a stop has kept away.
func (m *machine) confirmAgain() {
	if m.s.Phase.swapped() && !m.s.Swap.Confirmed && m.s.Swap.Stage == StageNone {
		m.do(Action{Kind: ActLook, For: LookConfirm})
	}
}

// lookedToJudge: the server has answered since the canary was found worse. If it is
// still the same one, it was the canary; if it is there and will not say, going back
// is the safe side. Without an answer the next tick judges again.
func (m *machine) lookedToJudge(e Looked) {
	if m.heard(e.Err) || m.s.Ramp.Suspect == "" || m.s.Swap.Stage.active() {
		return
	}
	if e.Err == nil {
		m.serverSeen(e.Server)
	}
	if m.s.Ramp.Suspect != "" {
		m.regressed()
	}
}

// restarted: the journal says what was intended, only the catalog knows what
// happened. Until it was read, everybody is on live names.
func (m *machine) restarted() {
	m.s.Recovering = false
	m.s.Pending, m.s.RetryIn = "", 0
	m.s.Refused, m.s.Ramp.Suspect, m.s.Ready.Age = nil, "", m.p.Ready.Within
	if st := m.s.Stop; st != nil && st.Cause == CauseUpstream && m.s.Unwell == "" {
		m.s.Unwell = st.Reason
	}
	m.s.Ready.Good, m.s.Ready.Bad = 0, 0
	if m.s.Phase.Final() {
		m.restartedFinal()
		return
	}
	m.s.After.Settle = m.p.Drain.Settle // whatever the phase: the drops may be near
	switch {
	case m.s.Phase == PhasePreflight:
		m.route()
		m.do(Action{Kind: ActPreflight})
		return
	case m.s.Phase == PhaseHydrating:
		m.route()
		return
	}
	m.s.Recovering = true
	m.s.After.Dropping = false
	m.s.note(m.at, controller, "restarted", "everybody on live names until the ids are read")
	unknown := m.s.Swap.Stage == StagePrepared || m.s.Swap.Stage == StageResolving
	if unknown {
		m.s.Swap.Stage = StageResolving
		m.lostAttempt()
		m.s.Seq++
	}
	m.route()
	if unknown {
		m.do(Action{Kind: ActResolve, Backend: m.s.Swap.Backend})
		return
	}
	m.do(Action{Kind: ActLook, For: LookRecover})
}

// restartedFinal finishes what comes after the end: marks and the record.
func (m *machine) restartedFinal() {
	m.route()
	m.close()
}

// recovered goes on where the journal stopped, if the names stand accordingly.
func (m *machine) recovered(e Looked) {
	if !m.s.Recovering {
		return
	}
	m.recoveredNow()
	m.serverSeen(e.Server)
	if m.s.Stop != nil && m.s.Stop.Live {
		m.s.Seq++
		return
	}
	if diff := m.s.diff(e.Refs); len(diff) > 0 {
		if m.s.Phase == PhaseSwappingBack || m.s.Phase == PhasePromoting {
			if after, _ := m.outcome(e.Refs); len(after) == 0 && m.s.Swap.Stage == StagePreparing {
				// No COMMIT of ours was in the journal, yet the names moved exactly as asked.
				m.settleRecord(EndDone, Resolved{})
				m.swapDone()
				return
			}
		}
		m.interference(diff)
		return
	}
	m.s.LastLook = m.at
	m.goOnAfterRestart()
}

// recoveredNow: the catalog was read. A process that has just begun counts nothing
// until it is told for which rollout, and whatever happens next, the judge must not
// be blind.
func (m *machine) recoveredNow() {
	if m.s.Recovering && (m.s.Phase == PhaseRamping || m.s.Phase == PhasePromoting) {
		m.restoreEvidence()
	}
	m.s.Recovering = false
}

func (m *machine) goOnAfterRestart() {
	m.s.Seq++
	m.s.note(m.at, controller, "recovered", "the names stand as recorded")
	switch m.s.Phase {
	case PhasePromoting, PhaseSwappingBack:
		if m.s.Names == NamesBack {
			m.do(Action{Kind: ActLook, For: LookConfirm})
			return
		}
		m.s.Swap.Stage, m.s.Swap.Backoff = StagePatience, 0
		if m.s.Swap.Wish != "" {
			m.applyWish()
		}
	case PhaseWindow, PhaseDraining, PhaseCleaning:
		if !m.s.Swap.Confirmed {
			m.do(Action{Kind: ActLook, For: LookConfirm})
		}
	}
	m.route()
}
