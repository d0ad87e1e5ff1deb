package deploy

import (
	"math"
	"slices"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// The count test. Every unit that fails contributes one event, its first; if the
// versions are equal, that unit is on the canary with probability p, the weight
// of the cohort, independent of everything else about it. If units on the canary
// fail θ times as often, the probability is pθ/(1-p+pθ). The likelihood ratio of
// θ against θ0, averaged over a grid of θ, is a nonnegative supermartingale that
// starts at 1, as long as the true ratio is not beyond θ0 on the grid's side. By
// Ville's inequality it ever reaches 1/α with probability α at most, so it may be
// looked at after every event. Everything is computed with logarithms.

// worseGrid is what "worse" may mean; all equally likely beforehand.
var worseGrid = [...]float64{1.5, 2, 3, 5, 8, 13, 21, 34}

// betterGrid is what "no worse than the margin" may mean, for the default margin
// of 2; values at or above a smaller margin are left out.
var betterGrid = [...]float64{.5, 1, 1.3}

// ratioLow and ratioHigh bound what is reported about a ratio; ratioPoints is how
// fine the prior of its confidence sequence is between them, on a log scale.
const (
	ratioLow, ratioHigh = .05, 100
	ratioPoints         = 200
)

// depleted is the share of the canary's units that may have failed for the proof
// by ratio to count. Only first failures are compared, so when everybody fails
// sooner or later their ratio is 1 whatever the versions are like: with a share f
// of failed units a true ratio of 2 looks like 2-f. The test against regress has
// no such limit; there the effect only takes evidence away.
const depleted = .1

// cohort is one weight of one metric: k of the n units that failed were on the
// canary, where each would be with probability p.
type cohort struct{ p, n, k float64 }

type cohorts []cohort

// cohortsOf picks a metric's cohorts. At 0 and 100 % the arm is certain and says
// nothing.
func cohortsOf(ev armstats.Evidence, m armstats.Metric) cohorts {
	var out cohorts
	for _, c := range ev.Cohorts {
		if c.Metric == m && c.Weight > 0 && c.Weight < router.Full {
			out = append(out, cohort{p: c.Weight.Fraction(), n: float64(c.N), k: float64(c.K)})
		}
	}
	return out
}

func (cs cohorts) total() (n, k float64) {
	for _, c := range cs {
		n += c.n
		k += c.k
	}
	return n, k
}

// scaled is what the cohorts would be after factor times the traffic.
func (cs cohorts) scaled(factor float64) cohorts {
	out := make(cohorts, len(cs))
	for i, c := range cs {
		out[i] = cohort{c.p, c.n * factor, c.k * factor}
	}
	return out
}

// logLikelihood of a ratio, up to a constant that does not depend on it: 0 at 1.
func (cs cohorts) logLikelihood(theta float64) float64 {
	var sum float64
	for _, c := range cs {
		sum += c.k*math.Log(theta) - c.n*math.Log(1-c.p+c.p*theta)
	}
	return sum
}

// logWorse is ln M against the hypothesis that the canary's units fail no more
// often than stable's.
func (cs cohorts) logWorse() float64 { return cs.logMixture(worseGrid[:]) }

// logBetter is ln M' against the hypothesis that they fail margin times as often,
// or more.
func (cs cohorts) logBetter(margin float64) float64 {
	grid := make([]float64, 0, len(betterGrid))
	for _, theta := range betterGrid {
		if theta < margin {
			grid = append(grid, theta)
		}
	}
	if len(grid) == 0 {
		return math.Inf(-1) // a margin below all of them cannot be proven
	}
	return cs.logMixture(grid) - cs.logLikelihood(margin)
}

// logMixture is the logarithm of the mean likelihood over a grid.
func (cs cohorts) logMixture(grid []float64) float64 {
	logs := make([]float64, len(grid))
	for i, theta := range grid {
		logs[i] = cs.logLikelihood(theta)
	}
	return logMean(logs)
}

// logMean is the logarithm of the mean of numbers given by their logarithms.
func logMean(logs []float64) float64 {
	most := slices.Max(logs)
	var sum float64
	for _, l := range logs {
		sum += math.Exp(l - most)
	}
	return most + math.Log(sum/float64(len(logs)))
}

// ratio estimates how many times as often the canary's units fail, and inverts the
// test with a two-sided prior into a confidence sequence: the ratios θ0 against
// which the evidence is below the threshold. The log-likelihood is concave in the
// logarithm of the ratio, so they are an interval. All three are 0 without events.
func (cs cohorts) ratio(logThreshold float64) (estimate, low, high float64) {
	if n, _ := cs.total(); n == 0 {
		return 0, 0, 0
	}
	logs := make([]float64, ratioPoints)
	best := 0
	for i := range logs {
		logs[i] = cs.logLikelihood(ratioAt(i))
		if logs[i] > logs[best] {
			best = i
		}
	}
	floor := logMean(logs) - logThreshold
	inside := func(theta float64) bool { return cs.logLikelihood(theta) > floor }
	estimate = cs.peak(ratioAt(max(best-1, 0)), ratioAt(min(best+1, ratioPoints-1)))
	return estimate, edge(inside, estimate, ratioLow), edge(inside, estimate, ratioHigh)
}

// ratioAt is the i-th ratio of the prior of the confidence sequence.
func ratioAt(i int) float64 {
	return ratioLow * math.Pow(ratioHigh/ratioLow, float64(i)/(ratioPoints-1))
}

// peak is the most likely ratio between two ratios, on a log scale.
func (cs cohorts) peak(low, high float64) float64 {
	for range 20 {
		a, b := math.Pow(low, 2./3)*math.Pow(high, 1./3), math.Pow(low, 1./3)*math.Pow(high, 2./3)
		if cs.logLikelihood(a) < cs.logLikelihood(b) {
			low = a
		} else {
			high = b
		}
	}
	return math.Sqrt(low * high)
}

// edge finds where a condition that holds at from stops holding on the way to far,
// or far itself if it never does.
func edge(holds func(float64) bool, from, far float64) float64 {
	if holds(far) {
		return far
	}
	for range 60 {
		middle := (from + far) / 2
		if holds(middle) {
			from = middle
		} else {
			far = middle
		}
	}
	return far
}

// provenByRatio reports whether the first failures prove that the canary's units
// do not fail SafeRatio times as often as stable's.
func provenByRatio(cs cohorts, canaryUnits uint64, cfg JudgeConfig) bool {
	_, k := cs.total()
	if k > depleted*float64(canaryUnits) {
		return false
	}
	return cs.logBetter(cfg.SafeRatio) >= -math.Log(cfg.Beta)
}

// attainable is ln M if every one of so many canary units failed at a weight and
// none on stable: the most that they can ever say.
func attainable(units uint64, w router.Weight) float64 {
	n := float64(units)
	return cohorts{{p: w.Fraction(), n: n, k: n}}.logWorse()
}

// finiteExp is e^x as far as it can be written down.
func finiteExp(x float64) float64 { return min(math.Exp(x), math.MaxFloat64) }
