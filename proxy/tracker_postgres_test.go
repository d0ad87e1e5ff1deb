package proxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/pgtest"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// TestTrackerAgainstPostgres sends random conversations to a real server and
// checks that the tracker counts as the server does: whatever was sent, after
// the answer to a last statement the session is at a boundary.
func TestTrackerAgainstPostgres(t *testing.T) {
	server := pgtest.Need(t, pgtest.Start)
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	setup := dialPostgres(t, server.Addr())
	setup.client('Q', "CREATE TABLE t (a int CHECK (a <> 7)); CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "+
		"$$BEGIN RAISE EXCEPTION 'no'; END$$; CREATE TABLE never (a int); "+
		"CREATE TRIGGER r BEFORE INSERT ON never FOR EACH STATEMENT EXECUTE FUNCTION refuse()\x00")
	setup.answersUntilRest()
	phases := map[string]int{}
	t.Run("injected unit", func(t *testing.T) { injectOnPostgres(t, dialPostgres(t, server.Addr())) })
	conversations := 250 // more in a soak
	if text := os.Getenv("MZCANARY_TEST_CONVERSATIONS"); text != "" {
		conversations, _ = strconv.Atoi(text)
	}
	random := rand.New(rand.NewPCG(7, 11))
	for range conversations {
		c := dialPostgres(t, server.Addr())
		end := c.converse(random)
		phases[end]++
		c.conn.Close()
	}
	t.Log(phases)
	if phases["boundary"] < 100 {
		t.Errorf("too few conversations ended well: %v", phases)
	}
}

// injectOnPostgres: the unit sets search_path, leaves the client's unnamed
// statement alone, and can be repeated after a refusal.
func injectOnPostgres(t *testing.T, c *tracked) {
	c.client('P', "\x00SELECT current_setting('search_path')\x00\x00\x00")
	c.client('S', "")
	c.answersUntilRest()
	names := wire.NewUnitNames()
	for _, path := range [][]string{{"prod-deploy", "public"}, {"prod"}} {
		u := wire.PostgresUnit(nil, names.Next(), router.Settings{Path: path})
		if _, err := c.conn.Write(u.Bytes); err != nil {
			t.Fatal(err)
		}
		reader := wire.NewUnitReader(u)
		for reader.Outcome() == wire.UnitRunning {
			n, step, err := c.down.Next(c.more())
			if err != nil {
				t.Fatal(err)
			}
			c.rest = c.rest[n:]
			if step.End {
				reader.Take(step.Type, step.Body)
			}
		}
		if reader.Outcome() != wire.UnitDone {
			t.Fatalf("%v: %s %s", reader.Outcome(), reader.Code, reader.Message)
		}
		c.client('B', "\x00\x00\x00\x00\x00\x00\x00\x00")
		c.client('E', "\x00\x00\x00\x00\x00")
		c.client('S', "")
		row := ""
		for c.track.State().Owed > 0 {
			if bytes.HasPrefix(c.more(), []byte{'D'}) {
				row = string(c.rest[11:][:binary.BigEndian.Uint32(c.rest[7:])])
			}
			c.answer()
		}
		got, err := router.ParsePath(row)
		if err != nil || !slices.Equal(got, path) || !c.track.AtBoundary() {
			t.Fatalf("search_path is %s, want %q: %+v %v", row, path, c.track.State(), err)
		}
	}
}

// more gives what of the server's bytes is not consumed, reading if there is
// nothing.
func (c *tracked) more() []byte {
	c.t.Helper()
	if len(c.rest) == 0 {
		b := make([]byte, 4096)
		n, err := c.conn.Read(b)
		if err != nil {
			c.t.Fatal(err)
		}
		c.rest = b[:n]
	}
	return c.rest
}

// sayings are what a client may say: type and body.
var sayings = []struct {
	kind byte
	body string
}{
	{'Q', "SELECT 1\x00"}, {'Q', "SELECT 1/0\x00"}, {'Q', "\x00"}, {'Q', "SELECT 1; SELECT 2\x00"}, {'Q', "BEGIN\x00"}, {'Q', "COMMIT\x00"},
	{'Q', "COPY t FROM STDIN\x00"}, {'Q', "COPY t FROM STDIN\x00"}, {'Q', "COPY nowhere FROM STDIN\x00"}, {'Q', "COPY (SELECT 1) TO STDOUT\x00"},
	{'Q', "COPY never FROM STDIN\x00"},
	{'P', "\x00SELECT generate_series(1, 3)\x00\x00\x00"}, {'P', "\x00SELECT 1\x00\x00\x00"}, {'P', "\x00SELECT nonsense\x00\x00\x00"},
	{'P', "\x00COPY t FROM STDIN\x00\x00\x00"}, {'P', "\x00COPY never FROM STDIN\x00\x00\x00"}, {'P', "\x00\x00\x00\x00"},
	{'B', "\x00\x00\x00\x00\x00\x00\x00\x00"}, {'B', "\x00\x00\x00\x00\x00\x00\x00\x00"}, {'B', "\x00absent\x00\x00\x00\x00\x00\x00\x00"},
	{'D', "S\x00"}, {'D', "P\x00"}, {'E', "\x00\x00\x00\x00\x00"}, {'E', "\x00\x00\x00\x00\x00"}, {'E', "\x00\x00\x00\x00\x01"},
	{'C', "S\x00"}, {'C', "P\x00"}, {'S', ""}, {'S', ""}, {'S', ""}, {'H', ""},
	{'d', "1\n"}, {'d', "1\n"}, {'d', "x\n"}, {'d', "7\n"}, {'c', ""}, {'c', ""}, {'f', "no\x00"},
	{'F', "\x00\x00\x07\xea\x00\x00\x00\x00\x00\x00"},
}

