package proxy

import (
	"time"

	"mzcanary/internal/wire"
)

// sweepAtOnce bounds the units that the sweeper has under way, so that a new
// epoch does not reach the server as one blow.
const sweepAtOnce = 32

// sweeper looks after sessions whose pumps have nothing to wake them: it
// retargets idle ones when the epoch has moved, and ends sessions whose unit is
// not answered.
type sweeper struct {
	p     *Proxy
	kick  chan struct{}
	slots chan struct{}
}

func newSweeper(p *Proxy) *sweeper {
	return &sweeper{p: p, kick: make(chan struct{}, 1), slots: make(chan struct{}, sweepAtOnce)}
}

func (w *sweeper) nudge() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// done gives back the place of a unit that the sweeper began.
func (w *sweeper) done() { <-w.slots }

func (w *sweeper) run() {
	ticker := time.NewTicker(w.p.cfg.Sweep)
	defer ticker.Stop()
	for {
		select {
		case <-w.p.ctx.Done():
			return
		case <-w.kick:
			w.retarget()
		case <-ticker.C:
			w.overdue()
			w.retarget()
		}
	}
}

// retarget moves every session that is at rest and not where it should be.
func (w *sweeper) retarget() {
	for _, s := range w.p.reg.sessions("") {
		if !s.wantsMove() {
			continue
		}
		select {
		case w.slots <- struct{}{}:
		case <-w.p.ctx.Done():
			return
		case <-time.After(w.p.cfg.RetargetLimit):
			return // the next tick finds what is stuck
		}
		if !s.moveIdle() {
			w.done()
		}
	}
}

// wantsMove brings want up to date and tells whether the session could be
// moved now.
func (s *session) wantsMove() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attn&attnLogin != 0 {
		return false
	}
	s.refresh()
	return s.attn&attnMove != 0 && s.atRest() && !s.movesLater()
}

// moveIdle injects into a session at rest, and reports whether it did.
func (s *session) moveIdle() bool {
	s.mu.Lock()
	if s.attn&attnMove == 0 || !s.atRest() || s.movesLater() {
		s.mu.Unlock()
		return false
	}
	unit := s.beginUnit()
	s.running.swept = true
	s.mu.Unlock()
	if err := s.sendUnit(unit); err != nil {
		s.server.endRead() // its pump says what became of it
	}
	return true
}

// overdue ends the sessions whose unit has not been answered in time: what they
// have is unknown, and the client cannot be let on. It also lets flows that
// wait at a gate ask again. Every change that could let it on wakes it; this bounds what a
// forgotten one could do.
func (w *sweeper) overdue() {
	for _, s := range w.p.reg.sessions("") {
		s.mu.Lock()
		late := s.running != nil && s.attn&attnLogin == 0 && time.Duration(w.p.now()-s.running.began) > w.p.cfg.RetargetLimit
		if s.flow != nil { // pumps have a limit of their own
			s.wakeClient()
		}
		s.mu.Unlock()
		if late {
			f := wire.Fail(wire.KindRetargetLost, "no answer within "+w.p.cfg.RetargetLimit.String(), nil)
			w.p.wg.Go(func() { s.endWith(f) })
		}
	}
}
