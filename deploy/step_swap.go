package deploy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"mzcanary/router"
)

func (m *machine) enterPromoting(who, why string) {
	m.freshSwap()
	m.s.Ramp.Asked = nil
	m.enter(PhasePromoting, who, why)
}

// enterSwappingBack is rollback after the swap: the promote machinery with the
// names reversed.
func (m *machine) enterSwappingBack(who, why string) {
	m.s.Stop = nil
	m.s.Back = BackState{Cause: "hand", Why: why, Exit: ExitRolledBack, Final: PhaseRolledBack, Sentence: "swapped back: " + why}
	m.freshSwap()
	m.enter(PhaseSwappingBack, who, why)
}

func (m *machine) back() bool { return m.s.Phase == PhaseSwappingBack }

// tickSwap is patience and backoff: the parts of a promotion in which nobody waits.
func (m *machine) tickSwap(e Ticked) {
	sw := &m.s.Swap
	if !m.back() && !sw.Stage.active() && m.judged(e) {
		return
	}
	if !m.s.healthy() {
		return
	}
	switch sw.Stage {
	case StageBackoff:
		if sw.Backoff -= e.Elapsed; sw.Backoff <= 0 {
			sw.Stage, sw.Backoff = StagePatience, 0
		}
	case StagePatience:
		m.patience(e)
	}
}

// patience does not even try while somebody would be in the way: a failed
// attempt stalls everybody for nothing.
func (m *machine) patience(e Ticked) {
	sw := &m.s.Swap
	if !m.back() && !m.observed() {
		return
	}
	sw.Waited += e.Elapsed
	sw.Stragglers = e.Stuck
	if e.Blind == nil && (len(e.Stuck) == 0 || sw.Impatient) {
		sw.Stage = StageLooking
		m.s.Seq++
		m.do(Action{Kind: ActLook, For: LookAttempt})
		return
	}
	switch {
	case sw.Waited < m.p.Promote.Patience:
	case e.Blind != nil:
		m.standOnStragglers(fmt.Sprintf("for %s it could not be seen who is in the way: %v", m.p.Promote.Patience, e.Blind))
	default:
		m.standOnStragglers(fmt.Sprintf("for %s there was no moment without a long transaction or exchange: %s", m.p.Promote.Patience, names(e.Stuck)))
	}
}

func (m *machine) standOnStragglers(why string) {
	m.s.Swap.Stage = StagePatience
	m.stop(Stop{Kind: PhasePaused, Cause: CauseStragglers, Exit: ExitHuman, Reason: why,
		Next: "mzcanary sessions --why; then " + m.retryOrBack()})
}

// attempt journals everything the swap needs and only then starts it.
func (m *machine) attempt(e Looked) {
	m.s.Swap.Foreign = e.Foreign
	if m.back() {
		m.rejectedNames(e.Refs)
	}
	order, err := m.order()
	if err != nil {
		m.block(CauseError, "the statements of the swap cannot be written: "+err.Error())
		return
	}
	m.s.Swap.Tries++
	m.s.Swap.Serial++
	m.s.Swap.Stage, m.s.Swap.Statements, m.s.Swap.Backend = StagePreparing, order.Statements, Backend{}
	m.s.Epoch++
	m.decide(controller, fmt.Sprintf("attempt %d", m.s.Swap.Tries), "the swap is being prepared")
	m.do(Action{Kind: ActSwap, Swap: &order})
}

// rejectedNames chooses where the new version goes: its deploy name if that is
// free, else a name nobody else has.
func (m *machine) rejectedNames(refs []Ref) {
	for i := range m.s.Pairs {
		p := &m.s.Pairs[i]
		p.Rejected = p.Deploy
		if p.Retired != p.Deploy && idOf(refs, p.Kind, p.Deploy) != "" {
			p.Rejected = RejectedName(p.Deploy, m.s.Rollout)
		}
	}
}

func (m *machine) order() (SwapOrder, error) {
	d := dialect{kind: m.s.Server.Kind, database: m.s.Database}
	now := m.s.routing()
	o := SwapOrder{Deployment: m.s.Deployment, Database: m.s.Database, Back: m.back(), Plan: m.p.Promote,
		Before: now, Commit: now, After: Routing{Salt: m.s.Salt, Swaps: m.s.Swaps + 1, Canary: router.CanaryClosed},
		Terminate: m.p.Promote.Stragglers == ThenTerminate && m.s.Swap.Attempts+1 >= m.p.Promote.Attempts}
	o.Impatient = m.s.Swap.Impatient
	o.Commit.Canary = router.CanaryLive
	write := d.promote
	if o.Back {
		write = d.swapBack
	}
	var err error
	o.Statements, err = write(m.s.Pairs, m.p.Promote.Method, m.s.Rollout)
	o.Expect, o.Absent = expected(m.s.Pairs, m.s.Names)
	for _, p := range m.s.Pairs { // the middle of a chain of renames must be free
		o.Absent = append(o.Absent, p.ref(temporary(p, m.s.Rollout), ""))
	}
	return o, err
}

