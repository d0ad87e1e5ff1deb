package checker

import (
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/router"
)

// A weight that is raised and taken back between two looks is not missed, and what was
// read once is not noted again.
func TestRoutingBetweenLooks(t *testing.T) {
	tl := newTimeline(Names{Live: "prod"})
	began := time.Now().Add(-tl.clock())
	line := func(ms int, what string, weight int, canary string) deploy.Entry {
		return deploy.Entry{At: began.Add(time.Duration(ms) * time.Millisecond).UTC().Round(0), What: what, Weight: router.Weight(weight), Canary: canary}
	}
	d := &director{tl: tl, version: 2}
	tl.named(Span{}, 1, 2)
	events := []deploy.Entry{
		line(10, "ramping", 1_000, "deploy"),
	}
	d.noteRouting(20*time.Millisecond, events)
	d.asked = 20 * time.Millisecond
	events = append(events,
		line(30, "step 2 of 3", 10_000, "deploy"),
		line(28, "taken back", 0, "deploy")) // seen before the step, handled after it
	d.noteRouting(90*time.Millisecond, events)
	d.noteRouting(99*time.Millisecond, events)

	want := []struct {
		from, to time.Duration
		weight   int
	}{{10, 20, 1_000}, {30, 90, 10_000}, {30, 90, 0}}
	got := tl.states[2:]
	if len(got) != len(want) {
		t.Fatalf("%d states noted, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		near := g.From - w.from*time.Millisecond
		if g.Weight != w.weight || !g.Open || near.Abs() > time.Millisecond || g.To != w.to*time.Millisecond {
			t.Errorf("state %d is %+v, want weight %d within %d..%d ms", i, g, w.weight, w.from, w.to)
		}
	}
}
