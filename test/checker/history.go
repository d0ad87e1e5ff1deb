package checker

import (
	"fmt"
	"time"
)

// Forever is later than anything.
const Forever = time.Duration(1<<63 - 1)

// Span is a stretch of the run.
type Span struct{ From, To time.Duration }

func (s Span) meets(from, to time.Duration) bool { return s.From <= to && s.To >= from }

// State is what the names and the routing stood for. A change happened at some
// moment of its Span: before From everything was as in the state before, after To
// everything is as said here.
type State struct {
	Span
	// Live and Deploy are the versions behind the live and the deploy names; 0 is
	// nothing.
	Live, Deploy int
	// Open says that there is a canary, Weight its share in basis points.
	Open   bool
	Weight int
	// Salt is the rollout's: with a session's key it says which arm the weight gives.
	Salt uint64
	// Swaps counts the times another version came to stand behind the live names.
	Swaps int
	Why   string
}

// Pin says what decides which version a session should be given.
type Pin uint8

// The pins.
const (
	ByWeight Pin = iota
	ByStable     // asked for mzcanary.arm=stable
	ByCanary     // asked for mzcanary.arm=canary
	ByNames      // came with deploy names of its own
)

func (p Pin) String() string {
	return [...]string{"by weight", "pinned stable", "pinned canary", "own deploy names"}[p]
}

// Who identifies one session of one client.
type Who struct {
	Client, Session int
	Mode            string
	Pin             Pin
	// Key is what the weight hashes, the application_name; "" where it is not known.
	Key string
	// Knocked is before the session connected, Opened when its login had been
	// answered: it came to be somewhere between.
	Knocked, Opened time.Duration
}

func (w Who) String() string {
	return fmt.Sprintf("client %d session %d (%s, %s)", w.Client, w.Session, w.Mode, w.Pin)
}

// Answer is one unit of work: a statement, a transaction, a batch or a stream.
type Answer struct {
	Who
	// Asked is before the first message was sent. Answered is when the answer was
	// complete; for a stream, when its first row had come: what a stream reads is
	// fixed when it is planned.
	Asked, Answered time.Duration
	// Versions are the versions seen, in their order, each run of equal ones once.
	Versions []int
	// Stream marks a SUBSCRIBE, directly or by cursor; Ended is when it did.
	Stream bool
	Ended  time.Duration
}

func (a *Answer) see(version int) {
	if n := len(a.Versions); n == 0 || a.Versions[n-1] != version {
		a.Versions = append(a.Versions, version)
	}
}

// Failure is an error a client was given.
type Failure struct {
	Who
	Asked, At time.Duration
	// Served is when the last unit of the session that succeeded was asked, 0 when
	// none was.
	Served time.Duration
	// Connecting: no session was opened. Lost: the connection ended without a word.
	Connecting, Lost bool
	// Cancelled: the client had sent a cancel for this very unit.
	Cancelled bool
	Stream    bool
	Code      string
	Text      string // message and detail
}

// Cut is a time in which every connection was cut by the end of a program: those
// opened before its end are lost.
type Cut struct {
	Span
	What CutKind
}

// CutKind says whose end it was.
type CutKind string

// The programs that end.
const (
	CutServer  CutKind = "server"
	CutProgram CutKind = "program"
)

// Injected is an error the server was told to give.
type Injected struct {
	Span
	Code, Text string
}

// Write is a row a client wrote, once.
type Write struct {
	Who
	ID    string
	Acked bool
	// Stored is how often the row was found in the end.
	Stored int
}

// History is everything that was written down.
type History struct {
	States []State
	// Doubts are times in which a COMMIT's outcome was unknown and everybody was on
	// live names, whatever they stood for.
	Doubts   []Span
	Cuts     []Cut
	Injected []Injected
	Answers  []Answer
	Failures []Failure
	Writes   []Write
	Policy   Policy
}

// Policy is what the operator chose to do to sessions.
type Policy struct {
	// TerminateStragglers: promote.stragglers is terminate.
	TerminateStragglers bool
	// EndOldStreams: drain.then is terminate.
	EndOldStreams bool
	// EndCanary: on_rollback cancels and ends what hangs on the canary.
	EndCanary bool
}

// at returns the states that may have been in force at a moment, in their order.
func (h *History) at(t time.Duration) []State { return h.within(t, t) }

// within returns the states that may have been in force in a stretch.
func (h *History) within(from, to time.Duration) []State {
	first := 0
	for i, s := range h.States {
		if s.To <= from {
			first = i
		}
	}
	var out []State
	for i := first; i < len(h.States); i++ {
		if s := h.States[i]; i == first || s.From <= to {
			out = append(out, s)
		}
	}
	return out
}

// doubted reports whether an outcome was unknown at some moment of a stretch.
func (h *History) doubted(from, to time.Duration) bool {
	for _, d := range h.Doubts {
		if d.meets(from, to) {
			return true
		}
	}
	return false
}
