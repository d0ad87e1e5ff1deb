package proxy

import (
	"os"
	"strconv"
	"testing"
)

// TestExhaustive shows the tracker every sequence of client messages up to a
// length, every place where the server may fail, and every order in which
// messages and answers can cross. MZCANARY_TEST_EXHAUSTIVE sets another length.
func TestExhaustive(t *testing.T) {
	alphabets := []struct {
		name   string
		length int
		kinds  []said
	}{
		{"mixed", 4, []said{sQ, sQcopy, sP, sE, sEcopy, sS, sH, sF, sd, sc, sf, sBegin, sCommit}},
		{"errors", 5, []said{sQ, sP, sE, sS, sH, sF}},
		{"copy-simple", 5, []said{sQcopy, sQ, sd, sc, sf, sS}},
		{"copy-extended", 5, []said{sP, sEcopy, sS, sd, sc, sf, sQ}},
		{"transactions", 5, []said{sBegin, sCommit, sQ, sP, sE, sS}},
	}
	limit := 0
	if text := os.Getenv("MZCANARY_TEST_EXHAUSTIVE"); text != "" {
		limit, _ = strconv.Atoi(text)
	}
	for server, traits := range refTraits {
		for _, a := range alphabets {
			t.Run(server+"/"+a.name, func(t *testing.T) {
				t.Parallel()
				e := explorer{t: t, kinds: a.kinds, seen: make(map[string]bool)}
				length := a.length
				if limit > 0 {
					length = limit
				}
				e.explore(newWorld(traits), length)
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
	seen                            map[string]bool // by world.key: orders that lead to the same
	states, boundaries, untrackable int
	faults                          int
}

func (e *explorer) explore(w *world, left int) {
	if e.faults > 5 {
		return
	}
	key := w.key(left)
	if e.seen[key] {
		return
	}
	e.seen[key] = true
	e.states++
	if fault := w.fault(); fault != "" {
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
	} else if len(w.inbox) > 0 {
		for _, c := range w.server.choices(w.inbox[0]) {
			next := w.clone()
			next.serve(c)
			e.explore(next, left)
		}
	}
	if left == 0 {
		return
	}
	for _, m := range e.kinds {
		next := w.clone()
		next.send(m)
		e.explore(next, left-1)
	}
}
