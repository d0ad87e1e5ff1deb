package proxy

import (
	"errors"
	"log/slog"
	"slices"
	"time"

	"mzcanary/internal/wire"
)

const (
	// terminateTime is how long a server may take to finish after Terminate.
	terminateTime = 10 * time.Second
	// goneTime is how long it may take to notice that its client has gone.
	goneTime = 5 * time.Second
	// lastReadTime is how long the server's last words are waited for when writing
	// to it has failed.
	lastReadTime = time.Second
)

// run is the life of a session that no loop carries: two pumps, from its login
// to its end. It leaves nothing behind.
func (s *session) run() {
	s.wake = make(chan struct{}, 1)
	serverDone := make(chan struct{})
	s.p.wg.Go(func() {
		defer close(serverDone)
		growStack(0)
		s.serverEnded(s.pumpServer())
	})
	limit := s.clientEnded(s.pumpClient())
	select {
	case <-serverDone:
	case <-time.After(limit):
		s.abort(nil)
		<-serverDone
	}
	s.abort(nil)
	s.loginTimer.Stop()
	if a := s.ahead; a != nil {
		<-a.done
		s.p.putBuffer(a.buf)
	}
	s.awaitLastCancel()
	s.server.conn.Close()
	s.p.reg.remove(s)
	s.report()
	if s.fatalRelayed() {
		s.client.closeAfterLastWord()
	} else {
		s.client.conn.Close()
	}
}

// fatalRelayed: the client has a FATAL to read, the server's or ours.
func (s *session) fatalRelayed() bool {
	s.cw.Lock()
	defer s.cw.Unlock()
	return s.lastFatal
}

// clientEnded draws the conclusions of the end of the client's stream, and says
// how long the server's may go on; negative: endWith is on its way.
func (s *session) clientEnded(err error) time.Duration {
	if s.over() || errors.Is(err, errEnded) {
		return 0
	}
	if f, ok := errors.AsType[*wire.Failure](err); ok {
		s.endWith(f)
		return -1
	}
	if _, ok := errors.AsType[*serverError](err); ok {
		return lastReadTime
	}
	if errors.Is(err, errTerminated) {
		s.halfClose()
		return terminateTime
	}
	// The client has gone, with a message waiting or an exchange running.
	s.mu.Lock()
	s.terminatedByLoss = true
	s.heldMessageLost()
	login, running := s.attn&attnLogin != 0, s.outstanding()
	s.mu.Unlock()
	if login {
		s.abort(nil)
		return 0
	}
	if running {
		// Without this a query, and above all a SUBSCRIBE, would go on.
		s.p.wg.Go(func() { s.p.forwardCancel(s) })
	}
	s.halfClose()
	return goneTime
}

// halfClose tells the server that the client has nothing more to say.
func (s *session) halfClose() {
	if s.flow != nil {
		s.flow.halfClose()
		return
	}
	s.server.closeWrite()
}

// over tells whether the session is being torn down.
func (s *session) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// serverEnded draws the conclusions of the end of the server's stream.
func (s *session) serverEnded(err error) {
	if s.over() {
		return
	}
	s.mu.Lock()
	silent, running := s.terminated || s.terminatedByLoss, s.outstanding()
	s.mu.Unlock()
	if f, ok := errors.AsType[*wire.Failure](err); ok {
		s.endWith(f)
		return
	}
	if _, ok := errors.AsType[*clientError](err); ok {
		s.p.wg.Go(func() {
			if running {
				s.p.forwardCancel(s)
			}
			s.abort(nil)
		})
		return
	}
	if silent || s.fatalRelayed() {
		s.abort(nil)
		return
	}
	s.lost()
	s.endWith(wire.Fail(wire.KindUpstreamLost, "", err))
}

// report is the last of the session's log lines.
func (s *session) report() {
	if s.cause == nil && !s.p.logsDebug() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	args := []any{
		"session", s.id, "user", s.user, "application", s.application, "client", s.clientAddr, "deployment", s.decision.Deployment,
		"for", time.Duration(s.p.now() - s.connected).Round(time.Millisecond), "exchanges", s.exchanges, "errors", s.errors, "retargets", s.retargets,
	}
	if s.cause == nil {
		s.p.sessionLine("session ended", args...)
		return
	}
	s.p.count.ended(s.cause.Kind, s.attn&attnLogin != 0)
	s.p.log.Info("session ended", append(args, "kind", s.cause.Kind.Label(), "error", s.cause)...)
}

