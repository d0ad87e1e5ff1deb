package app

import (
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

	attempts *prometheus.CounterVec
	gather   *prometheus.HistogramVec
	commit   *prometheus.HistogramVec
	stall    *prometheus.HistogramVec
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
		gather: histogram("gather", "From the first gate closed until everybody was at a boundary."),
		commit: histogram("commit", "COMMIT of the swap, from sending to its answer."),
		stall:  histogram("stall", "Longest stall of a session in one attempt.", "wasted"),
	}
	reg.MustRegister(m, m.attempts)
	for _, d := range deployments {
		m.gather.WithLabelValues(d)
		m.commit.WithLabelValues(d)
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

// AttemptEnded implements deploy.Observer.
func (m *rolloutMetrics) AttemptEnded(deployment string, a deploy.AttemptRecord) {
	m.attempts.WithLabelValues(deployment, a.Outcome).Inc()
	if !a.Held {
		return
	}
	m.gather.WithLabelValues(deployment).Observe(a.Gather.Seconds())
	if a.Commit > 0 {
		m.commit.WithLabelValues(deployment).Observe(a.Commit.Seconds())
	}
	wasted := "true"
	if a.Outcome == "done" {
		wasted = "false"
	}
	m.stall.WithLabelValues(deployment, wasted).Observe(a.Stall.Max.Seconds())
}
