package sim

import (
	"slices"
	"strings"
	"time"
)

// clusterID finds a cluster for a fault.
func (f *Faults) cluster(name string) (*cluster, error) {
	if c := f.s.catalog.Load().clusterByName(name); c != nil {
		return c, nil
	}
	return nil, failf("XX000", "unknown cluster '%s'", name)
}

// onCluster changes the health of a cluster by its id.
func (f *Faults) onCluster(name string, change func(h *health, id string)) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	h := &f.s.health
	h.change(func() { change(h, c.id) })
	return nil
}

// onReplica changes the health of a replica by its id.
func (f *Faults) onReplica(clusterName, name string, change func(h *health, id string)) error {
	c, err := f.cluster(clusterName)
	if err != nil {
		return err
	}
	for _, r := range c.replicas {
		if r.name == name {
			h := &f.s.health
			h.change(func() { change(h, r.id) })
			return nil
		}
	}
	return failf("XX000", "unknown cluster replica '%s'", name)
}

// LoseHydration makes every dataflow of the cluster report hydrated=false until RestoreHydration. With block its
// reads wait, as they do on a server that has only this replica.
func (f *Faults) LoseHydration(cluster string, block bool) error {
	return f.onCluster(cluster, func(h *health, id string) { h.lost[id], h.blocked[id] = true, block })
}

// KeepUnreported lets a replica have no hydration row for an object ("prod.total"), as if it had not got round to it,
// until it is switched off.
func (f *Faults) KeepUnreported(cluster, replica, object string, on bool) error {
	o, err := f.s.catalog.Load().lookup(defaultScope, strings.Split(object, "."))
	if err != nil {
		return err
	}
	return f.onReplica(cluster, replica, func(h *health, id string) {
		if on {
			h.unreported[[2]string{o.id, id}] = true
		} else {
			delete(h.unreported, [2]string{o.id, id})
		}
	})
}

// RestoreHydration ends LoseHydration.
func (f *Faults) RestoreHydration(cluster string) error {
	return f.onCluster(cluster, func(h *health, id string) {
		delete(h.lost, id)
		delete(h.blocked, id)
	})
}

// SetLag sets the lag reported for every dataflow of the cluster (negative: NULL, "not readable"; zero: none).
func (f *Faults) SetLag(cluster string, lag time.Duration) error {
	return f.onCluster(cluster, func(h *health, id string) { setOrDelete(h.lag, clusterLag(id), lag) })
}

// SetObjectLag is SetLag for one object ("prod.total").
func (f *Faults) SetObjectLag(object string, lag time.Duration) error {
	o, err := f.s.catalog.Load().lookup(defaultScope, strings.Split(object, "."))
	if err != nil {
		return err
	}
	h := &f.s.health
	h.change(func() { setOrDelete(h.lag, o.id, lag) })
	return nil
}

// StopReplica makes a replica ("r1") report offline with a reason; its hydration rows stay as they were (stale),
// and reads wait when no other replica of the cluster is online. StartReplica ends it.
func (f *Faults) StopReplica(cluster, replica, reason string) error {
	now := f.s.now()
	err := f.onReplica(cluster, replica, func(h *health, id string) {
		h.replicas[id] = replicaFault{offline: true, reason: reason, since: now}
		h.history = append(h.history, replicaEvent{id, "offline", reason, now})
	})
	if err == nil {
		f.s.announceReplica(cluster, replica, "offline", now)
	}
	return err
}

// StartReplica ends StopReplica and HangReplica; the replica hydrates anew, as a new process does.
func (f *Faults) StartReplica(cluster, replica string) error {
	now := f.s.now()
	err := f.onReplica(cluster, replica, func(h *health, id string) {
		delete(h.replicas, id)
		h.restarts[id] = now
		h.history = append(h.history, replicaEvent{id, "online", "", now})
	})
	if err == nil {
		f.s.announceReplica(cluster, replica, "online", now)
	}
	return err
}

// HangReplica makes a replica hang: it still reports online and hydrated, but reads on it never answer, and its lag
// grows.
func (f *Faults) HangReplica(cluster, replica string) error {
	now := f.s.now()
	return f.onReplica(cluster, replica, func(h *health, id string) { h.replicas[id] = replicaFault{hung: true, since: now} })
}

// AddOOM adds n rows "offline, oom-killed" to the replica's history, all of now.
func (f *Faults) AddOOM(cluster, replica string, n int) error {
	now := f.s.now()
	return f.onReplica(cluster, replica, func(h *health, id string) {
		for range n {
			h.history = append(h.history, replicaEvent{id, "offline", "oom-killed", now})
		}
	})
}

// AddBurstReplica gives a managed cluster a replica beyond its replication factor, as the server does by itself while
// it hydrates or changes its size. It changes the catalog, so it is a conflict for open DDL transactions.
func (f *Faults) AddBurstReplica(clusterName, name string) error {
	return f.onCatalog(clusterName, func(d *draft, c *cluster) { d.addReplica(c, name, c.size) })
}

// RemoveBurstReplica takes it away again.
func (f *Faults) RemoveBurstReplica(clusterName, name string) error {
	return f.onCatalog(clusterName, func(d *draft, c *cluster) {
		c.replicas = slices.DeleteFunc(slices.Clone(c.replicas), func(r replica) bool { return r.name == name })
		d.touched = true
	})
}

// onCatalog changes a cluster as the server itself would.
func (f *Faults) onCatalog(name string, change func(d *draft, c *cluster)) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	return f.s.changeCatalog("mz_system", func(d *draft) error {
		own := *d.clusters[c.id]
		change(d, &own)
		d.clusters[own.id] = &own
		return nil
	})
}

// SetLatency makes every read on the cluster take d longer (zero: ends it).
func (f *Faults) SetLatency(cluster string, d time.Duration) error {
	return f.onCluster(cluster, func(h *health, id string) { setOrDelete(h.latency, id, d) })
}

// HangCatalogReads makes reads of system relations wait until it is switched off.
func (f *Faults) HangCatalogReads(on bool) {
	h := &f.s.health
	h.change(func() { h.hangSys = on })
}

func setOrDelete(m map[string]time.Duration, id string, d time.Duration) {
	if d == 0 {
		delete(m, id)
		return
	}
	m[id] = d
}

// announceReplica tells every session whose cluster has this name about a replica; it arrives with the session's
// next message.
func (s *Server) announceReplica(clusterName, replicaName, status string, at time.Time) {
	n := notice{severity: "NOTICE", code: "00000", message: "cluster replica " + clusterName + "." + replicaName +
		` changed status to "` + status + `" at ` + at.UTC().Format("2006-01-02 15:04:05.000 UTC")}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, se := range s.sessions {
		if se.info.Load().Cluster == clusterName {
			se.post(n)
		}
	}
}
