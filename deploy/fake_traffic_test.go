package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// Traffic.

type fakeTraffic struct{ l *life }

// blocked waits for the end of the context when the world says so.
func (f fakeTraffic) blocked(ctx context.Context, call string) error {
	f.l.w.mu.Lock()
	blocks := f.l.w.blocks[call]
	f.l.w.mu.Unlock()
	if !blocks {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f fakeTraffic) Route(ctx context.Context, _ string, r Routing) (epoch uint64, err error) {
	if err := f.blocked(ctx, "route "+r.Canary.String()); err != nil {
		return 0, err
	}
	err = f.l.act(fmt.Sprintf("route %s %s", r.Weight, r.Canary), func() error {
		w := f.l.w
		if w.down && r.Weight > w.routing.Weight {
			w.errorf("weight raised from %s to %s while the server is down", w.routing.Weight, r.Weight)
		}
		if at := w.names[KindSchema]["prod_deploy"]; r.Canary == router.CanaryDeploy && (at == "" || at == oldSchema) {
			w.errorf("the canary is sent to the deploy names, which stand for %q", at)
		}
		w.routing = r
		w.epoch++
		epoch = w.epoch
		return nil
	})
	return epoch, err
}

func (f fakeTraffic) Survey(context.Context, string) (out Survey, err error) {
	var failed error
	err = f.l.peek(func() {
		w := f.l.w
		if failed = w.surveyError; failed != nil {
			return
		}
		for i := range 20 {
			arm := router.Stable
			if w.routing.Canary == router.CanaryDeploy {
				arm = router.PickAt(router.Hash(w.routing.Salt, fmt.Sprint(i)), w.routing.Weight)
			}
			out.Wanted[arm]++
			out.Sessions[arm]++
		}
		if w.routing.Weight == 0 {
			out.Sessions[router.Canary] += w.hanging
		}
		out.Stragglers, out.Streaming, out.Old = slices.Clone(w.stragglers), slices.Clone(w.streaming), slices.Clone(w.old)
	})
	return out, errors.Join(err, failed)
}

func (f fakeTraffic) Sessions(context.Context, string) ([]SessionInfo, error) { return nil, nil }

func (f fakeTraffic) Hold(ctx context.Context, _ string, _ time.Duration) (Hold, error) {
	err := f.l.act("hold", func() error { f.l.w.closed(); return nil })
	if err == nil {
		if err = f.blocked(ctx, "hold"); err != nil {
			_ = f.l.peek(func() { f.l.w.opened() })
		}
	}
	if err != nil {
		return nil, err
	}
	return &fakeHold{l: f.l}, nil
}

func (f fakeTraffic) End(ctx context.Context, _ string, which Which, _ string) (int, error) {
	if err := f.blocked(ctx, "end"); err != nil {
		return 0, err
	}
	what := "end"
	switch {
	case which.Old:
		what = "end old"
	case which.Streams:
		what = "end streams"
	case which.IDs != nil:
		what = "end stragglers"
	}
	return 0, f.l.act(what, func() error {
		w := f.l.w
		switch {
		case which.Old:
			w.old = nil
		case which.Streams:
			w.hanging = 0
		case which.IDs != nil:
			w.stragglers = slices.DeleteFunc(w.stragglers, func(s SessionInfo) bool { return slices.Contains(which.IDs, s.ID) })
		}
		return nil
	})
}

func (f fakeTraffic) Notify(_ context.Context, _ string, which Which, sentence string) (n int, err error) {
	err = f.l.act("notify", func() error {
		if !which.Old {
			f.l.w.errorf("notice to %+v", which)
		}
		n = len(f.l.w.old)
		f.l.w.notices = append(f.l.w.notices, sentence)
		return nil
	})
	return n, err
}

func (f fakeTraffic) Cancel(context.Context, string, Which) (int, error) {
	return 0, f.l.act("cancel", func() error { f.l.w.hanging = min(f.l.w.hanging, 1); return nil })
}

func (f fakeTraffic) Backends(context.Context) (out []uint32, err error) {
	err = f.l.peek(func() { out = []uint32{1, 2, 3} })
	return out, err
}

func (f fakeTraffic) BeginEvidence(_ context.Context, _ string, rollout string) error {
	return f.l.act("begin evidence", func() error { f.l.w.evidence = armstats.Evidence{Rollout: rollout}; return nil })
}

func (f fakeTraffic) RestoreEvidence(_ context.Context, _ string, e armstats.Evidence) error {
	return f.l.act("restore evidence", func() error { f.l.w.evidence = e; return nil })
}

// Evidence shows plenty of good exchanges on both arms, and what bad says.
func (f fakeTraffic) Evidence(context.Context, string) (out armstats.Evidence, err error) {
	err = f.l.peek(func() {
		w := f.l.w
		out = w.evidence
		if out.Rollout == "" {
			return
		}
		for a := range out.Arms {
			out.Arms[a].Units, out.Arms[a].Exchanges = 50, 2000
		}
		if w.bad != nil {
			out.Cohorts = append(slices.Clone(out.Cohorts), w.bad(out.Rollout, w.routing.Weight)...)
		}
	})
	return out, err
}

type fakeHold struct {
	l        *life
	released bool
}

func (h *fakeHold) Generation() uint64 { return 1 }

// Pin fails once for every lapse the world has in store: the lease ran out and the
// gates opened by themselves.
func (h *fakeHold) Pin() bool {
	pinned := true
	_ = h.l.peek(func() {
		if h.l.w.lapses > 0 {
			h.l.w.lapses--
			pinned = false
			h.l.w.opened()
		}
	})
	return pinned
}

func (h *fakeHold) Gather(ctx context.Context) HoldReport {
	var out HoldReport
	err := h.l.act("gather", func() error {
		out.Stragglers, out.Streaming = slices.Clone(h.l.w.stragglers), slices.Clone(h.l.w.streaming)
		return nil
	})
	if err != nil || len(out.Stragglers) > 0 {
		<-ctx.Done()
	}
	return out
}

func (h *fakeHold) Release() Stall {
	if h.released {
		return Stall{}
	}
	h.released = true
	_ = h.l.act("release", func() error { h.l.w.opened(); return nil })
	return Stall{Sessions: 3, P50: 2 * time.Millisecond, P99: 3 * time.Millisecond, Max: 3 * time.Millisecond,
		Waits: []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}}
}

// Store: what is saved goes through JSON, as on a disk.

type fakeStore struct{ l *life }

func (f fakeStore) Load(context.Context, string) (*Journal, error) {
	var j *Journal
	err := f.l.peek(func() {
		if f.l.w.journal != nil {
			j = new(Journal)
			if err := json.Unmarshal(f.l.w.journal, j); err != nil {
				f.l.w.errorf("journal: %v", err)
			}
		}
	})
	return j, err
}

func (f fakeStore) Save(_ context.Context, j Journal) error {
	return f.l.act("save "+string(j.State.Phase), func() error {
		if f.l.w.saveError != nil {
			return f.l.w.saveError
		}
		raw, err := json.Marshal(j)
		if err != nil {
			f.l.w.errorf("journal: %v", err)
		}
		f.l.w.journal = raw
		return nil
	})
}

func (f fakeStore) Archive(_ context.Context, r Record) error {
	return f.l.act("archive", func() error { f.l.w.records[r.Rollout] = r; return nil })
}

func (f fakeStore) History(context.Context, string) ([]Record, error) {
	return slices.Collect(maps.Values(f.l.w.records)), nil
}
