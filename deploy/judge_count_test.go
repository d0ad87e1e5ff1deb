package deploy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The test vectors of the method, to four digits.
func TestCountEvidenceVectors(t *testing.T) {
	for _, v := range []struct{ n, k, p, m float64 }{
		{1, 1, .05, 5.955}, {2, 2, .05, 50.821}, {3, 3, .05, 514.599}, {10, 3, .05, 11.867},
		{12, 5, .05, 505.078}, {100, 5, .05, 0.113}, {8, 8, .5, 90.024}, {9, 9, .5, 165.95},
		{20, 15, .5, 5.141}, {100, 50, .5, 0.017},
	} {
		got := math.Exp(cohorts{{p: v.p, n: v.n, k: v.k}}.logWorse())
		if math.Abs(got-v.m) > max(5e-4, 1e-4*v.m) {
			t.Errorf("M(%v,%v,%v) = %.4f, want %v", v.n, v.k, v.p, got, v.m)
		}
	}
}

func TestCountEvidenceDoesNotOverflow(t *testing.T) {
	cs := cohorts{{p: .05, n: 1e6, k: 1e6}}
	if m := cs.logWorse(); math.IsInf(m, 0) || math.IsNaN(m) || finiteExp(m) != math.MaxFloat64 {
		t.Errorf("ln M = %v", m)
	}
	if m := (cohorts{{p: .05, n: 1e6}}).logWorse(); finiteExp(m) != 0 {
		t.Errorf("ln M = %v for a million failures on stable alone", m)
	}
	if m := (cohorts{}).logWorse(); m != 0 {
		t.Errorf("ln M = %v with no event", m)
	}
}

// stop follows a test that is looked at after every event, exactly: the
// distribution of the number of canary events, step by step, with everything that
// reaches the boundary absorbed. It returns the absorbed share after each event.
func stop(p, theta float64, events int, reached func(cohorts) bool) []float64 {
	q := p * theta / (1 - p + p*theta)
	alive := []float64{1}
	stopped := make([]float64, events+1)
	for n := 1; n <= events; n++ {
		next := make([]float64, n+1)
		for k, mass := range alive {
			next[k] += mass * (1 - q)
			next[k+1] += mass * q
		}
		stopped[n] = stopped[n-1]
		for k, mass := range next {
			if mass < 1e-14 {
				continue
			}
			if reached(cohorts{{p: p, n: float64(n), k: float64(k)}}) {
				stopped[n] += mass
				next[k] = 0
			}
		}
		alive = next
	}
	return stopped
}

func regressAt(alpha float64) func(cohorts) bool {
	return func(cs cohorts) bool { return cs.logWorse() >= -math.Log(alpha) }
}

func safeAt(beta, margin float64) func(cohorts) bool {
	return func(cs cohorts) bool { return cs.logBetter(margin) >= -math.Log(beta) }
}

// quantile is the number of events after which a share of all runs has stopped.
func quantile(stopped []float64, share float64) int {
	for n, s := range stopped {
		if s >= share {
			return n
		}
	}
	return len(stopped)
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*want }

func TestFalsePositivesExactly(t *testing.T) {
	for _, c := range []struct {
		p      float64
		events int
		want   float64
	}{{.01, 400, .0034}, {.05, 400, .0048}, {.10, 300, .0055}, {.25, 250, .0063}, {.50, 250, .0068}} {
		got := stop(c.p, 1, c.events, regressAt(.01))[c.events]
		if got > .01 || !near(got, c.want, .1) {
			t.Errorf("p=%v: %.5f of all equal versions are condemned within %d events, want %.4f and never more than 0.01", c.p, got, c.events, c.want)
		}
	}
}

func TestEventsToDetection(t *testing.T) {
	for _, c := range []struct{ theta, p, median, p90 float64 }{
		{10, .01, 39, 96}, {10, .05, 12, 27}, {10, .10, 9, 19}, {10, .25, 7, 15}, {10, .50, 13, 21},
		{3, .05, 95, 211}, {3, .10, 56, 123}, {3, .25, 34, 75}, {3, .50, 37, 77},
		{2, .25, 96, 200}, {2, .50, 92, 185},
	} {
		stopped := stop(c.p, c.theta, int(c.p90*1.3)+5, regressAt(.01))
		median, p90 := float64(quantile(stopped, .5)), float64(quantile(stopped, .9))
		if !near(median, c.median, .1) || !near(p90, c.p90, .1) {
			t.Errorf("ratio %v at p=%v: %v / %v events, want %v / %v", c.theta, c.p, median, p90, c.median, c.p90)
		}
	}
}