// swapPrepared: once this is in the journal the COMMIT may be sent.
func (m *machine) swapPrepared(e SwapPrepared) {
	if m.s.Swap.Stage != StagePreparing || m.s.Swap.Wish != "" {
		return
	}
	m.s.Swap.Stage, m.s.Swap.Backend = StagePrepared, e.Backend
	m.keep(AttemptRecord{Outcome: string(EndUnderWay)})
	m.s.Seq++
}

func (m *machine) swapEnded(e SwapEnded) {
	if !m.s.Swap.Stage.active() {
		return
	}
	m.s.Epoch++
	m.remember(e)
	switch {
	case e.End == EndDone:
		m.swapDone()
	case e.End == EndUnknown:
		m.s.Swap.Stage = StageResolving
		m.decide(controller, "the outcome of the COMMIT is unknown", "the lost session's end, a barrier and the ids decide")
		m.route()
		m.do(Action{Kind: ActResolve, Backend: m.s.Swap.Backend})
	default:
		m.notDone(e.End, e.Err, e.Diff)
	}
}

// notDone: it is proven that no name has changed.
func (m *machine) notDone(end Ended, err error, diff []Change) {
	sw := &m.s.Swap
	sw.Stage, sw.Impatient = StagePatience, false
	m.decide(controller, "not done: "+string(end), text(err))
	m.route()
	if sw.Wish != "" {
		m.applyWish()
		return
	}
	switch end {
	case EndChanged:
		m.interference(diff)
	case EndFailed:
		m.block(CauseError, "the server refused the swap: "+text(err))
	case EndReadOnly:
		m.readOnly()
	case EndUnavailable:
		m.heard(errors.Join(ErrUnavailable, err))
	case EndConflict:
		sw.Conflicts++
		m.backoff(CauseConflict, fmt.Sprintf("%d times somebody else changed the catalog during the swap", sw.Conflicts), sw.Conflicts >= conflictLimit(m.p))
	case EndNotGathered:
		why := text(err)
		if why == "" {
			why = "sessions did not reach a boundary within " + m.p.Promote.Gather.String() + ": " + names(sw.Stragglers)
		}
		m.backoff(CauseStragglers, why, false)
	}
}

// conflictLimit: a conflict found while preparing stalled nobody, so there may be
// many more of them than attempts.
func conflictLimit(p Plan) int { return 10 * p.Promote.Attempts }

func (m *machine) backoff(cause Cause, why string, giveUp bool) {
	sw := &m.s.Swap
	if giveUp || sw.Attempts >= m.p.Promote.Attempts {
		m.stop(Stop{Kind: PhasePaused, Cause: cause, Exit: ExitHuman,
			Reason: fmt.Sprintf("%d attempts that held sessions, %d conflicts: %s", sw.Attempts, sw.Conflicts, why),
			Next:   m.retryOrBack()})
		return
	}
	sw.Stage, sw.Backoff = StageBackoff, jitter(m.s.Salt, sw.Tries)
}

// jitter spreads retries so that two who collided do not collide again. It comes
// from the rollout's salt, so that Step stays a function.
func jitter(salt uint64, n int) time.Duration {
	base := 200 * time.Millisecond << min(max(n-1, 0), 5)
	share := float64(router.Hash(salt, strconv.Itoa(n))>>11) / (1 << 53)
	return base/2 + time.Duration(share*float64(base))
}

// swapDone: proven. Ids stay with their contents, names have moved.
func (m *machine) swapDone() {
	sw := &m.s.Swap
	rec := *m.attemptRecord()
	wish, who := sw.Wish, sw.WishWho
	sw.Stage, sw.Wish, sw.WishDrop, sw.Record, sw.Stragglers, sw.Confirmed = StageNone, "", false, &rec, nil, false
	m.s.Swaps++
	m.s.Weight = 0
	if m.back() {
		m.s.Names = NamesBack
		m.decide(controller, "swapped back", "the old version is production again")
		m.route()
		m.do(Action{Kind: ActLook, For: LookConfirm})
		return
	}
	m.s.Names = NamesAfter
	m.s.After = AfterState{Swapped: m.at, Settle: m.s.After.Settle}
	m.enter(PhaseWindow, controller, fmt.Sprintf("swapped; the longest stall was %s", rec.Stall.Max.Round(time.Millisecond)))
	m.route()
	if wish == VerbRollback || wish == VerbAbort {
		m.enterSwappingBack(who, "asked for while the COMMIT was out")
		return
	}
	if wish == VerbPause {
		m.standByHand(who, "asked for while the COMMIT was out")
	}
	m.do(Action{Kind: ActLook, For: LookConfirm})
}

