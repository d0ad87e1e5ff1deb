package deploy

import (
	"math"
	"math/rand/v2"
	"testing"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// The bounds hold the true share at every single look of a run, in all but alpha
// of the runs.
func TestRateBoundsCoverAtEveryLook(t *testing.T) {
	const runs, looks, alpha = 400, 2000, .05
	for _, share := range []float64{.001, .02, .3} {
		r := rand.New(rand.NewPCG(21, uint64(share*1000)))
		missed := 0
		for range runs {
			bad := 0.0
			for n := 1.0; n <= looks; n++ {
				if r.Float64() < share {
					bad++
				}
				if logBernoulli(bad, n, share) <= logBetaMixture(bad, n)+math.Log(alpha) {
					missed++
					break
				}
			}
		}
		if got := float64(missed) / runs; got > allowed(alpha, runs) {
			t.Errorf("a share of %v is missed in %.3f of all runs, want at most %.3f", share, got, allowed(alpha, runs))
		}
	}
}

func TestRateBounds(t *testing.T) {
	for _, c := range []struct{ bad, n float64 }{{0, 1}, {1, 1}, {0, 1000}, {3, 1000}, {500, 1000}, {1000, 1000}, {2, 1e7}} {
		low, high := rateBounds(c.bad, c.n, .025)
		if !(low >= 0 && low <= c.bad/c.n && high >= c.bad/c.n && high <= 1) {
			t.Errorf("%v of %v: [%v, %v]", c.bad, c.n, low, high)
		}
		// The bounds are where the likelihood ratio crosses 1/α.
		for _, b := range []float64{low, high} {
			if b == 0 || b == 1 {
				continue
			}
			if d := logBetaMixture(c.bad, c.n) - logBernoulli(c.bad, c.n, b) - math.Log(1/.025); math.Abs(d) > 1e-6 {
				t.Errorf("%v of %v: the evidence at %v is off the threshold by %v", c.bad, c.n, b, d)
			}
		}
	}
	if low, high := rateBounds(0, 0, .025); low != 0 || high != 1 {
		t.Errorf("of nothing, [%v, %v] is known", low, high)
	}
}

// How much traffic the proof takes: some 2,300 exchanges on each arm at 0.1 %, and
// very much where half a percentage point is little beside the rate itself.
func TestProofByRateTakesReasonableTraffic(t *testing.T) {
	cfg := JudgeConfig{}.withDefaults()
	for _, c := range []struct {
		share    float64
		from, to uint64
	}{{0, 700, 1500}, {.001, 1500, 3200}, {.05, 100_000, 200_000}} {
		n := uint64(1)
		for ; ; n += n/50 + 1 {
			bad := uint64(math.Round(c.share * float64(n)))
			counts := armstats.Counts{armstats.OK: n - bad, armstats.Server: bad}
			side := comparison{counts: [2]armstats.Counts{counts, counts}}
			if provenByRateAfter(side, armstats.MetricServer, 1, cfg) {
				break
			}
		}
		if n < c.from || n > c.to {
			t.Errorf("at %v it takes %d exchanges on each arm, want %d to %d", c.share, n, c.from, c.to)
		}
	}
}

// A canary that is worse by just the margin is called safe by rate in at most β of
// all runs, however often one looks.
func TestFalseProofByRate(t *testing.T) {
	const runs, exchanges, lookEvery = 300, 6000, 60
	cfg := JudgeConfig{}.withDefaults()
	for _, base := range []float64{.001, .01} {
		r := rand.New(rand.NewPCG(22, uint64(base*1000)))
		wrong := 0
		for range runs {
			var n, bad [2]float64
			for i := range exchanges {
				arm, share := router.Stable, base
				if i%2 == 1 {
					arm, share = router.Canary, base+cfg.SafeDelta
				}
				n[arm]++
				if r.Float64() < share {
					bad[arm]++
				}
				if i%lookEvery != lookEvery-1 {
					continue
				}
				low, _ := rateBounds(bad[router.Stable], n[router.Stable], cfg.Beta/2)
				_, high := rateBounds(bad[router.Canary], n[router.Canary], cfg.Beta/2)
				if high < low+cfg.SafeDelta {
					wrong++
					break
				}
			}
		}
		if got := float64(wrong) / runs; got > allowed(cfg.Beta, runs) {
			t.Errorf("base %v: %.3f of all canaries at the margin are called safe, want at most %.3f", base, got, allowed(cfg.Beta, runs))
		}
	}
}
