package deploy

import (
	"fmt"
	"slices"
)

func (m *machine) refuse(exit int, next, format string, args ...any) {
	m.do(Action{Kind: ActRefuse, Refusal: refusal(exit, next, format, args...)})
}

// verb does what a person asked, or says no and changes nothing.
func (m *machine) verb(e VerbAsked) {
	q, decided := e.Request, m.s.Seq
	switch allowed, does := lookupVerb(e.Verb, m.s.Phase); {
	case q.Rollout != "" && q.Rollout != m.s.Rollout:
		m.refuse(ExitUsage, "mzcanary rollout status", "rollout %s of %s is not the current one%s", q.Rollout, m.s.Deployment, isNow(m.s))
		return
	case !allowed:
		m.refuse(ExitUsage, "mzcanary rollout status", "%s cannot be done to %s: %s", e.Verb, m.s.Deployment, does)
		return
	case q.DropDeploy && !m.mayDropNew(e.Verb):
		return
	case m.s.Recovering && (e.Verb != VerbAbort || !m.stranded()):
		m.refuse(ExitConnect, "mzcanary rollout status", "%s is being recovered after a restart; everybody is on live names meanwhile", m.s.Deployment)
		return
	}
	switch e.Verb {
	case VerbPause:
		m.verbPause(q)
	case VerbResume:
		m.verbResume(q)
	case VerbApprove:
		m.verbApprove(q)
	case VerbPromote:
		m.verbPromote(q)
	case VerbRollback:
		m.verbBack(q, "hand", "", PhaseRolledBack)
	case VerbAbort:
		m.verbAbort(q)
	case VerbRetry:
		m.verbRetry(q)
	case VerbCleanup:
		m.verbCleanup(q)
	case VerbWeight:
		m.verbWeight(e)
	}
	if m.s.Seq != decided {
		m.standUnwell() // it shows again behind a stop that a person ended
	}
}

// stranded: a person is needed, and not even the names are known.
func (m *machine) stranded() bool {
	st := m.s.Stop
	return st != nil && st.Kind == PhaseBlocked && (m.s.Recovering || m.s.Swap.Stage == StageResolving)
}

// mayDropNew refuses what must not take the new version along: it is production
// after the swap, and without recorded ids nobody knows what would be dropped.
func (m *machine) mayDropNew(v Verb) bool {
	const next = "mzcanary rollout abort"
	switch st := m.s.Stop; {
	case v != VerbAbort:
		m.refuse(ExitUsage, next, "only abort can drop the new version, not %s", v)
	case m.s.Phase != PhasePreflight && m.s.Phase != PhaseHydrating && m.s.Phase != PhaseRamping && m.s.Phase != PhasePromoting:
		m.refuse(ExitUsage, "mzcanary rollout status", "the new version of %s can be dropped before the swap only, not in %s", m.s.Deployment, m.s.Phase)
	case st != nil && st.Cause == CauseInterference:
		m.refuse(ExitRace, st.Next, "nothing of %s is dropped while its names do not stand as recorded: %s", m.s.Deployment, st.Reason)
	case m.stranded():
		m.refuse(ExitHuman, st.Next, "nothing of %s is dropped while nobody knows how its names stand: %s", m.s.Deployment, st.Reason)
	case slices.ContainsFunc(m.s.Pairs, func(p PairState) bool { return p.DeployID == "" }):
		m.refuse(ExitRace, next, "the ids of %s were not recorded, so nothing is dropped", m.s.Deployment)
	default:
		return true
	}
	return false
}

func isNow(s State) string {
	if s.Rollout == "" {
		return "; there is none"
	}
	return "; that is " + s.Rollout
}

func (m *machine) verbPause(q Request) {
	switch st := m.s.Stop; {
	case m.s.Hand && m.s.Phase == PhaseRamping:
		m.refuse(ExitUsage, "mzcanary traffic set 0%", "the canary of %s was opened by hand; there is no plan to pause", m.s.Deployment)
	case st != nil && st.Cause == CauseHand:
		m.refuse(ExitUsage, "mzcanary rollout resume", "%s is paused already, by %s", m.s.Deployment, st.Owner)
	case st != nil && st.Kind == PhaseBlocked:
		m.refuse(ExitUsage, st.Next, "%s stands still already: %s", m.s.Deployment, st.Reason)
	case m.s.Swap.Stage.active() && m.s.Swap.Wish != "":
		m.refuse(ExitUsage, "mzcanary rollout status", "%s of %s was asked for already, by %s", m.s.Swap.Wish, m.s.Deployment, m.s.Swap.WishWho)
	case m.s.Swap.Stage.active():
		m.wish(VerbPause, q)
	default:
		m.s.Swap.Stage = m.idleStage()
		m.standByHand(q.Who, q.Reason)
	}
}

