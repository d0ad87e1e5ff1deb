package proxy

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mzcanary/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files in testdata/tracker")

// TestConversations plays the conversations recorded from a real server to the
// tracker and compares what it says after each step with a golden file, which
// is also its documentation.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/conversations/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text))
			golden := filepath.Join("testdata", "tracker", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s (-update writes it anew):\n%s", golden, firstDifference(got, string(want)))
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

// watched is one connection of a conversation, seen as the proxy sees it: as
// bytes through the scanners.
type watched struct {
	t      *testing.T
	track  *Tracker
	have   Have
	client wire.Scanner
	server wire.Scanner
}

func newWatched(t *testing.T) *watched {
	traits := TraitsOf(func(name string) (string, bool) { return "v26.4.0-dev.0 (4c45b0938)", name == "mz_version" })
	return &watched{t: t, track: NewTracker(traits), have: Have{Traits: traits}, server: wire.Scanner{Side: wire.FromServer}}
}

func (w *watched) fromClient(kind byte, body string) {
	w.step(&w.client, kind, body, func(s wire.Step) { w.track.Client(ReadClient(s)) })
}

func (w *watched) fromServer(kind byte, body string) {
	w.step(&w.server, kind, body, func(s wire.Step) {
		m := ReadServer(s)
		w.track.Server(m)
		switch kind {
		case 'S':
			name, value, _ := wire.ParseParameter(s.Body)
			w.have.Parameter(name, value)
		case 'C':
			w.have.Tag(m.Tag)
		case 'E':
			w.have.Failed()
		case 'Z':
			w.have.Ready(m.Status)
		}
	})
}

func (w *watched) step(s *wire.Scanner, kind byte, body string, take func(wire.Step)) {
	w.t.Helper()
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	n, step, err := s.Next(append(b, body...))
	if err != nil || n != 5+len(body) || !step.End {
		w.t.Fatalf("%c %q: %d %+v %v", kind, body, n, step, err)
	}
	take(step)
}

func (w *watched) String() string {
	s := w.track.State()
	text := s.Phase.String()
	if s.Phase == PhaseUntrackable {
		w.t.Errorf("untrackable: %v", s.Reason)
	}
	for _, note := range []struct {
		on   bool
		text string
	}{
		{s.Owed > 0, fmt.Sprintf("owed %d", s.Owed)}, {s.Unsynced, "unsynced"}, {s.DescribedOnly, "described only"},
		{s.Named, "named"}, {s.Settling, "settling"},
	} {
		if note.on {
			text += ", " + note.text
		}
	}
	values, _ := w.have.Values()
	return fmt.Sprintf("%s; %s %v", text, w.have.Certain(), values)
}

// replay plays a conversation and writes what the tracker says after each of
// the client's steps that brought an answer.
func replay(t *testing.T, text string) string {
	var out bytes.Buffer
	sessions := map[string]*watched{}
	var now *watched
	flush := func() {
		if now != nil {
			fmt.Fprintf(&out, "   = %v\n", now)
		}
	}
	for _, line := range strings.Split(text, "\n") {
		if answer, ok := strings.CutPrefix(line, "  <- "); ok {
			if now != nil {
				playAnswer(now, answer)
			}
			continue
		}
		flush()
		now = nil
		name, rest, ok := strings.Cut(line, ": ")
		if connect, is := strings.CutPrefix(line, "connect "); is {
			name, _, _ = strings.Cut(connect, " ")
			now = newWatched(t)
			sessions[name] = now
			fmt.Fprintln(&out, line)
			if strings.Contains(line, " QUIET ") {
				now.quietLogin(connect)
			}
			continue
		}
		if !ok || sessions[name] == nil || strings.HasPrefix(line, "#") {
			continue
		}
		now = sessions[name]
		fmt.Fprintln(&out, line)
		playClient(now, rest)
	}
	flush()
	return out.String()
}

// quietLogin: the reply to the login was not recorded, and is as asked for.
func (w *watched) quietLogin(line string) {
	for _, pair := range strings.Fields(line) {
		if key, value, ok := strings.Cut(pair, "="); ok && (key == "cluster" || key == "search_path") {
			w.fromServer('S', key+"\x00"+value+"\x00")
		}
	}
	w.fromServer('Z', "I")
}

func playClient(w *watched, line string) {
	verb, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	name := func(i int) string {
		if i >= len(args) || args[i] == "-" {
			return ""
		}
		return args[i]
	}
	switch verb {
	case "Q", "q":
		w.fromClient('Q', rest+"\x00")
	case "P":
		_, sql, _ := strings.Cut(rest, " ")
		w.fromClient('P', name(0)+"\x00"+sql+"\x00\x00\x00")
	case "B":
		w.fromClient('B', name(0)+"\x00"+name(1)+"\x00\x00\x00\x00\x00\x00\x00")
	case "De":
		w.fromClient('D', args[0]+name(1)+"\x00")
	case "Cl":
		w.fromClient('C', args[0]+name(1)+"\x00")
	case "E":
		w.fromClient('E', name(0)+"\x00\x00\x00\x00\x00")
	case "S", "s":
		w.fromClient('S', "")
	case "H", "d", "c", "f", "X":
		w.fromClient(verb[0], rest)
	case "recv", "until", "cancel":
	default:
		w.t.Fatalf("what does %q mean?", line)
	}
}

func playAnswer(w *watched, answer string) {
	verb, rest, _ := strings.Cut(answer, " ")
	if strings.HasPrefix(verb, "(") || len(verb) != 1 {
		return
	}
	switch verb {
	case "C":
		tag, err := strconv.Unquote(rest)
		if err != nil {
			w.t.Fatal(answer, err)
		}
		w.fromServer('C', tag+"\x00")
	case "Z":
		w.fromServer('Z', rest)
	case "S":
		key, quoted, _ := strings.Cut(rest, "=")
		value, err := strconv.Unquote(quoted)
		if err != nil {
			w.t.Fatal(answer, err)
		}
		w.fromServer('S', key+"\x00"+value+"\x00")
	case "E", "N":
		body := ""
		for rest != "" {
			quoted, err := strconv.QuotedPrefix(rest[2:])
			if err != nil {
				w.t.Fatal(answer, err)
			}
			value, _ := strconv.Unquote(quoted)
			body += rest[:1] + value + "\x00"
			rest = strings.TrimPrefix(rest[2+len(quoted):], " ")
		}
		w.fromServer(verb[0], body+"\x00")
	default:
		w.fromServer(verb[0], rest)
	}
}
