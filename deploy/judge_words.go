package deploy

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// What the judge says to people: one sentence per verdict, with its numbers, and
// when more may be known.

func metricName(m armstats.Metric) string {
	switch m {
	case armstats.MetricConnection:
		return "connection failures"
	case armstats.MetricServer:
		return "server errors"
	}
	return "other errors"
}

func regressSentence(m MetricJudgement, w router.Weight) string {
	about := "about " + number(m.Estimate)
	if m.Estimate > .99*ratioHigh {
		about = number(ratioHigh) + " or more"
	}
	return fmt.Sprintf("the canary is worse: %d of the %s with %s %s on it, %s times as often as on stable (at least %s times; weight now %s, evidence %s, threshold %s)",
		m.K, units(m.N), metricName(m.Metric), plural(m.K, "is", "are"), about, number(m.Low), w, number(m.Evidence), number(m.Threshold))
}

func nearSentence(m MetricJudgement) string {
	return fmt.Sprintf("waiting: the evidence about %s is %s, on its way to %s; %d of the %s that failed %s on the canary",
		metricName(m.Metric), number(m.Evidence), number(m.Threshold), m.K, units(m.N), plural(m.K, "is", "are"))
}

func safeSentence(j Judgement, cfg JudgeConfig) string {
	return fmt.Sprintf("the canary is no worse than the margin: %s on %s, %d of them bad, against %d of %s on stable (margin %s points of bad exchanges, or %s times as often)",
		exchanges(j.Exchanges[router.Canary]), units(j.Units[router.Canary]), j.Bad[router.Canary], j.Bad[router.Stable], exchanges(j.Exchanges[router.Stable]),
		number(100*cfg.SafeDelta), number(cfg.SafeRatio))
}

func undecidedSentence(m MetricJudgement, j Judgement, cfg JudgeConfig) string {
	stable, canary := m.Rates[router.Stable], m.Rates[router.Canary]
	return fmt.Sprintf("no proof yet about %s: at %s up to %s on the canary (%d of %s), at least %s on stable (%d of %s), and they must be less than %s points apart",
		metricName(m.Metric), j.Weight, percent(canary.High), canary.Bad, exchanges(canary.Exchanges),
		percent(stable.Low), stable.Bad, exchanges(stable.Exchanges), number(100*cfg.SafeDelta))
}

func minimumSentence(j Judgement, cfg JudgeConfig) string {
	cfg = cfg.withDefaults()
	var lacks []string
	for _, a := range router.Arms {
		if j.Units[a] < uint64(cfg.Minimum.Units) {
			lacks = append(lacks, fmt.Sprintf("%s had %s of %d", a, units(j.Units[a]), cfg.Minimum.Units))
		}
		if j.Exchanges[a] < uint64(cfg.Minimum.Exchanges) {
			lacks = append(lacks, fmt.Sprintf("%s had %s of %d", a, exchanges(j.Exchanges[a]), cfg.Minimum.Exchanges))
		}
	}
	return "the minimum is not met: " + strings.Join(lacks, ", ")
}

// insufficient says why no verdict can be reached, "" if one can. The forecast
// says what would be needed.
func insufficient(j *Judgement, side comparison, cfg JudgeConfig) (why, forecast string) {
	n := j.Units[router.Canary]
	switch {
	case j.Weight == 0:
		return "the weight is 0%: nobody is on the canary to be judged", "not reachable at 0%"
	case side.weight == 0:
		return "everybody is on the canary and no step had both arms at work: there is nothing to compare with", "not reachable at 100%"
	}
	for _, a := range router.Arms {
		if side.counts[a].Total() == 0 {
			return fmt.Sprintf("not one exchange was counted on %s at %s", a, j.Weight), ""
		}
	}
	need := unitsNeeded(side.weight, cfg)
	switch {
	case n < uint64(cfg.Minimum.Units):
		return fmt.Sprintf("the canary had only %s, and the minimum is %d", units(n), cfg.Minimum.Units),
			fmt.Sprintf("not reachable with %s: it takes %d", units(n), max(need, uint64(cfg.Minimum.Units)))
	case n < need:
		return fmt.Sprintf("the canary had only %s: even if all of them failed, that would not be proof at %s", units(n), side.weight),
			fmt.Sprintf("not reachable with %s: at %s it takes %d", units(n), side.weight, need)
	}
	return "", ""
}

