package proxy

import "mzcanary/internal/wire"

// notice is a word for a client that stays: a NoticeResponse, which the protocol
// allows between any two messages.
type notice struct {
	bytes []byte
	old   bool // only as long as the session is on the replaced version
}

// Notify sends the selected sessions of a deployment (of all with an empty name) a
// NoticeResponse with the sentence and returns how many they are. It does not wait:
// a client gets it at once when the last message it was sent is whole, otherwise
// behind that message; one that does not read gets it when it reads. A selection of
// sessions on the replaced version is looked at again before the word is said.
func (p *Proxy) Notify(deployment string, which Which, sentence string) int {
	word := &notice{old: which.Old, bytes: wire.AppendNotice(nil, wire.Notice{Severity: "NOTICE", Code: "00000", Message: sentence})}
	n := 0
	for _, s := range p.reg.sessions(deployment) {
		if i := s.info(); i.Place != PlaceStarting && which.selects(i) {
			n++
			s.notice.Store(word)
			if s.flow != nil {
				s.flow.l.post(s.flow, askNotice)
			} else {
				p.wg.Go(s.notify)
			}
		}
	}
	return n
}

// notify says what waits to be said. Whoever has the right to write to the client, or
// is in the middle of a message, is the server's pump, or the session's loop, and it calls this when it has
// written. A failed write is the pumps' to notice.
func (s *session) notify() {
	for s.notice.Load() != nil && s.cw.TryLock() {
		taken := s.sayNotice()
		s.cw.Unlock()
		if !taken {
			return
		}
	}
}

// sayNotice takes the waiting notice and writes it, if the client is between two
// messages. Under cw.
func (s *session) sayNotice() (taken bool) {
	if !s.clientClean || s.lastFatal || s.over() {
		return false
	}
	word := s.notice.Swap(nil)
	if word == nil {
		return false
	}
	s.mu.Lock()
	moot := s.attn&attnLogin != 0 || word.old && !s.readsOld()
	if !moot {
		s.bytesOut += uint64(len(word.bytes))
	}
	s.mu.Unlock()
	if !moot {
		_ = s.toClient(word.bytes)
	}
	return true
}
