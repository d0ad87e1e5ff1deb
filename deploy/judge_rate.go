package deploy

import (
	"math"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// The proof by rate. For a share r of bad exchanges, the likelihood of what was
// seen, averaged over a prior of r and divided by the likelihood at a fixed r0, is
// a martingale with start 1 if r0 is true (Robbins 1970; the conjugate mixture for
// Bernoulli observations of Howard, Ramdas, McAuliffe, Sekhon 2021). The values r0
// whose ratio is below 1/α are a confidence sequence: with probability 1-α the true
// share lies in all of them, whenever one looks.
//
// The prior is half Beta(1/2,1/2), which serves every share, and half
// Beta(1/2,50), which serves the shares of databases, a few per thousand. It
// decides only how fast the bounds close, never whether they are right.
var ratePriors = [...]struct{ a, b float64 }{{.5, .5}, {.5, 50}}

// rateBounds is the confidence sequence at level 1-alpha for a share of which bad
// out of n were seen.
func rateBounds(bad, n, alpha float64) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	floor := logBetaMixture(bad, n) + math.Log(alpha)
	inside := func(r float64) bool { return logBernoulli(bad, n, r) > floor }
	return edge(inside, bad/n, 0), edge(inside, bad/n, 1)
}

// logBernoulli is the log-likelihood of a share, with 0·ln 0 = 0.
func logBernoulli(bad, n, r float64) float64 {
	var sum float64
	if bad > 0 {
		sum += bad * math.Log(r)
	}
	if good := n - bad; good > 0 {
		sum += good * math.Log1p(-r)
	}
	return sum
}

func logBetaMixture(bad, n float64) float64 {
	logs := make([]float64, len(ratePriors))
	for i, prior := range ratePriors {
		logs[i] = logBeta(prior.a+bad, prior.b+n-bad) - logBeta(prior.a, prior.b)
	}
	return logMean(logs)
}

// logBeta is ln B(a,b), the logarithm of Euler's beta function.
func logBeta(a, b float64) float64 {
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	return la + lb - lab
}

// provenByRate reports whether even the highest share that the canary may have is
// below the lowest that stable may have, plus the margin. Each arm's bounds are at
// level 1-β/2.
func provenByRate(rates [2]Rate, cfg JudgeConfig) bool {
	stable, canary := rates[router.Stable], rates[router.Canary]
	return stable.Exchanges > 0 && canary.Exchanges > 0 && canary.High < stable.Low+cfg.SafeDelta
}

// provenByRateAfter is the same after factor times the traffic at the same rates.
func provenByRateAfter(side comparison, m armstats.Metric, factor float64, cfg JudgeConfig) bool {
	stable, canary := side.counts[router.Stable], side.counts[router.Canary]
	low, _ := rateBounds(float64(stable.Of(m))*factor, float64(stable.Total())*factor, cfg.Beta/2)
	_, high := rateBounds(float64(canary.Of(m))*factor, float64(canary.Total())*factor, cfg.Beta/2)
	return high < low+cfg.SafeDelta
}
