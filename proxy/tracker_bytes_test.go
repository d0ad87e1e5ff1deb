package proxy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"mzcanary/internal/wire"
)

// bytesWorld is a world whose messages reach the tracker as bytes, in pieces that end
// anywhere, through the scanners that the pumps use.
type bytesWorld struct {
	*world
	t        *testing.T
	up, down wire.Scanner
	saying   []said // whose bytes are in upBytes, in their order
	upBytes  []byte // said by the client, not yet relayed
	hearing  []byte // of the outbox's first message: not yet relayed
}

func newBytesWorld(t *testing.T, traits Traits) *bytesWorld {
	return &bytesWorld{world: newWorld(traits), t: t, down: wire.Scanner{Side: wire.FromServer}}
}

// asBytes is a message of the client as it is sent.
func (m said) asBytes() []byte {
	body := ""
	switch {
	case m.Type == 'Q' && m.copies:
		body = "COPY t FROM STDIN\x00"
	case m.begins:
		body = "BEGIN\x00"
	case m.ends:
		body = "COMMIT\x00"
	case m.Type == 'Q':
		body = "SELECT 1; \x00"
	case m.Type == 'P':
		body = "\x00SELECT $1\x00\x00\x00"
	case m.Type == 'E':
		body = "\x00\x00\x00\x00\x00"
	case m.Type == 'F':
		body = "\x00\x00\x07\xea\x00\x00\x00\x00\x00\x00"
	case m.Type == 'd':
		body = "1\tX\x00\x00\x00\x05\n" // data that looks like a message
	case m.Type == 'f':
		body = "no\x00"
	}
	return message(nil, m.Type, body)
}

// serverBytes is a message of the server as it is sent.
func serverBytes(m ServerMessage) []byte {
	body := ""
	switch m.Type {
	case 'Z':
		body = string([]byte{m.Status})
	case 'C':
		body = map[Tag]string{TagBegin: "BEGIN", TagCommit: "COMMIT"}[m.Tag] + "\x00"
	case 'E':
		body = "SERROR\x00VERROR\x00C22P02\x00Minvalid input\x00"
		switch {
		case m.Fatal:
			body = "SFATAL\x00VFATAL\x00C08P01\x00Mlost\x00"
		case m.CopyFail:
			body = "SERROR\x00VERROR\x00C57014\x00MCOPY from stdin failed: no\x00WCOPY t, line 1\x00"
		case m.CopyRead:
			body += "WCOPY t, line 1, column a: \"X\"\x00"
		default:
			body += "WCOPY t, line 1\x00" // perhaps the wait for it
		}
		body += "\x00"
	case 'D':
		body = "\x00\x01\x00\x00\x00\x05Z\x00\x00\x00\x05"
	case 'N':
		body = "SNOTICE\x00C00000\x00Mnothing\x00\x00"
	case 'S':
		body = "TimeZone\x00UTC\x00"
	case 'A':
		body = "\x00\x00\x00\x01here\x00\x00"
	}
	return message(nil, m.Type, body)
}

func (w *bytesWorld) say(m said) {
	w.saying = append(w.saying, m)
	w.upBytes = append(w.upBytes, m.asBytes()...)
}

// relayUp relays up to n bytes of the client.
func (w *bytesWorld) relayUp(n int) {
	piece := w.upBytes[:min(n, len(w.upBytes))]
	w.upBytes = w.upBytes[len(piece):]
	for len(piece) > 0 {
		k, step, err := w.up.Next(piece)
		if err != nil {
			w.t.Fatal(err)
		}
		piece = piece[k:]
		if !step.End {
			continue
		}
		if got := ReadClient(step); got != w.saying[0].ClientMessage {
			w.t.Fatalf("%v was read as %+v", w.saying[0], got)
		}
		for range step.Count { // a run of CopyData is one step
			m := w.saying[0]
			w.saying = w.saying[1:]
			w.inbox = append(w.inbox, m)
			w.tell(">" + m.String())
		}
		w.tracker.Client(ReadClient(step))
	}
	w.tracker.ClientPartial(w.up.Partial())
}

