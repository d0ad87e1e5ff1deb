package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// guard bounds every wait of a test; quiet is how long "(silence)" is observed.
const (
	guard = 5 * time.Second
	quiet = 40 * time.Millisecond
)

func deadline() time.Time { return time.Now().Add(guard) }

// startServer serves both listeners on loopback until the test ends.
func startServer(t testing.TB, o Options) (s *Server, plain, internal string) {
	t.Helper()
	s = New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	listen := func(serve func(context.Context, net.Listener) error) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		serving.Go(func() {
			if err := serve(ctx, ln); err != nil {
				t.Error(err)
			}
		})
		return ln.Addr().String()
	}
	plain, internal = listen(s.Serve), listen(s.ServeInternal)
	t.Cleanup(func() {
		cancel()
		serving.Wait()
		if n := len(s.Sessions()); n != 0 {
			t.Errorf("%d sessions left after the server's end", n)
		}
	})
	return s, plain, internal
}

// client speaks the protocol message by message.
type client struct {
	addr string
	conn net.Conn
	fe   *pgproto3.Frontend
	key  pgproto3.BackendKeyData
	// late: the real server was slow once, and its answers stand one step further down; they are collected in backlog.
	late    bool
	backlog []string
}

func dialRaw(addr string) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{addr: addr, conn: conn, fe: newFrontend(conn)}, nil
}

func newFrontend(c net.Conn) *pgproto3.Frontend { return pgproto3.NewFrontend(c, c) }

func (c *client) close() { c.conn.Close() }

// startup sends the packet and reads up to ReadyForQuery or the end.
func (c *client) startup(version uint32, params []string) ([]string, error) {
	body := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range params {
		body = append(append(body, p...), 0)
	}
	body = append(body, 0)
	packet := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
	if _, err := c.conn.Write(packet); err != nil {
		return nil, err
	}
	var lines []string
	for {
		line, err := c.recv(guard)
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
		if line == "(eof)" || strings.HasPrefix(line, "Z ") {
			return lines, nil
		}
	}
}

// recv reads one message, "(silence)" after the time, "(eof)" at the end.
func (c *client) recv(d time.Duration) (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return "", err
	}
	m, err := c.fe.Receive()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "(silence)", nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "(eof)", nil
	case err != nil:
		return "", err
	}
	if k, ok := m.(*pgproto3.BackendKeyData); ok {
		c.key = pgproto3.BackendKeyData{ProcessID: k.ProcessID, SecretKey: append([]byte(nil), k.SecretKey...)}
	}
	return render(m), nil
}

// expect reads as many messages as are wanted.
func (c *client) expect(want []string) ([]string, error) {
	var got []string
	for _, w := range want {
		if len(c.backlog) > 0 {
			got, c.backlog = append(got, c.backlog[0]), c.backlog[1:]
			continue
		}
		wait := guard
		if w == "(silence)" {
			wait = quiet
		}
		line, err := c.recv(wait)
		if err != nil {
			return got, err
		}
		got = append(got, line)
		if line == "(silence)" && w != line {
			return got, fmt.Errorf("nothing came where %q was expected", w)
		}
	}
	return got, nil
}

// collect puts a whole answer into the backlog.
func (c *client) collect() error {
	for {
		line, err := c.recv(guard)
		if err != nil {
			return err
		}
		if line == "(silence)" || line == "(eof)" {
			return fmt.Errorf("%s where an answer was expected", line)
		}
		c.backlog = append(c.backlog, line)
		if strings.HasPrefix(line, "Z ") {
			return nil
		}
	}
}

