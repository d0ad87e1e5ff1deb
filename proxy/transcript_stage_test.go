package proxy_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/sim"
	"mzcanary/proxy"
	"mzcanary/router"
)

// A stage is a simulated Materialize in a bubble of simulated time, where the
// conversations recorded from a real one are played, directly or through a proxy.
// Time stands still while anybody has something to do, so that what has come when
// all wait is the whole answer, and any deadline that is run into shows on the clock.
type stage struct {
	t        *testing.T
	server   *sim.Server
	plain    *memoryListener
	internal *memoryListener
	voices   map[string]*voice

	p     *proxy.Proxy // nil: played directly
	front *memoryListener
	table *router.Table
	logs  *logBuffer
	taps  []*tap         // in the order of the proxy's connections
	names map[int]string // whose they are
}

// third is a version with the contents of prod, and a name as long: a session moved
// there must not see any difference but the name.
const third = `CREATE CLUSTER twin (SIZE = 'bootstrap'); CREATE SCHEMA twin;
CREATE VIEW twin.answer AS SELECT 'old'::text AS version, k, v FROM public.base;
CREATE INDEX answer_idx IN CLUSTER twin ON twin.answer (k);
CREATE MATERIALIZED VIEW twin.total IN CLUSTER twin AS SELECT 'old'::text AS version, count(*) AS n FROM public.base;
CREATE VIEW twin.shape AS SELECT 'old'::text AS version, k FROM public.base;
CREATE VIEW twin.only_old AS SELECT 'old'::text AS version;
GRANT USAGE ON SCHEMA twin TO PUBLIC; GRANT USAGE ON CLUSTER twin TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA twin TO PUBLIC`

