package proxy

import (
	"fmt"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// purpose is why a unit is injected.
//
//	         answers as wanted
//	toMove ───────────────────▶ have = want
//	   │   NOTICE MZ007: a missing cluster was set; the server reports other values
//	   └──────────────────────▶ toSetBack ───▶ have as before, the move has failed
//	                               │ refused, or reports other values again
//	toAsk  SHOW ◀──────────────────┘
//	   └──────────────────────▶ have = what the server says; then toMove if that is not want
type purpose uint8

const (
	toMove purpose = iota
	toSetBack
	toAsk
)

// running is a unit whose answers are being swallowed.
type running struct {
	why    purpose
	set    *wire.UnitReader // toMove, toSetBack
	ask    *askReader       // toAsk
	want   router.Settings
	back   router.Settings // what to set again when want proves wrong
	backOK bool
	epoch  uint64
	began  int64
	swept  bool // the sweeper waits for its end
	// failed: a move went wrong for this reason, and set back or asked is what the
	// session has now; outcome is what is counted.
	failed  string
	outcome armstats.Injection
}

// refresh brings want up to the table's epoch. Under mu.
func (s *session) refresh() {
	if s.fleet == nil {
		return
	}
	if snap := s.p.table.Load(); snap.Epoch != s.epoch {
		s.epoch = snap.Epoch
		s.reckon(snap)
	}
}

// reckon derives what the session wants, and whether it must be moved for it.
func (s *session) reckon(snap *router.Snapshot) {
	d := snap.Find(s.fleet.name)
	if d == nil {
		return
	}
	if s.arm = d.Arm(&s.decision); s.isOff(d.Salt) && s.decision.Fixed == router.NotFixed {
		s.arm = router.Stable
	}
	if s.arm == router.Canary && s.preparedLive() && s.pinnable() {
		s.pinPrepared(d)
	}
	s.weight = d.Weight
	s.byWeight = d.Canary == router.CanaryDeploy && d.Weight > 0 && !s.isOff(d.Salt)
	s.keepNamed = d.KeepNamed
	switch {
	case d.Canary == router.CanaryClosed:
		s.weight = 0
	case d.Keep && s.decision.Swaps == d.Swaps:
		s.weight = s.loginWeight
	}
	s.swaps = d.Swaps
	if want := d.Target(&s.decision, s.arm); !want.Equal(s.want) {
		s.want = want
	}
	s.judge()
}

// judge compares have with want. Whoever waits at the gate because of what was
// wanted before asks again.
func (s *session) judge() {
	s.attn &^= attnMove
	s.wakeClient()
	if s.fleet == nil && s.ask && s.track.reason == ReasonNone {
		s.attn |= attnMove // to ask what the client has set
	}
	values, ok := s.have.Values()
	s.onDeploy = s.fleet != nil && ok && !values.Equal(s.decision.Base)
	s.watchNames()
	if s.fleet == nil || s.p.cfg.Unsafe.NoRetarget || s.stuckEpoch == s.epoch || s.track.reason != ReasonNone {
		return
	}
	if s.ask || s.have.Certain() != HaveKnown || !ok || !values.Equal(s.want) {
		s.attn |= attnMove
		if s.moveSince == 0 {
			s.moveSince = s.p.now()
		}
		return
	}
	s.moveSince = 0
}

// describedWait is how long a move that only a weight asks for waits for the
// Execute of a statement that was prepared and described (lib/pq, pgx): the
// client has been told what its columns are.
const describedWait = time.Second

// movesLater tells whether a move that only a weight asks for is put off. What a
// rollback, a swap, or the client's own SET asks for never is. Under mu.
func (s *session) movesLater() bool {
	if !s.byWeight || s.fleet == nil || s.ask || s.leaving != "" || s.have.Certain() != HaveKnown {
		return false
	}
	if values, ok := s.have.Values(); !ok || !values.Equal(s.placed) {
		return false // the client has set it, or reset it
	}
	return s.keepsNamed() || s.track.describedOnly && time.Duration(s.p.now()-s.moveSince) < describedWait
}

// keepsNamed: the versions are accepted to differ in shape, and the session has
// named statements, which would fail on the other one.
func (s *session) keepsNamed() bool { return s.keepNamed && s.track.named }

// beginUnit makes the session's next unit and closes the gate for the client
// until it is answered. The caller writes the bytes. The session must be at
// rest. Under mu.
func (s *session) beginUnit() []byte {
	if s.ask {
		return s.beginProbe()
	}
	back, ok := s.have.Values()
	return s.beginSet(toMove, s.want, &running{back: back, backOK: ok && s.have.Certain() == HaveKnown})
}

func (s *session) beginSet(why purpose, want router.Settings, r *running) []byte {
	var u wire.Unit
	if s.have.Traits.Materialize {
		u = wire.MaterializeUnit(nil, want, true, true)
	} else {
		u = wire.PostgresUnit(nil, s.unitName(), want)
	}
	r.why, r.want, r.set = why, want, wire.NewUnitReader(u)
	s.starts(r)
	return u.Bytes
}

// beginProbe asks the server what the session has. Under mu, at rest or at the
// end of the login.
func (s *session) beginProbe() []byte {
	ask, b := newAsk(s.have.Traits.Materialize, s.unitName)
	s.starts(&running{why: toAsk, ask: ask})
	return b
}

func (s *session) starts(r *running) {
	r.epoch, r.began = s.epoch, s.p.now()
	s.running = r
	s.attn |= attnUnit
	s.startSplit()
}

func (s *session) unitName() string {
	if s.names == nil {
		s.names = wire.NewUnitNames()
	}
	return s.names.Next()
}

// unitForClient begins a unit that the client's next message waits behind; the
// caller writes it. Nil: something changed meanwhile, ask the gate again.
func (s *session) unitForClient() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	if !s.atRest() || s.attn&attnMove == 0 {
		return nil
	}
	return s.beginUnit()
}

