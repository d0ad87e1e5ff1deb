package proxy

import (
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// In this package "the client's pump" is whatever carries that direction: a pump
// or, in a flow, the loop.

// attention says why the fast way is off: what the client's pump must look at
// before a message goes on, or the server's pump after one came. Zero is the
// ordinary state of a session.
type attention uint16

const (
	attnLogin  attention = 1 << iota // the login is not finished
	attnHold                         // the gate is closed
	attnUnit                         // an injected unit is running
	attnCancel                       // a cancel is on its way to the server
	attnMove                         // have is not want, or not known
	attnReset                        // what may change the session's names is in flight: nothing may follow it yet
	attnFull                         // too much in flight to go on reading the client
	attnDrop                         // a cancel came for the message that waits
	attnWaited                       // the next message has waited at the gate: note when it goes
	attnEnd                          // the session is being ended
	attnJoin                         // it becomes managed: what it runs next must wait for that
	attnCursor                       // only the reading of its cursor may go on: see cursor.go
)

// session is one client connection and its own backend connection.
type session struct {
	p           *Proxy
	id          string
	client      *link // nil once a loop carries the session, like server
	server      *link
	flow        *flow // what a loop carries; nil: pumps do. Set before anybody else knows the session
	clientAddr  string
	user        string
	database    string
	application string
	asked       string // mzcanary.arm
	connected   int64
	key         wire.CancelKey // ours, as the client knows it

	admitted, charged bool // what it counts for; under registry.mu

	// done is closed when the session is being torn down; cause is set before.
	done    chan struct{}
	endOnce sync.Once
	cause   *wire.Failure

	// cw is the right to write to the client. The server's pump holds it from
	// before it shows messages to the tracker until they are written.
	cw sync.Mutex
	// clientClean: what was written to the client ends at a message's end, and no
	// ErrorResponse has been relayed since the last ReadyForQuery. Under cw.
	clientClean bool
	lastFatal   bool // the server's own FATAL has been relayed; under cw
	// notice waits for the next boundary of what goes to the client. Stored by anyone,
	// taken under cw.
	notice atomic.Pointer[notice]

	// wake tells the client's pump to ask the gate again. Sent under mu; nil in a
	// flow, which is posted to instead.
	wake chan struct{}
	// writing: the client's pump was told to go on and has not finished its write.
	// Set under mu, cleared without.
	writing atomic.Bool

	mu sync.Mutex
	gate

	loginTimer *time.Timer // set before the pumps start
	ready      []byte      // the login's ReadyForQuery, kept back until the router has decided; server's pump only
	terminated bool        // Terminate was let through; client's pump only
	ahead      *ahead      // of the client's pump, while it waits at the gate
}

// gate is everything that session.mu guards: where the session is, what it has
// and wants, and who may write to the server.
//
// The right to write to the server:
//
//	client's side      after admit said so, until it clears writing
//	whoever injects    from beginUnit until attnUnit is cleared; beginUnit demands a
//	                   boundary and that writing is clear, admit refuses during attnUnit
//	the login          the server's pump, before attnLogin is cleared
type gate struct {
	attn    attention
	waiting bool // the client's pump waits for wake
	// terminatedByLoss: the client has gone without a word.
	terminatedByLoss bool

	split      *splitter // while the server's messages are looked at one by one
	splitting  bool
	errorOpen  bool // an ErrorResponse went to the client, and no ReadyForQuery since
	fromClient wire.Scanner
	fromServer wire.Scanner
	track      *Tracker
	have       Have
	backend    wire.CancelKey    // the server's
	params     map[string]string // reported during the login, see tellsTraits; nil after it

	fleet    *fleet // nil: unmanaged or not decided yet
	reason   string // why it is managed or not
	decision router.Decision
	epoch    uint64 // of want
	want     router.Settings
	arm      router.Arm // intended by the assignment
	weight   router.Weight
	// loginWeight is the weight in force at the login: what chose the arm of a
	// session that keeps it.
	loginWeight router.Weight
	// placed are the values as the proxy last set them, or the login brought them:
	// what differs from them has been set by the client.
	placed   router.Settings
	swaps    uint64
	onDeploy bool // have means the deploy names
	// login is what the session started with, which a reset restores, and
	// loginBase what that asked for; loginManaged: it was managed by them.
	login, loginBase router.Settings
	loginManaged     bool
	leaving          string // why it becomes unmanaged after the move under way; empty: it does not
	steers           bool   // released by client_set: release
	own              ownSet // what became of the client's last own SET
	ownSets          uint64

	// watch: its statements are looked at for live schemas named explicitly.
	// offCanary: one was found, and the rollout of offSalt goes on without the unit.
	watch, offCanary bool
	offSalt          uint64
	// prepared and unnamed are what is known of the statements that it may execute
	// later; textLate: the text of the message under way was not whole at its beginning.
	prepared, unnamed textFacts
	preparedText      string // one that names a live schema, normalised
	textLate          bool
	// byWeight: only a weight can ask for a move now; keepNamed: see router.Deployment.
	byWeight, keepNamed bool
	moveSince           int64  // since when have is not want; 0: it is
	qualifiedNames      uint64 // statements found
	qualifiedText       string // the last one that is kept, normalised

	stuckEpoch uint64 // a move failed at this epoch: not tried again before the next
	ask        bool   // have must be asked for before it is compared with want
	running    *running
	names      *wire.UnitNames
	moveFails  int // in a row

	hold       *Hold
	rest       resting
	waitSince  int64 // since when a message waits at the closed gate; 0: none does
	stallOf    *Hold // released it, and wants to know how long it waited
	cancelling int   // cancels on their way to the server
	// cancelSince is since when a message waits for them. cancelNext: a cancel came
	// for a message that waits inside a transaction; it follows that message.
	cancelSince int64
	cancelNext  bool
	endStill    func(SessionInfo) bool // why it is to be ended, asked again when the client is told; nil: no matter what
	doomed      bool                   // it is ended no matter what
	lastCancel  chan struct{}          // closed when the cancel of an ended session has been taken; nil: none was needed
	cancelGen   int                    // moves when they are no longer waited for

	stats      *armstats.Deployment
	unit       *armstats.Unit
	generation uint64

	began     int64 // of the running exchange; 0: none
	txnBegan  int64 // of the running transaction; 0: none
	lastEnd   int64
	exArm     router.Arm
	exWeight  router.Weight
	exClass   armstats.Class
	exStream  bool
	exError   bool
	exVersion uint64 // version at start: swaps, one more on deploy names
	cursorOut bool   // a swap went by while its transaction only read its cursor
	batchOK   bool   // attnCursor: what was prepared in the open batch only reads
	statement [48]byte
	stmtKind  byte
	stmtLen   uint8

	exchanges, errors, retargets, failedMoves uint64
	bytesIn, bytesOut                         uint64
}

func newSession(p *Proxy, client *link, st *wire.Startup) *session {
	s := &session{
		p: p, id: hex.EncodeToString(randomBytes(8)), client: client,
		done: make(chan struct{}), connected: p.now(), clientClean: true,
	}
	s.clientAddr = client.conn.RemoteAddr().String()
	s.user, _ = st.Get("user")
	s.database, _ = st.Get("database")
	if s.database == "" {
		s.database = s.user
		if p.cfg.Kind == Materialize {
			s.database = "materialize"
		}
	}
	s.application, _ = st.Get("application_name")
	s.asked, _ = st.Arm(p.cfg.Kind.grammar())
	// They are parts of the whole packet, which need not stay.
	for _, kept := range []*string{&s.user, &s.database, &s.application, &s.asked} {
		*kept = strings.Clone(*kept)
	}
	s.attn = attnLogin
	s.fromServer.Side = wire.FromServer
	s.track = NewTracker(Traits{Materialize: p.cfg.Kind == Materialize})
	s.startSplit()
	if r, ok := st.Get("replication"); ok && r != "false" && r != "off" && r != "0" && r != "no" {
		s.track.Fail(ReasonReplication) // another dialect: relayed, never moved
	}
	s.params = make(map[string]string)
	s.reason = "logging in"
	s.lastEnd = s.connected
	return s
}

// abort tears the session down: deadlines first, so that no pump blocks the
// close, and every wait at the gate ends. Any goroutine may call it; the first
// cause counts.
func (s *session) abort(cause *wire.Failure) {
	s.endOnce.Do(func() {
		s.cause = cause
		close(s.done)
		if s.flow != nil {
			s.flow.l.post(s.flow, askAbort)
			return
		}
		s.client.expire()
		s.server.expire()
	})
}

// endWith tells the client why, where the protocol allows a word, has what the
// session runs cancelled, and aborts. It may wait a moment for a client that does
// not read; of a flow it does not wait.
func (s *session) endWith(f *wire.Failure) {
	s.mu.Lock()
	s.attn |= attnEnd
	s.doomed = true
	s.wakeClient()
	s.mu.Unlock()
	if f.Kind != wire.KindUpstreamLost {
		s.cancelLast()
	}
	if s.flow != nil {
		s.flow.say(f)
		return
	}
	s.lastWord(f)
	s.abort(f)
}

// lastWordTime is how long a client may take to accept its last message.
const lastWordTime = 200 * time.Millisecond

// lastWord writes f to the client if what it has got so far ends at a message's
// end and no error was relayed in the running exchange: a second one breaks
// libpq's pipeline. A client that is being written to gets none. False: the session
// goes on, see stillEnds.
func (s *session) lastWord(f *wire.Failure) bool {
	for begin := time.Now(); !s.cw.TryLock(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > lastWordTime {
			return s.stillEnds(f)
		}
	}
	defer s.cw.Unlock()
	if !s.stillEnds(f) {
		return false
	}
	s.lastWordLocked(f)
	return true
}

func (s *session) lastWordLocked(f *wire.Failure) {
	if !s.clientClean || s.lastFatal {
		return
	}
	s.lastFatal = true
	s.client.conn.SetWriteDeadline(time.Now().Add(lastWordTime))
	_ = s.client.write(f.Append(nil)) // the session ends either way
}

// wakeClient makes the client's pump ask the gate again. Under mu.
func (s *session) wakeClient() {
	switch {
	case !s.waiting:
	case s.flow != nil:
		s.flow.l.post(s.flow, askGate)
	default:
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}
