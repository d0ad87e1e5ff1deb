package proxy

import (
	"time"

	"mzcanary/internal/wire"
)

// The end of a flow:
//
//	client's stream ends ─▶ clientEnds ─▶ the server may finish, within a limit ─┐
//	server's stream ends ─▶ serverEnds ──────────────────────────────────────────┼─▶ abort ─▶ teardown
//	endWith ─▶ lastWord, written or given up ────────────────────────────────────┘      │
//	                                             the client has a FATAL to read: linger ┤
//	                                                                                    ▼
//	                                                                                  close

// clientEnds: the client's stream has ended for the session.
func (f *flow) clientEnds(err error) {
	f.client.over = true
	f.stopWaiting()
	f.free()
	if limit := f.s.clientEnded(err); limit >= 0 {
		f.limit(limit, nil)
	}
}

// serverEnds: the server's has.
func (f *flow) serverEnds(err error) {
	f.server.over = true
	f.s.serverEnded(err)
}

// limit tears the session down after d, unless that happens before.
func (f *flow) limit(d time.Duration, cause *wire.Failure) {
	if d == 0 {
		f.s.abort(cause)
		return
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	f.timer = time.AfterFunc(d, func() { f.s.abort(cause) })
}

// lastWord is session.lastWord: whatever the client is being written comes
// first.
func (f *flow) lastWord(cause *wire.Failure) {
	if f.ending || f.ended {
		return
	}
	f.ending, f.cause = true, cause
	if f.s.clientClean && !f.s.lastFatal {
		f.s.lastFatal = true
		_ = f.toClient(cause.Append(nil)) // the session ends either way
	}
	if len(f.out) == 0 && !f.client.unsent() {
		f.s.abort(cause)
		return
	}
	f.limit(lastWordTime, cause)
}

// lookLater looks in a while whether a message waits whose client's stream has
// ended: it may have meant to hear the answer, but not for long.
func (f *flow) lookLater() {
	if f.client.hup && !f.looking && !f.ended {
		f.looking = true
		time.AfterFunc(listenAfter, func() { f.l.post(f, askLook) })
	}
}

func (f *flow) look() {
	f.looking = false
	switch {
	case len(f.in) == 0 || f.client.over:
	case f.admitted > 0:
		f.lookLater() // it may yet come to wait at the gate
	default:
		f.clientEnds(errHungUp)
	}
}

// halfClose tells the server that nothing more comes.
func (f *flow) halfClose() { f.server.closeWrite() }

// teardown ends everything but a client's reading of its last message.
func (f *flow) teardown() {
	if f.ended {
		return
	}
	f.ended, f.client.over, f.server.over = true, true, true
	s := f.s
	f.stopWaiting()
	for _, t := range []*time.Timer{f.timer, s.loginTimer} {
		if t != nil {
			t.Stop()
		}
	}
	f.free()
	f.freeOut()
	s.writing.Store(false)
	f.client.leaveTLS()
	f.server.leaveTLS()
	f.l.closeLeg(&f.server)
	f.leave()
	if !s.lastFatal {
		f.close()
		return
	}
	// Closing with input unread would send a reset, which may overtake the word.
	shutdownSocket(f.client.fd)
	f.lingers, f.client.ready = true, true
	f.timer = time.AfterFunc(lingerTime, func() { f.l.post(f, askClose) })
	f.linger()
}

// leave takes the session off the list, when the cancel of what it ran has been
// taken: until then it may still use what a swap or a drop is about to replace.
func (f *flow) leave() {
	s := f.s
	gone := func() {
		s.p.reg.remove(s)
		s.report()
	}
	if !s.hasLastCancel() {
		gone()
		return
	}
	s.p.wg.Go(func() {
		s.awaitLastCancel()
		gone()
	})
}

// linger reads what the client still sends, to its end.
func (f *flow) linger() {
	for range readsAtOnce {
		if !f.lingers || !f.client.ready {
			return
		}
		if _, err := f.client.read(*f.l.buf); err != nil && f.client.ready {
			f.close()
		}
	}
	f.l.post(f, 0)
}

// close is the very end: nothing of the flow is used after it.
func (f *flow) close() {
	if f.closed {
		return
	}
	f.closed, f.lingers = true, false
	if f.timer != nil {
		f.timer.Stop()
	}
	f.l.closeLeg(&f.client)
	f.l.forget(f)
	f.s.p.reg.disconnected(false)
	f.s.p.wg.Done()
}

// discard is session.discard, a chunk at a time: it takes off p what a server
// would discard of the message that was cancelled while it waited.
func (f *flow) discard(p []byte) ([]byte, error) {
	n, step, err := f.s.fromClient.Next(p)
	if err != nil {
		return nil, err
	}
	p = p[n:]
	switch {
	case !step.End:
	case step.Type == 'X':
		return nil, errHungUp
	case f.alone, step.Type == 'S':
		f.dropping = false
		f.s.droppedGone()
		return p, f.s.say(wire.AppendReady(nil, 'I'))
	}
	return p, nil
}
