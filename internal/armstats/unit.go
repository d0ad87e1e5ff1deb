package armstats

import (
	"sync"
	"sync/atomic"
	"time"

	"mzcanary/router"
)

// UnitFlags remembers what of a unit has been counted already.
type UnitFlags uint32

const (
	onStable UnitFlags = 1 << iota // counted among the units of stable
	onCanary                       // counted among the units of the canary
	spentConnection
	spentServer
	spentOther

	spentAny = spentConnection | spentServer | spentOther
)

func seenOn(a router.Arm) UnitFlags { return onStable << (a & 1) }
func spent(m Metric) UnitFlags      { return spentConnection << m.index() }

// Unit is what was assigned to an arm, as one rollout's evidence sees it. It is
// safe for concurrent use; sessions that share a key share it.
type Unit struct {
	in     *collection
	hash   uint64
	shared bool
	shard  uint32
	flags  atomic.Uint32
	// cohort is the sum that the last exchange counted into: the weight rarely changes.
	cohort atomic.Pointer[exposure]
}

// exposure is the hot side of an Exposure.
type exposure struct {
	weight router.Weight
	shards []exposureShard
}

type exposureShard struct {
	counts [2][NumClasses]atomic.Uint64
	_      [128 - 2*NumClasses*8]byte // two shards never share a cache line
}

// collection is the evidence of one generation.
type collection struct {
	rollout string
	since   time.Time
	started time.Time // of this generation, with the monotonic clock
	base    Evidence  // what was restored; the counters below come on top
	nshards int

	units [2]atomic.Uint64

	mu        sync.Mutex
	cohorts   map[cohortKey]*Cohort
	exposures map[router.Weight]*exposure
	present   map[uint64]*Unit     // units with a session, and all shared ones
	known     map[uint64]UnitFlags // flags of units that have not entered again yet
}

type cohortKey struct {
	weight router.Weight
	metric Metric
}

func newCollection(rollout string, since, now time.Time, nshards int) *collection {
	return &collection{
		rollout: rollout, since: since, started: now, nshards: nshards,
		cohorts:   make(map[cohortKey]*Cohort),
		exposures: make(map[router.Weight]*exposure),
		present:   make(map[uint64]*Unit),
		known:     make(map[uint64]UnitFlags),
	}
}

func (c *collection) enter(hash uint64, shared bool, shard uint32) *Unit {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u := c.present[hash]; u != nil && shared {
		return u
	}
	u := &Unit{in: c, hash: hash, shared: shared, shard: shard}
	if flags, ok := c.known[hash]; ok {
		u.flags.Store(uint32(flags))
		delete(c.known, hash)
	}
	c.present[hash] = u
	return u
}

// leave forgets the unit of one connection. A shared unit stays: its next
// session is the same unit.
func (c *collection) leave(u *Unit) {
	if u.shared {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.present[u.hash] == u {
		delete(c.present, u.hash)
	}
}

// observe counts one exchange as evidence. Only a unit's first exchange on an
// arm, its first bad event of a metric and a change of the weight leave the
// straight path.
func (u *Unit) observe(e Exchange) {
	x := u.cohort.Load()
	if x == nil || x.weight != e.Weight {
		x = u.in.exposure(e.Weight)
		u.cohort.Store(x)
	}
	x.shards[u.shard].counts[e.Arm&1][e.Class].Add(1)

	if seen := seenOn(e.Arm); u.flags.Load()&uint32(seen) == 0 && u.first(seen) {
		u.in.units[e.Arm&1].Add(1)
	}
	if !e.Class.Bad() {
		return
	}
	m := e.Class.Metric()
	if used := spent(m); u.flags.Load()&uint32(used) == 0 && u.first(used) {
		u.in.firstBad(cohortKey{e.Weight, m}, e.Arm)
	}
}

// first sets a flag and reports whether this call was the one that set it.
func (u *Unit) first(f UnitFlags) bool { return u.flags.Or(uint32(f))&uint32(f) == 0 }

func (c *collection) exposure(w router.Weight) *exposure {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.exposures[w]
	if x == nil {
		x = &exposure{weight: w, shards: make([]exposureShard, c.nshards)}
		c.exposures[w] = x
	}
	return x
}

func (c *collection) firstBad(key cohortKey, arm router.Arm) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.cohorts[key]
	if at == nil {
		at = &Cohort{Weight: key.weight, Metric: key.metric}
		c.cohorts[key] = at
	}
	at.N++
	if arm == router.Canary {
		at.K++
	}
}

// flagsNow lists the flags of every unit that a restored collection should
// recognise when it enters again.
func (c *collection) flagsNow(sharedOnly bool) map[uint64]UnitFlags {
	out := make(map[uint64]UnitFlags, len(c.present)+len(c.known))
	for hash, flags := range c.known {
		out[hash] = flags
	}
	for hash, u := range c.present {
		if flags := UnitFlags(u.flags.Load()); flags != 0 && (u.shared || !sharedOnly) {
			out[hash] = flags
		}
	}
	return out
}

func (c *collection) evidence(now time.Time) Evidence {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := Evidence{
		Rollout:   c.rollout,
		Since:     c.since,
		Observed:  c.base.Observed + now.Sub(c.started),
		Cohorts:   append([]Cohort(nil), c.base.Cohorts...),
		Exposures: append([]Exposure(nil), c.base.Exposures...),
	}
	for a := range e.Arms {
		e.Arms[a].Units = c.base.Arms[a].Units + c.units[a].Load()
	}
	for _, at := range c.cohorts {
		e.Cohorts = append(e.Cohorts, *at)
	}
	for _, x := range c.exposures {
		e.Exposures = append(e.Exposures, x.sum())
	}
	e.Cohorts = sumCohorts(e.Cohorts)
	e.Exposures = sumExposures(e.Exposures)
	e.Marks = sortMarks(c.flagsNow(true))
	e.total()
	return e
}

func (x *exposure) sum() Exposure {
	out := Exposure{Weight: x.weight}
	for i := range x.shards {
		for a := range out.Arms {
			for class := range out.Arms[a] {
				out.Arms[a][class] += x.shards[i].counts[a][class].Load()
			}
		}
	}
	return out
}
