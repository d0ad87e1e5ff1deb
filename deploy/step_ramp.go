package deploy

import (
	"fmt"
	"time"
)

// enterStep begins a step of the plan, or what comes after the last one.
func (m *machine) enterStep(i int) {
	safe, regress, accepted := m.s.Ramp.Safe, m.s.Ramp.Regress, m.s.Ramp.Accepted
	m.s.Ramp = RampState{Step: i, Entered: m.at, Safe: safe, Regress: regress, Accepted: accepted}
	if i >= len(m.p.Steps) {
		m.s.Ramp.Step = len(m.p.Steps) - 1
		m.stop(Stop{Kind: PhasePaused, Cause: CausePlanEnd, Exit: ExitHuman,
			Reason: "the plan is at its end and has no promote step", Next: "mzcanary rollout promote"})
		return
	}
	st := m.p.Steps[i]
	if st.Promote {
		m.enterPromoting(controller, "the plan promotes")
		return
	}
	m.s.Weight = st.Weight
	m.decide(controller, fmt.Sprintf("step %d of %d", i+1, len(m.p.Steps)), st.String())
	m.route()
}

func (m *machine) tickRamping(e Ticked) {
	if m.judged(e) || m.s.Stop != nil {
		return
	}
	if m.s.Ramp.TakenBack {
		if m.s.Ready.Waited += e.Elapsed; m.s.Ready.Waited >= m.p.Ready.Within {
			m.rollBack("unready", controller, "readiness did not come back within "+m.p.Ready.Within.String(), ExitRolledBack, PhaseRolledBack)
		}
		return
	}
	if !m.observed() || m.s.Hand {
		return
	}
	m.s.Ramp.Observed += e.Elapsed
	if m.s.Ramp.Asked != nil {
		m.tickAsked(e)
		return
	}
	if m.stepPassed(e) {
		m.afterStep()
	}
}

// observed: this moment counts as healthy, observed time. A sample that is long due
// does not become better by being waited for.
func (m *machine) observed() bool {
	r := m.p.Ready
	return m.s.sure() && m.s.Ready.Last != nil && m.s.Ready.Last.Ready && m.s.Ready.Age <= 2*r.Poll+r.Probe
}

// judged takes the judgement of the moment; true means that nothing else is to be
// done now. While the server itself is in doubt nothing is read into it, and it is
// in doubt until a look that began after the evidence shows that it has not
// restarted. The look is asked for again until it has an answer.
func (m *machine) judged(e Ticked) bool {
	m.s.Judgement, m.s.Ramp.Suspect = e.Judgement, ""
	if e.Judgement == nil || e.Judgement.Verdict != Regress || m.s.Ramp.Regress || !m.s.Down.IsZero() || m.s.Unwell != "" {
		return false
	}
	m.s.Ramp.Suspect = e.Judgement.Sentence
	m.do(Action{Kind: ActLook, For: LookJudge})
	return true
}

// regressed latches a regress: more evidence does not unsay it.
func (m *machine) regressed() {
	why := m.s.Ramp.Suspect
	m.s.Ramp.Regress, m.s.Ramp.Suspect = true, ""
	switch m.p.OnRegress {
	case PolicyPause, PolicyStepBack:
		m.standOnRegress(why)
	default:
		m.rollBack("regress", controller, why, ExitRegress, PhaseRolledBack)
	}
}

func (m *machine) standOnRegress(why string) {
	if m.p.OnRegress == PolicyStepBack {
		m.s.Weight = min(m.s.Ramp.Safe, m.s.Weight)
		if m.s.Phase == PhaseRamping && m.s.Weight == m.p.Steps[m.s.Ramp.Step].Weight {
			m.s.Weight = 0
		}
	}
	m.backToRamp()
	next := "mzcanary rollout rollback, or mzcanary rollout resume --force --reason …"
	if m.s.Hand {
		next = "mzcanary traffic set, 0% to close the canary"
	}
	m.stop(Stop{Kind: PhasePaused, Cause: CauseRegress, Exit: ExitRegress, Reason: "the judge said regress: " + why, Next: next})
	m.route()
}

