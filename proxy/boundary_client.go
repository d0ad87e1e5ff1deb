package proxy

// Client takes a whole message of the client, in the order in which the server
// will read it.
func (t *Tracker) Client(m ClientMessage) {
	if t.reason != ReasonNone {
		return
	}
	if t.copying && !t.copyDone {
		t.clientInCopy(m)
		return
	}
	if t.extra > 0 && t.skip && !harmlessWhileSettling(m.Type) {
		t.Fail(ReasonCopyFailed)
		return
	}
	switch m.Type {
	case 'Q', 'F', 'S':
		t.ender(m)
	case 'P', 'B', 'D', 'E', 'C':
		if t.skip {
			return
		}
		t.extended(m)
	case 'd', 'c', 'f':
		t.copyOutside(m.Type)
	case 'H':
		// owes nothing; the batch it flushes is unsynced already
	case 'X':
		t.closing = true
	case 'p':
		if !t.curOn || t.cur.end != endLogin {
			t.Fail(ReasonPassword)
		}
	default:
		t.Fail(ReasonUnknownClient)
	}
}

// extended adds one message that owes one answer to the open batch.
func (t *Tracker) extended(m ClientMessage) {
	t.open.ext++
	t.open.flags |= flagAny
	switch m.Type {
	case 'P':
		t.named = t.named || m.Named
		t.open.flags |= flagParse
		t.statement(m.Fetch && !m.Named)
	case 'B':
		if t.open.flags&flagDangling != 0 {
			t.open.flags |= flagLoose
		}
		if m.Named {
			t.statement(false)
		}
		t.open.flags |= flagDangling
	case 'E':
		if t.open.flags&flagExecute != 0 {
			t.open.flags |= flagMany
		}
		t.open.flags |= flagExecute
		t.open.flags &^= flagDangling
	}
}

// statement notes whether all the batch can execute is a FETCH: its only
// statement is the unnamed one, and is prepared in it.
func (t *Tracker) statement(fetch bool) {
	if fetch && t.open.flags&flagUnfetch == 0 && t.open.flags&flagFetch == 0 {
		t.open.flags |= flagFetch
		return
	}
	t.open.flags = t.open.flags&^flagFetch | flagUnfetch
}

// ender closes the open batch with a message that owes a ReadyForQuery.
func (t *Tracker) ender(m ClientMessage) {
	if t.skip {
		if m.Type != 'S' {
			return // the server discards it
		}
		t.skip = false
	}
	u := t.open
	u.end = m.Type
	if m.Type == endQuery {
		if u.msgs() || m.Inner {
			u.flags |= flagMany
		}
		if m.Fetch && !u.msgs() && !m.Inner {
			u.flags |= flagFetch
		}
	}
	t.open = unit{}
	t.describedOnly = false
	t.push(u)
}

func (t *Tracker) push(u unit) {
	if t.proof && !t.curOn && t.ring.length == 0 && u.end == endSync {
		// The server is in the middle of the batch that ends here.
		u.n = 1
		t.cur, t.curOn, t.answered = u, true, false
	} else if !t.ring.push(u) {
		t.Fail(ReasonTooDeep)
		return
	}
	if u.owes() {
		t.owed++
	}
}

// copyOutside takes COPY data while no COPY is known to run: sent before the
// CopyInResponse, or after the COPY failed. The server's order decides, so it
// is kept in the FIFO.
func (t *Tracker) copyOutside(kind byte) {
	if t.skip {
		if t.extra > 0 && t.traits.Strays != StraysIgnored {
			t.Fail(ReasonCopyFailed)
		}
		return
	}
	u := t.open
	u.end = endCopyData
	if kind != 'd' {
		u.end = endCopyEnd
	}
	// The batch goes on behind the COPY message: its later messages are a unit
	// of their own, with its facts.
	flags := t.open.flags
	t.open = unit{flags: flags}
	t.push(u)
	t.settle()
}

// harmlessWhileSettling: messages that mean the same whether or not the server
// still discards until a Sync.
func harmlessWhileSettling(kind byte) bool {
	switch kind {
	case 'd', 'c', 'f', 'S', 'H', 'X':
		return true
	}
	return false
}
