package deploy

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// cutter cuts the control connections from one call on, for a number of calls.
type cutter struct {
	mu         sync.Mutex
	from, upTo int
	late       bool // the call has its effect, and only its answer is lost
	err        error
	made       []string // calls, in order
}

// first is what was cut first.
func (c *cutter) first() string { return c.made[c.from-1] }

func (c *cutter) around(_ context.Context, what string, call func() error) error {
	c.mu.Lock()
	c.made = append(c.made, what)
	cut := len(c.made) >= c.from && len(c.made) < c.upTo
	c.mu.Unlock()
	switch {
	case !cut:
		return call()
	case c.late && what != "prepare": // a prepared transaction without its answer is a lost one
		_ = call()
	}
	return c.err
}

// playCut plays a scenario with the control connections cut, without a crash.
func (sc scenario) playCut(t *testing.T, c *cutter) ending {
	t.Helper()
	w := newWorld(t)
	if sc.world != nil {
		sc.world(w)
	}
	plan := testPlan()
	for i := range plan.Steps[:2] {
		plan.Steps[i].Bake = time.Second
	}
	plan.Window.For, plan.Drain.For, plan.Drain.Settle = time.Second, time.Second, time.Second
	if sc.plan != nil {
		sc.plan(&plan)
	}
	if begin := sc.begin; begin != nil {
		sc.begin = func(p *program) error { // what cannot be asked is asked again by a person
			err := begin(p)
			for no, refused := errors.AsType[*Refusal](err); refused && no.Exit == ExitConnect; no, refused = errors.AsType[*Refusal](err) {
				time.Sleep(time.Second)
				err = begin(p)
			}
			return err
		}
	}
	p := boot(t, w, plan, 0, unreliable(c.around))
	rollout, over := sc.live(t, p, "")
	p.stop()
	if !over {
		t.Fatalf("cut from call %d: it came to no end", c.from)
	}
	return sc.ending(t, w, rollout, "")
}

// TestControlConnectionCutAnywhere cuts the control connections at every call they
// make, before it took effect and, where it has one, after it; once, and for so long
// that the rollout says that it waits. The end is that of an undisturbed run. The
// calls are counted, not listed.
func TestControlConnectionCutAnywhere(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			var want ending
			whole := &cutter{}
			bubble(t, func(t *testing.T) { want = sc.playCut(t, whole) })
			cut := func(at, length int, late bool) {
				bubble(t, func(t *testing.T) {
					c := &cutter{from: at, upTo: at + length, late: late, err: errCut}
					if got := sc.playCut(t, c); !equal(got, want) {
						t.Errorf("cut %d of %d (%s), for %d calls, late %t: ends as\n %+v\nwant\n %+v", at, len(whole.made), c.first(), length, late, got, want)
					}
				})
			}
			for i, what := range whole.made {
				for _, length := range []int{1, 40} {
					cut(i+1, length, false)
					if hasEffect(what) {
						cut(i+1, length, true)
					}
				}
			}
			t.Logf("%d calls", len(whole.made))
		})
	}
}

// hasEffect: the call is not only a question.
func hasEffect(what string) bool {
	switch what {
	case "mark", "unmark", "grant", "revoke", "drop", "barrier":
		return true
	}
	return false
}