func TestProofOfSafetyByRatio(t *testing.T) {
	for _, c := range []struct{ p, median, p90 float64 }{{.05, 184, 436}, {.10, 102, 238}, {.25, 54, 130}, {.50, 47, 114}} {
		stopped := stop(c.p, 1, int(c.p90*1.15)+5, safeAt(.05, 2))
		median, p90 := float64(quantile(stopped, .5)), float64(quantile(stopped, .9))
		if !near(median, c.median, .1) || !near(p90, c.p90, .1) {
			t.Errorf("p=%v: %v / %v events to proof, want %v / %v", c.p, median, p90, c.median, c.p90)
		}
		wrong := stop(c.p, 2, 150, safeAt(.05, 2))[150]
		if wrong > .05 || wrong < .02 {
			t.Errorf("p=%v: %.4f of all canaries at the margin are called safe, want .024 to .036", c.p, wrong)
		}
	}
}

// The confidence sequence covers the true ratio at every look, exactly, and the
// estimate lies inside it.
func TestRatioIsCovered(t *testing.T) {
	for _, c := range []struct{ p, theta float64 }{{.05, 1}, {.25, 3}, {.5, .5}} {
		missed := stop(c.p, c.theta, 60, func(cs cohorts) bool {
			estimate, low, high := cs.ratio(math.Log(1 / .05))
			if estimate < low || estimate > high {
				t.Fatalf("%v: estimate %v outside [%v, %v]", cs, estimate, low, high)
			}
			return low > c.theta*1.0001 || high < c.theta*.9999
		})
		if missed[60] > .05 {
			t.Errorf("p=%v: the ratio %v is missed with probability %.4f at level 0.95", c.p, c.theta, missed[60])
		}
	}
	if e, l, h := (cohorts{}).ratio(math.Log(100)); e != 0 || l != 0 || h != 0 {
		t.Errorf("with no event the ratio is %v [%v, %v]", e, l, h)
	}
	if e, _, h := (cohorts{{p: .05, n: 5, k: 5}}).ratio(math.Log(100)); e < 99 || h != 100 {
		t.Errorf("everything on the canary: %v up to %v, want about 100", e, h)
	}
	if e, _, _ := (cohorts{{p: .25, n: 100, k: 50}}).ratio(math.Log(100)); !near(e, 3, .01) {
		t.Errorf("half of all events at 25%% are a ratio of %v, want 3", e)
	}
}

// What is looked at, and how wrong it may be: α plus three standard deviations.
func allowed(alpha float64, runs int) float64 {
	return alpha + 3*math.Sqrt(alpha*(1-alpha)/float64(runs))
}

// Equal versions, a few sessions with a broken query. Counted per query, one such
// session on the canary looks like a thousand failures of the version; counted by
// first failures it is one.
func TestHeterogeneousSessionsOfEqualVersions(t *testing.T) {
	const runs, sessions, queries, p, alpha = 400, 400, 50, .25, .01
	r := rand.New(rand.NewPCG(11, 12))
	byUnit, byQuery := 0, 0
	for range runs {
		var unit, query cohort
		unit.p, query.p = p, p
		wrongUnit, wrongQuery := false, false
		for range sessions {
			canary := 0.0
			if r.Float64() < p {
				canary = 1
			}
			broken := r.Float64() < .01
			failed := false
			for range queries {
				if rate := .0005; !(broken && r.Float64() < .5) && r.Float64() >= rate {
					continue
				}
				query.n, query.k = query.n+1, query.k+canary
				wrongQuery = wrongQuery || regressAt(alpha)(cohorts{query})
				if !failed {
					failed = true
					unit.n, unit.k = unit.n+1, unit.k+canary
					wrongUnit = wrongUnit || regressAt(alpha)(cohorts{unit})
				}
			}
		}
		if wrongUnit {
			byUnit++
		}
		if wrongQuery {
			byQuery++
		}
	}
	if got := float64(byUnit) / runs; got > allowed(alpha, runs) {
		t.Errorf("by first failures %.3f of all equal versions are condemned, want at most %.3f", got, allowed(alpha, runs))
	}
	if got := float64(byQuery) / runs; got < .1 {
		t.Errorf("per query only %.3f are condemned: this test no longer shows why units are counted", got)
	}
}

