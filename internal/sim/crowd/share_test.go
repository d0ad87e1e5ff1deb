package crowd

import (
	"math"
	"testing"
)

// crowdOf is a timeline with half of everybody on the canary from 11 to 20, and so
// many sessions of which so many were given the new version then.
func crowdOf(sessions, canary int) *Account {
	var clients []*client
	for i := range sessions {
		n := answer{asked: at(12), answered: at(13), version: Old}
		if i < canary {
			n.version = New
		}
		clients = append(clients, &client{id: i, start: at(0), answers: []answer{n}})
	}
	return judge(clients, rollout().verdicts())
}

func TestSharesArePlausible(t *testing.T) {
	for _, c := range []struct {
		sessions, canary int
		plausible        bool
	}{
		{60, 30, true}, {60, 15, true}, {60, 45, true}, // four standard deviations happen
		{60, 0, false}, {60, 60, false}, {60, 8, false}, {60, 52, false},
		{10, 0, true}, {0, 0, true}, // too few to blame anybody
	} {
		a := crowdOf(c.sessions, c.canary)
		want := Share{Weight: 5000, Sessions: c.sessions, Canary: c.canary, Plausible: c.plausible}
		if len(a.Shares) != 1 || a.Shares[0] != want {
			t.Errorf("%d of %d: %+v, want %+v", c.canary, c.sessions, a.Shares, want)
		}
		if c.sessions > 0 && a.Clean() != c.plausible {
			t.Errorf("%d of %d: clean %t (%v)", c.canary, c.sessions, a.Clean(), a.Examples)
		}
	}
}

// TestBlameIsRare: the chance that a right proxy is blamed, exactly, for the weights
// of the demo and every size of crowd up to four hundred sessions.
func TestBlameIsRare(t *testing.T) {
	const periods = 12
	for _, w := range []float64{0.05, 0.25, 0.5} {
		for n := 1; n <= 400; n = n*5/4 + 1 {
			blamed := 0.0
			for k := range n + 1 {
				if atMost(n, k, w) > implausible && atMost(n, n-k, 1-w) > implausible {
					continue
				}
				below := 0.0
				if k > 0 {
					below = atMost(n, k-1, w)
				}
				blamed += atMost(n, k, w) - below
			}
			if blamed*periods > 1e-6 {
				t.Errorf("%d sessions at %g: blamed with %g", n, w, blamed)
			}
		}
	}
	if p := atMost(1000, 1000, 0.05); math.Abs(p-1) > 1e-9 {
		t.Errorf("all of it is %g", p)
	}
}

// TestErrorsOnPurposeEndTheShare: an arm that fails leaves sessions without an answer.
func TestErrorsOnPurposeEndTheShare(t *testing.T) {
	tl := rollout()
	clients := []*client{
		{start: at(0), answers: []answer{{asked: at(12), answered: at(12), version: Old}}},
		{start: at(0), answers: []answer{{asked: at(15), answered: at(16), version: Old}}},
		{start: at(0), failures: []failure{{asked: at(14), at: at(14), injected: true}}},
	}
	if a := judge(clients, tl.verdicts()); a.Shares[0].Sessions != 1 {
		t.Errorf("%+v", a.Shares)
	}
}

func TestModesAreCounted(t *testing.T) {
	clients := []*client{
		{mode: modeStream, start: at(0), empty: 3},
		{mode: modeCursor, start: at(0), answers: []answer{{asked: at(1), answered: at(1), version: Old}}},
		{mode: modeCursor, start: at(0), empty: 1},
	}
	a := judge(clients, rollout().verdicts())
	if a.Modes["subscribe"] != (ModeTally{Clients: 1, Empty: 3}) || a.Modes["cursor"] != (ModeTally{Clients: 2, Answers: 1, Empty: 1}) {
		t.Errorf("%+v", a.Modes)
	}
	if s := a.Silent(); len(s) != 1 || s[0] != "subscribe" || a.Clean() {
		t.Errorf("silent %q, clean %t", s, a.Clean())
	}
}
