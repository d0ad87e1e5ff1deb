package deploy

import (
	"context"
	"slices"
)

// heldAction is an act that waits for the journal, and the phase that decided it.
type heldAction struct {
	Action
	phase Phase
}

// performAll performs in order. While the journal cannot be written only what
// takes traffic away from the canary is done; the rest waits for the journal. A swap
// does not wait: while it did, nobody would look at the names or at readiness, and
// what it was decided on would grow old. It is not begun, and tried again later.
func (r *runner) performAll(ctx context.Context, acts []Action) *Refusal {
	var refused *Refusal
	for _, a := range acts {
		if a.Kind == ActRoute {
			// Whatever was decided before about the routing is void, done or not.
			r.held = slices.DeleteFunc(r.held, func(h heldAction) bool { return h.Kind == ActRoute })
		}
		switch {
		case a.Kind == ActRefuse:
			refused = a.Refusal
		case r.unsaved == nil || a.Safe || a.Kind == ActStopSwap || r.takesAway(a):
			r.perform(ctx, a)
		case a.Kind == ActSwap:
			r.handle(ctx, SwapEnded{At: At{r.c.opts.Clock()}, End: EndStopped, Err: r.unsaved})
		default:
			r.held = append(r.held, heldAction{a, r.s.Phase})
		}
	}
	return refused
}

// takesAway: the canary gets fewer sessions than it has now, and nothing else changes.
func (r *runner) takesAway(a Action) bool {
	return a.Kind == ActRoute && a.Routing.Weight < r.published.Weight && a.Routing.Canary == r.published.Canary && a.Routing.Swaps == r.published.Swaps
}

// performHeld does what waited for the journal, as far as it is still wanted.
func (r *runner) performHeld(ctx context.Context) {
	held := r.held
	r.held = nil
	for _, h := range held {
		if h.Kind == ActRoute {
			now := r.s.routing()
			h.Routing = &now
		}
		if h.wanted(r.s.Phase) {
			r.performAll(ctx, []Action{h.Action})
		}
	}
}

// wanted: what acts on sessions, names or marks is void when the rollout has left
// the phase that decided it; the phase it is in asks for what it needs.
func (h heldAction) wanted(now Phase) bool {
	switch h.Kind {
	case ActDrop, ActNotify, ActEndOld, ActEndStreams, ActCancel, ActMark, ActPreflight, ActLook:
		return h.phase == now
	}
	return true
}