// Equal versions, a ramp, and errors that become five times as frequent meanwhile.
// Each cohort keeps its own weight; pooled, the canary's late share of the traffic
// looks like its fault.
func TestRampWhileTheBaseRateMoves(t *testing.T) {
	const runs, perStep, alpha = 600, 2000, .01
	weights := []float64{.01, .05, .10, .25, .50}
	r := rand.New(rand.NewPCG(13, 14))
	byCohort, pooledWrong := 0, 0
	for range runs {
		var cs cohorts
		var pooled cohort
		var onCanary, all float64
		wrongCohort, wrongPooled := false, false
		for step, w := range weights {
			cs = append(cs, cohort{p: w})
			c := &cs[len(cs)-1]
			rate := .002 * math.Pow(5, float64(step)/float64(len(weights)-1))
			for range perStep {
				canary := 0.0
				if r.Float64() < w {
					canary = 1
				}
				all, onCanary = all+1, onCanary+canary
				if r.Float64() >= rate {
					continue
				}
				c.n, c.k = c.n+1, c.k+canary
				pooled.n, pooled.k, pooled.p = pooled.n+1, pooled.k+canary, max(onCanary, 1)/(all+1)
				wrongCohort = wrongCohort || regressAt(alpha)(cs)
				wrongPooled = wrongPooled || regressAt(alpha)(cohorts{pooled})
			}
		}
		if wrongCohort {
			byCohort++
		}
		if wrongPooled {
			pooledWrong++
		}
	}
	if got := float64(byCohort) / runs; got > allowed(alpha, runs) {
		t.Errorf("by cohorts %.3f of all equal versions are condemned, want at most %.3f", got, allowed(alpha, runs))
	}
	if got := float64(pooledWrong) / runs; got < 2*allowed(alpha, runs) {
		t.Errorf("pooled only %.3f are condemned: this test no longer shows why cohorts are kept", got)
	}
}

// Every unit fails sooner or later: the ratio of first failures is then 1 whatever
// the versions are like, and must not be taken for a proof.
func TestDepletedUnitsProveNothing(t *testing.T) {
	cs := cohorts{{p: .5, n: 1000, k: 500}}
	cfg := JudgeConfig{}.withDefaults()
	if cs.logBetter(cfg.SafeRatio) < -math.Log(cfg.Beta) {
		t.Fatal("the counts alone should look like a proof")
	}
	if provenByRatio(cs, 520, cfg) {
		t.Error("500 of 520 units failed, and that was taken for a proof of safety")
	}
	if !provenByRatio(cs, 5000, cfg) {
		t.Error("500 of 5000 units failed at equal shares, and that was no proof")
	}
}

func TestAttainable(t *testing.T) {
	cfg := JudgeConfig{}.withDefaults()
	for _, c := range []struct {
		weight uint16
		want   uint64
	}{{100, 3}, {500, 3}, {1000, 4}, {2500, 6}, {5000, 11}} {
		if got := unitsNeeded(weight(c.weight), cfg); got != c.want {
			t.Errorf("at %v it takes %d units, want %d", weight(c.weight), got, c.want)
		}
	}
	for _, w := range []uint16{1, 9_999} { // the search ends at both ends
		n := unitsNeeded(weight(w), cfg)
		if attainable(n, weight(w)) < math.Log(1/.003) || (n > 1 && attainable(n-1, weight(w)) >= math.Log(1/.003)) {
			t.Errorf("at %v: %d units are not the least number", weight(w), n)
		}
	}
}

func ExampleVerdict() {
	cs := cohorts{{p: .05, n: 3, k: 3}}
	fmt.Printf("three units failed, all on the canary at 5 %%: evidence %.0f\n", finiteExp(cs.logWorse()))
	// Output: three units failed, all on the canary at 5 %: evidence 515
}
