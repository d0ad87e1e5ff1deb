package proxy

import (
	"bytes"
	"encoding/binary"

	"mzcanary/internal/wire"
	"mzcanary/router"
)

// A transaction that only reads a cursor does not stand in a hold's way: its
// cursor runs on by object id. Anything else in it would look names up, perhaps
// on the other side of the swap, so that one transaction read two versions.
//
//	          hold, and it only consumes          released, no swap
//	anything ───────────────────────────▶ cursor ─────────────────▶ anything
//	                                        │                          ▲
//	                                        │ released behind a swap   │ Z I
//	                                        └──────────▶ cursorOut ────┘
//
// In cursor and cursorOut FETCH, MOVE, CLOSE and the transaction's end pass. In
// cursor the rest waits for the release; in cursorOut it ends the session.

// crossed tells whether the names may have been exchanged during the hold: they
// were, or nobody knows. Registry's lock held.
func (h *Hold) crossed() bool {
	h.mu.Lock()
	pinned := h.pinned
	h.mu.Unlock()
	d := h.p.table.Load().Find(h.fleet.name)
	return pinned && d != nil && (d.Swaps != h.swaps || d.Canary == router.CanaryLive)
}

// besideCursor judges the message that p begins with in a transaction that
// only reads a cursor. Under mu, like everything here.
func (s *session) besideCursor(p []byte) verdict {
	switch {
	case s.onlyReads(p):
		return pass
	case s.track.owed > 0:
		return waitWake // what comes before it may end the transaction
	case s.hold != nil:
		return s.waitsHeld()
	case !s.cursorOut:
		return pass
	}
	s.attn |= attnEnd
	f := wire.Fail(wire.KindCrossedSwap, "", nil)
	s.p.wg.Go(func() { s.endWith(f) })
	return stop
}

// leavesCursor: the transaction is over, or nothing happened to its names.
func (s *session) leavesCursor() {
	s.attn &^= attnCursor
	s.cursorOut, s.batchOK = false, false
}

// onlyReads tells whether a message does nothing but read the cursor or end the
// transaction. What is not whole in this read, or was prepared before, is not known.
func (s *session) onlyReads(p []byte) bool {
	switch p[0] {
	case 'S', 'H':
		s.batchOK = s.batchOK && p[0] == 'H'
		return true
	case 'C':
		return true
	case 'D', 'E':
		return s.batchOK
	case 'Q', 'P', 'B':
	default:
		return false
	}
	const header = 5
	if len(p) < header {
		return false
	}
	length := 1 + uint64(binary.BigEndian.Uint32(p[1:]))
	if length < header || length > uint64(len(p)) {
		return false
	}
	body := p[header:length]
	if p[0] == 'B' {
		_, statement, ok := bytes.Cut(body, zero)
		return s.batchOK && ok && len(statement) > 0 && statement[0] == 0
	}
	s.batchOK = false
	text := body
	if p[0] == 'P' {
		name, rest, ok := bytes.Cut(body, zero)
		if !ok || len(name) > 0 {
			return false
		}
		text = rest
	}
	ok := readsOnly(text)
	s.batchOK = ok && p[0] == 'P'
	return ok
}

// readsOnly tells whether a text is one statement that reads or closes a cursor
// or ends the transaction.
func readsOnly(text []byte) bool {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end+1] // with its end: a word that may go on is none
	}
	word := wire.Keyword(text)
	for _, w := range [...]string{"FETCH", "MOVE", "CLOSE", "COMMIT", "END", "ROLLBACK", "ABORT"} {
		if len(word) == len(w) && bytes.EqualFold(word, []byte(w)) {
			i := bytes.IndexByte(text, ';')
			return i < 0 || len(bytes.Trim(text[i:], "; \t\r\n\v\f\x00")) == 0
		}
	}
	return false
}