// retarget injects, for the client's pump.
func (s *session) retarget() error {
	if unit := s.unitForClient(); len(unit) > 0 {
		if err := s.server.writeUnit(unit); err != nil {
			return &serverError{err}
		}
	}
	return nil
}

// sendUnit writes a unit for those that are not the client's side. A flow's
// writes it when its turn comes.
func (s *session) sendUnit(unit []byte) error {
	if s.flow != nil {
		s.flow.send(unit)
		return nil
	}
	return s.server.writeUnit(unit)
}

// unitMessage takes one message of the server while a unit is running.
func (s *session) unitMessage(step *wire.Step, next *after) error {
	r, sp := s.running, s.split
	var action wire.Action
	if r.why == toAsk {
		action = r.ask.message(step.Type, step.Body, sp.msg)
	} else {
		action = r.set.Take(step.Type, sp.body())
	}
	switch action {
	case wire.Relay:
		sp.out = append(sp.out, sp.msg...)
	case wire.Finish:
		s.splitting = false
		s.finishUnit(next)
	case wire.Broken:
		fatal := step.Type == 'E'
		if fatal {
			sp.out = append(sp.out, sp.msg...)
			s.lastFatal = true
		}
		s.splitting = false
		s.unitGone(armstats.Broken)
		s.track.Fail(ReasonUnexpected)
		if !fatal {
			return wire.Fail(wire.KindRetargetLost, fmt.Sprintf("unexpected answer of type %q", step.Type), nil)
		}
	}
	return nil
}

// finishUnit draws the conclusions of a unit's last answer.
func (s *session) finishUnit(next *after) {
	r := s.running
	if r.why == toAsk {
		s.askAnswered(r, next)
		return
	}
	outcome := r.set.Outcome()
	if outcome == wire.UnitMissing && r.why == toMove && r.want.Cluster == s.decision.Base.Cluster {
		outcome = wire.UnitDone // the client chose a cluster that does not exist, and keeps it
	}
	switch {
	case outcome == wire.UnitDone && r.why == toMove:
		s.have.Injected(r.want)
		s.placed = r.want
		s.retargets++
		s.moveFails = 0
		if s.preparedLive() && s.fleet != nil && !r.want.Equal(s.decision.Base) {
			s.qualifiedCount([]byte(s.preparedText)) // not pinned: only counted
		}
		s.unitGone(armstats.Retargeted)
		if s.leaving != "" {
			s.release(s.leaving, next)
		}
	case outcome == wire.UnitDone:
		s.have.Injected(r.want) // set back
		s.unitGone(r.outcome)
		s.moveFailed(r, r.failed)
	case outcome == wire.UnitMissing && r.why == toMove && r.backOK:
		next.unit = s.setBack(r, armstats.Missing, noCluster)
		return
	case outcome == wire.UnitDiffers && r.why == toMove && r.backOK && !r.want.Equal(s.decision.Base):
		next.unit = s.setBack(r, armstats.Refused, otherValues)
		return
	case outcome == wire.UnitDiffers, outcome == wire.UnitRefused && r.why == toSetBack:
		next.unit = s.askAfter(r)
		return
	case outcome == wire.UnitMissing:
		// Nothing better to go back to: the old cluster is missing as well.
		s.have.Injected(r.want)
		s.unitGone(armstats.Missing)
		s.moveFailed(r, noCluster)
	case outcome == wire.UnitRefused:
		s.unitGone(armstats.Refused)
		s.moveFailed(r, r.set.Code+" "+r.set.Message)
	}
	s.judge()
}

