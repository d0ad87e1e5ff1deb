package app

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"mzcanary/deploy"
	"mzcanary/router"
)

// stallBuckets fit what a hold may cost: from a millisecond on a quiet server to
// the default promote.max_stall of five seconds and beyond.
var stallBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// rolloutMetrics turns the controller's state and observations into metrics.
// Labels are names from the configuration and values of closed enums only.
type rolloutMetrics struct {
	control func() deploy.API

	phase, weight, share, exchanges, stopped *prometheus.Desc

	attempts, resolved *prometheus.CounterVec

	gather, commit, resolve, closed, stall *prometheus.HistogramVec
}

func newRolloutMetrics(reg prometheus.Registerer, control func() deploy.API, deployments []string) *rolloutMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mzcanary_"+name, help, append([]string{"deployment"}, labels...), nil)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mzcanary_promote_" + name + "_seconds", Help: help, Buckets: stallBuckets}, append([]string{"deployment"}, labels...))
		reg.MustRegister(h)
		return h
	}
	m := &rolloutMetrics{
		control:   control,
		phase:     desc("rollout_phase", "1 for the phase a deployment is in.", "phase"),
		weight:    desc("weight_wanted_ratio", "Published share of units on the canary."),
		share:     desc("session_share_ratio", "Share of the sessions that follow the weight that are on the canary. Absent without such sessions."),
		exchanges: desc("exchange_share_ratio", "Share of the rollout's exchanges that the canary served. Absent without exchanges."),
		stopped:   desc("rollout_stopped", "1 while a rollout stands still and somebody has to act, by cause.", "kind", "cause"),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mzcanary_promote_attempts_total",
			Help: "Attempts to swap, by how they ended."}, []string{"deployment", "outcome"}),
		resolved: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mzcanary_promote_resolved_total",
			Help: "Attempts whose outcome was unknown at first, by what the ids said."}, []string{"deployment", "outcome"}),
		gather:  histogram("gather", "From the first gate closed until everybody was at a boundary."),
		commit:  histogram("commit", "COMMIT of the swap, from sending to its answer."),
		resolve: histogram("resolve", "From a lost answer to COMMIT until the ids said what became of it. Nobody waits for it."),
		closed:  histogram("closed", "From the first gate closed to the release: how long an attempt held sessions."),
		stall:   histogram("stall", "How long each session that had something to say was held in an attempt; wasted: the attempt was not done.", "wasted"),
	}
	reg.MustRegister(m, m.attempts, m.resolved)
	for _, d := range deployments {
		for _, h := range []*prometheus.HistogramVec{m.gather, m.commit, m.resolve, m.closed} {
			h.WithLabelValues(d)
		}
		for _, end := range []deploy.Ended{deploy.EndDone, deploy.EndNotDone} {
			m.resolved.WithLabelValues(d, string(end))
		}
		m.stall.WithLabelValues(d, "false")
		m.stall.WithLabelValues(d, "true")
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *rolloutMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.phase, m.weight, m.share, m.exchanges, m.stopped} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *rolloutMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, s := range m.control().Statuses() {
		for _, p := range deploy.Phases() {
			gauge(m.phase, flag(p.Phase == s.Phase), s.Deployment, string(p.Phase))
		}
		gauge(m.weight, s.Weight.Fraction(), s.Deployment)
		if s.SessionShare >= 0 {
			gauge(m.share, s.SessionShare, s.Deployment)
		}
		if s.ArmExchanges[router.Stable]+s.ArmExchanges[router.Canary] > 0 {
			gauge(m.exchanges, s.ExchangeShare, s.Deployment)
		}
		if s.Stop != nil {
			gauge(m.stopped, 1, s.Deployment, string(s.Stop.Kind), string(s.Stop.Cause))
		}
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// PhaseChanged implements deploy.Observer; the phase is read when metrics are.
func (m *rolloutMetrics) PhaseChanged(string, deploy.Phase, deploy.Phase) {}

// Stopped implements deploy.Observer; the stop is read when metrics are.
func (m *rolloutMetrics) Stopped(string, *deploy.Stop) {}

// AttemptEnded implements deploy.Observer. Whether the stall of an unknown outcome
// was wasted is known when it is resolved.
func (m *rolloutMetrics) AttemptEnded(deployment string, a deploy.AttemptRecord) {
	m.attempts.WithLabelValues(deployment, a.Outcome).Inc()
	if !a.Held {
		return
	}
	m.gather.WithLabelValues(deployment).Observe(a.Gather.Seconds())
	m.closed.WithLabelValues(deployment).Observe(a.Closed.Seconds())
	if a.Commit > 0 {
		m.commit.WithLabelValues(deployment).Observe(a.Commit.Seconds())
	}
	if a.Outcome != string(deploy.EndUnknown) {
		m.stalled(deployment, a)
	}
}

// AttemptResolved implements deploy.Observer.
func (m *rolloutMetrics) AttemptResolved(deployment string, a deploy.AttemptRecord) {
	m.resolved.WithLabelValues(deployment, a.Outcome).Inc()
	m.resolve.WithLabelValues(deployment).Observe(a.Resolve.Seconds())
	m.stalled(deployment, a)
}

func (m *rolloutMetrics) stalled(deployment string, a deploy.AttemptRecord) {
	h := m.stall.WithLabelValues(deployment, strconv.FormatBool(a.Outcome != string(deploy.EndDone)))
	for _, wait := range a.Stall.Waits {
		h.Observe(wait.Seconds())
	}
}