// do performs one line and reads what it is followed by.
func (c *client) do(command string, want []string) ([]string, error) {
	verb, rest, _ := strings.Cut(command, " ")
	if m := message(verb, rest); m != nil {
		c.fe.Send(m)
		if err := c.fe.Flush(); err != nil {
			return nil, err
		}
		if verb == "Q" && len(want) == 1 && want[0] == "(silence)" {
			c.late = true
			return want, c.collect()
		}
		if c.late {
			if err := c.collect(); err != nil {
				return nil, err
			}
		}
		return c.expect(want)
	}
	switch verb {
	case "X":
		c.fe.Send(&pgproto3.Terminate{})
		if err := c.fe.Flush(); err != nil {
			return nil, err
		}
		if line, err := c.recv(guard); err == nil && line != "(eof)" && !c.late {
			return nil, fmt.Errorf("unexpected before the end: %s", line)
		}
		return nil, nil
	case "cancel":
		other, err := net.Dial("tcp", c.addr)
		if err != nil {
			return nil, err
		}
		defer other.Close()
		packet := binary.BigEndian.AppendUint32(nil, 16)
		packet = binary.BigEndian.AppendUint32(packet, 80877102)
		packet = binary.BigEndian.AppendUint32(packet, c.key.ProcessID)
		if _, err := other.Write(append(packet, c.key.SecretKey...)); err != nil {
			return nil, err
		}
		if err := other.SetReadDeadline(deadline()); err != nil {
			return nil, err
		}
		if n, _ := other.Read(make([]byte, 1)); n != 0 {
			return nil, errors.New("a cancel request was answered")
		}
		return nil, nil
	case "recv", "until":
		return c.expect(want)
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

// message is the client message of a line, nil when the line is no message.
func message(verb, rest string) pgproto3.FrontendMessage {
	name := func(s string) string { return strings.TrimPrefix(s, "-") }
	first, second, _ := strings.Cut(rest, " ")
	switch verb {
	case "Q", "q":
		return &pgproto3.Query{String: rest}
	case "P":
		return &pgproto3.Parse{Name: name(first), Query: second}
	case "B":
		return &pgproto3.Bind{DestinationPortal: name(first), PreparedStatement: name(second)}
	case "De":
		return &pgproto3.Describe{ObjectType: first[0], Name: name(second)}
	case "E":
		n, _ := strconv.Atoi(second)
		return &pgproto3.Execute{Portal: name(first), MaxRows: uint32(n)}
	case "Cl":
		return &pgproto3.Close{ObjectType: first[0], Name: name(second)}
	case "S", "s":
		return &pgproto3.Sync{}
	case "H":
		return &pgproto3.Flush{}
	case "d":
		return &pgproto3.CopyData{Data: []byte(strings.ReplaceAll(rest, `\n`, "\n"))}
	case "c":
		return &pgproto3.CopyDone{}
	case "f":
		return &pgproto3.CopyFail{Message: rest}
	}
	return nil
}

// render prints a server message as the recordings do.
func render(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.AuthenticationOk:
		return "R 0"
	case *pgproto3.ParameterStatus:
		return fmt.Sprintf("S %s=%q", m.Name, m.Value)
	case *pgproto3.BackendKeyData:
		return fmt.Sprintf("K len=%d", 4+len(m.SecretKey))
	case *pgproto3.ReadyForQuery:
		return "Z " + string(m.TxStatus)
	case *pgproto3.CommandComplete:
		return fmt.Sprintf("C %q", m.CommandTag)
	case *pgproto3.RowDescription:
		var b strings.Builder
		b.WriteString("T")
		for _, f := range m.Fields {
			fmt.Fprintf(&b, " %s:%d/%d", f.Name, f.DataTypeOID, f.Format)
		}
		return b.String()
	case *pgproto3.DataRow:
		var b strings.Builder
		b.WriteString("D")
		for _, v := range m.Values {
			if v == nil {
				b.WriteString(" NULL")
			} else {
				fmt.Fprintf(&b, " %q", v)
			}
		}
		return b.String()
	case *pgproto3.ErrorResponse:
		return "E " + fields(m.Severity, m.Code, m.Message, m.Detail, m.Hint, m.Position)
	case *pgproto3.NoticeResponse:
		return "N " + fields(m.Severity, m.Code, m.Message, m.Detail, m.Hint, m.Position)
	case *pgproto3.CopyData:
		return fmt.Sprintf("d %q", m.Data)
	case *pgproto3.ParseComplete:
		return "1"
	case *pgproto3.BindComplete:
		return "2"
	case *pgproto3.CloseComplete:
		return "3"
	case *pgproto3.NoData:
		return "n"
	case *pgproto3.PortalSuspended:
		return "s"
	case *pgproto3.ParameterDescription:
		return "t"
	case *pgproto3.EmptyQueryResponse:
		return "I"
	case *pgproto3.CopyInResponse:
		return "G"
	case *pgproto3.CopyOutResponse:
		return "H"
	case *pgproto3.CopyDone:
		return "c"
	}
	return fmt.Sprintf("%T", m)
}

func fields(severity, code, message, detail, hint string, position int32) string {
	s := fmt.Sprintf("S=%q C=%q M=%q", severity, code, message)
	if detail != "" {
		s += fmt.Sprintf(" D=%q", detail)
	}
	if hint != "" {
		s += fmt.Sprintf(" H=%q", hint)
	}
	if position != 0 {
		s += fmt.Sprintf(" P=%q", strconv.Itoa(int(position)))
	}
	return s
}
