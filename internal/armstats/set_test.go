package armstats

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mzcanary/router"
)

func TestSetKeepsTheOrderGiven(t *testing.T) {
	s := NewSet([]string{"shop", "ads"})
	var names []string
	for d := range s.All() {
		names = append(names, d.Name)
	}
	if !slices.Equal(names, []string{"shop", "ads"}) {
		t.Errorf("deployments %v", names)
	}
	if s.Find("nope") != nil || s.Find("ads").Name != "ads" {
		t.Error("Find does not find what is there, or finds what is not")
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	d := NewSet([]string{"shop"}).Find("shop")
	u := d.Enter(1, false)
	ok := Exchange{Arm: router.Canary, Weight: 500, Latency: time.Millisecond, Counted: true}
	bad := ok
	bad.Class = Server
	d.Observe(u, bad) // the first bad event may
	if n := testing.AllocsPerRun(1000, func() {
		d.Observe(u, ok)
		d.Observe(u, bad)
		d.Observe(nil, ok)
		d.ObserveInjected(Retargeted, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestStreamsHaveNoLatency(t *testing.T) {
	d := NewSet([]string{"shop"}).Find("shop")
	d.Observe(nil, Exchange{Latency: time.Hour, Streamed: true})
	d.Observe(nil, Exchange{Latency: time.Millisecond})
	s := d.Snapshot().Arms[router.Stable]
	if s.Exchanges != 2 || s.Latency.Count() != 1 || s.Max != time.Millisecond {
		t.Errorf("%d exchanges, %d latencies, max %v", s.Exchanges, s.Latency.Count(), s.Max)
	}
}

func TestWindowSeesOnlyTheLastSeconds(t *testing.T) {
	d := NewSet([]string{"shop"}).Find("shop")
	w := NewWindow(10 * time.Second)
	start := time.Now()
	if _, span := w.Rates(); span != 0 {
		t.Error("an empty window has a span")
	}
	for second := range 30 {
		w.Add(start.Add(time.Duration(second)*time.Second), d.Snapshot())
		for range 20 {
			class, latency := OK, 100*time.Millisecond
			if second >= 20 {
				class, latency = Server, time.Millisecond
			}
			d.Observe(nil, Exchange{Arm: router.Canary, Class: class, Latency: latency})
		}
	}
	w.Add(start.Add(30*time.Second), d.Snapshot())
	rates, span := w.Rates()
	c := rates[router.Canary]
	if span != 10*time.Second || c.PerSecond != 20 || c.BadPerSecond != 20 || rates[router.Stable].PerSecond != 0 {
		t.Errorf("over %v: %+v", span, rates)
	}
	if c.Over.P99 > 2*time.Millisecond {
		t.Errorf("p99 of the last 10 s is %v: older exchanges are in it", c.Over.P99)
	}
	if len(w.samples) > 12 {
		t.Errorf("%d samples are kept for 10 s", len(w.samples))
	}
}

func TestCollector(t *testing.T) {
	s := NewSet([]string{"shop"})
	d := s.Find("shop")
	d.Observe(nil, Exchange{Arm: router.Canary, Class: Arm, Latency: 3 * time.Millisecond})
	d.Observe(nil, Exchange{Arm: router.Canary, Latency: 3 * time.Hour})
	d.ObserveInjected(Missing, time.Millisecond)

	series := gather(t, s)
	want := map[string]float64{
		"mzcanary_injected_total shop missing":           1,
		"mzcanary_injected_total shop retargeted":        0,
		"mzcanary_exchanges_total canary arm shop":       1,
		"mzcanary_exchanges_total canary ok shop":        1,
		"mzcanary_exchanges_total stable lost shop":      0,
		"mzcanary_exchange_seconds canary shop":          2,
		"mzcanary_exchange_seconds canary shop le=0.001": 0,
		"mzcanary_exchange_seconds canary shop le=0.005": 1,
		"mzcanary_exchange_seconds canary shop le=30":    1,
	}
	for name, value := range want {
		if got, ok := series[name]; !ok || got != value {
			t.Errorf("%s is %v (present: %v), want %v", name, got, ok, value)
		}
	}
	if n := 2*NumClasses + NumInjections + 2*(1+len(latencyBounds)); len(series) != n {
		t.Errorf("%d series, want %d: every label value from the first scrape on", len(series), n)
	}
}

// gather scrapes a set strictly and names each series by its label values.
func gather(t *testing.T, s *Set) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(NewCollector(s))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label { // sorted by name: arm, class, deployment, outcome
				name += " " + l.GetValue()
			}
			if h := m.Histogram; h != nil {
				series[name] = float64(h.GetSampleCount())
				for _, b := range h.Bucket {
					series[fmt.Sprintf("%s le=%v", name, b.GetUpperBound())] = float64(b.GetCumulativeCount())
				}
				continue
			}
			series[name] = m.Counter.GetValue()
		}
	}
	return series
}

func BenchmarkObserve(b *testing.B) {
	d := NewSet([]string{"shop"}).Find("shop")
	u := d.Enter(1, false)
	e := Exchange{Arm: router.Canary, Weight: 500, Latency: 300 * time.Microsecond, Counted: true}
	b.ReportAllocs()
	for b.Loop() {
		d.Observe(u, e)
	}
}

// BenchmarkObserveParallel has each goroutine observe its own session, as the
// relay does; Unsharded puts them all on one shard, to show what sharding pays.
func BenchmarkObserveParallel(b *testing.B) {
	for _, c := range []struct {
		name string
		all  bool
	}{{"sharded", false}, {"unsharded", true}} {
		b.Run(c.name, func(b *testing.B) {
			d := NewSet([]string{"shop"}).Find("shop")
			var n atomic.Uint64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				u := d.Enter(n.Add(1), false)
				if c.all {
					u.shard = 0
				}
				e := Exchange{Arm: router.Canary, Weight: 500, Latency: 300 * time.Microsecond, Counted: true}
				for pb.Next() {
					d.Observe(u, e)
				}
			})
		})
	}
}
