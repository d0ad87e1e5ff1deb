package proxy

import (
	"context"
	"io"
	"time"

	"mzcanary/internal/wire"
)

const (
	// cancelSlots bounds the cancels that are forwarded at the same time.
	cancelSlots = 64
	// cancelTime is how long one may take from its arrival to the server's answer,
	// which is the end of that connection.
	cancelTime = 10 * time.Second
	// cancelSettle is how long the next statement waits for that answer, so that a
	// late cancel does not hit it.
	cancelSettle = 100 * time.Millisecond
)

// canceller forwards cancels to the server, a bounded number at a time.
type canceller struct {
	slots chan struct{}
}

func newCanceller() *canceller {
	return &canceller{slots: make(chan struct{}, cancelSlots)}
}

// cancelRequest takes a CancelRequest. A wrong key is ignored, as servers do.
func (p *Proxy) cancelRequest(key wire.CancelKey) {
	s := p.reg.find(key)
	if s == nil {
		p.count.cancels.unknown.Add(1)
		return
	}
	s.mu.Lock()
	waits := s.waiting && s.attn&attnLogin == 0 && s.track.reason == ReasonNone && s.track.owed == 0 && !s.track.unsynced()
	switch {
	// To its client the message at the gate is running.
	case waits && s.track.status == 'I':
		s.attn |= attnDrop
		s.wakeClient()
	case waits: // its transaction must fail, and only the server can do that
		s.cancelNext = true
	}
	s.mu.Unlock()
	if waits {
		p.count.cancels.held.Add(1)
		return
	}
	p.forwardCancel(s)
}

// outstanding: the server works for the client. Under mu.
func (s *session) outstanding() bool {
	return s.attn&(attnLogin|attnUnit) == 0 && (s.track.owed > 0 || s.track.unsynced() || s.track.copying || s.track.reason != ReasonNone)
}

// endCancel is how long an ended session stays in the list for its cancel: until
// then it may still use what a swap or a drop is about to replace.
const endCancel = time.Second

// cancelLast has the server cancel what a session that is being ended runs, a
// unit of the proxy's included: otherwise a query, and above all a SUBSCRIBE, would
// go on.
func (s *session) cancelLast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastCancel != nil || s.backend.Secret == nil || !s.stillRuns() {
		return
	}
	taken := make(chan struct{})
	s.lastCancel = taken
	s.p.wg.Go(func() {
		defer close(taken)
		s.p.forward(s, endCancel, s.stillRuns)
	})
}

// stillRuns: the server works for the session. Under mu.
func (s *session) stillRuns() bool { return s.outstanding() || s.running != nil }

func (s *session) hasLastCancel() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastCancel != nil
}

// awaitLastCancel waits until the cancel of an ended session has been taken.
func (s *session) awaitLastCancel() {
	s.mu.Lock()
	taken := s.lastCancel
	s.mu.Unlock()
	if taken != nil {
		<-taken
	}
}

// forwardCancel tells the server to cancel what the session runs, if it still
// runs something when the connection for it stands: a late cancel must not hit
// the next statement, nor what the proxy injects.
func (p *Proxy) forwardCancel(s *session) { p.forward(s, cancelTime, s.outstanding) }

// forward is forwardCancel within a time, for what runs says. Under mu only runs
// is called.
func (p *Proxy) forward(s *session, limit time.Duration, runs func() bool) {
	ctx, done := context.WithTimeout(p.ctx, limit)
	defer done()
	select {
	case p.cancels.slots <- struct{}{}:
		defer func() { <-p.cancels.slots }()
	case <-ctx.Done():
		p.count.cancels.failed.Add(1)
		return
	}
	s.mu.Lock()
	wanted := runs() && s.backend.Secret != nil
	s.mu.Unlock()
	if !wanted {
		p.count.cancels.idle.Add(1)
		return
	}
	conn, err := p.cfg.DialCancel(ctx)
	if err != nil {
		p.count.cancels.failed.Add(1)
		p.log.Warn("a cancel could not be forwarded", "session", s.id, "error", err)
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	s.mu.Lock()
	if !runs() {
		s.mu.Unlock()
		p.count.cancels.idle.Add(1)
		return
	}
	s.cancelling++
	s.attn |= attnCancel
	generation, key := s.cancelGen, s.backend
	s.mu.Unlock()

	if _, err := conn.Write(wire.AppendCancel(nil, key)); err == nil {
		_, _ = io.Copy(io.Discard, conn) // the server closes when it has acted
		p.count.cancels.forwarded.Add(1)
	} else {
		p.count.cancels.failed.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancelGen == generation {
		if s.cancelling--; s.cancelling == 0 {
			s.attn &^= attnCancel
			s.cancelSince = 0
		}
		s.wakeClient()
	}
}

// forgetCancels stops waiting for cancels that the server does not answer.
func (s *session) forgetCancels() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropCancels()
}

func (s *session) dropCancels() {
	s.cancelGen++
	s.cancelling, s.cancelSince = 0, 0
	s.attn &^= attnCancel
}