// sessionLine is one of the two lines of an ordinary session.
func (p *Proxy) sessionLine(text string, args ...any) {
	level := slog.LevelInfo
	if p.cfg.QuietSessions {
		level = slog.LevelDebug
	}
	p.log.Log(p.ctx, level, text, args...)
}

// endAll ends every session: those at a boundary at once, the others when they
// reach one.
func (p *Proxy) endAll(f *wire.Failure) {
	p.reg.refuse(f)
	for _, s := range p.reg.sessions("") {
		p.wg.Go(func() { s.endAtBoundary(f) })
	}
}

// endAtBoundary ends the session as soon as no exchange is cut off by it, at
// the latest after endGrace.
func (s *session) endAtBoundary(f *wire.Failure) {
	s.mu.Lock()
	s.attn |= attnEnd // nothing new begins
	s.wakeClient()
	s.mu.Unlock()
	limit := time.NewTimer(endGrace)
	defer limit.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		s.mu.Lock()
		rests := s.track.owed == 0 && !s.track.unsynced() && s.attn&attnUnit == 0
		s.mu.Unlock()
		if rests {
			s.endWith(f)
			return
		}
		select {
		case <-s.done:
			return
		case <-limit.C:
			s.endWith(f)
			return
		case <-look.C:
		}
	}
}

// End closes the selected sessions of a deployment (of all with an empty name)
// with FATAL 57P01 and the sentence where the protocol allows one, and returns
// how many.
func (p *Proxy) End(deployment string, which Which, sentence string) int {
	return p.endIf(deployment, which.selects, sentence)
}

func (p *Proxy) endIf(deployment string, selected func(SessionInfo) bool, sentence string) int {
	n := 0
	for _, s := range p.reg.sessions(deployment) {
		if s.endIf(selected) {
			n++
			f := wire.Fail(wire.KindTerminated, sentence, nil)
			p.wg.Go(func() { s.endSelected(f) })
		}
	}
	return n
}

// endIf closes the gate if the session is to be ended. It is asked once more when the
// client is told: what it is ended for must not be over by then.
func (s *session) endIf(selected func(SessionInfo) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !selected(s.describe()) {
		return false
	}
	s.attn |= attnEnd
	s.endStill = selected
	return true
}

// endSelected is endWith for a session that endIf has chosen.
func (s *session) endSelected(f *wire.Failure) {
	if s.flow != nil {
		s.flow.say(f)
		return
	}
	if s.lastWord(f) {
		s.abort(f)
	}
}

// stillEnds is asked before the last word, when no answer can reach the client
// meanwhile. A session that has come to rest since it was chosen goes on.
func (s *session) stillEnds(f *wire.Failure) bool {
	s.mu.Lock()
	still := s.endStill
	s.endStill = nil
	if still != nil && !s.doomed && !still(s.describe()) {
		s.attn &^= attnEnd
		s.wakeClient()
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	if f.Kind != wire.KindUpstreamLost {
		s.cancelLast()
	}
	return true
}

// Cancel sends the server a cancel for what the selected sessions run, and
// returns for how many.
func (p *Proxy) Cancel(deployment string, which Which) int {
	n := 0
	for _, s := range p.reg.sessions(deployment) {
		s.mu.Lock()
		running := s.outstanding()
		s.mu.Unlock()
		if running && which.selects(s.info()) {
			n++
			p.wg.Go(func() { p.forwardCancel(s) })
		}
	}
	return n
}

// selects applies the conditions to a session.
func (w Which) selects(i SessionInfo) bool {
	return (w.Arm == nil || *w.Arm == i.Arm) &&
		(len(w.IDs) == 0 || slices.Contains(w.IDs, i.ID)) &&
		(!w.Old || i.OldVersion) &&
		(!w.Streams || i.Place == PlaceStreaming) &&
		(w.MinAge == 0 || i.Age >= w.MinAge) &&
		(!w.AwayFrom || !i.Moved)
}
