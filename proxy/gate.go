package proxy

import (
	"time"

	"mzcanary/internal/wire"
)

// verdict is what the gate says about the next message of the client.
//
//	go on ── wait for wake ── held ── behind a cancel ── inject first ── dropped ── ended
type verdict uint8

const (
	pass       verdict = iota
	waitWake           // an answer, a unit or the login must come first
	waitHeld           // the gate is closed
	waitCancel         // a cancel is on its way: it must not hit this message
	inject             // have is not want: the caller writes a unit first
	drop               // the client cancelled it while it waited
	stop               // the session is being ended
)

// admit says how many bytes of p, which the client has sent, may be written to
// the server now, and what stands in the way of the rest. It counts what it
// admits, so the caller must write it. A message begun is always let through to
// its end.
func (s *session) admit(p []byte) (n int, v verdict, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	if s.track.Full() {
		s.attn |= attnFull
	}
	s.refresh()
	fast := s.attn == 0
	for n < len(p) {
		seen := false
		if s.watch && !s.fromClient.Partial() {
			seen = s.looksAt(p[n:])
			fast = fast && s.attn == 0
		}
		if !fast && !s.fromClient.Partial() {
			s.track.ClientPartial(false)
			if v = s.mayGo(p[n:]); v != pass {
				break
			}
		}
		if seen {
			text, _ := statementText(p[n:])
			s.qualifiedSeen(text)
		}
		k, step, err := s.fromClient.Next(p[n:])
		n += k
		if err != nil {
			return 0, stop, err
		}
		if step.Start && s.began == 0 {
			s.begin(step.Type)
		}
		if step.End {
			s.clientMessage(&step)
			if s.terminated {
				break // nothing behind Terminate counts
			}
			if s.attn&attnReset != 0 {
				fast = false
			}
		}
	}
	s.track.ClientPartial(s.fromClient.Partial())
	s.noteUntracked()
	s.bytesIn += uint64(n)
	s.writing.Store(n > 0)
	if n > 0 && s.cancelNext {
		s.cancelNext = false
		s.p.wg.Go(func() { s.p.forwardCancel(s) })
	}
	switch v {
	case waitWake, waitHeld, waitCancel, inject, stop:
		s.waiting = true // behind the unit that the caller writes now, too
	}
	if s.hold != nil {
		s.settleHold()
	}
	return n, v, nil
}

// clientMessage counts a whole message that is let through.
func (s *session) clientMessage(step *wire.Step) {
	m := ReadClient(*step)
	s.track.Client(m)
	switch step.Type {
	case 'X':
		s.terminated = true
	case 'Q', 'P':
		s.stmtKind = step.Type
		s.stmtLen = uint8(copy(s.statement[:], step.Body))
	}
	if s.fleet != nil {
		s.readText(m, step)
	}
}

// mayGo is the gate: may the message that p begins with, the next one, be
// written to the server now? Called at a message's beginning only.
func (s *session) mayGo(p []byte) verdict {
	kind := p[0]
	switch {
	case s.attn&attnEnd != 0:
		return stop
	case s.attn&attnLogin != 0:
		if kind == 'p' || kind == 'X' {
			return pass
		}
		return waitWake
	case s.attn&attnDrop != 0:
		s.attn &^= attnDrop
		return drop
	case s.attn&attnUnit != 0:
		return waitWake
	case kind == 'X':
		return pass
	case s.attn&attnJoin != 0:
		return waitWake
	case s.attn&attnFull != 0:
		if s.track.Full() {
			return waitWake
		}
		s.attn &^= attnFull
	}
	if s.track.Rests() {
		v := s.mayLeaveBoundary()
		if v == inject && !s.track.AtBoundary() {
			return waitWake // for the rest of a notice, or the like
		}
		return v
	}
	switch kind {
	case 'd', 'c', 'f':
		return pass // of what runs
	}
	if s.track.reason != ReasonNone || s.track.copying {
		return s.behindCancel(kind)
	}
	if s.attn&(attnHold|attnMove|attnReset) != 0 && s.track.owed > 0 {
		// A pipeliner never comes to rest by itself: one message that owes a
		// ReadyForQuery is on its way, the next waits for the answer.
		return waitWake
	}
	if s.attn&attnCursor != 0 {
		if v := s.besideCursor(p); v != pass {
			return v
		}
	}
	v := s.behindCancel(kind)
	if v == pass && s.attn&attnWaited != 0 {
		s.heldMessageGoes()
	}
	return v
}

// behindCancel makes what begins something new wait until the cancel that is on
// its way to the server has been taken there.
func (s *session) behindCancel(kind byte) verdict {
	if s.cancelling == 0 || kind == 'S' || kind == 'H' {
		return pass // these end what was begun
	}
	if s.cancelSince == 0 {
		s.cancelSince = s.p.now()
	}
	if time.Duration(s.p.now()-s.cancelSince) >= cancelSettle {
		s.dropCancels()
		return pass
	}
	return waitCancel
}

// mayLeaveBoundary: the session is at rest and the next message would begin an
// exchange.
func (s *session) mayLeaveBoundary() verdict {
	if s.attn&attnHold != 0 {
		return s.waitsHeld()
	}
	if v := s.behindCancel(0); v != pass {
		return v
	}
	if s.attn&attnMove != 0 && !s.movesLater() {
		return inject
	}
	if s.attn&attnWaited != 0 {
		s.heldMessageGoes()
	}
	return pass
}

// waitsHeld: the next message waits at the closed gate.
func (s *session) waitsHeld() verdict {
	if s.waitSince == 0 {
		s.waitSince = s.p.now()
		s.attn |= attnWaited
	}
	return waitHeld
}

// atRest tells whether a unit may be injected now: the session is at a
// boundary, nobody writes to the server, and nothing else is under way. Under mu.
func (s *session) atRest() bool {
	return s.attn&(attnLogin|attnHold|attnUnit|attnEnd) == 0 && s.cancelling == 0 && !s.writing.Load() && s.track.AtBoundary()
}
