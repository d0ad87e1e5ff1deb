package armstats

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mzcanary/router"
)

// latencyBounds are the buckets of mzcanary_exchange_seconds. The counts behind
// them come from buckets of at most 3.1 % width, so a bound is that exact.
var latencyBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second,
}

type collector struct {
	set                          *Set
	exchanges, seconds, injected *prometheus.Desc
}

// NewCollector exposes a set to Prometheus. Everything is read at the scrape,
// and every label value exists from the first scrape on.
func NewCollector(s *Set) prometheus.Collector {
	return &collector{
		set: s,
		exchanges: prometheus.NewDesc("mzcanary_exchanges_total",
			"Exchanges that reached their ReadyForQuery, by arm and by what they ended in.", []string{"deployment", "arm", "class"}, nil),
		seconds: prometheus.NewDesc("mzcanary_exchange_seconds",
			"Duration of exchanges up to their ReadyForQuery, streams left out.", []string{"deployment", "arm"}, nil),
		injected: prometheus.NewDesc("mzcanary_injected_total",
			"Exchanges that the proxy itself put in to move a session, by outcome.", []string{"deployment", "outcome"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.exchanges
	ch <- c.seconds
	ch <- c.injected
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for d := range c.set.All() {
		s := d.Snapshot()
		for _, arm := range router.Arms {
			c.collectArm(ch, d.Name, arm.String(), s.Arms[arm])
		}
		for i, n := range s.Injected.Count {
			ch <- prometheus.MustNewConstMetric(c.injected, prometheus.CounterValue, float64(n), d.Name, Injection(i).String())
		}
	}
}

func (c *collector) collectArm(ch chan<- prometheus.Metric, deployment, arm string, s ArmSnapshot) {
	for class, n := range s.Classes {
		ch <- prometheus.MustNewConstMetric(c.exchanges, prometheus.CounterValue, float64(n), deployment, arm, Class(class).String())
	}
	buckets := make(map[float64]uint64, len(latencyBounds))
	for _, bound := range latencyBounds {
		buckets[bound.Seconds()] = s.Latency.Below(bound)
	}
	ch <- prometheus.MustNewConstHistogram(c.seconds, s.Latency.Count(), s.Latency.Sum().Seconds(), buckets, deployment, arm)
}
