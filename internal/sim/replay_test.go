package sim

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// conversations recorded from a real server, replayed message by message. What they leave open is said here.
var conversations = []string{"startup", "settings", "inject", "swap", "fence", "conflict", "live", "prepared", "portals", "roles", "misc"}

func TestConversations(t *testing.T) {
	for _, name := range conversations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("testdata", "conversations", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			script(t, Options{}, string(text))
		})
	}
}

// TestEveryConversationIsReplayed: a copy that no test plays proves nothing.
func TestEveryConversationIsReplayed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "conversations", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".txt"); !slices.Contains(conversations, name) {
			t.Errorf("%s is not replayed", file)
		}
	}
	if len(files) != len(conversations) {
		t.Errorf("%d conversations are to be replayed, %d are here", len(conversations), len(files))
	}
}

// TestConversationCopies compares the copies with the recordings they were made from.
func TestConversationCopies(t *testing.T) {
	from := filepath.Join("..", "..", "..", "shared", "fixtures")
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		t.Skipf("the recordings (%s) are not here: the copies in testdata cannot be compared with them", from)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "conversations", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no copies: %v", err)
	}
	recorded, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range recorded {
		if name := filepath.Base(file); name != "README.md" && !slices.Contains(files, filepath.Join("testdata", "conversations", name)) {
			t.Errorf("recording %s has no copy here, so nothing is held to it", name)
		}
	}
	for _, file := range files {
		mine, err1 := os.ReadFile(file)
		theirs, err2 := os.ReadFile(filepath.Join(from, filepath.Base(file)))
		if err := errors.Join(err1, err2); err != nil {
			t.Error(err)
		} else if !bytes.Equal(mine, theirs) {
			t.Errorf("%s differs from its recording", file)
		}
	}
}

// replay plays one conversation.
type replay struct {
	t               *testing.T
	plain, internal string // addresses
	conns           map[string]*client
}

// setUp makes the two versions every conversation starts from. The roles had logged in before the recordings began,
// never_seen_before too: its first login is otherwise a catalog change (see TestFirstLoginConflicts).
func setUp(t *testing.T, s *Server) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "conversations", "setup.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"app", "never_seen_before", ""} {
		if err := s.ExecAs(t.Context(), role, "SELECT 1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ExecAs(t.Context(), "materialize", string(text)); err != nil {
		t.Fatal(err)
	}
}

// step is a line of a conversation with what must come back.
type step struct {
	line int
	text string
	want []string
}

func parseConversation(text string) (steps []step) {
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "  <- "):
			last := &steps[len(steps)-1]
			last.want = append(last.want, line[5:])
		case line == "" || strings.HasPrefix(line, "#"):
		default:
			steps = append(steps, step{line: i + 1, text: line})
		}
	}
	return steps
}

func (r *replay) run(text string) {
	for _, st := range parseConversation(text) {
		if !r.step(st) {
			r.t.FailNow()
		}
	}
}

func (r *replay) step(st step) bool {
	var got []string
	var err error
	switch verb, rest, _ := strings.Cut(st.text, " "); verb {
	case "connect":
		got, err = r.connect(rest)
	case "raw":
		got, err = r.raw(rest)
	default:
		name, command, ok := strings.Cut(st.text, ":")
		c := r.conns[name]
		if !ok || c == nil {
			r.t.Errorf("line %d: unknown line %q", st.line, st.text)
			return false
		}
		got, err = c.do(strings.TrimPrefix(command, " "), st.want)
	}
	if err != nil {
		r.t.Errorf("line %d: %s\n%v\ngot so far:\n%s", st.line, st.text, err, strings.Join(got, "\n"))
		return false
	}
	want := maskAll(st.want)
	got = maskAll(got)
	if strings.Join(want, "\n") == strings.Join(got, "\n") {
		return true
	}
	r.t.Errorf("line %d: %s\n--- want\n%s\n--- got\n%s", st.line, st.text, strings.Join(want, "\n"), strings.Join(got, "\n"))
	return false
}

// masks hide what is different in every run.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`\b\d{13}\b`), "<ts>"},
	{regexp.MustCompile(`\(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\)`), "(<date>)"},
	{regexp.MustCompile(`\(u\d+, `), "(<id>, "},
}

func maskAll(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		for _, m := range masks {
			l = m.pattern.ReplaceAllString(l, m.with)
		}
		out[i] = l
	}
	return out
}

// connect logs in; what is shown of the answer depends on FULL and QUIET.
func (r *replay) connect(rest string) ([]string, error) {
	words := shellWords(rest)
	name := words[0]
	full, quiet, version, addr := false, false, uint32(196608), r.plain
	var params []string
	for _, w := range words[1:] {
		switch {
		case w == "FULL":
			full = true
		case w == "QUIET":
			quiet = true
		case strings.HasPrefix(w, "VERSION="):
			if _, err := fmt.Sscanf(w, "VERSION=%d", &version); err != nil {
				return nil, err
			}
		case w == "PORT=6877":
			addr = r.internal
		default:
			k, v, _ := strings.Cut(w, "=")
			params = append(params, k, v)
		}
	}
	c, err := dialRaw(addr)
	if err != nil {
		return nil, err
	}
	r.conns[name] = c
	lines, err := c.startup(version, params)
	if quiet {
		return nil, err
	}
	if full {
		return lines, err
	}
	var shown []string
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "S ") && !strings.HasPrefix(l, "S cluster=") && !strings.HasPrefix(l, "S search_path=") && !strings.HasPrefix(l, "S database="):
			continue
		case strings.HasPrefix(l, "K "):
			continue
		case strings.Contains(l, `M="connected to Materialize `):
			l = `N S="NOTICE" C="00000" M="connected to Materialize …"`
		}
		shown = append(shown, l)
	}
	return shown, err
}

// raw sends bytes on a fresh connection and shows the first byte of the answer.
func (r *replay) raw(rest string) ([]string, error) {
	_, hexText, _ := strings.Cut(rest, " ")
	var data []byte
	if _, err := fmt.Sscanf(hexText, "%x", &data); err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := c.Write(data); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(deadline()); err != nil {
		return nil, err
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if n == 0 && err != nil {
		return []string{"(reset)"}, nil // end of file or reset: the socket is closed without a word
	}
	return []string{fmt.Sprintf("%q %v", buf[:n], err)}, nil
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