const (
	noCluster   = "the target's cluster does not exist"
	otherValues = "the server reports other values than were set"
)

// setBack begins the unit behind one that has set what it should not have.
func (s *session) setBack(r *running, outcome armstats.Injection, why string) []byte {
	s.running = nil
	return s.beginSet(toSetBack, r.back, &running{swept: r.swept, back: r.back, backOK: true, failed: why, outcome: outcome})
}

// askAfter begins to ask what a session has of which nobody knows: the client
// is not let on before that is known.
func (s *session) askAfter(r *running) []byte {
	if r.failed == "" {
		r.failed, r.outcome = otherValues, armstats.Refused
	}
	s.have.Forget()
	s.running = nil
	ask, b := newAsk(s.have.Traits.Materialize, s.unitName)
	s.starts(&running{why: toAsk, ask: ask, want: r.want, swept: r.swept, failed: r.failed, outcome: r.outcome})
	return b
}

// askedAfter takes the answer: names of one arm are where the session is now, a
// mixture is no place to be.
func (s *session) askedAfter(r *running, next *after) {
	values, ok := r.ask.settings()
	if ok {
		s.have.Injected(values)
		s.placed = values
	}
	if ok && values.Equal(s.want) {
		s.retargets++
		s.moveFails = 0
		s.unitGone(armstats.Retargeted)
		if s.leaving != "" {
			s.release(s.leaving, next)
		}
		s.judge()
		return
	}
	s.unitGone(r.outcome)
	s.moveFailed(r, r.failed)
	if !ok || !values.Equal(s.decision.Base) && !s.want.Equal(s.decision.Base) {
		f := wire.Fail(wire.KindRetargetLost, "it could be brought neither to "+s.want.String()+" nor back: "+r.failed, nil)
		s.attn |= attnEnd
		s.p.wg.Go(func() { s.endWith(f) })
	}
	s.judge()
}

// unitGone ends a unit: the gate opens for the client.
func (s *session) unitGone(outcome armstats.Injection) {
	r := s.running
	s.running = nil
	s.attn &^= attnUnit
	if r.why != toAsk || r.failed != "" {
		s.p.count.retarget(outcome)
		if s.stats != nil {
			s.stats.ObserveInjected(outcome, time.Duration(s.p.now()-r.began))
		}
	}
	if r.swept {
		s.p.sweep.done()
	}
	s.wakeClient()
}

// moveTries is how often a session that must leave its names is tried before
// it is ended.
const moveTries = 3

// moveFailed leaves the session where it is until the next epoch. One that
// cannot be brought back to the live names, the safe ones, is tried again and
// ended in the end: what it has may be the wrong version.
func (s *session) moveFailed(r *running, why string) {
	s.failedMoves++
	s.moveFails++
	s.p.log.Warn("a session could not be moved", "session", s.id, "user", s.user, "deployment", s.decision.Deployment,
		"target", r.want.String(), "why", why)
	if s.fleet == nil || !s.want.Equal(s.decision.Base) {
		s.stuckEpoch = s.epoch
		return
	}
	if s.moveFails >= moveTries {
		f := wire.Fail(wire.KindRetargetLost, "it could not be brought back to "+s.want.String()+": "+why, nil)
		s.p.wg.Go(func() { s.endWith(f) })
	}
}

// askAnswered takes the answer to toAsk.
func (s *session) askAnswered(r *running, next *after) {
	if r.failed != "" {
		s.askedAfter(r, next)
		return
	}
	values, ok := r.ask.settings()
	if s.attn&attnLogin != 0 {
		if ok {
			s.have.Injected(values)
		}
		s.unitGone(armstats.Retargeted)
		next.login = true
		return
	}
	s.ask = false
	set, reset := s.have.Own()
	switch {
	case ok:
		s.have.Injected(values)
		s.takeOver(values, set, reset, next)
	case s.fleet != nil:
		s.release("the server does not say what the session has after the client set it", next)
	}
	s.unitGone(armstats.Retargeted)
	s.judge()
}