// applyWish does what was asked for while an attempt could not be interrupted.
func (m *machine) applyWish() {
	wish, who, drop := m.s.Swap.Wish, m.s.Swap.WishWho, m.s.Swap.WishDrop
	m.s.Swap.Wish, m.s.Swap.WishWho, m.s.Swap.WishDrop = "", "", false
	switch {
	case wish == VerbPause:
		m.standByHand(who, "asked for while the swap was being tried")
	case wish == VerbRollback && !m.back():
		m.rollBack("hand", who, "asked for while the swap was being tried", ExitRolledBack, PhaseRolledBack)
	case wish == VerbAbort && !m.back():
		m.s.DropNew = drop
		m.rollBack("abort", who, "aborted while the swap was being tried", ExitRolledBack, PhaseAborted)
	}
}

// resolved: the lost session has ended, a barrier was committed, and the ids say
// what happened.
func (m *machine) resolved(e Resolved) {
	if m.s.Swap.Stage != StageResolving {
		return
	}
	if errors.Is(e.Err, ErrChanged) {
		// The live name is gone: neither outcome leaves it like that.
		p := m.s.Pairs[0]
		m.heard(nil)
		m.refused(asksResolve, nil)
		m.recoveredNow()
		m.s.Swap.Stage = StagePatience
		m.interference([]Change{{Kind: p.Kind, Name: p.Live, Was: p.LiveID}})
		return
	}
	if m.heard(e.Err) || m.refused(asksResolve, e.Err) {
		if n := len(m.s.Log); n == 0 || m.s.Log[n-1].Why != e.Err.Error() { // it may say so for hours
			m.s.note(m.at, controller, "not resolved yet", e.Err.Error())
		}
		m.retry(ActResolve, retryPause)
		return
	}
	m.s.Epoch++
	after, before := m.outcome(e.Refs)
	if len(after) > 0 {
		m.recoveredNow()
	}
	m.s.Recovering = false
	switch {
	case len(after) == 0:
		m.settleRecord(EndDone, e)
		m.swapDone()
	case len(before) == 0:
		m.settleRecord(EndNotDone, e)
		m.resolvedNotDone()
	default:
		m.s.Swap.Stage = StagePatience
		m.interference(before)
	}
}

// outcome compares a reading with how the names stand when the swap happened and
// when it did not; an empty list is a match.
func (m *machine) outcome(refs []Ref) (after, before []Change) {
	to := NamesAfter
	if m.back() {
		to = NamesBack
	}
	present, absent := expected(m.s.Pairs, to)
	after = differ(present, absent, refs)
	present, absent = expected(m.s.Pairs, m.s.Names)
	return after, differ(present, absent, refs)
}

func (m *machine) resolvedNotDone() {
	m.s.Swap.Stage = StagePatience
	m.decide(controller, "resolved: not done", "every name stands as before the attempt")
	m.route()
	if m.s.Swap.Wish != "" {
		m.applyWish()
		return
	}
	m.backoff(CauseStragglers, "the outcome of the last COMMIT was unknown", false)
}

// block needs a person; traffic stays where it is.
func (m *machine) block(cause Cause, why string) {
	m.s.Swap.Impatient = false
	m.stop(Stop{Kind: PhaseBlocked, Cause: cause, Reason: why, Exit: ExitHuman, Next: m.retryOrBack()})
}

// retryOrBack advises only what the phase allows.
func (m *machine) retryOrBack() string {
	switch allowed, _ := rollbackIn(m.s.Phase); {
	case m.s.Recovering || m.s.Swap.Stage == StageResolving:
		return "mzcanary rollout abort --force --reason …, which leaves all names as they are"
	case allowed:
		return "mzcanary rollout retry, or rollback"
	}
	return "mzcanary rollout retry"
}

func (m *machine) standByHand(who, why string) {
	m.stop(Stop{Kind: PhasePaused, Cause: CauseHand, Owner: who, Reason: "paused by " + who + because(why), Exit: ExitHuman, Next: "mzcanary rollout resume"})
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// names says who is in the way, for sentences.
func names(in []SessionInfo) string {
	if len(in) == 0 {
		return "nobody named"
	}
	parts := make([]string, len(in))
	for i, s := range in {
		parts[i] = fmt.Sprintf("%s (%s, %s, %s)", s.ID, s.User, s.Why, s.Age.Round(time.Second))
	}
	return sentence(parts, 5)
}