// wish remembers a verb while a transaction of ours is open. An attempt that has
// not sent its COMMIT gives up; one that has is settled first.
func (m *machine) wish(v Verb, q Request) {
	m.s.Swap.Wish, m.s.Swap.WishWho, m.s.Swap.WishDrop = v, q.Who, q.DropDeploy
	m.decide(q.Who, string(v)+" asked for", q.Reason)
	if m.s.Swap.Stage != StageResolving {
		m.do(Action{Kind: ActStopSwap})
	}
}

func (m *machine) verbResume(q Request) {
	st := m.s.Stop
	switch {
	case st == nil:
		m.refuse(ExitUsage, "", "%s is not paused", m.s.Deployment)
	case st.Kind == PhaseBlocked:
		m.refuse(st.Exit, st.Next, "%s is blocked, not paused: %s", m.s.Deployment, st.Reason)
	case m.s.Hand && m.s.Phase == PhaseRamping:
		m.refuse(ExitUsage, "mzcanary traffic set 0%", "the canary of %s was opened by hand; there is no plan to resume", m.s.Deployment)
	case st.Cause == CauseUpstream, st.Cause == CauseCleanup, st.Cause == CausePlanEnd:
		m.refuse(st.Exit, st.Next, "%s cannot be resumed: %s", m.s.Deployment, st.Reason)
	case st.Cause == CauseRegress && (!q.Force || q.Reason == ""):
		m.refuse(ExitRegress, st.Next, "%s; going on needs --force and a --reason", st.Reason)
	default:
		m.resume(q)
	}
}

func (m *machine) resume(q Request) {
	st := *m.s.Stop
	m.goOn(q.Who, q.Reason)
	switch st.Cause {
	case CauseRegress:
		m.s.Ramp.Accepted = true
		m.restep()
	case CauseInsufficient, CauseUndecided:
		m.s.Ramp.Observed, m.s.Ramp.Extended = 0, false
	case CauseApproval:
		m.s.Ramp.Asked = nil
	case CauseStragglers, CauseConflict:
		m.freshAttempts()
	case CauseHand:
		m.restep()
	}
}

// restep gives the plan its weight back after a hand had changed it; the step's
// clock starts over.
func (m *machine) restep() {
	if m.s.Phase != PhaseRamping || m.s.Ramp.TakenBack || m.s.Ramp.Step >= len(m.p.Steps) {
		return
	}
	if st := m.p.Steps[m.s.Ramp.Step]; !st.Promote && st.Weight != m.s.Weight && m.observed() {
		m.s.Weight, m.s.Ramp.Observed = st.Weight, 0
		m.route()
	}
}

func (m *machine) freshAttempts() {
	sw := &m.s.Swap
	sw.Stage, sw.Attempts, sw.Conflicts, sw.Waited, sw.Backoff = StagePatience, 0, 0, 0, 0
}

func (m *machine) verbApprove(q Request) {
	st := m.s.Stop
	waits := m.s.Ramp.Asked != nil || st != nil && (st.Cause == CauseInsufficient || st.Cause == CauseUndecided)
	if !waits {
		m.refuse(ExitUsage, "mzcanary rollout status", "nothing in %s waits for an approval", m.s.Deployment)
		return
	}
	if st != nil && st.Cause != CauseApproval && st.Cause != CauseInsufficient && st.Cause != CauseUndecided {
		m.refuse(st.Exit, st.Next, "%s stands still for another reason: %s", m.s.Deployment, st.Reason)
		return
	}
	m.s.Stop, m.s.Ramp.Asked, m.s.Ramp.Approved = nil, nil, true
	m.decide(q.Who, "approved", q.Reason)
}

func (m *machine) verbPromote(q Request) {
	st := m.s.Stop
	switch {
	case st != nil && st.Kind == PhaseBlocked:
		m.refuse(st.Exit, st.Next, "%s is blocked: %s", m.s.Deployment, st.Reason)
	case !m.s.Down.IsZero() || m.s.Unwell != "":
		m.refuse(ExitConnect, "mzcanary rollout status", "the server of %s is not well; nothing is swapped now", m.s.Deployment)
	case m.s.Phase == PhasePromoting && m.s.Swap.Stage.active():
		m.refuse(ExitUsage, "mzcanary rollout status", "the swap of %s is being tried right now", m.s.Deployment)
	case m.s.Phase == PhasePromoting:
		m.s.Stop = nil
		m.freshAttempts()
		m.s.Swap.Impatient = true
		m.decide(q.Who, "promote now", q.Reason)
	case !m.observed() || m.s.Ramp.TakenBack:
		m.refuse(ExitNotReady, "mzcanary rollout status", "the new version of %s is not ready", m.s.Deployment)
	case m.judgedSafe() || q.Force && q.Reason != "":
		m.s.Stop = nil
		m.s.Ramp.Safe = m.s.Weight
		m.enterPromoting(q.Who, forced(q))
	default:
		exit, why := m.whyNotSafe()
		m.refuse(exit, "mzcanary rollout promote --force --reason …", "%s has no safe verdict: %s", m.s.Deployment, why)
	}
}

