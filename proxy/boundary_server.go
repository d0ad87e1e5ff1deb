package proxy

// Server takes a whole message of the server.
func (t *Tracker) Server(m ServerMessage) {
	if t.reason != ReasonNone {
		return
	}
	switch m.Type {
	case 'N':
		if m.Subscribe && t.curOn {
			t.proof = true
		}
		return
	case 'S', 'A':
		return
	case 'E':
		if m.Fatal {
			t.closing = true
			return
		}
	}
	if t.curOn && t.cur.end == endLogin {
		t.login(m)
		return
	}
	if m.Type == 'Z' {
		t.ready(m.Status)
		return
	}
	t.extra = 0 // a ReadyForQuery left over would have come before any answer
	t.next()
	switch m.Type {
	case 'E':
		t.failed(m)
	case 'G':
		t.copyBegins()
	case 'W':
		t.Fail(ReasonCopyBoth)
	default:
		t.answer(m)
	}
	t.settle()
}

// login: anything may come before the first ReadyForQuery.
func (t *Tracker) login(m ServerMessage) {
	switch m.Type {
	case 'Z':
		t.curOn = false
		t.owed--
		t.setStatus(m.Status)
	case 'E':
		t.closing = true
	case 'R', 'K', 'v':
	default:
		t.Fail(ReasonUnknownServer)
	}
	t.settle()
}

// next makes the unit that the server answers now the current one, if there is
// a whole one in flight.
func (t *Tracker) next() {
	if !t.curOn && t.ring.length > 0 {
		t.cur, t.curOn = t.ring.pop(), true
		t.answered, t.proof = false, false
	}
}

// head is the unit an answer belongs to: the current one, or the open batch
// when everything before it is answered. Nil when nothing is in flight.
func (t *Tracker) head() *unit {
	if t.curOn {
		return &t.cur
	}
	if t.open.ext > 0 {
		return &t.open
	}
	return nil
}

// answer takes a message that belongs to a statement.
func (t *Tracker) answer(m ServerMessage) {
	u := t.head()
	if u == nil {
		t.unexpected(m.Type)
		return
	}
	if u.ext > 0 {
		t.extendedAnswer(u, m)
		return
	}
	switch {
	case u.end == endQuery:
		t.queryAnswer(m)
	case u.end == endCall && m.Type == 'V' && !t.answered:
		t.answered = true
		t.txn.other = true
	default:
		t.unexpected(m.Type)
	}
}

// extendedAnswer takes an answer to one of the extended messages of u.
func (t *Tracker) extendedAnswer(u *unit, m ServerMessage) {
	switch m.Type {
	case '1', '2', '3', 'T', 'n':
		u.ext--
	case 'C', 'I', 's':
		u.ext--
		t.statementEnds(m)
	case 'D', 'H':
		t.proof = true
	case 't', 'd', 'c':
	default:
		t.unexpected(m.Type)
	}
}

// queryAnswer takes an answer to a simple Query.
func (t *Tracker) queryAnswer(m ServerMessage) {
	switch m.Type {
	case 'C', 'I':
		t.statementEnds(m)
	case 'D', 'H':
		t.proof = true
	case 'T', 'd', 'c':
	default:
		t.unexpected(m.Type)
		return
	}
	t.answered = true
}

// statementEnds: CommandComplete, EmptyQueryResponse or PortalSuspended.
func (t *Tracker) statementEnds(m ServerMessage) {
	t.proof = false
	if t.copying {
		if !t.copyDone {
			t.Fail(ReasonUnexpected)
			return
		}
		t.copying = false
	}
	if m.Type == 's' {
		t.txn.other = true
	}
	if m.Type != 'C' {
		return
	}
	t.txn.tag(m.Tag)
	switch m.Tag {
	case TagPrepare:
		t.named = true
	case TagDiscardAll, TagDeallocateAll:
		// What is in flight behind it may prepare again.
		if t.ring.length == 0 && !t.open.msgs() && (!t.curOn || t.cur.flags&flagParse == 0) {
			t.named = false
		}
	}
}

