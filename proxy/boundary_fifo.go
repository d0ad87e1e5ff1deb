package proxy

// How a unit ends. Query, FunctionCall and Sync owe a ReadyForQuery; the other
// ends owe nothing and only keep the order.
const (
	endOpen     = byte(0)   // not ended yet
	endLogin    = byte('L') // the login's ReadyForQuery
	endQuery    = byte('Q')
	endCall     = byte('F')
	endSync     = byte('S')
	endCopyData = byte('d') // CopyData outside a COPY that is known
	endCopyEnd  = byte('c') // CopyDone or CopyFail, likewise
	endJoined   = byte('.') // a Sync that the server ignored inside COPY
)

// Facts about the messages of a unit.
const (
	flagParse    = 1 << iota // a statement was prepared
	flagExecute              // something was executed
	flagMany                 // more than one statement: several Executes, or a ';' inside a Query
	flagFetch                // the only statement is a FETCH
	flagUnfetch              // a statement that is no FETCH, or an unknown one
	flagDangling             // a portal was bound and not executed
	flagLoose                // a second portal was bound before the first was executed
	flagAny                  // at least one extended message
)

// unit is a run of client messages up to one that the server ends with a
// ReadyForQuery: some extended messages, each owing one answer, and an end.
// Equal units behind one another are one with a count.
type unit struct {
	ext   uint32 // answers that the extended messages still owe
	n     uint32 // how many equal units
	end   byte
	flags uint8
}

// msgs tells whether the unit holds an extended message, answered or not.
func (u *unit) msgs() bool { return u.flags&flagAny != 0 }

// owes tells whether the unit ends with a ReadyForQuery.
func (u *unit) owes() bool {
	return u.end == endQuery || u.end == endCall || u.end == endSync || u.end == endLogin
}

// alone tells whether the unit is complete, has exactly one statement, and
// waits for nothing but that.
func (u *unit) alone() bool {
	if u.flags&flagMany != 0 {
		return false
	}
	switch u.end {
	case endQuery:
		return true // with a batch before it, it has flagMany
	case endSync:
		return u.flags&flagExecute != 0 && u.ext == 1
	}
	return false
}

// ringFull is when the client should be read no further, ringMax when tracking
// ends, ringKeep what an idle session may keep, in different units in flight
// (12 bytes each).
const (
	ringKeep = 64
	ringFull = 8192
	ringMax  = 4 * ringFull
)

// ring is a FIFO of units that keeps a few in place, so that an ordinary
// session allocates none, and grows for deep pipelines of differing units.
type ring struct {
	large  []unit // nil while small is enough; its length is a power of two
	head   int
	length int
	small  [4]unit
}

func (r *ring) slots() []unit {
	if r.large != nil {
		return r.large
	}
	return r.small[:]
}

func (r *ring) at(i int) *unit {
	s := r.slots()
	return &s[(r.head+i)&(len(s)-1)]
}

// push adds u behind the others, joining it to an equal neighbour. It reports
// false when there is no room.
func (r *ring) push(u unit) bool {
	u.n = 1
	if r.length > 0 {
		last := r.at(r.length - 1)
		if last.ext == u.ext && last.end == u.end && last.flags == u.flags && last.n < 1<<31 {
			last.n++
			return true
		}
	}
	if r.length == len(r.slots()) {
		if r.length >= ringMax {
			return false
		}
		grown := make([]unit, 2*r.length)
		for i := range r.length {
			grown[i] = *r.at(i)
		}
		r.large, r.head = grown, 0
	}
	*r.at(r.length) = u
	r.length++
	return true
}

// pop takes one unit off the front. The ring must not be empty.
func (r *ring) pop() unit {
	front := r.at(0)
	u := *front
	u.n = 1
	if front.n--; front.n == 0 {
		r.drop()
	}
	return u
}

// drop removes the front with all its repetitions.
func (r *ring) drop() {
	r.length--
	r.head = (r.head + 1) & (len(r.slots()) - 1)
	if r.length == 0 {
		r.head = 0
		if len(r.large) > ringKeep {
			r.large = nil
		}
	}
}
