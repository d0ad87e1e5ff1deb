package deploy

import (
	"reflect"
	"testing"
	"time"
)

// TestPlanEditedWhileRunning: the rollout keeps the plan it was started with, in the
// journal, whatever the configuration says after a restart; the next one has the new.
func TestPlanEditedWhileRunning(t *testing.T) {
	edited := testPlan()
	edited.Name, edited.Steps = "edited", []PlanStep{{Weight: 9000, Bake: time.Second}, {Promote: true}}
	edited.Window.For, edited.Promote.Fence, edited.OnRegress, edited.Drain.Then = 5*time.Hour, false, PolicyPause, ThenWait
	everywhere(t, func(t *testing.T, pl place) {
		w := newWorld(t)
		p := pl.boot(t, w)
		first := p.now()
		plan := p.plan()
		p.stop()
		p = boot(t, w, edited, 0)
		defer p.stop()
		p.await("recovered", func(s Status) bool { return s.Recovering == "" && pl.in(s) })
		time.Sleep(time.Minute)
		s := p.now()
		if s.Rollout != first.Rollout || s.Plan != "test" || !reflect.DeepEqual(s.Steps, plan.Steps) || s.Weight > first.Weight {
			t.Errorf("after the edit: %s by plan %s of %d steps", show(s), s.Plan, len(s.Steps))
		}
		if now := p.plan(); !reflect.DeepEqual(now, plan) {
			t.Errorf("the plan was\n%+v\nand is\n%+v", plan, now)
		}
		pl.leave(p)
		w.with(func() {
			w.names[KindSchema]["prod_deploy"], w.names[KindCluster]["prod_deploy"] = newSchema+"0", newCluster+"0"
		})
		w.with(func() { w.waitsForPreflight, w.hanging = nil, 0 })
		p.start()
		if s, _ := p.await("the next", func(s Status) bool { return s.Weight == 9000 }); s.Plan != "edited" || len(s.Steps) != 2 {
			t.Errorf("the next rollout: %s by plan %s", show(s), s.Plan)
		}
	})
}

// plan is the one in force.
func (p *program) plan() Plan {
	v := &p.c.runners[shopName].view
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.plan
}
