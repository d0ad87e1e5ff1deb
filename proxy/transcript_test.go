package proxy_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/router"
)

// disturb is what is done at every message boundary of a conversation.
type disturb uint8

const (
	nothing disturb = iota
	pausing         // the gates close before each message and open behind it
	moving          // the weight flips before each message, or while it is on its way
	cancels         // a CancelRequest comes before each message
)

func (d disturb) String() string { return [...]string{"nothing", "pause", "inject", "cancel"}[d] }

// scene is what came of a line of the conversation.
type scene struct {
	line  string
	heard []string
	clock time.Duration
}

// TestTranscripts plays every recorded conversation directly and through a proxy that
// is held, moved or asked to cancel at every message boundary. The client must see the
// same bytes, but for the names of the other arm and their ParameterStatus; the server
// the client's bytes, and whole units where the session is at rest; and the clock the
// same time, for no deadline may be run into.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/conversations/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no conversations", err)
	}
	all := os.Getenv("MZCANARY_TEST_TRANSCRIPTS") == "each"
	units, waits := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		each := all || !raceEnabled && (name == "portals" || name == "misc") // every boundary alone as well
		lines := clientLines(string(text))
		for _, d := range []disturb{nothing, pausing, moving, cancels} {
			t.Run(name+"/pipelined/"+d.String(), func(t *testing.T) { transcript(t, inBatches(lines, 4), d, everywhere) })
			t.Run(name+"/"+d.String(), func(t *testing.T) {
				u, w := transcript(t, lines, d, everywhere)
				units, waits = units+u, waits+w
				for at := range lines {
					if each && d != nothing && !t.Failed() {
						transcript(t, lines, d, at)
					}
				}
			})
		}
	}
	if units < 100 || waits < 50 {
		t.Errorf("%d units and %d messages held: too little was disturbed", units, waits)
	}
}

const everywhere = -1

func clientLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "  <- ") && !strings.HasPrefix(line, "raw ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// inBatches puts up to n messages of one client that follow each other into one write.
func inBatches(lines []string, n int) (batches []string) {
	whose := func(line string) string {
		name, command, _ := strings.Cut(line, ":")
		if strings.HasPrefix(line, "connect ") || spoken(strings.TrimPrefix(command, " ")) == nil {
			return ""
		}
		return name
	}
	last, count := "", 0
	for _, line := range lines {
		if name := whose(line); name != "" && name == last && count < n {
			batches[len(batches)-1] += "\n" + line
			count++
		} else {
			batches = append(batches, line)
			last, count = name, 1
		}
	}
	return batches
}

func transcript(t *testing.T, lines []string, d disturb, at int) (units, waits int) {
	var direct, proxied []scene
	moved := map[string]bool{}
	synctest.Test(t, func(t *testing.T) {
		st, clear := newStage(t, false)
		defer clear()
		quiet := d
		if d != cancels { // a cancel may mean something: then it must mean the same
			quiet = nothing
		}
		direct, _ = st.perform(lines, quiet, at)
	})
	synctest.Test(t, func(t *testing.T) {
		st, clear := newStage(t, true)
		defer clear()
		proxied, waits = st.perform(lines, d, at)
		units = st.checkServerLegs(moved)
		for line := range strings.Lines(st.logs.String()) {
			if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && !strings.Contains(line, "keeps a hold from gathering") {
				t.Errorf("the proxy complained: %s", line)
			}
		}
	})
	if !t.Failed() {
		compareScenes(t, direct, proxied, d, moved)
	}
	if t.Failed() && at != everywhere {
		t.Logf("disturbed at line %d alone: %s", at+1, lines[at])
	}
	return units, waits
}

// perform plays the lines, disturbed at one of them or everywhere, and counts the
// messages that waited.
func (st *stage) perform(lines []string, d disturb, at int) (scenes []scene, waits int) {
	begin := time.Now()
	for i, line := range lines {
		now := d
		if at != everywhere && at != i {
			now = nothing
		}
		waits += st.line(i, line, now)
		scenes = append(scenes, scene{line, st.hear(), time.Since(begin)})
		time.Sleep(50 * time.Millisecond) // for what the server does in its own time
	}
	scenes = append(scenes, scene{"(afterwards)", st.hear(), time.Since(begin)})
	return scenes, waits
}

func (st *stage) line(i int, line string, d disturb) (waits int) {
	if rest, ok := strings.CutPrefix(line, "connect "); ok {
		if d == moving && st.p != nil {
			st.flip()
		}
		st.connect(rest)
		return 0
	}
	name, command, ok := strings.Cut(line, ":")
	v := st.voices[name]
	if !ok || v == nil {
		st.t.Fatalf("what does %q mean?", line)
	}
	command = strings.TrimPrefix(command, " ")
	if command == "cancel" {
		st.cancel(v)
		return 0
	}
	message := spokenAll(name, command)
	if message == nil {
		return 0
	}
	switch {
	case d == cancels:
		st.cancel(v)
		v.say(message)
	case st.p == nil || d == nothing:
		v.say(message)
	case d == pausing:
		return st.pause(v, message)
	case d == moving:
		st.move(i, v, message)
	}
	return 0
}

// pause lets the message arrive at closed gates and opens them. It tells whether it waited.
func (st *stage) pause(v *voice, message []byte) (waited int) {
	synctest.Wait()
	h, err := st.p.Hold(shop, time.Minute)
	if err != nil {
		st.t.Fatal(err)
	}
	h.Gather(cancelled())
	v.say(message)
	synctest.Wait()
	waited = h.Release().Sessions
	synctest.Wait()
	// And once more behind the answer.
	if h, err = st.p.Hold(shop, time.Minute); err != nil {
		st.t.Fatal(err)
	}
	synctest.Wait()
	h.Release()
	return waited
}

func (st *stage) flip() {
	st.table.Update(shop, func(d *router.Deployment) { d.Weight = router.Full - d.Weight })
}

// move flips the weight: noticed by the sweeper before the message, by the message
// itself, or while it is under way.
func (st *stage) move(i int, v *voice, message []byte) {
	synctest.Wait()
	switch i % 3 {
	case 0:
		st.flip()
		st.p.Nudge()
		synctest.Wait()
		v.say(message)
	case 1:
		st.flip()
		v.say(message)
	case 2:
		v.say(message)
		st.flip()
		st.p.Nudge()
	}
}

// compareScenes compares line by line. Behind the first line that gives the names of
// the arms another meaning, those who have been moved read something else: the others
// are compared to the end.
func compareScenes(t *testing.T, direct, proxied []scene, d disturb, moved map[string]bool) {
	own := map[string]bool{}
	compared := 0
	defer func() { t.Logf("%d messages compared", compared) }()
	for i := range min(len(direct), len(proxied)) {
		if d == moving && newMeaning.MatchString(direct[i].line) {
			maps.Copy(own, moved)
		}
		if rest, ok := strings.CutPrefix(direct[i].line, "connect "); ok && ownAnswer.MatchString(rest) {
			own[shellWords(rest)[0]] = true
		}
		want, got := permitted(direct[i].heard, d, own), permitted(proxied[i].heard, d, own)
		if d == moving && asksForOthers.MatchString(direct[i].line) {
			continue
		}
		compared += len(want)
		if !slices.Equal(want, got) {
			t.Fatalf("line %d, %s\nwithout a proxy:\n  %s\nwith it:\n  %s", i+1, direct[i].line, strings.Join(want, "\n  "), strings.Join(got, "\n  "))
		}
		if direct[i].clock != proxied[i].clock {
			t.Fatalf("line %d, %s: over after %v, without a proxy after %v", i+1, direct[i].line, proxied[i].clock, direct[i].clock)
		}
	}
	if len(direct) != len(proxied) {
		t.Errorf("%d lines, want %d", len(proxied), len(direct))
	}
}

// ownAnswer: protocol versions, and what is taken out of start-up packets.
var ownAnswer = regexp.MustCompile(`\bVERSION=|\b_pq_\.|\bmz_forwarded_for=`)

// newMeaning: statements that change what the names of the arms mean, or who may
// use them, and behind which the twin is none any more.
var newMeaning = regexp.MustCompile(`\b(SWAP|RENAME|REVOKE|DROP)\b.*\b(prod|prod_deploy|answer|total|shape|only_old|base|app)\b`)

// asksForOthers: statements that tell where the sessions of others run.
var asksForOthers = regexp.MustCompile(`\bmz_(subscriptions|sessions)\b`)

// permitted takes out what may differ: the names of the arm where it is another, and
// what a client hears whose start-up packet is answered by the proxy.
func permitted(heard []string, d disturb, own map[string]bool) (out []string) {
	for _, m := range heard {
		name, message, _ := strings.Cut(m, " ")
		if own[name] {
			continue
		}
		if d != moving {
			out = append(out, m)
			continue
		}
		if strings.HasPrefix(message, `S "cluster\x00`) || strings.HasPrefix(message, `S "search_path\x00`) {
			continue
		}
		out = append(out, strings.ReplaceAll(m, "twin", "prod"))
	}
	return out
}

// checkServerLegs compares what the server got with what the clients sent, and counts
// the units between.
// moved gets the names of the clients that were moved at any time.
func (st *stage) checkServerLegs(moved map[string]bool) (units int) {
	synctest.Wait()
	byNumber := map[int]*voice{}
	for _, v := range st.voices {
		byNumber[v.number] = v
	}
	for i, x := range st.taps {
		v := byNumber[i]
		if v == nil { // a name that connected again has lost its first voice
			moved[st.names[i]] = true
			continue
		}
		n := x.check(st.t, v)
		moved[st.names[i]] = moved[st.names[i]] || n > 0
		units += n
	}
	return units
}

// check walks one leg. Between the client's own messages there may be units, each a
// whole message at a boundary, with nothing behind it before its answer.
func (x *tap) check(t *testing.T, v *voice) (units int) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	var up, down []byte
	started, atRest, inUnit := false, false, false
	sent := v.sent[v.startup:]
	for _, e := range x.events {
		if !e.up {
			down = append(down, e.bytes...)
			for {
				m, rest := cutMessage(down)
				if m == nil {
					break
				}
				down = rest
				switch m[0] {
				case 'N', 'S', 'A':
				case 'Z':
					atRest, inUnit = m[5] == 'I', false
				default:
					atRest = false
				}
			}
			continue
		}
		up = append(up, e.bytes...)
		if !started {
			n := int(binary.BigEndian.Uint32(up))
			if asSent := v.sent[:v.startup]; !bytes.Equal(up[:n], asSent) && !rewritten(asSent) {
				t.Errorf("the start-up packet %q became %q", asSent, up[:n])
			}
			up, started = up[n:], true
		}
		for {
			m, rest := cutMessage(up)
			if m == nil {
				break
			}
			up = rest
			switch {
			case inUnit:
				t.Errorf("%q was sent to the server behind a unit, before its answer", m)
			case bytes.HasPrefix(sent, m):
				sent = sent[len(m):]
				atRest = false
			case m[0] == 'Q' && (bytes.Contains(m, []byte("SET cluster = \"")) || bytes.Contains(m, []byte("SHOW cluster; SHOW search_path"))):
				if !atRest || len(rest) != 0 {
					t.Errorf("unit %q away from a boundary, or with %q behind it", m, rest)
				}
				units++
				inUnit, atRest = true, false
			default:
				t.Errorf("the server got %q, and the client's next message is %.80q", m, sent)
				return units
			}
		}
	}
	if len(up) != 0 {
		t.Errorf("the server got half a message: %q", up)
	}
	if len(sent) != 0 && !v.ended {
		t.Errorf("the server did not get %q", sent)
	}
	return units
}

// rewritten: what of a start-up packet the proxy takes out is tested elsewhere.
func rewritten(p []byte) bool {
	return binary.BigEndian.Uint32(p[4:]) != 3<<16 || bytes.Contains(p, []byte("_pq_.")) || bytes.Contains(p, []byte("mz_forwarded_for"))
}

func cutMessage(b []byte) (m, rest []byte) {
	if len(b) < 5 {
		return nil, b
	}
	n := 1 + int(binary.BigEndian.Uint32(b[1:]))
	if len(b) < n {
		return nil, b
	}
	return b[:n], b[n:]
}
