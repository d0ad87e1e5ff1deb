package deploy

import (
	"math"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// Verdict is what the judge says about a canary.
//
//	                       evidence beyond the error budget
//	             ┌───────────────────────────────────────────────▶ regress (the caller latches it)
//	             │
//	insufficient ──enough units──▶ undecided ──every metric proven──▶ safe
//	             ◀──too few────────          ◀──M above 1/√α─────────
//
//	uncalibrated: the A/A check says that the evidence cannot be trusted (not there yet)
type Verdict string

// The verdicts. Only Safe promotes and only Regress rolls back; in every other
// case the plan waits.
const (
	// Safe: enough evidence that the canary is no worse than the margin.
	Safe Verdict = "safe"
	// Regress: evidence beyond the error budget that the canary is worse.
	Regress Verdict = "regress"
	// Undecided: the evidence is still growing.
	Undecided Verdict = "undecided"
	// Insufficient: with the units there are, no verdict can be reached.
	Insufficient Verdict = "insufficient"
	// Uncalibrated: the evidence itself cannot be trusted.
	Uncalibrated Verdict = "uncalibrated"
)

// Minimum is the least a timed step must have seen on each arm.
type Minimum struct {
	Units     int `json:"units"`
	Exchanges int `json:"exchanges"`
}

// JudgeConfig holds the error budgets. A field that is zero has its default.
type JudgeConfig struct {
	// Alpha is the chance that a rollout of an equal version is ever judged to
	// regress, however often it is looked at. Default 0.01.
	Alpha float64 `json:"alpha"`
	// Beta is the chance that each of the two proofs of safety ever holds for a
	// canary that is worse than its margin. Default 0.05.
	Beta float64 `json:"beta"`
	// SafeDelta is the absolute margin: how much higher the canary's share of bad
	// exchanges may be. Default 0.005, half a percentage point.
	SafeDelta float64 `json:"safe_delta"`
	// SafeRatio is the relative margin: how many times as often the canary's units
	// may fail. Default 2.
	SafeRatio float64 `json:"safe_ratio"`
	// Minimum defaults to 3 units and 100 exchanges.
	Minimum Minimum `json:"minimum"`
}

func (c JudgeConfig) withDefaults() JudgeConfig {
	set := func(v *float64, to float64) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&c.Alpha, .01)
	set(&c.Beta, .05)
	set(&c.SafeDelta, .005)
	set(&c.SafeRatio, 2)
	if c.Minimum.Units <= 0 {
		c.Minimum.Units = 3
	}
	if c.Minimum.Exchanges <= 0 {
		c.Minimum.Exchanges = 100
	}
	return c
}

// share is the part of alpha that a metric may spend. The shares of all metrics
// add up to 1 at most; what is missing (.2) is reserved for latency.
func share(m armstats.Metric) float64 {
	switch m {
	case armstats.MetricConnection, armstats.MetricServer:
		return .3
	}
	return .2
}

// MetricJudgement is what the numbers say about one metric.
type MetricJudgement struct {
	Metric armstats.Metric `json:"metric"`
	// Evidence is M, the value of the test martingale now. It reaches Threshold
	// with probability 1/Threshold at most if the versions are equal. It may fall
	// again; the caller keeps its maximum if it wants to show that.
	Evidence  float64 `json:"evidence"`
	Threshold float64 `json:"threshold"`
	// N units failed, K of them on the canary.
	N uint64 `json:"n"`
	K uint64 `json:"k"`
	// Estimate is how many times as often the canary's units fail, with its
	// confidence sequence at level 1-Alpha, all within 0.05 to 100 (which stand for
	// "and beyond"). All three are 0 when nothing failed.
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	// Rates of bad exchanges per arm where both worked side by side, each with its
	// confidence sequence at level 1-Beta/2, indexed by router.Arm.
	Rates [2]Rate `json:"rates"`
	// ProvenBy says what proves that the metric is no worse than the margin:
	// "ratio", "rate", or "" when nothing does yet.
	ProvenBy string `json:"proven_by,omitempty"`
}