// unexpected: an answer of a known type in the wrong place, or an unknown one.
func (t *Tracker) unexpected(kind byte) {
	switch kind {
	case '1', '2', '3', 'T', 'n', 't', 'C', 'I', 's', 'D', 'H', 'd', 'c', 'V', 'R', 'K', 'v':
		t.Fail(ReasonUnexpected)
	default:
		t.Fail(ReasonUnknownServer)
	}
}

// failed takes an ErrorResponse that does not end the session.
func (t *Tracker) failed(m ServerMessage) {
	u := t.head()
	if u == nil {
		t.Fail(ReasonUnexpected)
		return
	}
	t.proof, t.answered = false, true
	t.txn.other = true
	inExtended := u.ext > 0
	if t.copying {
		t.copyFails(inExtended, m)
	}
	if inExtended {
		t.strike()
	}
}

// strike forgets what the server discards after an error in an extended
// message: everything up to the next Sync, Query and FunctionCall included.
func (t *Tracker) strike() {
	for t.curOn {
		if t.cur.end == endSync {
			t.cur.ext = 0
			return
		}
		t.dropCurrent()
		t.next()
	}
	t.open.ext = 0
	t.skip = true
}

// dropCurrent takes the current unit off without its ReadyForQuery.
func (t *Tracker) dropCurrent() {
	if t.cur.owes() {
		t.owed--
	}
	t.curOn, t.proof, t.answered = false, false, false
}

// ready takes a ReadyForQuery.
func (t *Tracker) ready(status byte) {
	if t.extra > 0 && !t.mayBeReady() {
		// The Sync sent inside a failed COPY was read after all.
		t.extra--
		if t.skip {
			t.skip = false
			t.open = unit{} // it ended the batch
		}
		t.setStatus(status)
		return
	}
	t.next()
	if !t.mayBeReady() {
		t.Fail(ReasonReadyNotOwed)
		return
	}
	t.describedOnly = t.cur.flags&flagParse != 0 && t.cur.flags&flagExecute == 0 && t.cur.end == endSync &&
		t.ring.length == 0 && !t.open.msgs()
	if t.cur.flags&(flagDangling|flagLoose) != 0 {
		t.txn.other = true
	}
	t.owed--
	t.curOn, t.proof, t.answered = false, false, false
	t.copying = false
	t.setStatus(status)
	t.settle()
}

// mayBeReady tells whether the unit in turn can end now.
func (t *Tracker) mayBeReady() bool {
	u, answered := &t.cur, t.answered
	if !t.curOn {
		if t.ring.length == 0 {
			return false
		}
		u, answered = t.ring.at(0), false
	}
	if u.ext > 0 || t.copying && !t.copyDone {
		return false
	}
	switch u.end {
	case endSync:
		return true
	case endQuery, endCall:
		return answered
	}
	return false
}

func (t *Tracker) setStatus(status byte) {
	switch status {
	case 'I':
		t.txn = cursorTxn{}
	case 'T', 'E':
	default:
		t.Fail(ReasonStatus)
		return
	}
	t.status = status
}

// cursorTxn is what has been completed since the session was last outside a
// transaction, as far as needed to know one that only consumes a cursor.
type cursorTxn struct {
	begun, fetched, other bool
	declared              uint8
}

func (c *cursorTxn) tag(tag Tag) {
	switch tag {
	case TagBegin:
		c.begun = true
	case TagDeclareCursor:
		if c.declared < 2 {
			c.declared++
		}
	case TagFetch:
		c.fetched = true
	default:
		c.other = true
	}
}

// consuming: one cursor, and its reading has begun. A second one not yet
// fetched would be resolved later, against other names.
func (c *cursorTxn) consuming() bool {
	return c.begun && c.fetched && c.declared == 1 && !c.other
}
