package proxy

import (
	"math/rand/v2"
	"testing"
)

var everything = []said{sQ, sQcopy, sP, sE, sEcopy, sS, sH, sF, sd, sc, sf, sBegin, sCommit}

// drive lets bytes decide what happens next in a world, and checks the tracker
// after each event.
func drive(t *testing.T, traits Traits, bytes []byte) {
	t.Helper()
	w := newWorld(traits)
	for _, b := range bytes {
		switch {
		case b < 100:
			w.send(everything[int(b)%len(everything)])
		case b < 110:
			w.tracker.Server(ServerMessage{Type: "NSA"[int(b)%3]})
		case len(w.outbox) > 0:
			w.deliver()
		case len(w.inbox) > 0:
			choices := w.server.choices(w.inbox[0])
			c := choices[0]
			if b > 230 { // failures are the exception
				c = choices[int(b)%len(choices)]
			}
			w.serve(c)
		}
		if fault := w.fault(); fault != "" {
			t.Fatalf("%s: %s", w.story, fault)
		}
		if p := w.tracker.State().Phase; p == PhaseUntrackable || p == PhaseClosing {
			return
		}
	}
}

// TestRandomSessions is the exhaustive test's long-legged sister.
func TestRandomSessions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, traits := range refTraits {
		for range 1500 {
			script := make([]byte, 10+random.IntN(150))
			for i := range script {
				script[i] = byte(random.Uint32())
			}
			drive(t, traits, script)
		}
	}
}

func FuzzTrackerAgainstReference(f *testing.F) {
	f.Add([]byte{0, 120, 120, 120, 120, 120}, byte(0))
	f.Add([]byte{2, 0, 5, 255, 120, 120, 0, 120, 120}, byte(1))
	f.Add([]byte{2, 4, 5, 120, 120, 120, 120, 8, 9, 120, 120, 5, 120, 120}, byte(2))
	f.Add([]byte{2, 4, 5, 120, 120, 120, 8, 10, 5, 0, 120, 231, 120, 120, 120, 120, 120, 120}, byte(0)) // given up, and on at once
	f.Add([]byte{2, 4, 5, 8, 5, 8, 9, 5, 120, 120, 120, 120, 240, 120, 120, 120, 120, 120}, byte(0))    // data and Syncs before the answer
	f.Add([]byte{11, 2, 3, 0, 5, 120, 120, 120, 231, 120, 120, 120, 120, 12, 120, 120, 120}, byte(1))   // an error in an explicit transaction
	f.Add([]byte{1, 8, 9, 0, 5, 120, 232, 120, 120, 120, 120, 120, 120, 120}, byte(2))                  // stray data, drained to a Sync
	f.Fuzz(func(t *testing.T, script []byte, server byte) {
		name := []string{"postgres", "materialize", "materialize-old"}[server%3]
		drive(t, refTraits[name], script[:min(len(script), 400)])
	})
}

// FuzzTrackerNeverPanics shows the tracker what no server and no client says.
func FuzzTrackerNeverPanics(f *testing.F) {
	f.Add([]byte("QTDCZPBDESEZ"), byte(0))
	f.Add([]byte("QGdcCZPEQSEZ"), byte(255))
	f.Fuzz(func(t *testing.T, script []byte, strays byte) {
		tracker := NewTracker(Traits{Strays: Strays(strays % 3), CopyReadsAll: strays&4 != 0})
		for i := 0; i+1 < len(script); i += 2 {
			kind, flags := script[i], script[i+1]
			if flags&1 == 0 {
				tracker.Client(ClientMessage{Type: kind, Inner: flags&2 != 0, Named: flags&4 != 0, Fetch: flags&8 != 0})
			} else {
				tracker.Server(ServerMessage{Type: kind, Status: "ITEx"[flags>>6], Tag: Tag(flags >> 4), Fatal: flags&2 != 0,
					CopyFail: flags&4 != 0, Subscribe: flags&8 != 0})
			}
			state := tracker.State()
			if state.Owed < 0 || tracker.AtBoundary() != (state.Phase == PhaseBoundary) {
				t.Fatalf("%q: %+v", script[:i+2], state)
			}
			if state.Phase == PhaseBoundary && (state.Owed != 0 || state.Unsynced || state.Partial || state.Status != 'I') {
				t.Fatalf("%q: %+v", script[:i+2], state)
			}
		}
	})
}

