package crowd

import (
	"testing"
	"time"
)

func at(s int) time.Time { return time.Unix(1000+int64(s), 0) }

// rollout is the timeline of an ordinary rollout: 0, half, everybody, swap.
func rollout() *Timeline {
	t := &Timeline{}
	t.Weight(at(10), 5000)
	t.Settled(at(11), 5000)
	t.Weight(at(20), 10_000)
	t.Settled(at(22), 10_000)
	t.Committed(at(30), New)
	t.Settled(at(31), 0)
	return t
}

func TestAllowedVersions(t *testing.T) {
	v := rollout().verdicts()
	for _, c := range []struct {
		name     string
		mode     mode
		from, to int
		want     Version
	}{
		{"before anything", modeSimple, 1, 2, Old},
		{"across the first raise", modeSimple, 9, 10, both},
		{"in the ramp", modeSimple, 12, 13, both},
		{"raised to everybody, not settled", modeSimple, 21, 21, both},
		{"settled on the canary", modeSimple, 23, 24, New},
		{"across the commit", modeSimple, 29, 30, New},
		{"after the commit", modeSimple, 32, 33, New},
		{"pinned stable in the ramp", modePinnedStable, 12, 13, Old},
		{"pinned stable across the commit", modePinnedStable, 29, 31, both},
		{"pinned stable after the commit", modePinnedStable, 31, 32, New},
		{"pinned canary at weight 0", modePinnedCanary, 5, 6, New},
		{"pinned canary after the commit", modePinnedCanary, 31, 32, New},
	} {
		if got := v.allowed(c.mode, at(c.from), at(c.to)); got != c.want {
			t.Errorf("%s: allowed %b, want %b", c.name, got, c.want)
		}
	}
}

// TestSettledIsForItsWeight: what was seen at one weight does not settle the next,
// even when its note comes later.
func TestSettledIsForItsWeight(t *testing.T) {
	tl := &Timeline{}
	tl.Weight(at(10), 2500)
	tl.Settled(at(21), 2500)
	tl.Weight(at(20), 10_000)
	if got := tl.verdicts().allowed(modeSimple, at(22), at(22)); got != both {
		t.Errorf("allowed %b while sessions are still moving", got)
	}
}

func TestRollbackNarrowsAgain(t *testing.T) {
	tl := &Timeline{}
	tl.Weight(at(10), 2500)
	tl.Weight(at(20), 0)
	tl.Settled(at(21), 0)
	v := tl.verdicts()
	if got := v.allowed(modeSimple, at(20), at(20)); got != both {
		t.Errorf("while sessions go back: %b", got)
	}
	if got := v.allowed(modeSimple, at(22), at(23)); got != Old {
		t.Errorf("after they went back: %b", got)
	}
	for _, c := range []struct {
		from, to int
		want     bool
	}{{19, 21, true}, {20, 20, true}, {9, 11, false}, {22, 23, false}} {
		if got := v.loweredBetween(at(c.from), at(c.to)); got != c.want {
			t.Errorf("lowered between %d and %d: %t", c.from, c.to, got)
		}
	}
}

// account judges one client's notes against the ordinary rollout.
func account(m mode, answers []answer, failures []failure, tl *Timeline) *Account {
	return judge([]*client{{mode: m, answers: answers, failures: failures, start: at(0), sessions: 1}}, tl.verdicts())
}

func TestAccountTurnsRed(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []answer
		wrong   int
	}{
		{"clean", []answer{{asked: at(1), answered: at(1), version: Old}, {asked: at(12), answered: at(12), version: New}, {asked: at(32), answered: at(32), version: New}}, 0},
		{"new too early", []answer{{asked: at(1), answered: at(2), version: New}}, 1},
		{"old after the commit", []answer{{asked: at(31), answered: at(31), version: Old}}, 1},
		{"went back in the ramp", []answer{{asked: at(12), answered: at(12), version: New}, {asked: at(13), answered: at(13), version: Old}}, 1},
		{"changed sides in the ramp", []answer{{asked: at(12), answered: at(12), version: Old}, {asked: at(13), answered: at(13), version: New}}, 1},
		{"changed sides while the weight did", []answer{{asked: at(9), answered: at(9), version: Old}, {asked: at(10), answered: at(11), version: New}}, 0},
		{"another session may still be old", []answer{{asked: at(12), answered: at(12), version: New, session: 1}, {asked: at(13), answered: at(13), version: Old, session: 2}}, 0},
		{"two versions in a transaction", []answer{{asked: at(12), answered: at(12), version: both, mixed: true}}, 1},
		{"asked before the commit, answered old after it", []answer{{asked: at(15), answered: at(31), version: Old}}, 0},
	} {
		a := account(modeSimple, c.answers, nil, rollout())
		if a.WrongVersions != c.wrong || a.Clean() != (c.wrong == 0) {
			t.Errorf("%s: %d wrong versions, want %d (%v)", c.name, a.WrongVersions, c.wrong, a.Examples)
		}
	}
}

func TestOnlyKnownKillsExcuseLostConnections(t *testing.T) {
	tl := rollout()
	tl.Killed(at(25), at(27))
	lost := []failure{{asked: at(26), at: at(26), connection: true}, {asked: at(28), at: at(28), connection: true}, {asked: at(26), at: at(26)}}
	a := account(modeSimple, nil, lost, tl)
	if a.LostByKill != 1 || a.ClientErrors != 2 {
		t.Errorf("lost by the kill %d, errors %d; want 1 and 2", a.LostByKill, a.ClientErrors)
	}
}
