package armstats

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mzcanary/router"
)

func begun(t *testing.T) *Deployment {
	t.Helper()
	d := NewSet([]string{"shop"}).Find("shop")
	d.Begin("r1", time.Now())
	return d
}

func counted(a router.Arm, w router.Weight, c Class) Exchange {
	return Exchange{Arm: a, Weight: w, Class: c, Latency: time.Millisecond, Counted: true}
}

func TestOnlyTheFirstBadEventOfAUnitIsACohortEvent(t *testing.T) {
	d := begun(t)
	u := d.Enter(1, false)
	for range 100 {
		d.Observe(u, counted(router.Canary, 500, Server))
		d.Observe(u, counted(router.Canary, 500, Arm)) // the same metric
	}
	d.Observe(u, counted(router.Canary, 1000, Lost))  // the same metric, another weight
	d.Observe(u, counted(router.Canary, 1000, Other)) // another metric: first there
	e := d.Evidence()
	want := []Cohort{{1000, MetricOther, 1, 1}, {500, MetricServer, 1, 1}}
	slices.SortFunc(want, func(a, b Cohort) int { return a.Metric.index() - b.Metric.index() })
	if !reflect.DeepEqual(e.Cohorts, want) {
		t.Errorf("cohorts %v, want %v", e.Cohorts, want)
	}
	if e.Arms[router.Canary].Units != 1 || e.Arms[router.Canary].Exchanges != 202 || e.Arms[router.Canary].Bad.Total() != 202 {
		t.Errorf("canary %+v", e.Arms[router.Canary])
	}
	if x := e.Exposed(1000); x.Arms[router.Canary] != (Counts{Lost: 1, Other: 1}) {
		t.Errorf("at 10%%: %v", x)
	}
}

func TestWhatIsNotEvidence(t *testing.T) {
	d := begun(t)
	u := d.Enter(1, false)
	pinned := counted(router.Canary, 500, Server)
	pinned.Counted = false
	d.Observe(u, pinned)
	d.Observe(nil, counted(router.Canary, 500, Server))
	d.Observe(u, counted(router.Stable, 500, OK))
	d.Observe(u, counted(router.Stable, 500, Neutral))
	e := d.Evidence()
	if len(e.Cohorts) != 0 || e.Arms[router.Canary] != (ArmEvidence{}) {
		t.Errorf("pinned or unitless exchanges became evidence: %+v", e)
	}
	if e.Arms[router.Stable] != (ArmEvidence{Units: 1, Exchanges: 2}) {
		t.Errorf("stable %+v", e.Arms[router.Stable])
	}
	s := d.Snapshot()
	if s.Arms[router.Canary].Exchanges != 2 || s.Arms[router.Canary].Bad != 2 || s.Arms[router.Stable].Exchanges != 2 {
		t.Errorf("traffic %+v", s.Arms)
	}
}

func TestAUnitThatMovesCountsOnBothArmsOnce(t *testing.T) {
	d := begun(t)
	u := d.Enter(1, true)
	for range 3 {
		d.Observe(u, counted(router.Stable, 500, OK))
		d.Observe(u, counted(router.Canary, 2500, OK))
	}
	e := d.Evidence()
	if e.Arms[router.Stable].Units != 1 || e.Arms[router.Canary].Units != 1 {
		t.Errorf("units %d and %d, want 1 and 1", e.Arms[0].Units, e.Arms[1].Units)
	}
}

func TestSharedUnitsAreOneUnitEvenAfterLeaving(t *testing.T) {
	d := begun(t)
	a, b := d.Enter(7, true), d.Enter(7, true)
	if a != b {
		t.Fatal("two sessions of one key are two units")
	}
	d.Observe(a, counted(router.Canary, 500, Other))
	d.Leave(a)
	d.Leave(b)
	c := d.Enter(7, true)
	d.Observe(c, counted(router.Canary, 500, Other))
	own, other := d.Enter(8, false), d.Enter(8, false)
	if own == other {
		t.Fatal("two connections are one unit")
	}
	if e := d.Evidence(); e.Arms[router.Canary].Units != 1 || e.Cohorts[0].N != 1 {
		t.Errorf("a returning unit was counted again: %+v", e)
	}
}

