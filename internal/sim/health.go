package sim

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// health is what clusters and their dataflows report about themselves, and what faults made of it. Everything is by
// id, so that it follows contents through a swap.
type health struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change: whoever waits looks again
	lost    map[string]bool
	blocked map[string]bool // clusters whose reads wait while hydration is lost
	// unreported are pairs of an object and a replica without a row.
	unreported map[[2]string]bool
	lag        map[string]time.Duration
	latency    map[string]time.Duration
	replicas   map[string]replicaFault
	restarts   map[string]time.Time // when a replica came back: it hydrates anew from there
	history    []replicaEvent
	hangSys    bool
}

// replicaFault is how a replica misbehaves; the zero value is healthy.
type replicaFault struct {
	offline bool
	reason  string
	hung    bool
	since   time.Time
}

type replicaEvent struct {
	replica, status, reason string
	at                      time.Time
}

func (h *health) init() {
	h.changed = make(chan struct{})
	h.lost, h.blocked, h.unreported = map[string]bool{}, map[string]bool{}, map[[2]string]bool{}
	h.lag, h.latency = map[string]time.Duration{}, map[string]time.Duration{}
	h.replicas, h.restarts = map[string]replicaFault{}, map[string]time.Time{}
}

// wake makes every wait look again.
func (h *health) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wakeLocked()
}

func (h *health) wakeLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// change runs under the lock and wakes all waits.
func (h *health) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.wakeLocked()
}

func (h *health) watch() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// hydratedAt is when a dataflow has hydrated on a replica, faults aside.
func (s *Server) hydratedAt(o *object, r replica) time.Time {
	s.health.mu.Lock()
	from := s.health.restarts[r.id]
	s.health.mu.Unlock()
	for _, at := range []time.Time{o.since, r.since} {
		if at.After(from) {
			from = at
		}
	}
	return from.Add(s.o.HydrationTime)
}

// reportedAt is when the catalog has a row for the pair: a tenth of the way into hydration.
func (s *Server) reportedAt(o *object, r replica) time.Time {
	return s.hydratedAt(o, r).Add(-s.o.HydrationTime * 9 / 10)
}

// replicaState tells how a replica is.
func (h *health) replicaState(id string) replicaFault {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replicas[id]
}

// hydrated is what mz_hydration_statuses says about a dataflow on a replica: reported false means that there is no row.
// An offline replica keeps reporting what it last did; when it is back it hydrates anew.
func (s *Server) hydrated(o *object, r replica, now time.Time) (hydrated, reported bool) {
	if now.Before(s.reportedAt(o, r)) {
		return false, false
	}
	s.health.mu.Lock()
	lost, missing := s.health.lost[o.cluster], s.health.unreported[[2]string{o.id, r.id}]
	s.health.mu.Unlock()
	if missing {
		return false, false
	}
	return !lost && !now.Before(s.hydratedAt(o, r)), true
}

// clusterLag is the key of a whole cluster's lag: objects and clusters count their ids apart.
func clusterLag(id string) string { return "cluster " + id }

// lagOf is the lag of a dataflow: known false means NULL.
func (s *Server) lagOf(o *object, c *cluster, now time.Time) (lag time.Duration, known bool) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	for _, r := range c.replicas {
		if f := s.health.replicas[r.id]; (f.hung || f.offline) && now.Sub(f.since) > lag {
			lag = now.Sub(f.since)
		}
	}
	for _, key := range []string{clusterLag(o.cluster), o.id} {
		l, ok := s.health.lag[key]
		switch {
		case ok && l < 0:
			return 0, false
		case ok && l > lag:
			lag = l
		}
	}
	return lag, true
}

// readable says whether reads of these dataflows on the cluster can be answered now; if not, when to look again at
// the latest (zero: only when something changes).
func (s *Server) readable(c *cluster, flows []*object, clusters map[string]*cluster, now time.Time) (ok bool, again time.Time) {
	s.health.mu.Lock()
	states := maps.Clone(s.health.replicas)
	blocked := maps.Clone(s.health.blocked)
	s.health.mu.Unlock()

	alive := func(c *cluster) []replica {
		return slices.DeleteFunc(slices.Clone(c.replicas), func(r replica) bool {
			return states[r.id].offline || states[r.id].hung
		})
	}
	if len(alive(c)) == 0 || blocked[c.id] {
		return false, time.Time{}
	}
	for _, o := range flows {
		home := clusters[o.cluster]
		if home == nil {
			continue
		}
		if blocked[home.id] || len(alive(home)) == 0 && len(home.replicas) > 0 {
			return false, time.Time{}
		}
		soonest := time.Time{}
		for _, r := range home.replicas {
			if at := s.hydratedAt(o, r); soonest.IsZero() || at.Before(soonest) {
				soonest = at
			}
		}
		if now.Before(soonest) {
			return false, soonest
		}
	}
	return true, time.Time{}
}
