package proxy

// Phase says where in the protocol a session is.
//
//	          first Z                    message                Z, status I, nothing owed
//	Login ──────────────▶ Boundary ─────────────────▶ Busy ──────────────────────────────▶ Boundary
//	                         ▲                       │  │ ▲
//	                         │ Z I            G      │  │ └── C, E ── CopyIn
//	                         └─────── Transaction ◀──┘  └ D, H, N 01000 of the only statement ─▶ Streaming
//	                                   Z T, Z E
//
//	from anywhere: X sent or FATAL received ─▶ Closing; model and reality differ ─▶ Untrackable
type Phase uint8

// The phases.
const (
	PhaseLogin       Phase = iota // start-up sent, no ReadyForQuery yet
	PhaseBoundary                 // nothing owed, nothing unsynced, no part of a message, status I
	PhaseTransaction              // idle inside a transaction (status T or E)
	PhaseBusy                     // something owed or unsynced, or half a message sent
	PhaseCopyIn                   // the server reads COPY data
	PhaseStreaming                // runs on by object id: a swap does not touch it
	PhaseClosing                  // the client said Terminate, or the server FATAL
	PhaseUntrackable              // relayed, never moved: see Reason
)

var phaseNames = [...]string{"login", "boundary", "transaction", "busy", "copy_in", "streaming", "closing", "untrackable"}

// String is the phase as metrics, logs and the API name it.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

// Reason says why a session cannot be tracked.
type Reason uint8

// The reasons.
const (
	ReasonNone          Reason = iota
	ReasonUnknownClient        // a client message of unknown type
	ReasonUnknownServer        // a server message of unknown type
	ReasonUnexpected           // an answer that nothing in flight can have caused
	ReasonReadyNotOwed         // a ReadyForQuery that nobody is owed
	ReasonStatus               // a ReadyForQuery with an unknown status
	ReasonInsideCopy           // a message that has no place inside COPY FROM STDIN
	ReasonStrayCopy            // COPY data outside COPY, on a server whose reaction is not known
	ReasonCopyBoth             // COPY in both directions (replication)
	ReasonCopyFailed           // COPY failed with a Sync in flight, and the client went on at once
	ReasonPassword             // a password message outside the login
	ReasonTooDeep              // more different messages in flight than are tracked
	ReasonMalformed            // a message whose body is not what its type says
	ReasonReplication          // a replication connection: it speaks another dialect
	reasonCount
)

var reasonNames = [reasonCount]string{
	"", "unknown_client_message", "unknown_server_message", "unexpected_answer", "ready_not_owed", "unknown_status",
	"message_inside_copy", "stray_copy_data", "copy_both", "copy_failed_with_sync_in_flight", "password_outside_login",
	"pipeline_too_deep", "malformed_message", "replication",
}

// String is the metric label; empty for ReasonNone.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return "unknown"
}

// State is what the tracker knows after the messages it was shown.
type State struct {
	Phase  Phase
	Status byte // of the last ReadyForQuery: 'I', 'T' or 'E'; 0 before the first
	Owed   int  // ReadyForQuery the server owes
	// Unsynced: extended messages were sent without a Sync, or the server
	// discards until one.
	Unsynced bool
	// Partial: half a message was sent, in either direction.
	Partial bool
	// Settling: a COPY failed while a Sync was under way; whether the server
	// saw that Sync is known when it answers the next statement.
	Settling bool
	// DescribedOnly: the last exchange prepared a statement and executed
	// nothing (lib/pq, pgx): its Execute is likely to come next.
	DescribedOnly bool
	// Named: prepared statements with a name may exist.
	Named  bool
	Reason Reason
}

// Tracker follows one session, message by message in both directions, and
// tells when the session is at a boundary. It is pure: no goroutine, clock,
// socket or log, and it never fails: where its model and what it sees
// disagree, it says PhaseUntrackable from then on.
//
// It counts owed answers and never compares "last messages": the server
// answers in order, so the FIFO of what was sent says what each answer means.
// Each extended message owes exactly one answer (1, 2, 3, T or n, and C, I or
// s for Execute) and Query, FunctionCall and Sync owe a ReadyForQuery, except
// for what the server discards after an error and inside COPY.
//
// A message of the client must be shown before its last byte is written to the
// server, one of the server before anything is decided because of it. Not safe
// for concurrent use. In the steady state nothing is allocated.
type Tracker struct {
	traits Traits

	cur  unit // what the server is answering; valid when curOn
	ring ring // what it will answer next
	open unit // the extended messages behind the last Sync, Query or FunctionCall

	curOn    bool
	answered bool // cur has had an answer that is not asynchronous
	proof    bool // of cur: DataRow, CopyOutResponse or the notice of a SUBSCRIBE
	skip     bool // the server discards everything until a Sync that was not sent yet
	closing  bool
	named    bool

	describedOnly bool
	clientPart    bool
	serverPart    bool

	copying  bool // between CopyInResponse and the end of that COPY
	copyDone bool // the client ended it (CopyDone or CopyFail sent)
	swallow  int  // Syncs sent inside it: the server ignored them
	begun    bool // its first CopyData was sent
	early    int  // of swallow, those sent before that: read once any data was
	extra    int  // ReadyForQuery that may come besides the owed ones

	owed   int
	status byte
	reason Reason
	noted  bool // the reason has been counted
	txn    cursorTxn
}

