package proxy

import (
	"cmp"
	"hash/maphash"
	"os"
	"strconv"
	"testing"
)

// TestExhaustive shows the tracker every sequence of client messages up to a
// length, every place where the server may fail, and every order in which
// messages and answers can cross. MZCANARY_TEST_EXHAUSTIVE sets another length.
//
// Answers depend on what was sent and on where the server failed, not on when it
// read: so it reads at once, and what can cross are the client's messages and the
// answers on their way back. Orders that lead to the same are followed once.
func TestExhaustive(t *testing.T) {
	length := 6
	if raceInside {
		length = 5 // ten times as slow there; .ci/run runs it without, too
	}
	alphabets := []struct {
		name   string
		length int
		kinds  []said
	}{
		{"everything", 4, everything},
		{"mixed", length, []said{sQ, sQcopy, sEcopy, sS, sd, sc}},
		{"errors", length, []said{sQ, sP, sE, sS, sH, sF}},
		{"copy-simple", length, []said{sQcopy, sQ, sd, sc, sf, sS}},
		{"copy-extended", length, []said{sP, sEcopy, sS, sd, sc, sf, sQ}},
		{"transactions", length, []said{sBegin, sCommit, sQ, sP, sE, sS}},
	}
	limit := 0
	if text := os.Getenv("MZCANARY_TEST_EXHAUSTIVE"); text != "" {
		limit, _ = strconv.Atoi(text)
	}
	for server, traits := range refTraits {
		for _, a := range alphabets {
			t.Run(server+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				e := explorer{t: t, kinds: a.kinds, seen: make(map[uint64]int8), seed: maphash.MakeSeed()}
				e.explore(newWorld(traits), cmp.Or(limit, a.length))
				if e.boundaries == 0 {
					t.Error("no boundary was ever reached")
				}
				t.Logf("%d states, %d at a boundary, %d untrackable", e.states, e.boundaries, e.untrackable)
			})
		}
	}
}

type explorer struct {
	t                               *testing.T
	kinds                           []said
	seen                            map[uint64]int8 // by world.appendKey: the most messages that could still be sent from there
	seed                            maphash.Seed
	buf                             []byte
	states, boundaries, untrackable int
	faults                          int
}

func (e *explorer) explore(w *world, left int) {
	if e.faults > 5 {
		return
	}
	e.buf = w.appendKey(e.buf[:0])
	key := maphash.Bytes(e.seed, e.buf)
	if was, ok := e.seen[key]; ok && int(was) >= left {
		return
	}
	e.seen[key] = int8(left)
	e.states++
	fault := w.fault()
	if fault == "" && w.tracker.State().Phase == PhaseStreaming && !onlyEnds(w.outbox) {
		fault = "claims to stream"
	}
	if fault != "" {
		e.faults++
		e.t.Errorf("%s: %s", w.story, fault)
		return
	}
	switch w.tracker.State().Phase {
	case PhaseBoundary:
		e.boundaries++
	case PhaseUntrackable:
		e.untrackable++
		return // it stays so
	case PhaseClosing:
		return
	}
	if len(w.outbox) > 0 {
		next := w.clone()
		next.deliver()
		e.explore(next, left)
	}
	if left == 0 {
		return
	}
	for _, m := range e.kinds {
		for _, c := range w.server.choices(m) {
			next := w.clone()
			next.send(m)
			next.serve(c)
			e.explore(next, left-1)
		}
	}
}

// onlyEnds tells whether nothing is on its way back but the end of one statement.
func onlyEnds(outbox []ServerMessage) bool {
	ready := 0
	for i, m := range outbox {
		switch {
		case m.Type == 'Z':
			ready++
		case m.Type == 'E', i == 0 && m.Type == 'C':
		default:
			return false
		}
	}
	return ready <= 1
}
