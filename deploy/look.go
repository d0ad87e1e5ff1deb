package deploy

import (
	"context"
	"fmt"
	"time"
)

// looker reads the ids behind all names of a rollout, and what tells one server
// process from the next. It is the outside watcher, the proof before and after
// our own changes, and the recovery.
type looker struct {
	w     Warehouse
	t     Traffic
	clock func() time.Time
}

// look makes one reading. Evidence is taken before the server is asked: if it
// answers, it was well until then.
func (l looker) look(ctx context.Context, s State, why LookFor) Looked {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	began := l.clock()
	out := Looked{For: why, Epoch: s.Epoch}
	if ev, err := l.t.Evidence(ctx, s.Deployment); err == nil && why == LookWatch {
		out.Evidence = &ev
	}
	if why == LookJudge { // who it is says all, and is cheap to ask
		out.Server, out.Err = l.w.Server(ctx)
	} else {
		out.Refs, out.Server, out.Err = l.read(ctx, s)
	}
	if why == LookAttempt && out.Err == nil {
		out.Foreign = l.foreign(ctx)
	}
	out.At = At{l.clock()}
	out.Took = out.Time.Sub(began)
	return out
}

func (l looker) read(ctx context.Context, s State) ([]Ref, ServerInfo, error) {
	server, err := l.w.Server(ctx)
	if err != nil {
		return nil, ServerInfo{}, fmt.Errorf("asking the server who it is: %w", err)
	}
	refs, err := l.w.Identify(ctx, s.Database, lookNames(s.Pairs, s.Rollout))
	if err != nil {
		return nil, ServerInfo{}, fmt.Errorf("reading the ids behind the names: %w", err)
	}
	return refs, server, nil
}

// foreign counts those whom no hold protects. Not knowing is no reason not to
// promote; the number is for the record.
func (l looker) foreign(ctx context.Context) map[string]int {
	ours, err := l.t.Backends(ctx)
	if err != nil {
		return nil
	}
	foreign, err := l.w.Foreign(ctx, ours)
	if err != nil {
		return nil
	}
	return foreign
}

// maxWatch bounds how rarely the watcher looks, whatever a look costs.
const maxWatch = time.Minute

// watchPace is how long to wait after a reading that took so long: a tenth of the
// server's time at most goes into watching it.
func watchPace(least, took time.Duration) time.Duration {
	return min(max(least, 10*took), maxWatch)
}

// sample takes one readiness sample together with the server's identity, so that
// a restart is not taken for a sick canary.
func (l looker) sample(ctx context.Context, spec Spec, plan ReadyPlan) Sampled {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	server, err := l.w.Server(ctx)
	if err != nil {
		return Sampled{At: At{l.clock()}, Err: fmt.Errorf("asking the server who it is: %w", err)}
	}
	sample, err := l.w.Readiness(ctx, spec, plan.options())
	if err != nil {
		err = fmt.Errorf("readiness: %w", err)
	}
	return Sampled{At: At{l.clock()}, Sample: sample, Server: server, Err: err}
}

// preflight reads the catalog for faults, and the ids after it.
func (l looker) preflight(ctx context.Context, spec Spec, s State) Preflighted {
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	out := Preflighted{}
	out.Findings, out.Err = l.findings(ctx, spec, s.Rollout)
	if out.Err == nil {
		out.Refs, out.Server, out.Err = l.read(ctx, s)
	}
	out.At = At{l.clock()}
	return out
}