// tracked is a connection to PostgreSQL with a tracker between.
type tracked struct {
	t     *testing.T
	conn  net.Conn
	track *Tracker
	up    wire.Scanner
	down  wire.Scanner
	rest  []byte
	story []string
}

func dialPostgres(t *testing.T, address string) *tracked {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c := &tracked{t: t, conn: conn, track: NewTracker(Traits{Strays: StraysIgnored}), down: wire.Scanner{Side: wire.FromServer}}
	startup := wire.Startup{Params: []wire.Param{{Name: "user", Value: "postgres"}, {Name: "database", Value: "postgres"}}}
	b, err := startup.Encode(nil, wire.GrammarPostgres)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	c.answersUntilRest()
	return c
}

func (c *tracked) client(kind byte, body string) {
	c.t.Helper()
	b := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
	_, step, err := c.up.Next(b)
	if err != nil {
		c.t.Fatal(err)
	}
	c.track.Client(ReadClient(step))
	c.story = append(c.story, fmt.Sprintf(">%c %.25q", kind, strings.Trim(body, "\x00")))
	if _, err := c.conn.Write(b); err != nil {
		c.story = append(c.story, err.Error())
	}
}

// answer reads one message of the server into the tracker; false at the end.
func (c *tracked) answer() (wire.Step, bool) {
	c.t.Helper()
	for {
		for len(c.rest) > 0 {
			n, step, err := c.down.Next(c.rest)
			if err != nil {
				c.t.Fatal(err)
			}
			c.rest = c.rest[n:]
			if step.End {
				c.track.Server(ReadServer(step))
				c.story = append(c.story, "<"+string(step.Type))
				return step, true
			}
		}
		b := make([]byte, 4096)
		n, err := c.conn.Read(b)
		if n == 0 {
			if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
				c.t.Fatalf("the server is silent, and the tracker says %+v\n%s", c.track.State(), strings.Join(c.story, " "))
			}
			return wire.Step{}, false
		}
		c.rest = b[:n]
	}
}

// answersUntilRest reads while something is owed.
func (c *tracked) answersUntilRest() {
	c.t.Helper()
	for {
		s := c.track.State()
		if s.Owed == 0 || s.Phase == PhaseCopyIn || s.Phase == PhaseUntrackable || s.Phase == PhaseClosing {
			return
		}
		if _, ok := c.answer(); !ok {
			return
		}
	}
}

// converse says random things, now and then listening, and ends with what
// brings any session to rest. It returns the last phase.
func (c *tracked) converse(random *rand.Rand) string {
	for range 1 + random.IntN(14) {
		s := sayings[random.IntN(len(sayings))]
		c.client(s.kind, s.body)
		if random.IntN(3) == 0 {
			c.answersUntilRest()
		}
	}
	c.client('c', "")
	c.client('S', "")
	c.client('Q', "ROLLBACK\x00")
	c.client('Q', "SELECT 'the last statement'\x00")
	rows := 0
	for {
		step, ok := c.answer()
		state := c.track.State()
		if !ok || state.Phase == PhaseClosing {
			return "closed"
		}
		if state.Phase == PhaseUntrackable {
			if state.Reason != ReasonInsideCopy && state.Reason != ReasonCopyFailed {
				c.t.Fatalf("untrackable: %v\n%s", state.Reason, strings.Join(c.story, " "))
			}
			return "untrackable"
		}
		if step.Type == 'C' {
			rows++
		}
		if state.Phase == PhaseBoundary {
			if c.story[len(c.story)-2] != "<C" || c.story[len(c.story)-1] != "<Z" {
				c.t.Fatalf("boundary too early\n%s", strings.Join(c.story, " "))
			}
			break
		}
	}
	// Nothing may come any more: the answer to another statement is the next.
	c.client('Q', "\x00")
	for _, want := range []byte{'I', 'Z'} {
		if step, ok := c.answer(); !ok || step.Type != want {
			c.t.Fatalf("%c instead of %c\n%s", step.Type, want, strings.Join(c.story, " "))
		}
	}
	return c.track.State().Phase.String()
}
