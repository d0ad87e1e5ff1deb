package mz

import (
	"fmt"
	"time"

	"mzcanary/deploy"
)

// The states of one dataflow.
const (
	stateReady       = "ready"
	stateNoRow       = "no-row"
	stateHydrating   = "hydrating"
	stateLagging     = "lagging"
	stateLagUnknown  = "lag-unknown"
	stateNoInputs    = "no-inputs"
	stateUnreachable = "unreachable"
)

const (
	// memoryLoop kills for want of memory in a day mean that waiting will not help;
	// the number is that of dbt's and mz-deploy's readiness query.
	memoryLoop = 3
	// nonsenseLag is more than any object can be behind: an object that cannot be read
	// yet has a frontier of zero, and a lag since 1970.
	nonsenseLag = 10 * 365 * 24 * time.Hour
)

// assess judges a sample. Nothing is ready because it could not be seen: objects come
// from the catalog, rows that are missing count as "not yet", and a replica counts
// only while every process of it is online.
func (s *sample) assess(opts deploy.ReadyOptions) deploy.Readiness {
	var r deploy.Readiness
	hydrated := true
	for _, c := range s.clusters {
		if !s.assessCluster(c, opts, &r) {
			hydrated = false
		}
		for _, d := range c.dataflows {
			o := s.assessObject(c, d, opts)
			r.Objects = append(r.Objects, o)
			r.Total++
			if s.hydratedSomewhere(c, d.id) {
				r.Hydrated++
			}
			if o.State != stateReady && o.State != stateNoInputs {
				hydrated = false
				note(&r, fmt.Sprintf("%s %s: %s", o.State, o.Name, o.Why))
			}
		}
	}
	if hydrated && r.Failing == "" {
		r.Ready, r.Why = true, "ready"
		for _, c := range s.clusters {
			if len(c.dataflows) == 0 {
				r.Why += fmt.Sprintf("; nothing runs on %s, where %s.%s is what can be read", c.title(), c.readable[0].schema, c.readable[0].name)
			}
		}
	}
	return r
}

func (c clusterSample) title() string {
	if c.borrowed {
		return "a cluster for it"
	}
	return "cluster " + c.name
}

// note keeps the first reason.
func note(r *deploy.Readiness, why string) {
	if r.Why == "" {
		r.Why = why
	}
}

// assessCluster judges the replicas and says whether they are all there and, as far
// as asked for, hold everything.
func (s *sample) assessCluster(c clusterSample, opts deploy.ReadyOptions, r *deploy.Readiness) bool {
	fail := func(format string, args ...any) bool {
		note(r, fmt.Sprintf(format, args...))
		if r.Failing == "" {
			r.Failing = fmt.Sprintf(format, args...)
		}
		return false
	}
	switch {
	case c.missing:
		return fail("cluster %s does not exist", c.name)
	case len(c.replicas) == 0 && !c.borrowed:
		return fail("cluster %s has no replica", c.name)
	case len(c.dataflows) == 0 && len(c.readable) == 0:
		note(r, "there is nothing that could be read of the new version: it has not been built yet")
		return false
	case c.borrowed:
		return true
	}
	looping, online, full := 0, 0, 0
	for _, rep := range c.replicas {
		if c.outOfMem[rep.id] >= memoryLoop {
			looping++
			note(r, fmt.Sprintf("replica %s of cluster %s was killed for want of memory %d times in the last day", rep.name, c.name, c.outOfMem[rep.id]))
		}
		if why := rep.offline(); why != "" {
			note(r, fmt.Sprintf("replica %s of cluster %s: %s", rep.name, c.name, why))
			continue
		}
		online++
		if s.holdsAll(c, rep) {
			full++
		}
	}
	switch {
	case looping == len(c.replicas):
		return fail("every replica of cluster %s was killed for want of memory %d times or more in the last day", c.name, memoryLoop)
	case looping > 0, online < len(c.replicas):
		return false
	case full > 0 && full <= c.temporary:
		note(r, fmt.Sprintf("cluster %s has %d replicas where %d are meant to be; those that have hydrated everything may be the ones that go away again",
			c.name, len(c.replicas), len(c.replicas)-c.temporary))
		return false
	case full == 0:
		note(r, fmt.Sprintf("no replica of cluster %s has hydrated all %d dataflows", c.name, len(c.dataflows)))
		return false
	case opts.AllReplicas && full < len(c.replicas):
		note(r, fmt.Sprintf("%d of %d replicas of cluster %s have hydrated everything", full, len(c.replicas), c.name))
		return false
	}
	return true
}