func TestBeginForgetsAndLateUnitsDoNotCount(t *testing.T) {
	d := begun(t)
	old := d.Enter(1, true)
	d.Observe(old, counted(router.Canary, 500, Server))
	before := d.Generation()
	d.Begin("r2", time.Now())
	if d.Generation() == before {
		t.Error("the generation did not move")
	}
	d.Observe(old, counted(router.Canary, 500, Server)) // has not noticed yet
	if e := d.Evidence(); e.Rollout != "r2" || e.Arms[router.Canary].Units != 0 || len(e.Cohorts) != 0 {
		t.Errorf("the new rollout starts with %+v", e)
	}
	u := d.Enter(1, true)
	d.Observe(u, counted(router.Canary, 500, Server))
	d.Leave(old)
	if e := d.Evidence(); e.Cohorts[0].N != 1 {
		t.Errorf("cohorts %v", e.Cohorts)
	}
}

func TestEvidenceSurvivesBeingWrittenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := begun(t)
		busy(d, rand.New(rand.NewPCG(3, 4)), 500)
		time.Sleep(90 * time.Second) // the bubble's clock
		e := d.Evidence()
		if e.Observed != 90*time.Second {
			t.Errorf("observed %v, want 90 s", e.Observed)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Evidence
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e, back) {
			t.Fatalf("read back differently:\n%+v\n%+v", e, back)
		}

		again := NewSet([]string{"shop"}).Find("shop") // another process
		time.Sleep(time.Hour)                          // which was not there for an hour
		again.Restore(back)
		if got := again.Evidence(); !reflect.DeepEqual(got, e) {
			t.Errorf("restored differently:\n%+v\n%+v", e, got)
		}
		time.Sleep(10 * time.Second)
		u := again.Enter(e.Marks[0].Hash, true)
		again.Observe(u, counted(router.Stable, 500, OK))
		got := again.Evidence()
		if got.Observed != 100*time.Second || got.Arms[0].Exchanges != e.Arms[0].Exchanges+1 {
			t.Errorf("after the restart: %v observed, %d exchanges", got.Observed, got.Arms[0].Exchanges)
		}
	})
}

// busy lets shared units work for a while, with errors.
func busy(d *Deployment, r *rand.Rand, n int) {
	for range n {
		hash := uint64(r.IntN(60)) * ((1<<64 - 1) / 60)
		w := router.Weight(2500)
		u := d.Enter(hash, true)
		class := OK
		if r.IntN(4) == 0 {
			class = Class(1 + r.IntN(NumClasses-1))
		}
		d.Observe(u, counted(router.PickAt(hash, w), w, class))
		d.Leave(u)
	}
}

func TestUnitsAreNotCountedAgainAfterARestart(t *testing.T) {
	d := begun(t)
	busy(d, rand.New(rand.NewPCG(5, 6)), 30_000)
	e := d.Evidence()
	again := NewSet([]string{"shop"}).Find("shop")
	again.Restore(e)
	busy(again, rand.New(rand.NewPCG(7, 8)), 4000)
	got := again.Evidence()
	for a := range got.Arms {
		if got.Arms[a].Units != e.Arms[a].Units {
			t.Errorf("units of arm %d: %d before, %d after", a, e.Arms[a].Units, got.Arms[a].Units)
		}
	}
	if !reflect.DeepEqual(got.Cohorts, e.Cohorts) { // every unit had failed in every way
		t.Errorf("first bad events were counted again:\n%v\n%v", e.Cohorts, got.Cohorts)
	}
}

