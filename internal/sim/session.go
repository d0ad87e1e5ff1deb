package sim

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim/sql"
)

// sender is where a session's answers go: a pgproto3.Backend, or for Exec something that looks for errors.
type sender interface {
	Send(pgproto3.BackendMessage)
	Flush() error
}

// inbound is one message of the client, owned by whoever gets it, or the end of the connection.
type inbound struct {
	msg pgproto3.FrontendMessage
	err error
}

// A session belongs to the goroutine that serves its connection. Others may touch only what the second block names.
type session struct {
	s        *Server
	conn     net.Conn // nil for Exec
	out      sender
	in       chan inbound // nil for Exec
	vars     *settings
	prepared map[string]*statement
	portals  map[string]*portal
	cursors  map[string]*portal
	tx       txn
	// executed: an Execute of the extended protocol ran in an implicit transaction that must commit before the next
	// message that is no Execute.
	executed bool
	// draining: an error happened in the extended protocol; everything up to Sync is discarded.
	draining bool
	buffered bool // something was sent since the last flush
	replies  uint64

	// Set before the session is registered, never changed: readable by all.
	id       uint32
	secret   [4]byte
	uuid     string
	user     string
	role     string // id
	clientIP string
	since    time.Time
	info     atomic.Pointer[SessionInfo]

	mu      sync.Mutex
	cancel  context.CancelCauseFunc // of the running statement, nil when idle
	notices []notice
}

// errGone ends a session without a word: the client left, or the server cut the connection.
var errGone = errors.New("the connection is gone")

func newSession(s *Server, user string) *session {
	se := &session{
		s: s, user: user, vars: newSettings(s.version()), since: s.now(),
		prepared: map[string]*statement{}, portals: map[string]*portal{}, cursors: map[string]*portal{},
	}
	a, b := s.random(), s.random()
	se.uuid = uuidOf(a, b)
	se.secret = [4]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)}
	return se
}

// scope is where the session's names are looked up now.
func (se *session) scope() scope {
	return scope{database: se.vars.get("database").text, path: se.vars.get("search_path").list, conn: se.id}
}

func (se *session) actor() actor {
	return actor{role: se.role, scope: se.scope(), cluster: se.vars.get("cluster").text, session: se}
}

// post queues a notice; it goes out with the next answer. Safe from any goroutine.
func (se *session) post(n notice) {
	se.mu.Lock()
	defer se.mu.Unlock()
	se.notices = append(se.notices, n)
}

func (se *session) notice(code, message, hint string) {
	se.post(notice{severity: "NOTICE", code: code, message: message, hint: hint})
}

func (se *session) send(m pgproto3.BackendMessage) {
	se.buffered = true
	se.out.Send(m)
}

// sendNotices empties the queue.
func (se *session) sendNotices() {
	se.mu.Lock()
	pending := se.notices
	se.notices = nil
	se.mu.Unlock()
	least := se.vars.get("client_min_messages").text
	for _, n := range pending {
		if least == "error" || least == "warning" && n.severity == "NOTICE" {
			continue
		}
		se.send(&pgproto3.NoticeResponse{Severity: n.severity, Code: n.code, Message: n.message, Detail: n.detail, Hint: n.hint})
	}
}

func (se *session) flush() error {
	if !se.buffered {
		return nil
	}
	se.buffered = false
	if err := se.out.Flush(); err != nil {
		return errGone
	}
	return nil
}

// sendError sends what the client is told; err must not be errGone.
func (se *session) sendError(severity string, err error) {
	e := sqlError(err)
	code := e.Code
	if e.NewCode != "" && se.s.behaves().evaluationCodes {
		code = e.NewCode
	}
	se.sendNotices()
	se.send(&pgproto3.ErrorResponse{Severity: severity, Code: code, Message: e.Message, Detail: e.Detail, Hint: e.Hint,
		Position: int32(e.Position)})
}

// ready ends an exchange.
func (se *session) ready() error {
	se.publishInfo()
	se.sendNotices()
	se.send(&pgproto3.ReadyForQuery{TxStatus: se.tx.letter()})
	return se.flush()
}

func (se *session) publishInfo() {
	se.info.Store(&SessionInfo{
		ConnID: se.id, User: se.user, Application: se.vars.get("application_name").text,
		Cluster: se.vars.get("cluster").text, SearchPath: se.vars.get("search_path").list,
		Status: se.tx.letter(), Statements: se.replies,
	})
}

// begin makes a statement cancellable; the returned function ends that.
func (se *session) begin(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	se.mu.Lock()
	se.cancel = cancel
	se.mu.Unlock()
	return ctx, func() {
		se.mu.Lock()
		se.cancel = nil
		se.mu.Unlock()
		cancel(nil)
	}
}

// cancelStatement ends the running statement with err; nothing happens when there is none. Safe from any goroutine.
func (se *session) cancelStatement(err error) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.cancel != nil {
		se.cancel(err)
	}
}

// ended is why a context of this session is over: errGone, or what the client is to be told.
func ended(ctx context.Context) error {
	if e, ok := errors.AsType[*sql.Error](context.Cause(ctx)); ok {
		return e
	}
	return errGone
}

// wait waits for d, or for as long as the context lives when d is negative.
func (se *session) wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	var timer <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-timer:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}