// offline says why a replica does not count, or "". A replica of which no process
// has reported does not.
func (r replica) offline() string {
	if len(r.processes) == 0 {
		return "no process has reported yet"
	}
	for _, p := range r.processes {
		if p.status != "online" {
			why := "process " + p.id + " is " + p.status
			if p.reason != "" {
				why += " (" + p.reason + ")"
			}
			return why
		}
	}
	return ""
}

func (s *sample) holdsAll(c clusterSample, rep replica) bool {
	for _, d := range c.dataflows {
		if !s.hydrated[d.id][rep.id] {
			return false
		}
	}
	return true
}

func (s *sample) hydratedSomewhere(c clusterSample, id string) bool {
	for _, rep := range c.replicas {
		if rep.offline() == "" && s.hydrated[id][rep.id] {
			return true
		}
	}
	return false
}

// assessObject judges one dataflow.
func (s *sample) assessObject(c clusterSample, d dataflow, opts deploy.ReadyOptions) deploy.ObjectReadiness {
	o := deploy.ObjectReadiness{ID: d.id, Name: d.schema + "." + d.name, Cluster: c.name, Lag: -1}
	reported, online := 0, 0
	for _, rep := range c.replicas {
		if rep.offline() != "" {
			continue
		}
		online++
		if _, ok := s.hydrated[d.id][rep.id]; ok {
			reported++
		}
	}
	switch {
	case online == 0:
		o.State, o.Why = stateUnreachable, "no replica of its cluster is online"
	case reported == 0:
		o.State, o.Why = stateNoRow, "no replica has reported it yet"
	case !s.hydratedSomewhere(c, d.id):
		o.State, o.Why = stateHydrating, "it has not been computed once to the end"
	default:
		s.assessLag(d, opts, &o)
	}
	return o
}

// assessLag judges how far a hydrated dataflow is behind.
func (s *sample) assessLag(d dataflow, opts deploy.ReadyOptions, o *deploy.ObjectReadiness) {
	if !d.local.known && s.constant[d.id] {
		o.State, o.Lag, o.Why = stateNoInputs, 0, "it reads no data, so it cannot be behind"
		return
	}
	if !d.local.known {
		o.State, o.Why = stateLagUnknown, "the server does not say yet how far it is behind its inputs"
		return
	}
	own, ok := s.frontiers[d.id]
	if !ok {
		o.State, o.Why = stateNoRow, "the server does not say yet how far it has come"
		return
	}
	o.Lag = d.local.d
	if d.global.known {
		o.Lag = max(o.Lag, d.global.d)
	}
	if !own.done {
		o.Lag = max(o.Lag, time.Duration(s.now-own.ms)*time.Millisecond)
	}
	switch {
	case o.Lag > nonsenseLag:
		o.State, o.Lag, o.Why = stateLagUnknown, -1, "the server reports a lag that cannot be: it is not readable yet"
	case o.Lag > opts.MaxLag:
		o.State, o.Why = stateLagging, fmt.Sprintf("it is %s behind, allowed are %s", o.Lag.Round(time.Millisecond), opts.MaxLag)
	default:
		s.assessTwin(d, own, opts, o)
	}
}

// assessTwin compares the frontier with that of the same object of the old version.
func (s *sample) assessTwin(d dataflow, own frontier, opts deploy.ReadyOptions, o *deploy.ObjectReadiness) {
	o.State = stateReady
	twin, ok := s.frontiers[s.twins[d.id]]
	if !ok || twin.done || own.done {
		return
	}
	if behind := time.Duration(twin.ms-own.ms) * time.Millisecond; behind > opts.MaxLag {
		o.State, o.Lag = stateLagging, max(o.Lag, behind)
		o.Why = fmt.Sprintf("it is %s behind the same object in production, allowed are %s", behind, opts.MaxLag)
	}
}
