package app

import (
	"context"
	"fmt"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/armstats"
	"mzcanary/proxy"
	"mzcanary/router"
)

// traffic is the data plane of this process as the controller sees it: one
// proxy, its routing table and its counters.
type traffic struct {
	table *router.Table
	proxy *proxy.Proxy
	stats *armstats.Set
	clock func() time.Time
}

var _ deploy.Traffic = (*traffic)(nil)

func unknown(deployment string) error {
	return fmt.Errorf("deployment %q is not configured", deployment)
}

// Route implements deploy.Traffic.
func (t *traffic) Route(_ context.Context, deployment string, r deploy.Routing) (uint64, error) {
	epoch, ok := t.table.Update(deployment, func(d *router.Deployment) {
		d.Weight, d.Canary, d.Salt, d.Swaps = r.Weight, r.Canary, r.Salt, r.Swaps
	})
	if !ok {
		return 0, unknown(deployment)
	}
	t.proxy.Nudge()
	return epoch, nil
}

// Survey implements deploy.Traffic.
func (t *traffic) Survey(_ context.Context, deployment string) (deploy.Survey, error) {
	s := t.proxy.Survey(deployment)
	return deploy.Survey{
		Epoch:      s.Epoch,
		Sessions:   s.Sessions,
		Wanted:     s.Wanted,
		Fixed:      s.Fixed,
		Unmanaged:  s.Unmanaged,
		Stragglers: sessions(s.Stragglers),
		Streaming:  sessions(s.Streaming),
		Old:        sessions(s.Old),
	}, nil
}

// Sessions implements deploy.Traffic.
func (t *traffic) Sessions(_ context.Context, deployment string) ([]deploy.SessionInfo, error) {
	return sessions(t.proxy.Sessions(deployment)), nil
}

// Hold implements deploy.Traffic.
func (t *traffic) Hold(_ context.Context, deployment string, lease time.Duration) (deploy.Hold, error) {
	h, err := t.proxy.Hold(deployment, lease)
	if err != nil {
		return nil, err
	}
	return hold{h}, nil
}

// End implements deploy.Traffic.
func (t *traffic) End(_ context.Context, deployment string, which deploy.Which, sentence string) (int, error) {
	return t.proxy.End(deployment, proxy.Which(which), sentence), nil
}

// Notify implements deploy.Traffic.
func (t *traffic) Notify(_ context.Context, deployment string, which deploy.Which, sentence string) (int, error) {
	return t.proxy.Notify(deployment, proxy.Which(which), sentence), nil
}

// Cancel implements deploy.Traffic.
func (t *traffic) Cancel(_ context.Context, deployment string, which deploy.Which) (int, error) {
	return t.proxy.Cancel(deployment, proxy.Which(which)), nil
}

// Backends implements deploy.Traffic.
func (t *traffic) Backends(context.Context) ([]uint32, error) { return t.proxy.Backends(), nil }

// BeginEvidence implements deploy.Traffic.
func (t *traffic) BeginEvidence(_ context.Context, deployment, rollout string) error {
	d := t.stats.Find(deployment)
	if d == nil {
		return unknown(deployment)
	}
	d.Begin(rollout, t.clock())
	return nil
}

// RestoreEvidence implements deploy.Traffic.
func (t *traffic) RestoreEvidence(_ context.Context, deployment string, e armstats.Evidence) error {
	d := t.stats.Find(deployment)
	if d == nil {
		return unknown(deployment)
	}
	d.Restore(e)
	return nil
}

// Evidence implements deploy.Traffic.
func (t *traffic) Evidence(_ context.Context, deployment string) (armstats.Evidence, error) {
	d := t.stats.Find(deployment)
	if d == nil {
		return armstats.Evidence{}, unknown(deployment)
	}
	return d.Evidence(), nil
}

// hold turns a proxy's hold into the controller's.
type hold struct{ h *proxy.Hold }

func (h hold) Generation() uint64 { return h.h.Generation() }
func (h hold) Pin() bool          { return h.h.Pin() }

func (h hold) Gather(ctx context.Context) deploy.HoldReport {
	r := h.h.Gather(ctx)
	return deploy.HoldReport{Held: r.Held, Streaming: sessions(r.Streaming), Stragglers: sessions(r.Stragglers), Gathered: r.Gathered}
}

func (h hold) Release() deploy.Stall {
	s := h.h.Release()
	return deploy.Stall{Sessions: s.Sessions, P50: s.P50, P99: s.P99, Max: s.Max, Waits: s.Waits}
}

func sessions(in []proxy.SessionInfo) []deploy.SessionInfo {
	if len(in) == 0 {
		return nil
	}
	out := make([]deploy.SessionInfo, len(in))
	for i, s := range in {
		out[i] = deploy.SessionInfo{
			ID: s.ID, Backend: s.Backend, User: s.User, Database: s.Database, Application: s.Application, Client: s.Client,
			Arm: s.Arm, Fixed: s.Fixed, Place: deploy.Place(s.Place), Why: s.Why, Statement: s.Statement,
			Age: s.Age, Moved: s.Moved, OldVersion: s.OldVersion, Prepared: s.Prepared, Connected: s.Connected,
		}
	}
	return out
}
