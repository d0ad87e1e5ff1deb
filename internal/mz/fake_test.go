package mz

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// fake is a server that says what a test tells it to, over in-memory connections.
type fake struct {
	t *testing.T
	// answer is asked for every statement; nil means ok.
	answer func(sql string) reply
	// login may refuse a connection; nil lets everybody in.
	login func(params map[string]string) *pgproto3.ErrorResponse
	// password asked for in clear text when set.
	password func() string

	mu      sync.Mutex
	said    []string // statements in order
	logins  []map[string]string
	cancels int
	nextPID uint32
	wg      sync.WaitGroup
}

// reply is what comes back for one statement.
type reply struct {
	messages []pgproto3.BackendMessage
	status   byte // of ReadyForQuery; 0 means what the statement leads to
	cut      bool // close instead of ReadyForQuery
	silent   bool // nothing, until the client goes away
}

func tag(text string) reply {
	return reply{messages: []pgproto3.BackendMessage{&pgproto3.CommandComplete{CommandTag: []byte(text)}}}
}

func refused(severity, code, message string) reply {
	return reply{messages: []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Severity: severity, Code: code, Message: message}}}
}

// values is a result with text columns; "NULL" is NULL.
func values(rows ...[]string) reply {
	var r reply
	width := 1
	if len(rows) > 0 {
		width = len(rows[0])
	}
	fields := make([]pgproto3.FieldDescription, width)
	for i := range fields {
		fields[i] = pgproto3.FieldDescription{Name: []byte("c"), DataTypeOID: oidText}
	}
	r.messages = append(r.messages, &pgproto3.RowDescription{Fields: fields})
	for _, row := range rows {
		data := make([][]byte, len(row))
		for i, v := range row {
			if v != "NULL" {
				data[i] = []byte(v)
			}
		}
		r.messages = append(r.messages, &pgproto3.DataRow{Values: data})
	}
	r.messages = append(r.messages, &pgproto3.CommandComplete{CommandTag: []byte("SELECT")})
	return r
}

// warehouse of a fake server.
func (f *fake) warehouse(change ...func(*Config)) *Warehouse {
	f.t.Helper()
	cfg := Config{Address: "fake:1", User: "mzcanary", Dial: f.dial}
	for _, c := range change {
		c(&cfg)
	}
	w := New(cfg)
	f.t.Cleanup(func() {
		w.Close()
		f.wg.Wait()
	})
	return w
}

func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	f.wg.Go(func() {
		defer server.Close()
		f.serve(server)
	})
	return client, nil
}

func (f *fake) serve(c net.Conn) {
	be := pgproto3.NewBackend(c, c)
	start, err := be.ReceiveStartupMessage()
	if err != nil {
		return
	}
	startup, ok := start.(*pgproto3.StartupMessage)
	if !ok {
		f.mu.Lock()
		f.cancels++
		f.mu.Unlock()
		return
	}
	f.mu.Lock()
	f.nextPID++
	pid := f.nextPID
	f.logins = append(f.logins, startup.Parameters)
	f.mu.Unlock()
	if f.login != nil {
		if refusal := f.login(startup.Parameters); refusal != nil {
			be.Send(refusal)
			_ = be.Flush()
			return
		}
	}
	if f.password != nil && !f.authenticate(be) {
		return
	}
	be.Send(&pgproto3.AuthenticationOk{})
	be.Send(&pgproto3.ParameterStatus{Name: "mz_version", Value: "v26.4.0 (fake)"})
	be.Send(&pgproto3.BackendKeyData{ProcessID: pid, SecretKey: []byte{1, 2, 3, 4}})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if be.Flush() == nil {
		f.talk(be)
	}
}

func (f *fake) authenticate(be *pgproto3.Backend) bool {
	be.Send(&pgproto3.AuthenticationCleartextPassword{})
	if be.Flush() != nil || be.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return false
	}
	msg, err := be.Receive()
	if err != nil {
		return false
	}
	if p, ok := msg.(*pgproto3.PasswordMessage); !ok || p.Password != f.password() {
		be.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "invalid password"})
		_ = be.Flush()
		return false
	}
	return true
}

// talk answers statements until the connection ends.
func (f *fake) talk(be *pgproto3.Backend) {
	status := byte('I')
	var extended string
	for {
		msg, err := be.Receive()
		if err != nil {
			return
		}
		var sql string
		switch m := msg.(type) {
		case *pgproto3.Query:
			sql = m.String
		case *pgproto3.Parse:
			extended = m.Query
			continue
		case *pgproto3.Sync:
			sql = extended
			be.Send(&pgproto3.ParseComplete{})
			be.Send(&pgproto3.BindComplete{})
		case *pgproto3.Terminate:
			return
		default:
			continue
		}
		f.mu.Lock()
		f.said = append(f.said, sql)
		f.mu.Unlock()
		if status = f.respond(be, sql, status); status == 0 {
			return
		}
	}
}

// respond sends a reply and returns the transaction status, 0 for a cut.
func (f *fake) respond(be *pgproto3.Backend, sql string, status byte) byte {
	var r reply
	if f.answer != nil {
		r = f.answer(sql)
	}
	if r.silent {
		for {
			if _, err := be.Receive(); err != nil {
				return 0
			}
		}
	}
	word, _, _ := strings.Cut(sql, " ")
	if r.messages == nil && !r.cut {
		r.messages = []pgproto3.BackendMessage{ordinary(sql)}
	}
	failed := slices.ContainsFunc(r.messages, func(m pgproto3.BackendMessage) bool { _, ok := m.(*pgproto3.ErrorResponse); return ok })
	switch {
	case r.status != 0:
		status = r.status
	case word == "COMMIT" || word == "ROLLBACK":
		status = 'I'
	case failed && status == 'T':
		status = 'E'
	case word == "BEGIN":
		status = 'T'
	}
	for _, m := range r.messages {
		be.Send(m)
	}
	if !r.cut {
		be.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	}
	if be.Flush() != nil || r.cut {
		return 0
	}
	return status
}

// ordinary is the tag a statement gets when all is well.
func ordinary(sql string) pgproto3.BackendMessage {
	words := strings.Fields(sql)
	switch {
	case len(words) == 0:
		return &pgproto3.EmptyQueryResponse{}
	case words[0] == "ALTER" || words[0] == "DROP" || words[0] == "CREATE":
		return &pgproto3.CommandComplete{CommandTag: []byte(words[0] + " " + words[1])}
	}
	return &pgproto3.CommandComplete{CommandTag: []byte(words[0])}
}

// statements that were sent, without pings.
func (f *fake) statements() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.said), func(s string) bool { return s == "" })
}

func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.logins)
}

// within is a context with a failure guard.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func mustBe(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %q", err, want)
	}
}