// Rate is a share of bad exchanges.
type Rate struct {
	Exchanges uint64  `json:"exchanges"`
	Bad       uint64  `json:"bad"`
	Low       float64 `json:"low"`
	High      float64 `json:"high"`
}

// regress reports whether the evidence is beyond the metric's error budget.
func (m MetricJudgement) regress() bool { return m.Evidence >= m.Threshold }

// Judgement is a verdict with its numbers.
type Judgement struct {
	Verdict  Verdict           `json:"verdict"`
	Sentence string            `json:"sentence"`
	Forecast string            `json:"forecast,omitempty"`
	Weight   router.Weight     `json:"weight"`
	Metrics  []MetricJudgement `json:"metrics"`
	// Per arm over the whole rollout, indexed by router.Arm.
	Units     [2]uint64 `json:"units"`
	Exchanges [2]uint64 `json:"exchanges"`
	Bad       [2]uint64 `json:"bad"`
}

// Near returns the metric whose evidence is closest to regress if it lies above
// 1/√α, and nil otherwise. No step ends while there is one: a weight must not
// rise while the evidence against the canary does.
func (j Judgement) Near(cfg JudgeConfig) *MetricJudgement {
	limit := 1 / math.Sqrt(cfg.withDefaults().Alpha)
	var worst *MetricJudgement
	for i := range j.Metrics {
		m := &j.Metrics[i]
		if m.Evidence > limit && (worst == nil || m.Evidence/m.Threshold > worst.Evidence/worst.Threshold) {
			worst = m
		}
	}
	return worst
}

// Judge weighs the evidence of a rollout at the weight in force. It is pure: the
// same integers give the same judgement, also years later with other settings.
// Regress is not latched here; once it has been said, the caller keeps it.
func Judge(ev armstats.Evidence, weight router.Weight, cfg JudgeConfig) Judgement {
	cfg = cfg.withDefaults()
	j := Judgement{Weight: weight}
	for a := range ev.Arms {
		j.Units[a], j.Exchanges[a], j.Bad[a] = ev.Arms[a].Units, ev.Arms[a].Exchanges, ev.Arms[a].Bad.Total()
	}
	side := sideBySide(ev, weight)
	for _, m := range armstats.Metrics() {
		j.Metrics = append(j.Metrics, judgeMetric(ev, m, side, cfg))
	}
	j.decide(ev, side, cfg)
	return j
}

// decide takes the first verdict that holds. What speaks against the canary comes
// first, what speaks for it last.
func (j *Judgement) decide(ev armstats.Evidence, side comparison, cfg JudgeConfig) {
	if m := j.worst(); m.regress() {
		j.Verdict, j.Sentence = Regress, regressSentence(m, j.Weight)
		return
	}
	if why, forecast := insufficient(j, side, cfg); why != "" {
		j.Verdict, j.Sentence, j.Forecast = Insufficient, why, forecast
		return
	}
	if m := j.Near(cfg); m != nil {
		j.Verdict, j.Sentence = Undecided, nearSentence(*m)
		return
	}
	if m := j.furthestFromProof(); m != nil {
		j.Verdict, j.Sentence = Undecided, undecidedSentence(*m, *j, cfg)
		j.Forecast = forecast(ev, *j, side, cfg)
		return
	}
	j.Verdict, j.Sentence = Safe, safeSentence(*j, cfg)
}

// worst is the metric closest to regress.
func (j *Judgement) worst() MetricJudgement {
	worst := j.Metrics[0]
	for _, m := range j.Metrics {
		if m.Evidence/m.Threshold > worst.Evidence/worst.Threshold {
			worst = m
		}
	}
	return worst
}

