package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim/crowd"
)

// wellEnded is the account of a demo that showed a fault and in which nothing is
// wrong; seen and the status are what it came from.
func wellEnded(breaking string) (a *demoAccount, s seen, status admin.Status, refused int) {
	a = &demoAccount{Outcome: breaks[breaking], Expected: breaks[breaking]}
	a.SeenOld, a.SeenNew = 10, 10
	a.Shares = []crowd.Share{{Weight: 500, Sessions: 60, Canary: 3, Plausible: true}}
	a.Modes = map[string]crowd.ModeTally{"simple": {Clients: 1, Answers: 1}}
	s = seen{raised: []int{500, 2500, 10_000}, settled: 3}
	switch breaking {
	case "errors":
		a.Injected, s.raised = 5, s.raised[:2]
		status.RollingBack = newBack("regress")
	case "hydration":
		s.takenBack, s.raised = 1, []int{500, 2500, 2500, 10_000}
	case "swap-conflict":
		status.Swap, refused = newSwap(2), 2
	case "crash":
		s.kills, a.LostByKill = 1, 40
	}
	return a, s, status, refused
}

func newBack(cause string) *admin.BackState   { return &admin.BackState{Cause: cause} }
func newSwap(conflicts int) *admin.SwapStatus { return &admin.SwapStatus{Conflicts: conflicts} }

// TestAccountIsRedWithoutTheFault: a demo that was to show a fault and did not is not
// green, however well the rollout went.
func TestAccountIsRedWithoutTheFault(t *testing.T) {
	without := map[string]func(a *demoAccount, s *seen, status *admin.Status, refused *int){
		"errors":        func(_ *demoAccount, _ *seen, status *admin.Status, _ *int) { status.RollingBack = newBack("hand") },
		"hydration":     func(_ *demoAccount, s *seen, _ *admin.Status, _ *int) { s.before = 1 },
		"swap-conflict": func(_ *demoAccount, _ *seen, _ *admin.Status, refused *int) { *refused = 1 },
		"crash":         func(a *demoAccount, _ *seen, _ *admin.Status, _ *int) { a.LostByKill = 0 },
	}
	for breaking := range breaks {
		a, s, status, refused := wellEnded(breaking)
		a.shown(breaking, s, status, refused)
		if a.judge(s); !a.Green || !a.FaultShown {
			t.Errorf("%q: red though all is well: %v", breaking, a.Red)
		}
		if breaking == "" {
			continue
		}
		a, s, status, refused = wellEnded(breaking)
		without[breaking](a, &s, &status, &refused)
		a.shown(breaking, s, status, refused)
		if a.judge(s); a.Green || !slices.Contains(a.Red, "the fault was not shown") {
			t.Errorf("%q: green without the fault: %v", breaking, a.Red)
		}
	}
}

func TestAccountSaysWhyItIsRed(t *testing.T) {
	for why, spoil := range map[string]func(a *demoAccount, s *seen){
		"ended as blocked": func(a *demoAccount, _ *seen) { a.Outcome = "blocked" },
		"errors":           func(a *demoAccount, _ *seen) { a.ClientErrors = 1 },
		"not possible":     func(a *demoAccount, _ *seen) { a.WrongVersions = 1 },
		"one version only": func(a *demoAccount, _ *seen) { a.SeenNew = 0 },
		"are no 5 %":       func(a *demoAccount, _ *seen) { a.Shares[0].Plausible = false },
		"never answered: simple": func(a *demoAccount, _ *seen) {
			a.Modes["simple"] = crowd.ModeTally{Clients: 1, Empty: 9}
		},
		"at 25 % sessions never were": func(a *demoAccount, _ *seen) { a.Unsettled = []int{2500} },
		"at any weight":               func(_ *demoAccount, s *seen) { s.settled = 0 },
		"weights of the plan":         func(_ *demoAccount, s *seen) { s.raised = []int{500, 10_000} },
	} {
		a, s, status, refused := wellEnded("")
		spoil(a, &s)
		a.shown("", s, status, refused)
		if a.judge(s); a.Green || len(a.Red) != 1 || !strings.Contains(a.Red[0], why) {
			t.Errorf("%s: green %t, red %q", why, a.Green, a.Red)
		}
	}
}

// TestWeightThatNeverSettles: what the program says of its sessions is looked at too,
// not only waited for.
func TestWeightThatNeverSettles(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	status := func(weight admin.Weight, onCanary, wanted int, streams ...bool) admin.Status {
		s := admin.Status{Phase: "ramping", Canary: "deploy", Weight: weight, Sessions: [2]int{60 - onCanary, onCanary}, Wanted: [2]int{60 - wanted, wanted}}
		for _, moved := range streams {
			s.Streaming = append(s.Streaming, admin.Straggler{Moved: moved})
		}
		return s
	}
	for _, c := range []struct {
		name      string
		at5       admin.Status
		until     float64
		unsettled []int
	}{
		{"in place", status(500, 3, 3), 10, nil},
		{"never in place", status(500, 0, 3), 10, []int{500}},
		{"not in place, and soon over", status(500, 0, 3), 2, nil},
		{"streams that are read to their end", status(500, 1, 3, false, false, true), 10, nil},
		{"more than streams", status(500, 0, 3, false, false, true), 10, []int{500}},
	} {
		d := newDirector(&stage{timeline: &crowd.Timeline{}}, &demoOptions{speed: 1}, nil)
		d.state.asked = at(0)
		for sec := 0.05; sec < c.until; sec += 0.05 {
			d.noteTimeline(at(sec), at(sec+0.01), c.at5)
		}
		d.noteTimeline(at(c.until), at(c.until+0.01), status(2500, 10, 10))
		if got := d.state.seen.unsettled; !slices.Equal(got, c.unsettled) {
			t.Errorf("%s: unsettled %v, want %v", c.name, got, c.unsettled)
		}
	}
}
