package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mzcanary/router"
)

// cleaner counts who still uses the old version, and drops its parts one by one.
type cleaner struct {
	w      Warehouse
	t      Traffic
	clock  func() time.Time
	accept []string
}

// census names everybody on the old version: our sessions, and others on its
// clusters, or on PostgreSQL on its relations. What merely stands there is read anew
// when it is due.
func (c cleaner) census(ctx context.Context, s State) CensusTaken {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out := CensusTaken{}
	out.Old, out.Others, out.Err = c.users(ctx, s)
	if out.Err == nil && s.standbyDue(c.clock()) {
		out.Standby, out.Err = c.standby(ctx, s)
	}
	out.At = At{c.clock()}
	return out
}

func (c cleaner) users(ctx context.Context, s State) ([]SessionInfo, []Dependent, error) {
	survey, err := c.t.Survey(ctx, s.Deployment)
	if err != nil {
		return nil, nil, fmt.Errorf("surveying the sessions: %w", err)
	}
	var staying []Dependent
	if s.Phase == PhaseDropping {
		staying = onCanary(survey.Sessions[router.Canary])
	}
	parts := remaining(s, "")
	if len(parts) == 0 {
		return survey.Old, staying, nil
	}
	ours, err := c.t.Backends(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing our connections: %w", err)
	}
	others, err := c.w.Subscriptions(ctx, parts, ours)
	if err != nil {
		return nil, nil, fmt.Errorf("listing who else uses the old version: %w", err)
	}
	return survey.Old, append(staying, others...), nil
}

// remaining are the parts that were not dropped yet; an empty kind
// means all kinds.
func remaining(s State, kind Kind) []Ref {
	var out []Ref
	for i, r := range s.drops() {
		if i >= s.After.Dropped && (kind == "" || r.Kind == kind) {
			out = append(out, r)
		}
	}
	return out
}

// drop drops one part. The name is the only handle the server offers, so the id
// behind it is read before, and nothing is dropped that anybody still uses; after
// it, that it is gone and production stands is read again.
func (c cleaner) drop(ctx context.Context, s State, ref Ref) Dropped {
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	out := Dropped{Ref: ref}
	c.dropInto(ctx, s, &out)
	out.At = At{c.clock()}
	return out
}

func (c cleaner) dropInto(ctx context.Context, s State, out *Dropped) {
	there, err := c.stands(ctx, s, out)
	if err != nil || len(out.Diff) > 0 || !there {
		out.Err = err
		return
	}
	if out.OldOwn, out.Users, out.Err = c.users(ctx, s); out.Err != nil || len(out.OldOwn)+len(out.Users) > 0 {
		return
	}
	if out.Users, out.Err = c.dependents(ctx, s); out.Err != nil || len(out.Users) > 0 {
		return
	}
	if err := c.w.Drop(ctx, s.Database, out.Ref); err != nil {
		out.Err = fmt.Errorf("dropping %s %s: %w", out.Ref.Kind, out.Ref.Name, err)
		return
	}
	there, err = c.stands(ctx, s, out)
	if err == nil && there && len(out.Diff) == 0 {
		err = fmt.Errorf("%s %s still stands after it was dropped", out.Ref.Kind, out.Ref.Name)
	}
	out.Err = err
}

// stands reads all names once more: whether the part is still there, and whether
// anything is not as recorded.
func (c cleaner) stands(ctx context.Context, s State, out *Dropped) (there bool, err error) {
	refs, err := c.w.Identify(ctx, s.Database, lookNames(s.Pairs, s.Rollout))
	if err != nil {
		return false, fmt.Errorf("reading the ids around the drop of %s %s: %w", out.Ref.Kind, out.Ref.Name, err)
	}
	out.Diff = s.diff(refs)
	return idOf(refs, out.Ref.Kind, out.Ref.Name) != "", nil
}

// dependents are those outside the old version that its drop would take along
// and that nobody accepted by name.
func (c cleaner) dependents(ctx context.Context, s State) ([]Dependent, error) {
	all, err := c.w.Dependents(ctx, s.Database, remaining(s, ""))
	if err != nil {
		return nil, fmt.Errorf("listing what depends on the old version: %w", err)
	}
	return slices.DeleteFunc(all, func(d Dependent) bool { return slices.Contains(c.accept, "dependent:"+d.Name) }), nil
}