// NewTracker starts before the StartupMessage is sent: the login owes the
// first ReadyForQuery.
func NewTracker(traits Traits) *Tracker {
	return &Tracker{traits: traits, cur: unit{end: endLogin, n: 1}, curOn: true, owed: 1}
}

// SetTraits tells what is known of the server, usually at the end of the login.
func (t *Tracker) SetTraits(traits Traits) { t.traits = traits }

// Fail makes the session untrackable for a reason found elsewhere.
func (t *Tracker) Fail(r Reason) {
	if t.reason == ReasonNone {
		t.reason = r
	}
}

// ClientPartial and ServerPartial tell whether what has been sent ends inside
// a message.
func (t *Tracker) ClientPartial(on bool) { t.clientPart = on }

// ServerPartial is ClientPartial for the other direction.
func (t *Tracker) ServerPartial(on bool) { t.serverPart = on }

// State answers where the session is.
func (t *Tracker) State() State {
	s := State{
		Status: t.status, Owed: t.owed, Unsynced: t.unsynced(), Partial: t.clientPart || t.serverPart,
		Settling: t.extra > 0, DescribedOnly: t.describedOnly, Named: t.named, Reason: t.reason,
	}
	s.Phase = t.phase(s)
	return s
}

// AtBoundary is State().Phase == PhaseBoundary, cheaper.
func (t *Tracker) AtBoundary() bool {
	return t.owed == 0 && t.status == 'I' && t.reason == ReasonNone && !t.closing && t.idle()
}

// Rests is AtBoundary, but for half a message of the server: it can only be an
// asynchronous one. Nothing may be injected beside it.
func (t *Tracker) Rests() bool {
	return t.owed == 0 && t.status == 'I' && t.reason == ReasonNone && !t.closing &&
		!t.curOn && t.ring.length == 0 && !t.unsynced() && !t.clientPart && t.extra == 0
}

// Owes tells whether the server will owe a ReadyForQuery for a message of this
// type sent now: what a pipeliner that never comes to rest is let through one
// by one.
func (t *Tracker) Owes(kind byte) bool {
	if t.copying && !t.copyDone {
		return false
	}
	switch kind {
	case 'Q', 'F':
		return !t.skip
	case 'S':
		return true
	}
	return false
}

// Full tells that so many different messages are in flight that reading from
// the client should wait until some are answered. A server stops reading much
// earlier when its answers are not taken.
func (t *Tracker) Full() bool { return t.ring.length >= ringFull }

func (t *Tracker) unsynced() bool { return t.skip || t.open.msgs() }

// idle: nothing owed to a ReadyForQuery apart, nothing half done.
func (t *Tracker) idle() bool {
	return !t.curOn && t.ring.length == 0 && !t.unsynced() && !t.clientPart && !t.serverPart && t.extra == 0
}

func (t *Tracker) phase(s State) Phase {
	switch {
	case t.reason != ReasonNone:
		return PhaseUntrackable
	case t.closing:
		return PhaseClosing
	case t.curOn && t.cur.end == endLogin:
		return PhaseLogin
	case t.copying:
		return PhaseCopyIn
	case t.streaming():
		return PhaseStreaming
	case !t.idle():
		return PhaseBusy
	case t.status == 'I':
		return PhaseBoundary
	default:
		return PhaseTransaction
	}
}

// streaming: one statement alone in flight, outside a transaction, with proof
// that it was planned, so that it goes on by object id; or a transaction that
// only consumes a cursor whose reading has begun.
func (t *Tracker) streaming() bool {
	if t.clientPart || t.extra > 0 || t.ring.length > 0 || t.unsynced() {
		return false
	}
	if t.status == 'T' && t.txn.consuming() {
		return !t.curOn || t.cur.flags&flagFetch != 0 && t.cur.alone()
	}
	return t.status == 'I' && t.curOn && t.proof && t.cur.alone()
}