// backToRamp leaves a promotion that is not in a transaction.
func (m *machine) backToRamp() {
	if m.s.Phase == PhasePromoting {
		m.s.Phase, m.s.Entered, m.s.Swap.Stage = PhaseRamping, m.at, StageNone
	}
}

// stepPassed decides whether the step has what it waits for.
func (m *machine) stepPassed(e Ticked) bool {
	st, r := m.p.Steps[m.s.Ramp.Step], &m.s.Ramp
	switch {
	case r.Approved:
		return true
	case st.Promote: // readiness had been lost at the swap's door and is back
		return true
	case st.Until == "safe":
		return m.untilSafe(e, st)
	case r.Observed < m.bake(st):
		return false
	case st.Bake == 0 || m.s.Weight == 0:
		return true
	case r.Regress && !r.Accepted:
		return false
	case e.Judgement != nil && e.Judgement.Near(m.p.judge()) != nil && !r.Accepted:
		return false // a weight does not rise while the evidence against it does
	case !e.Minimum:
		m.insufficient(fmt.Sprintf("the bake of %s is over, but the minimum of %d units and %d exchanges per arm was not met",
			st.Bake, m.p.Minimum.Units, m.p.Minimum.Exchanges))
		return false
	}
	return true
}

// bake is how long a timed step takes, an extension included.
func (m *machine) bake(st PlanStep) time.Duration {
	if m.s.Ramp.Extended {
		return 2 * st.Bake
	}
	return st.Bake
}

func (m *machine) untilSafe(e Ticked, st PlanStep) bool {
	if e.Judgement != nil && e.Judgement.Verdict == Safe {
		return true
	}
	within := st.Within
	if m.s.Ramp.Extended {
		within *= 2
	}
	if within == 0 || m.s.Ramp.Observed < within {
		return false
	}
	if e.Judgement == nil || e.Judgement.Verdict == Insufficient {
		m.insufficient("no verdict can be reached within " + st.Within.String() + " with the units there are")
		return false
	}
	m.undecided("no verdict within " + st.Within.String() + ": " + e.Judgement.Sentence)
	return false
}

// insufficient extends once and then follows the policy. It is never "safe".
func (m *machine) insufficient(why string) {
	if !m.s.Ramp.Extended {
		m.s.Ramp.Extended = true
		m.decide(controller, "step extended once", why)
		return
	}
	m.byPolicy(m.p.OnInsufficient, CauseInsufficient, why)
}

func (m *machine) undecided(why string) { m.byPolicy(m.p.OnUndecided, CauseUndecided, why) }

func (m *machine) byPolicy(policy Policy, cause Cause, why string) {
	switch policy {
	case PolicyAsk:
		m.stop(Stop{Kind: PhasePaused, Cause: cause, Reason: why, Exit: ExitHuman,
			Next: "mzcanary rollout approve goes on, resume waits once more, rollback goes back"})
	case PolicyRollback:
		m.rollBack(string(cause), controller, why, ExitRolledBack, PhaseRolledBack)
	}
}

// afterStep asks a person where the step says so, and goes on otherwise.
func (m *machine) afterStep() {
	st := m.p.Steps[m.s.Ramp.Step]
	if st.Approve != nil && !m.s.Ramp.Approved {
		m.ask(st)
		return
	}
	m.s.Ramp.Safe = m.s.Weight
	if st.Promote {
		m.enterStep(m.s.Ramp.Step)
		return
	}
	m.enterStep(m.s.Ramp.Step + 1)
}

func (m *machine) ask(st PlanStep) {
	m.s.Ramp.Asked = &Asked{Question: fmt.Sprintf("may the plan go on after weight %s?", st.Weight), Owner: "operator",
		Left: st.Approve.Within, Since: m.at, Deadline: m.at.Add(st.Approve.Within), Next: "mzcanary rollout approve"}
	m.decide(controller, "asks for approval", m.s.Ramp.Asked.Question)
}