func forced(q Request) string {
	if q.Force {
		return "promoted without proof (forced): " + q.Reason
	}
	return q.Reason
}

func (m *machine) judgedSafe() bool {
	return m.s.Judgement != nil && m.s.Judgement.Verdict == Safe && !m.s.Ramp.Regress
}

func (m *machine) whyNotSafe() (int, string) {
	switch {
	case m.s.Ramp.Regress:
		return ExitRegress, "the judge said regress"
	case m.s.Judgement == nil:
		return ExitHuman, "nothing was judged yet"
	}
	return ExitHuman, string(m.s.Judgement.Verdict) + ": " + m.s.Judgement.Sentence
}

// verbBack is rollback, and abort before the swap.
func (m *machine) verbBack(q Request, cause, prefix string, final Phase) {
	why := prefix + reason(q)
	if st := m.s.Stop; st != nil && st.Cause == CauseInterference {
		// Nobody can say that production is the old version; what is done is to take
		// everybody off the canary and to leave the names alone.
		final, why = PhaseAborted, why+"; "+st.Reason
	}
	switch m.s.Phase {
	case PhasePreflight, PhaseHydrating:
		m.s.note(m.at, q.Who, cause, why)
		m.s.DropNew = q.DropDeploy
		m.endBack(final, ExitRolledBack, "ended before anybody was on the new version: "+why)
	case PhaseRamping:
		m.s.DropNew = q.DropDeploy
		m.rollBack(cause, q.Who, why, ExitRolledBack, final)
	case PhasePromoting:
		m.backWhilePromoting(q, cause, why, final)
	case PhaseWindow, PhaseDraining:
		if st := m.s.Stop; st != nil && st.Cause == CauseInterference {
			m.refuse(ExitRace, st.Next, "%s cannot be swapped back: %s", m.s.Deployment, st.Reason)
			return
		}
		m.enterSwappingBack(q.Who, why)
	}
}

func (m *machine) backWhilePromoting(q Request, cause, why string, final Phase) {
	if !m.s.Swap.Stage.active() {
		m.s.DropNew = q.DropDeploy
		m.rollBack(cause, q.Who, why, ExitRolledBack, final)
		return
	}
	if m.s.Swap.Wish == VerbRollback || m.s.Swap.Wish == VerbAbort {
		m.refuse(ExitUsage, "mzcanary rollout status", "%s of %s was asked for already, by %s", m.s.Swap.Wish, m.s.Deployment, m.s.Swap.WishWho)
		return
	}
	verb := VerbRollback
	if final == PhaseAborted {
		verb = VerbAbort
	}
	m.wish(verb, q)
}

func reason(q Request) string {
	if q.Reason == "" {
		return "asked for by " + q.Who
	}
	return q.Reason + " (" + q.Who + ")"
}

func (m *machine) verbAbort(q Request) {
	switch m.s.Phase {
	case PhasePreflight, PhaseHydrating, PhaseRamping, PhasePromoting:
		if m.stranded() {
			break
		}
		m.verbBack(q, "abort", "aborted: ", PhaseAborted)
		return
	case PhaseIdle:
		m.abortStray(q)
		return
	}
	switch st := m.s.Stop; {
	case st == nil || st.Kind != PhaseBlocked:
		m.refuse(ExitUsage, "mzcanary rollout rollback, or cleanup", "%s was swapped already; abort is only for a rollout that is blocked", m.s.Deployment)
	case !q.Force || q.Reason == "":
		m.refuse(ExitHuman, "mzcanary rollout abort --force --reason …", "aborting %s now leaves all names as they are; that needs --force and a --reason", m.s.Deployment)
	default:
		m.s.note(m.at, q.Who, "abort", q.Reason)
		m.finish(PhaseAborted, ExitHuman, "given up by "+q.Who+"; all names were left as they are: "+q.Reason)
	}
}