// newStage must be called inside a bubble; clear ends everything it starts.
func newStage(t *testing.T, proxied bool) (st *stage, clear func()) {
	t.Helper()
	st = &stage{t: t, server: sim.New(sim.Options{}), plain: newMemoryListener(), internal: newMemoryListener(), voices: map[string]*voice{}, names: map[int]string{}}
	setup, err := os.ReadFile(filepath.Join("..", "internal", "sim", "testdata", "conversations", "setup.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"app", "never_seen_before"} {
		if err := st.server.ExecAs(t.Context(), role, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{string(setup), third} {
		if err := st.server.ExecAs(t.Context(), "materialize", text); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serve := func(what string, f func(context.Context, net.Listener) error, ln net.Listener) {
		serving.Go(func() {
			if err := f(ctx, ln); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	serve("the server", st.server.Serve, st.plain)
	serve("the server, internally", st.server.ServeInternal, st.internal)
	if proxied {
		st.startProxy()
		serve("the proxy", st.p.Serve, st.front)
	}
	return st, func() {
		for _, v := range st.voices {
			v.conn.Close()
			<-v.heard
		}
		if st.p != nil {
			over, done := context.WithCancel(context.Background())
			done()
			st.p.Shutdown(over)
		}
		stop()
		serving.Wait()
	}
}

func (st *stage) startProxy() {
	pair := []router.Pair{{Live: "prod", Deploy: "twin"}}
	st.table = router.NewTable([]router.Deployment{{Name: shop, Schemas: pair, Clusters: pair, Salt: 7, Canary: router.CanaryDeploy}})
	st.front, st.logs = newMemoryListener(), &logBuffer{}
	dial := func(cancel bool) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			conn, err := st.plain.dial()
			if err != nil || cancel {
				return conn, err
			}
			x := &tap{memoryConn: conn.(*memoryConn)}
			st.taps = append(st.taps, x)
			return x, nil
		}
	}
	st.p = proxy.New(proxy.Config{
		Table: st.table, Kind: proxy.Materialize, Dial: dial(false), DialCancel: dial(true), Log: st.logs.logger(),
		Limits: proxy.Limits{Startup: 10 * time.Second}, Sweep: time.Hour,
	})
}

// tap is the server's leg, with everything that passes in its order.
type tap struct {
	*memoryConn
	mu     sync.Mutex
	events []event
}

type event struct {
	up    bool
	bytes []byte
}

func (x *tap) note(up bool, b []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, event{up, bytes.Clone(b)})
}

func (x *tap) Write(b []byte) (int, error) {
	x.note(true, b)
	return x.memoryConn.Write(b)
}

func (x *tap) Read(b []byte) (int, error) {
	n, err := x.memoryConn.Read(b)
	if n > 0 {
		x.note(false, b[:n])
	}
	return n, err
}

// voice is one client of a conversation.
type voice struct {
	conn    net.Conn
	address func() (net.Conn, error)
	sent    []byte // everything, the start-up packet first
	startup int    // its length
	number  int    // of the proxy's connections, from 0; -1: none
	heard   chan struct{}

	mu    sync.Mutex
	input []byte
	whole []string // messages not taken yet
	key   []byte   // body of BackendKeyData
	ended bool
}

func (v *voice) listen() {
	defer close(v.heard)
	b := make([]byte, 8192)
	for {
		n, err := v.conn.Read(b)
		v.mu.Lock()
		v.input = append(v.input, b[:n]...)
		v.parse()
		if err != nil {
			v.whole, v.ended = append(v.whole, "(end)"), true
			if len(v.input) > 0 {
				v.whole = append(v.whole, fmt.Sprintf("(rest %q)", v.input))
			}
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
	}
}

func (v *voice) parse() {
	for len(v.input) >= 5 {
		n := 1 + int(binary.BigEndian.Uint32(v.input[1:]))
		if n < 5 || len(v.input) < n {
			return
		}
		body := v.input[5:n]
		if v.input[0] == 'K' {
			v.key, body = bytes.Clone(body), []byte("key")
		}
		v.whole = append(v.whole, fmt.Sprintf("%c %q", v.input[0], body))
		v.input = v.input[n:]
	}
}

func (v *voice) take() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.whole
	v.whole = nil
	return taken
}

func (v *voice) say(b []byte) {
	v.sent = append(v.sent, b...)
	_, _ = v.conn.Write(b) // a closed connection is heard by the listener
}

// masks hide what differs between two runs.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\b\d{12,13}\b`), "<ts>"},
}

// hear takes what all clients have heard since the last time, by client.
func (st *stage) hear() []string {
	synctest.Wait()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(st.voices)) {
		for _, m := range st.voices[name].take() {
			for _, mask := range masks {
				m = mask.pattern.ReplaceAllString(m, mask.with)
			}
			out = append(out, name+" "+m)
		}
	}
	return out
}

// connect performs a connect line.
func (st *stage) connect(rest string) {
	words := shellWords(rest)
	version, dial, number := uint32(3<<16), st.plain.dial, -1
	if st.p != nil {
		dial, number = st.front.dial, len(st.taps)
	}
	var body []byte
	for _, w := range words[1:] {
		switch {
		case w == "FULL", w == "QUIET":
		case strings.HasPrefix(w, "VERSION="):
			n, _ := strconv.Atoi(w[8:])
			version = uint32(n)
		case w == "PORT=6877":
			dial, number = st.internal.dial, -1
		default:
			k, val, _ := strings.Cut(w, "=")
			body = append(append(append(append(body, k...), 0), val...), 0)
		}
	}
	conn, err := dial()
	if err != nil {
		st.t.Fatal(err)
	}
	v := &voice{conn: conn, address: dial, number: number, heard: make(chan struct{})}
	if old := st.voices[words[0]]; old != nil {
		old.conn.Close()
		<-old.heard
	}
	st.voices[words[0]] = v
	st.names[number] = words[0]
	go v.listen()
	first := packet(version, string(append(body, 0)))
	v.startup = len(first)
	v.say([]byte(first))
}

// cancel sends a CancelRequest with the session's key and waits for its end.
func (st *stage) cancel(v *voice) {
	synctest.Wait()
	v.mu.Lock()
	key := v.key
	v.mu.Unlock()
	if key == nil {
		return
	}
	conn, err := v.address()
	if err != nil {
		st.t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(append([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e"), key...))
	if _, err := io.ReadAll(conn); err != nil {
		st.t.Errorf("the end of a cancel: %v", err)
	}
	synctest.Wait()
}

// shellWords splits at spaces outside single quotes.
func shellWords(s string) (words []string) {
	var word strings.Builder
	quoted := false
	for _, c := range s + " " {
		switch {
		case c == '\'':
			quoted = !quoted
		case c == ' ' && !quoted:
			if word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
		default:
			word.WriteRune(c)
		}
	}
	return words
}

// spokenAll is what a client says with the lines of one batch.
func spokenAll(name, commands string) (all []byte) {
	for command := range strings.SplitSeq(commands, "\n"+name+":") {
		all = append(all, spoken(strings.TrimPrefix(command, " "))...)
	}
	return all
}

// spoken is the client message of a line; nil when the line is none.
func spoken(line string) []byte {
	verb, rest, _ := strings.Cut(line, " ")
	name := func(s string) string { return strings.TrimPrefix(s, "-") }
	first, second, _ := strings.Cut(rest, " ")
	var m pgproto3.FrontendMessage
	switch verb {
	case "Q", "q":
		m = &pgproto3.Query{String: rest}
	case "P":
		m = &pgproto3.Parse{Name: name(first), Query: second}
	case "B":
		m = &pgproto3.Bind{DestinationPortal: name(first), PreparedStatement: name(second)}
	case "De":
		m = &pgproto3.Describe{ObjectType: first[0], Name: name(second)}
	case "E":
		n, _ := strconv.Atoi(second)
		m = &pgproto3.Execute{Portal: name(first), MaxRows: uint32(n)}
	case "Cl":
		m = &pgproto3.Close{ObjectType: first[0], Name: name(second)}
	case "S", "s":
		m = &pgproto3.Sync{}
	case "H":
		m = &pgproto3.Flush{}
	case "d":
		m = &pgproto3.CopyData{Data: []byte(strings.ReplaceAll(rest, `\n`, "\n"))}
	case "c":
		m = &pgproto3.CopyDone{}
	case "f":
		m = &pgproto3.CopyFail{Message: rest}
	case "X":
		m = &pgproto3.Terminate{}
	default:
		return nil
	}
	b, _ := m.Encode(nil)
	return b
}
