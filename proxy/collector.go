package proxy

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// counters are what the proxy counts beside the exchanges. All labels are of
// closed enumerations, so their number is bounded.
type counters struct {
	holds, expired atomic.Uint64
	retargets      [armstats.NumInjections]atomic.Uint64
	starts         [64]atomic.Uint64 // by wire.Kind
	ends           [64]atomic.Uint64
	cancels        struct{ forwarded, idle, held, unknown, failed atomic.Uint64 }
	untracked      [reasonCount]atomic.Uint64
	stalls         [len(stallBounds) + 1]atomic.Uint64
	stallSum       atomic.Int64 // nanoseconds
	stallMax       atomic.Int64
	clientSets     [numOwnSets]atomic.Uint64
}

// stallBounds are the upper bounds of the buckets of held messages' waits.
var stallBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

func (c *counters) retarget(o armstats.Injection) { c.retargets[o].Add(1) }

func (c *counters) startup(k wire.Kind) { c.starts[k].Add(1) }

func (c *counters) ended(k wire.Kind, login bool) {
	if login {
		c.startup(k)
		return
	}
	c.ends[k].Add(1)
}

func (c *counters) stalled(d time.Duration) {
	i := 0
	for i < len(stallBounds) && d > stallBounds[i] {
		i++
	}
	c.stalls[i].Add(1)
	c.stallSum.Add(int64(d))
	for {
		was := c.stallMax.Load()
		if int64(d) <= was || c.stallMax.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// LongestStall is the longest time a message has waited at a closed gate since
// the proxy was made.
func (p *Proxy) LongestStall() time.Duration { return time.Duration(p.count.stallMax.Load()) }

// Holds is the number of holds since the proxy was made.
func (p *Proxy) Holds() uint64 { return p.count.holds.Load() }

// Collector exposes the proxy to Prometheus. It holds nothing; everything is
// read at the scrape.
func (p *Proxy) Collector() prometheus.Collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("mzcanary_"+name, help, labels, nil)
	}
	return &collector{
		p:        p,
		sessions: d("sessions", "Sessions by deployment, arm they have, and state.", "deployment", "arm", "state"),
		fixed:    d("sessions_fixed", "Sessions that do not follow the weight (pins, own deploy names, a client's option), by the arm they have.", "deployment", "arm"),
		unmoved:  d("sessions_unmoved", "Managed sessions whose settings are not those they should have.", "deployment"),
		conns:    d("connections", "Open client connections, those still starting included."),
		starts:   d("startup_failures_total", "Connections that did not become sessions, by kind.", "kind"),
		ends:     d("session_failures_total", "Sessions ended by the proxy, by kind.", "kind"),
		holds:    d("holds_total", "Holds of a deployment's sessions."),
		expired:  d("holds_expired_total", "Holds released by the end of their lease."),
		moves:    d("retargets_total", "Moves of a session to its target, by outcome.", "outcome"),
		cancels:  d("cancels_total", "Cancel requests of clients, by what became of them.", "outcome"),
		sets:     d("client_sets_total", "Own SET, RESET and DISCARD of clients that changed cluster or search_path, by what became of the session.", "outcome"),
		named:    d("qualified_names_total", "Statements on the canary that named a live schema explicitly.", "deployment"),
		stall:    d("hold_stall_seconds", "How long messages waited at a closed gate."),
	}
}

type collector struct {
	p                                                                                                 *Proxy
	sessions, fixed, unmoved, conns, starts, ends, holds, expired, moves, cancels, sets, named, stall *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.sessions, c.fixed, c.unmoved, c.conns, c.starts, c.ends, c.holds, c.expired, c.moves, c.cancels, c.sets, c.named, c.stall} {
		ch <- d
	}
	ch <- untrackedDesc()
}

// sessionStates are the labels of the state of a session.
var sessionStates = [...]string{"boundary", "busy", "streaming", "unknown"}

func stateOf(p Place) int {
	switch p {
	case PlaceBoundary:
		return 0
	case PlaceStreaming:
		return 2
	case PlaceUnknown:
		return 3
	}
	return 1
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	n := &c.p.count
	counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), labels...)
	}
	c.collectSessions(ch)
	for _, k := range wire.Kinds() {
		counter(c.starts, &n.starts[k], k.Label())
		counter(c.ends, &n.ends[k], k.Label())
	}
	n.collectUntracked(ch)
	counter(c.holds, &n.holds)
	counter(c.expired, &n.expired)
	for i := range n.retargets {
		counter(c.moves, &n.retargets[i], armstats.Injection(i).String())
	}
	for _, d := range c.p.table.Load().Deployments {
		_, total := c.p.QualifiedNames(d.Name)
		ch <- prometheus.MustNewConstMetric(c.named, prometheus.CounterValue, float64(total), d.Name)
	}
	for o := ownMapped; o < numOwnSets; o++ {
		counter(c.sets, &n.clientSets[o], ownSetNames[o])
	}
	for name, v := range map[string]*atomic.Uint64{
		"forwarded": &n.cancels.forwarded, "idle": &n.cancels.idle, "held": &n.cancels.held,
		"unknown_key": &n.cancels.unknown, "failed": &n.cancels.failed,
	} {
		counter(c.cancels, v, name)
	}
	buckets := make(map[float64]uint64, len(stallBounds))
	var sum uint64
	for i, bound := range stallBounds {
		sum += n.stalls[i].Load()
		buckets[bound.Seconds()] = sum
	}
	sum += n.stalls[len(stallBounds)].Load()
	ch <- prometheus.MustNewConstHistogram(c.stall, sum, time.Duration(n.stallSum.Load()).Seconds(), buckets)
}

func (c *collector) collectSessions(ch chan<- prometheus.Metric) {
	type row struct {
		states  [2][len(sessionStates)]int
		fixed   [2]int
		unmoved int
	}
	rows := map[string]*row{"": {}} // "" is unmanaged
	for _, d := range c.p.table.Load().Deployments {
		rows[d.Name] = &row{}
	}
	for _, i := range c.p.Sessions("") {
		r := rows[i.Deployment]
		if r == nil || i.Place == PlaceStarting {
			continue
		}
		r.states[i.Arm][stateOf(i.Place)]++
		if i.Fixed != "" {
			r.fixed[i.Arm]++
		}
		if i.Deployment != "" && !i.Moved {
			r.unmoved++
		}
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for name, r := range rows {
		for _, arm := range router.Arms {
			if name == "" && arm == router.Canary {
				continue
			}
			for i, state := range sessionStates {
				gauge(c.sessions, r.states[arm][i], name, arm.String(), state)
			}
			if name != "" {
				gauge(c.fixed, r.fixed[arm], name, arm.String())
			}
		}
		if name != "" {
			gauge(c.unmoved, r.unmoved, name)
		}
	}
	c.p.reg.mu.Lock()
	conns := c.p.reg.conns
	c.p.reg.mu.Unlock()
	gauge(c.conns, conns)
}