// abortStray removes marks that no journal explains.
func (m *machine) abortStray(q Request) {
	switch {
	case len(m.s.Stray) == 0:
		m.refuse(ExitUsage, "", "no rollout of %s is running", m.s.Deployment)
	case !q.Force || q.Reason == "":
		m.refuse(ExitHuman, m.s.Stop.Next, "removing the marks of rollout %s needs --force and a --reason", m.s.Stray[0].Rollout)
	default:
		refs := make([]Ref, len(m.s.Stray))
		for i, mark := range m.s.Stray {
			refs[i] = mark.Ref
		}
		m.s.Stop = nil
		m.decide(q.Who, "removes marks without a journal", q.Reason)
		m.do(Action{Kind: ActUnmark, Refs: refs})
	}
}

func (m *machine) verbRetry(q Request) {
	st := m.s.Stop
	switch {
	case st == nil:
		m.refuse(ExitUsage, "", "%s does not stand still; there is nothing to retry", m.s.Deployment)
	case st.Kind == PhaseBlocked && st.Cause == CauseJournal:
		m.refuse(ExitHuman, st.Next, "%s", st.Reason)
	case st.Kind == PhaseBlocked && m.s.Swap.Stage == StageResolving:
		m.decide(q.Who, "retry", q.Reason)
		m.retry(ActResolve, 0)
		m.again()
	case st.Kind == PhaseBlocked:
		m.decide(q.Who, "retry", q.Reason)
		m.do(Action{Kind: ActLook, For: LookRetry})
	case st.Cause == CauseStragglers, st.Cause == CauseConflict:
		m.goOn(q.Who, q.Reason)
		m.freshAttempts()
	default:
		m.refuse(ExitUsage, st.Next, "%s is paused: %s", m.s.Deployment, st.Reason)
	}
}

func (m *machine) verbCleanup(q Request) {
	st := m.s.Stop
	if st != nil && st.Cause != CauseHand && st.Cause != CauseCleanup {
		m.refuse(st.Exit, st.Next, "%s stands still: %s", m.s.Deployment, st.Reason)
		return
	}
	if m.s.Phase != PhaseWindow && st == nil && m.s.After.Cleanup {
		m.refuse(ExitUsage, "mzcanary rollout status", "cleanup of %s is on its way already", m.s.Deployment)
		return
	}
	m.s.After.Cleanup = true
	m.s.Stop = nil
	if m.s.Phase == PhaseWindow {
		m.drain(q.Who, "cleanup asked for"+because(q.Reason))
		return
	}
	m.decide(q.Who, "cleanup confirmed", q.Reason)
}

// verbWeight is `traffic set` during a ramp: the plan pauses.
func (m *machine) verbWeight(e VerbAsked) {
	q, raise := e.Request, e.Weight > m.s.Weight
	switch st := m.s.Stop; {
	case st != nil && st.Kind == PhaseBlocked:
		m.refuse(st.Exit, st.Next, "%s is blocked: %s", m.s.Deployment, st.Reason)
	case raise && !m.s.Down.IsZero():
		m.refuse(ExitConnect, "mzcanary check", "the server of %s cannot be asked; the weight is not raised now", m.s.Deployment)
	case raise && m.s.Unwell != "":
		m.refuse(ExitConnect, "mzcanary rollout status", "the server of %s is not well; the weight is not raised now", m.s.Deployment)
	case raise && !q.Force && (m.s.Ramp.TakenBack || !m.s.Hand && !m.observed()):
		m.refuse(ExitNotReady, "mzcanary rollout status", "the new version of %s is not ready; the weight is not raised now", m.s.Deployment)
	case m.s.Hand && e.Weight == 0:
		m.rollBack("hand", q.Who, reason(q), ExitRolledBack, PhaseRolledBack)
	default:
		m.setByHand(q, e)
	}
}

// setByHand sets the weight. A canary without a plan just has another weight then;
// a stop that was about the former weight is answered by it.
func (m *machine) setByHand(q Request, e VerbAsked) {
	was := m.s.Weight
	m.s.Weight, m.s.Ramp.TakenBack, m.s.Ramp.Taken = e.Weight, false, 0
	if m.s.Hand {
		m.s.Ramp.Accepted = m.s.Ramp.Accepted || q.Force
		if st := m.s.Stop; st != nil && st.Cause != CauseUpstream {
			m.s.Stop = nil
		}
		m.decide(q.Who, "weight set by hand", fmt.Sprintf("from %s to %s%s", was, e.Weight, because(q.Reason)))
		m.route()
		return
	}
	m.stop(Stop{Kind: PhasePaused, Cause: CauseHand, Owner: q.Who, Exit: ExitHuman, Next: "mzcanary rollout resume",
		Reason: fmt.Sprintf("%s set the weight from %s to %s%s", q.Who, was, e.Weight, because(q.Reason))})
	m.route()
}