// tickAsked counts observed time; the deadline is when it would be over by now.
func (m *machine) tickAsked(e Ticked) {
	asked := m.s.Ramp.Asked
	asked.Left -= e.Elapsed
	if asked.Deadline = m.at.Add(asked.Left); asked.Left > 0 {
		return
	}
	m.stop(Stop{Kind: PhasePaused, Cause: CauseApproval, Owner: asked.Owner, Exit: ExitHuman,
		Reason: "nobody approved until " + asked.Deadline.UTC().Format(time.RFC3339), Next: "mzcanary rollout approve, or rollback"})
}

// lostReadiness takes the weight back by policy. While the server is in doubt it
// is the server's loss, not the canary's.
func (m *machine) lostReadiness(sample Readiness) {
	if m.s.Hand && m.s.Ramp.Accepted || m.s.Ramp.TakenBack || m.s.Swap.Stage.active() || m.s.Unwell != "" {
		return
	}
	switch m.p.OnUnready {
	case PolicyWait:
		return
	case PolicyRollback:
		m.rollBack("unready", controller, "the new version lost its readiness: "+sample.Why, ExitRolledBack, PhaseRolledBack)
		return
	}
	m.backToRamp()
	m.s.Ramp.TakenBack, m.s.Ramp.Taken, m.s.Weight, m.s.Ready.Waited = true, m.s.Weight, 0, 0
	m.decide(controller, "weight taken back", sample.Why)
	m.route()
}

// readyAgain gives the weight back; the step starts over.
func (m *machine) readyAgain() {
	m.s.Ramp.TakenBack, m.s.Weight, m.s.Ramp.Taken = false, m.s.Ramp.Taken, 0
	m.s.Ramp.Observed, m.s.Ready.Waited = 0, 0
	m.decide(controller, "weight "+m.s.Weight.String()+" again", "the new version is ready again; the step starts over")
	m.route()
}

// rollBack is the way back before the swap: weight 0 and no DDL.
func (m *machine) rollBack(cause, who, why string, exit int, final Phase) {
	m.s.Stop, m.s.Ramp.Asked = nil, nil
	m.s.Swap.Stage, m.s.Swap.Wish = StageNone, ""
	m.s.Back = BackState{Cause: cause, Why: why, Exit: exit, Final: final, Left: -1,
		Sentence: fmt.Sprintf("rolled back without DDL (%s): %s", cause, why)}
	m.s.Weight = 0
	m.enter(PhaseRollingBack, who, why)
	m.route()
}

// lastCall is how long after the last measure a rollback still waits for
// sessions that cannot be moved; they go by themselves at their next boundary.
const lastCall = 10 * time.Second

func (m *machine) tickRollingBack(e Ticked) {
	b := &m.s.Back
	b.Left = e.Left
	b.Waited += e.Elapsed
	on := m.p.OnRollback
	switch {
	case e.Left == 0:
		m.endBack(b.Final, b.Exit, b.Sentence)
	case on.CancelAfter > 0 && b.Waited >= on.CancelAfter && !b.Cancelled:
		b.Cancelled = true
		m.decide(controller, "cancels statements hanging on the canary", fmt.Sprintf("%d sessions have not come back after %s", e.Left, on.CancelAfter))
		m.do(Action{Kind: ActCancel})
	case on.EndStreamsAfter > 0 && b.Waited >= on.EndStreamsAfter && !b.Ended:
		b.Ended = true
		m.decide(controller, "ends streams on the canary", fmt.Sprintf("%d sessions have not come back after %s", e.Left, on.EndStreamsAfter))
		m.do(Action{Kind: ActEndStreams, Sentence: "mzcanary: this stream read a version that was rolled back; run it again to read production"})
	case b.Waited >= max(on.CancelAfter, on.EndStreamsAfter)+lastCall:
		m.endBack(b.Final, b.Exit, fmt.Sprintf("%s; %d sessions go back at their next boundary", b.Sentence, e.Left))
	}
}

// judge is the judge's configuration with the plan's minimum in it.
func (p Plan) judge() JudgeConfig {
	cfg := p.Judge
	cfg.Minimum = p.Minimum
	return cfg
}
