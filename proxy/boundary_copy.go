package proxy

// COPY FROM STDIN. Between CopyInResponse and the client's CopyDone or
// CopyFail the server reads COPY data; it ignores Flush and Sync there, also
// those that were sent before the CopyInResponse arrived.

// copyBegins takes a CopyInResponse.
func (t *Tracker) copyBegins() {
	u := t.head()
	if u == nil || t.copying || u.ext == 0 && u.end != endQuery {
		t.Fail(ReasonUnexpected)
		return
	}
	if u.ext > 1 {
		t.Fail(ReasonInsideCopy) // more of the batch was sent behind the Execute
		return
	}
	t.answered = true
	t.copying, t.copyDone, t.swallow, t.begun, t.early = true, false, 0, false, 0
	if u.ext == 1 && t.curOn {
		switch t.cur.end {
		case endSync: // the Sync behind the Execute: ignored
			t.swallow++
			t.owed--
			t.cur.end = endJoined
		case endCopyData:
			t.cur.end = endJoined
			t.copyData()
		case endCopyEnd:
			t.cur.end = endJoined
			t.copyDone = true
		default:
			t.Fail(ReasonInsideCopy)
			return
		}
	}
	t.copyConsumes()
}

// copyConsumes takes what was sent before the CopyInResponse arrived, as the
// server reads it now.
func (t *Tracker) copyConsumes() {
	for !t.copyDone && t.ring.length > 0 {
		u := t.ring.at(0)
		if u.ext > 0 {
			t.Fail(ReasonInsideCopy)
			return
		}
		switch u.end {
		case endCopyData:
			t.ring.drop()
			t.copyData()
		case endCopyEnd:
			t.copyDone = true
			t.ring.pop()
		case endSync:
			t.swallow += int(u.n)
			t.owed -= int(u.n)
			t.ring.drop()
		default:
			t.Fail(ReasonInsideCopy)
			return
		}
	}
	if !t.copyDone && t.curOn && t.open.ext > 0 {
		t.Fail(ReasonInsideCopy)
	}
	if t.swallow > 0 && t.cur.end == endJoined && !t.syncBehind() {
		t.open.flags |= flagAny // the batch still lacks its Sync
	}
}

// syncBehind tells whether anything behind the current unit ends its batch.
func (t *Tracker) syncBehind() bool {
	for i := range t.ring.length {
		if t.ring.at(i).owes() {
			return true
		}
	}
	return false
}

// clientInCopy takes a message that the server reads inside COPY.
func (t *Tracker) clientInCopy(m ClientMessage) {
	switch m.Type {
	case 'd':
		t.copyData()
	case 'H':
	case 'c', 'f':
		t.copyDone = true
	case 'S':
		t.swallow++
		if !t.curOn {
			// The Execute was in the open batch; the Sync does not end it.
			t.cur, t.curOn = t.open, true
			t.cur.end, t.cur.n = endJoined, 1
			t.open = unit{flags: t.open.flags}
		}
	case 'X':
		t.closing = true
	default:
		t.Fail(ReasonInsideCopy)
	}
}

// copyData notes which Syncs the server has read when it has read any data.
func (t *Tracker) copyData() {
	if !t.begun {
		t.begun, t.early = true, t.swallow
	}
}

// copyFails takes an ErrorResponse inside COPY. A Sync sent inside it that the
// server had read before the error was ignored; one that it reads afterwards
// ends its discarding and brings a ReadyForQuery of its own. Which it was is
// known of all of them when the error answers a CopyFail or the server reads
// everything first, and of those before the first CopyData when the error says
// that data had been read.
func (t *Tracker) copyFails(inExtended bool, m ServerMessage) {
	t.copying = false
	unsure := t.swallow
	switch {
	case t.copyDone && (m.CopyFail || t.traits.CopyReadsAll):
		return
	case m.CopyRead && t.begun:
		unsure -= t.early
	}
	if unsure == 0 {
		return
	}
	if !inExtended || unsure > 1 || t.statementBehind() {
		t.Fail(ReasonCopyFailed)
	}
	t.extra = unsure
}

// statementBehind tells whether a statement is in flight behind the current
// unit: it is executed or discarded, as the server read the Sync or not.
func (t *Tracker) statementBehind() bool {
	for i := range t.ring.length {
		if u := t.ring.at(i); u.ext > 0 || u.end == endQuery || u.end == endCall {
			return true
		}
	}
	return t.open.ext > 0
}

// settle passes over what the server reads without an answer once everything
// before it is answered.
func (t *Tracker) settle() {
	for t.reason == ReasonNone && !t.copying {
		t.passJoined()
		if t.curOn || t.ring.length == 0 {
			return
		}
		u := t.ring.at(0)
		if u.ext > 0 || u.owes() {
			return
		}
		if u.end == endJoined {
			t.ring.drop()
			continue
		}
		switch t.traits.Strays {
		case StraysIgnored:
			t.ring.drop()
		case StraysDrained:
			t.next()
			t.strike()
			return
		default:
			t.Fail(ReasonStrayCopy)
		}
	}
}

// passJoined takes the current unit off when all its answers have come and it
// ends without a ReadyForQuery. COPY data as its end is a stray then.
func (t *Tracker) passJoined() {
	if !t.curOn || t.cur.ext > 0 || t.cur.owes() {
		return
	}
	end := t.cur.end
	t.curOn, t.proof, t.answered = false, false, false
	if end == endJoined {
		return
	}
	switch t.traits.Strays {
	case StraysIgnored:
	case StraysDrained:
		t.next()
		t.strike()
	default:
		t.Fail(ReasonStrayCopy)
	}
}