// furthestFromProof is the unproven metric whose bounds lie furthest apart, nil when
// all are proven.
func (j *Judgement) furthestFromProof() *MetricJudgement {
	gap := func(m *MetricJudgement) float64 { return m.Rates[router.Canary].High - m.Rates[router.Stable].Low }
	var worst *MetricJudgement
	for i := range j.Metrics {
		if m := &j.Metrics[i]; m.ProvenBy == "" && (worst == nil || gap(m) > gap(worst)) {
			worst = m
		}
	}
	return worst
}

func judgeMetric(ev armstats.Evidence, m armstats.Metric, side comparison, cfg JudgeConfig) MetricJudgement {
	alpha := cfg.Alpha * share(m)
	c := cohortsOf(ev, m)
	n, k := c.total()
	out := MetricJudgement{Metric: m, Threshold: 1 / alpha, N: uint64(n), K: uint64(k)}
	out.Evidence = finiteExp(c.logWorse())
	out.Estimate, out.Low, out.High = c.ratio(math.Log(1 / cfg.Alpha))
	for a := range out.Rates {
		n, bad := side.counts[a].Total(), side.counts[a].Of(m)
		low, high := rateBounds(float64(bad), float64(n), cfg.Beta/2)
		out.Rates[a] = Rate{Exchanges: n, Bad: bad, Low: low, High: high}
	}
	switch {
	case provenByRate(out.Rates, cfg):
		out.ProvenBy = "rate"
	case side.concurrent && provenByRatio(c, ev.Arms[router.Canary].Units, cfg):
		out.ProvenBy = "ratio"
	}
	return out
}

// comparison is the traffic of both arms that the rates are compared on.
type comparison struct {
	counts [2]armstats.Counts // indexed by router.Arm
	// weight under which stable was counted, 0 when there is nothing to compare.
	weight router.Weight
	// concurrent says that both arms worked at the same time, at the same weight.
	concurrent bool
}

// sideBySide picks what may be compared at a weight: the exchanges that both arms
// served while that very weight was in force. Pooling the steps of a ramp would
// compare the canary's afternoon with stable's morning. At 100 % nobody is left on
// stable; the canary is then compared with the stable arm of the step that had
// most traffic on the canary.
func sideBySide(ev armstats.Evidence, weight router.Weight) comparison {
	if weight == 0 {
		return comparison{}
	}
	if weight < router.Full {
		return comparison{counts: ev.Exposed(weight).Arms, weight: weight, concurrent: true}
	}
	out := comparison{counts: ev.Exposed(router.Full).Arms}
	var most uint64
	for _, x := range ev.Exposures {
		onCanary := x.Arms[router.Canary].Total()
		if x.Weight == 0 || x.Weight >= router.Full || x.Arms[router.Stable].Total() == 0 || onCanary <= most {
			continue
		}
		most = onCanary
		out.counts[router.Stable], out.weight = x.Arms[router.Stable], x.Weight
	}
	return out
}

// MinimumMet reports whether both arms had the least that a timed step asks for.
func MinimumMet(ev armstats.Evidence, cfg JudgeConfig) bool {
	cfg = cfg.withDefaults()
	for _, arm := range ev.Arms {
		if arm.Units < uint64(cfg.Minimum.Units) || arm.Exchanges < uint64(cfg.Minimum.Exchanges) {
			return false
		}
	}
	return true
}

// Advance says whether a timed step may end, and if not, what it lacks. It passes
// if and only if the bake is over, nothing regressed, both arms had their minimum
// (MinimumMet) and no evidence against the canary lies above 1/√α. It does not ask
// for proof: that is what steps `until: safe` are for.
func Advance(j Judgement, cfg JudgeConfig, minimumMet, bakeOver bool) (pass bool, why string) {
	switch near := j.Near(cfg); {
	case j.Verdict == Regress, j.Verdict == Uncalibrated:
		return false, j.Sentence
	case !bakeOver:
		return false, "the bake is not over"
	case !minimumMet:
		return false, minimumSentence(j, cfg)
	case near != nil:
		return false, nearSentence(*near)
	}
	return true, ""
}