// unitsNeeded is the least number of canary units with which the test could reach
// the threshold of its best metric.
func unitsNeeded(w router.Weight, cfg JudgeConfig) uint64 {
	threshold := math.Inf(1)
	for _, m := range armstats.Metrics() {
		threshold = min(threshold, -math.Log(cfg.Alpha*share(m)))
	}
	// At a weight of p each unit says at most ln 1/p; the last 0.01 % before 100 %
	// would take hundreds of thousands.
	low, high := uint64(0), uint64(1)
	for attainable(high, w) < threshold {
		low, high = high, 2*high
	}
	for high-low > 1 {
		middle := (low + high) / 2
		if attainable(middle, w) < threshold {
			low = middle
		} else {
			high = middle
		}
	}
	return high
}

// forecastLimit is how many times the traffic so far a forecast looks ahead.
const forecastLimit = 10_000

// forecast says when every metric will be proven if things go on as they are.
func forecast(ev armstats.Evidence, j Judgement, side comparison, cfg JudgeConfig) string {
	factor := 1.0
	for _, m := range j.Metrics {
		f := factorNeeded(ev, m.Metric, side, cfg)
		if math.IsInf(f, 1) {
			return "not reachable at these rates: " + metricName(m.Metric) + " on the canary are at or above the margin"
		}
		factor = max(factor, f)
	}
	seen := side.counts[router.Stable].Total() + side.counts[router.Canary].Total()
	all := j.Exchanges[router.Stable] + j.Exchanges[router.Canary]
	more := (factor - 1) * float64(seen)
	if ev.Observed <= 0 || all == 0 {
		return "about " + number(more) + " more exchanges"
	}
	perSecond := float64(all) / ev.Observed.Seconds()
	return "about " + duration(more/perSecond) + " more at this rate"
}

// factorNeeded is how many times the traffic so far proves a metric, +Inf if none
// within the limit does.
func factorNeeded(ev armstats.Evidence, m armstats.Metric, side comparison, cfg JudgeConfig) float64 {
	cs := cohortsOf(ev, m)
	proven := func(f float64) bool {
		if provenByRateAfter(side, m, f, cfg) {
			return true
		}
		n := float64(ev.Arms[router.Canary].Units) * f
		return side.concurrent && provenByRatio(cs.scaled(f), uint64(n), cfg)
	}
	if proven(1) {
		return 1
	}
	low, high := 1.0, 2.0
	for !proven(high) {
		low, high = high, 2*high
		if high > forecastLimit {
			return math.Inf(1)
		}
	}
	for range 12 {
		middle := (low + high) / 2
		if proven(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

func units(n uint64) string { return strconv.FormatUint(n, 10) + plural(n, " unit", " units") }
func exchanges(n uint64) string {
	return strconv.FormatUint(n, 10) + plural(n, " exchange", " exchanges")
}

func plural(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// number prints three significant digits, or a whole number from 100 on.
func number(x float64) string {
	switch {
	case x >= 1e6:
		return strconv.FormatFloat(x, 'e', 1, 64)
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

func percent(share float64) string { return number(100*share) + "%" }

// duration prints seconds as people say them.
func duration(seconds float64) string {
	switch {
	case seconds > 48*3600:
		return "two days or"
	case seconds > 2*3600:
		return number(math.Ceil(seconds/360)/10) + " h"
	case seconds > 120:
		return number(math.Ceil(seconds/60)) + " min"
	}
	return number(math.Ceil(seconds)) + " s"
}