// TestDeepPipelines: a million queries in flight cost what one does when they
// are alike, and a bounded amount when they are not.
func TestDeepPipelines(t *testing.T) {
	const million = 1_000_000
	t.Run("queries", func(t *testing.T) {
		tracker := play(t, onPostgres, "=boundary")
		for range million {
			tracker.Client(ClientMessage{Type: 'Q'})
		}
		if tracker.ring.length != 1 || tracker.Full() {
			t.Fatalf("%d units in memory", tracker.ring.length)
		}
		for i := range million {
			if got := tracker.State().Owed; got != million-i {
				t.Fatalf("owed %d, want %d", got, million-i)
			}
			tracker.Server(ServerMessage{Type: 'C'})
			tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
		}
		if !tracker.AtBoundary() {
			t.Fatalf("%+v", tracker.State())
		}
	})
	t.Run("batches", func(t *testing.T) {
		tracker := play(t, onPostgres, "=boundary")
		for range million {
			for _, kind := range []byte("BES") {
				tracker.Client(ClientMessage{Type: kind})
			}
		}
		if tracker.ring.length != 1 {
			t.Fatalf("%d units in memory", tracker.ring.length)
		}
		// The first fails: only its own batch is discarded.
		tracker.Server(ServerMessage{Type: 'E'})
		for range million - 1 {
			for _, kind := range []byte("Z2DC") {
				tracker.Server(ServerMessage{Type: kind, Status: 'I'})
			}
		}
		tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
		if !tracker.AtBoundary() {
			t.Fatalf("%+v", tracker.State())
		}
	})
	t.Run("differing", func(t *testing.T) {
		tracker := play(t, onPostgres, "=boundary")
		sent := 0
		for !tracker.Full() {
			tracker.Client(ClientMessage{Type: "QS"[sent%2]})
			sent++
		}
		if sent != ringFull {
			t.Fatalf("full after %d", sent)
		}
		for i := range sent {
			if i%2 == 0 {
				tracker.Server(ServerMessage{Type: 'C'})
			}
			tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
		}
		if !tracker.AtBoundary() || tracker.ring.large != nil {
			t.Fatalf("%+v, %d slots kept", tracker.State(), len(tracker.ring.large))
		}
		// Who does not stop at Full is not followed for ever.
		for i := range 2 * ringMax {
			tracker.Client(ClientMessage{Type: "QS"[i%2]})
		}
		if s := tracker.State(); s.Reason != ReasonTooDeep || len(tracker.ring.large) > ringMax {
			t.Fatalf("%+v", s)
		}
	})
}

func TestTrackerAllocatesNothing(t *testing.T) {
	tracker := play(t, onPostgres, "=boundary")
	var h Have
	client, server := []byte("QPBDESPDSBES"), []byte("TDCZ12TDCZ1tTZ2DCZ")
	if n := testing.AllocsPerRun(200, func() {
		for _, kind := range client {
			tracker.Client(ClientMessage{Type: kind})
		}
		for _, kind := range server {
			tracker.Server(ServerMessage{Type: kind, Status: 'I'})
			if kind == 'Z' {
				h.Ready('I')
			}
			_ = tracker.State()
		}
	}); n != 0 || !tracker.AtBoundary() {
		t.Errorf("%v allocations, %+v", n, tracker.State())
	}
}

func BenchmarkTrackerExchange(b *testing.B) {
	tracker := NewTracker(Traits{})
	tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
	b.ReportAllocs()
	for b.Loop() {
		for _, kind := range []byte("BES") {
			tracker.Client(ClientMessage{Type: kind})
		}
		for _, kind := range []byte("2DCZ") {
			tracker.Server(ServerMessage{Type: kind, Status: 'I'})
		}
		if !tracker.AtBoundary() {
			b.Fatal("no boundary")
		}
	}
}
