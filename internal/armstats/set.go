package armstats

import (
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"mzcanary/router"
)

// Exchange is one request of a session that has reached its ReadyForQuery.
type Exchange struct {
	// Arm is the arm that the assignment intended when the exchange started, also
	// when the session could not be moved there yet.
	Arm router.Arm
	// Weight is the weight under which that arm was chosen: the one in force when
	// the exchange started, or at login for a session that keeps its arm.
	Weight router.Weight
	Class  Class
	// Latency runs from the start of the exchange to its ReadyForQuery.
	Latency time.Duration
	// Streamed exchanges (COPY, SUBSCRIBE, cursors) last as long as the client
	// likes; their latency is not recorded.
	Streamed bool
	// Counted exchanges are evidence. False for pinned and fixed sessions and for
	// units without a key, whose arm the weight did not choose.
	Counted bool
}

// Injection is how an exchange that the proxy put in ended.
type Injection uint8

const (
	// Retargeted: the session has its target.
	Retargeted Injection = iota
	// Refused: the server answered with an error.
	Refused
	// Missing: the server set a cluster that does not exist, and it was set back.
	Missing
	// Broken: the connection was lost meanwhile.
	Broken
)

// NumInjections is the number of outcomes, for tables indexed by Injection.
const NumInjections = 4

func (i Injection) String() string {
	return [NumInjections]string{"retargeted", "refused", "missing", "broken"}[i]
}

// Set holds the statistics of all deployments of one proxy.
type Set struct {
	deployments []*Deployment
}

// NewSet makes statistics for the named deployments, which are fixed from then on.
func NewSet(deployments []string) *Set {
	s := &Set{}
	for _, name := range deployments {
		s.deployments = append(s.deployments, newDeployment(name))
	}
	return s
}

// Find returns the statistics of a deployment, or nil.
func (s *Set) Find(name string) *Deployment {
	for _, d := range s.deployments {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// All yields the deployments in the order given to NewSet.
func (s *Set) All() iter.Seq[*Deployment] {
	return func(yield func(*Deployment) bool) {
		for _, d := range s.deployments {
			if !yield(d) {
				return
			}
		}
	}
}

// Deployment is the statistics of one deployment. All methods are safe for
// concurrent use.
type Deployment struct {
	Name string

	shards   []shard
	turn     atomic.Uint32 // spreads units over shards
	injected [NumInjections]injected

	mu         sync.Mutex // serialises Begin and Restore
	generation atomic.Uint64
	current    atomic.Pointer[collection]
}

// shard is one copy of the hot counters. A unit always counts into the same one,
// so that two cores seldom fight for a cache line.
type shard struct {
	arms [2]struct {
		classes [NumClasses]atomic.Uint64
		latency counter
	}
	_ [128]byte
}

type injected struct {
	count  atomic.Uint64
	micros atomic.Uint64
}

func newDeployment(name string) *Deployment {
	n := 4
	for n < 4*runtime.GOMAXPROCS(0) && n < 32 {
		n *= 2
	}
	d := &Deployment{Name: name, shards: make([]shard, n)}
	now := time.Now()
	d.current.Store(newCollection("", wall(now), now, n))
	d.generation.Store(1)
	return d
}

// wall drops what does not survive being written down.
func wall(t time.Time) time.Time { return t.UTC().Round(0) }

// Generation changes with Begin and Restore. Whoever holds a Unit enters again
// when it has moved; until then its exchanges are not evidence.
func (d *Deployment) Generation() uint64 { return d.generation.Load() }

// Enter returns the unit of a session for the evidence that is being collected.
// Shared says that other sessions with this hash are the same unit, that is,
// that the routing key is not the connection. Read Generation before it: a change
// in between is then noticed the next time.
func (d *Deployment) Enter(hash uint64, shared bool) *Unit {
	shard := d.turn.Add(1) & uint32(len(d.shards)-1)
	return d.current.Load().enter(hash, shared, shard)
}

// Leave ends a session's use of its unit. It is needed once per Enter; nil is
// harmless.
func (d *Deployment) Leave(u *Unit) {
	if u != nil {
		u.in.leave(u)
	}
}

// Observe counts an exchange. A nil unit counts as traffic only. It allocates
// nothing and takes no lock, except for a unit's first bad event of a metric and
// its first exchange at a new weight.
func (d *Deployment) Observe(u *Unit, e Exchange) {
	var s *shard
	if u != nil {
		s = &d.shards[u.shard]
	} else {
		s = &d.shards[rand.Uint32()&uint32(len(d.shards)-1)]
	}
	arm := &s.arms[e.Arm&1]
	arm.classes[e.Class].Add(1)
	if !e.Streamed {
		arm.latency.observe(e.Latency)
	}
	if u != nil && e.Counted {
		u.observe(e)
	}
}

// ObserveInjected counts an exchange that the proxy put in. Such exchanges never
// appear among the client's and never are evidence.
func (d *Deployment) ObserveInjected(outcome Injection, latency time.Duration) {
	d.injected[outcome].count.Add(1)
	d.injected[outcome].micros.Add(uint64(max(latency, 0) / time.Microsecond))
}

// Begin starts the evidence of a new rollout with nothing counted.
func (d *Deployment) Begin(rollout string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replace(newCollection(rollout, wall(now), time.Now(), len(d.shards)))
}

// Restore continues from evidence written down earlier: after a restart, or to
// discard what was counted since. Units that this process knows from the same
// rollout keep what they have spent: an event that was discarded is not replaced
// by the unit's next one.
func (d *Deployment) Restore(e Evidence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := newCollection(e.Rollout, e.Since, time.Now(), len(d.shards))
	next.base = e
	for _, m := range e.Marks {
		next.known[m.Hash] = m.Flags
	}
	if old := d.current.Load(); old.rollout == e.Rollout {
		old.mu.Lock()
		for hash, flags := range old.flagsNow(false) {
			next.known[hash] |= flags
		}
		old.mu.Unlock()
	}
	d.replace(next)
}

// replace publishes a collection, first itself and then its generation: who sees
// the new number also finds the new collection.
func (d *Deployment) replace(c *collection) {
	d.current.Store(c)
	d.generation.Add(1)
}

// Evidence sums up what has been collected since Begin or Restore.
func (d *Deployment) Evidence() Evidence { return d.current.Load().evidence(time.Now()) }