func TestRestoreDiscardsAnInterval(t *testing.T) {
	d := begun(t)
	u := d.Enter(1, false)
	d.Observe(u, counted(router.Canary, 500, OK))
	before := d.Evidence()
	d.Observe(u, counted(router.Canary, 500, Server))
	d.Restore(before)
	after := d.Evidence()
	if len(after.Cohorts) != 0 || after.Arms != before.Arms {
		t.Errorf("the interval was not discarded: %+v", after)
	}
	v := d.Enter(1, false) // the same live connection
	d.Observe(v, counted(router.Canary, 500, Server))
	if e := d.Evidence(); len(e.Cohorts) != 0 || e.Arms[router.Canary].Units != 1 {
		t.Errorf("a discarded event was replaced by the unit's next one: %+v", e)
	}
}

func TestMergeIsFreeOfOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	whole := begun(t)
	var parts []*Deployment
	for range 5 {
		d := NewSet([]string{"shop"}).Find("shop")
		d.Begin("r1", time.Now())
		parts = append(parts, d)
	}
	for i := range 3000 { // connections: each lives on one replica
		hash, w := r.Uint64(), router.Weight(100*(1+i/300))
		class := OK
		if r.IntN(10) == 0 {
			class = Class(r.IntN(NumClasses))
		}
		x := counted(router.PickAt(hash, w), w, class)
		for _, d := range []*Deployment{whole, parts[r.IntN(5)]} {
			u := d.Enter(hash, false)
			d.Observe(u, x)
			d.Observe(u, x)
			d.Leave(u)
		}
	}
	want := whole.Evidence()
	for range 10 {
		r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var es []Evidence
		for _, d := range parts {
			es = append(es, d.Evidence())
		}
		first, err := Merge(es[:2]...) // in two rounds: associative as well
		if err != nil {
			t.Fatal(err)
		}
		got, err := Merge(append(es[2:], first)...)
		if err != nil {
			t.Fatal(err)
		}
		got.Since, got.Observed = want.Since, want.Observed
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("merged differently:\n%+v\n%+v", got, want)
		}
	}
	if _, err := Merge(Evidence{Rollout: "r1"}, Evidence{Rollout: "r2"}); err == nil {
		t.Error("evidence of two rollouts was added up")
	}
}

func TestMergeCountsASharedUnitOnce(t *testing.T) {
	var es []Evidence
	for range 3 {
		d := begun(t)
		u := d.Enter(42, true)
		d.Observe(u, counted(router.Stable, 500, OK))
		es = append(es, d.Evidence())
	}
	got, err := Merge(es...)
	if err != nil || got.Arms[router.Stable].Units != 1 || got.Arms[router.Stable].Exchanges != 3 {
		t.Errorf("merged to %+v, %v", got.Arms, err)
	}
}

func TestMarksAreBoundedAndKeepTheSpentUnits(t *testing.T) {
	marks := make(map[uint64]UnitFlags)
	for i := range uint64(maxMarks + 500) {
		marks[i] = onStable
	}
	marks[maxMarks+400] |= spentOther
	got := sortMarks(marks)
	if len(got) != maxMarks {
		t.Fatalf("%d marks, want %d", len(got), maxMarks)
	}
	if last := got[len(got)-1]; last.Hash != maxMarks+400 {
		t.Errorf("the unit that had failed was dropped; the last mark is %v", last)
	}
}

// Many goroutines observe while others begin, restore and read. Under -race, and
// nothing may be lost while the generation stands.
func TestObserveFromManyGoroutines(t *testing.T) {
	d := begun(t)
	const workers, each = 8, 2000
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				d.Evidence()
				d.Snapshot()
			}
		}
	})
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				u := d.Enter(uint64(i%50), i%2 == 0)
				d.Observe(u, counted(router.Arm(w%2), router.Weight(100*(i%5)), Class(i%NumClasses)))
				d.Leave(u)
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	e := d.Evidence()
	if n := e.Arms[0].Exchanges + e.Arms[1].Exchanges; n != workers*each {
		t.Errorf("%d exchanges counted, want %d", n, workers*each)
	}
	// 25 shared units, each with one first event per metric; the others are many.
	u := e.Arms[0].Units + e.Arms[1].Units
	if want := uint64(workers*each/2 + 2*25); u != want {
		t.Errorf("%d units, want %d", u, want)
	}
}