// relayDown relays up to n bytes of the server's next message.
func (w *bytesWorld) relayDown(n int) {
	if len(w.hearing) == 0 {
		w.hearing = serverBytes(w.outbox[0])
	}
	piece := w.hearing[:min(n, len(w.hearing))]
	w.hearing = w.hearing[len(piece):]
	for len(piece) > 0 {
		k, step, err := w.down.Next(piece)
		if err != nil {
			w.t.Fatal(err)
		}
		piece = piece[k:]
		if step.End {
			m := ReadServer(step)
			if m != w.outbox[0] {
				w.t.Fatalf("%+v was read as %+v", w.outbox[0], m)
			}
			w.outbox = w.outbox[1:]
			w.tracker.Server(m)
			w.tell("<" + string(m.Type))
		}
	}
	w.tracker.ServerPartial(w.down.Partial())
}

// driveBytes lets a script decide who goes on, and by how many bytes.
func driveBytes(t *testing.T, traits Traits, script []byte) {
	t.Helper()
	w := newBytesWorld(t, traits)
	for i, b := range script {
		n := 1 + int(b)*(i%7)/5 // pieces of one byte up to several messages
		switch {
		case b < 80:
			w.say(everything[int(b)%len(everything)])
		case b < 84:
			w.outbox = append(w.outbox, ServerMessage{Type: "NSA"[int(b)%3]})
		case b < 150 && len(w.upBytes) > 0:
			w.relayUp(n)
		case b < 215 && len(w.outbox) > 0:
			w.relayDown(n)
		case len(w.inbox) > 0:
			choices := w.server.choices(w.inbox[0])
			c := choices[0]
			if b > 240 { // failures are the exception
				c = choices[int(b)%len(choices)]
			}
			w.serve(c)
		}
		state := w.tracker.State()
		if state.Phase == PhaseUntrackable || state.Phase == PhaseClosing {
			return
		}
		if partial := w.up.Partial() || w.down.Partial(); partial != state.Partial || partial && w.tracker.AtBoundary() {
			t.Fatalf("%s: half a message: %v, and the tracker says %+v", w.story, partial, state)
		} else if partial {
			continue
		}
		seen := *w.world
		seen.outbox = slices.DeleteFunc(slices.Clone(w.outbox), func(m ServerMessage) bool { return m.Type == 'N' || m.Type == 'S' || m.Type == 'A' })
		if fault := seen.fault(); fault != "" {
			t.Fatalf("%s: %s", w.story, fault)
		}
	}
}

// TestRandomBytes is TestRandomSessions with reads that end anywhere.
func TestRandomBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	for _, traits := range refTraits {
		for range 1500 {
			script := make([]byte, 10+random.IntN(300))
			for i := range script {
				script[i] = byte(random.Uint32())
			}
			driveBytes(t, traits, script)
		}
	}
}

// FuzzTrackerBytes: interleaved streams of both sides, split at any byte.
func FuzzTrackerBytes(f *testing.F) {
	f.Add([]byte{0, 90, 90, 90, 220, 160, 160, 160, 160, 160, 160, 160}, byte(0))
	f.Add([]byte{2, 4, 5, 148, 149, 148, 149, 220, 220, 220, 214, 214, 8, 10, 5, 149, 149, 149, 220, 220, 220, 214, 214, 214}, byte(0))
	f.Add([]byte{1, 8, 8, 9, 149, 149, 149, 220, 250, 220, 220, 214, 214, 214, 214}, byte(1))
	f.Fuzz(func(t *testing.T, script []byte, server byte) {
		name := []string{"postgres", "materialize", "materialize-old"}[server%3]
		driveBytes(t, refTraits[name], script[:min(len(script), 600)])
	})
}
