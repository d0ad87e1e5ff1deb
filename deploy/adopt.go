package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Adopted rebuilds a journal that was lost: the marks in the catalog say whose
// contents are which, the names say how they stand.
type Adopted struct {
	At
	Marks   []Mark
	Refs    []Ref
	Server  ServerInfo
	Request Request
}

type adoptOrder struct {
	adopted Adopted
	salt    uint64
}

// adopt asks the catalog on the caller's time, and then the loop. The journal that
// was lost may have known of a COMMIT that is still out. Its session is not known
// any more, so that cannot be waited for; a barrier makes sure that it can no longer
// land, and only then are the names read.
func (r *runner) adopt(ctx context.Context, req Request) (Status, error) {
	r.view.mu.Lock()
	state := r.view.state
	r.view.mu.Unlock()
	if no := adoptable(&state, req.Rollout); no != nil {
		return r.status(), no
	}
	look := r.looker()
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	probe := State{Database: r.cfg.Spec.Database, Rollout: req.Rollout, Pairs: plainPairs(r.cfg.Spec, true, req.Rollout)}
	marks, err := look.w.Marks(ctx, r.cfg.Spec)
	if err != nil {
		return r.status(), unavailable("reading the marks of "+state.Deployment, err)
	}
	if err := barrier(ctx, look.w, probe); err != nil && !errors.Is(err, ErrChanged) { // a live name that is gone is found below
		return r.status(), unavailable("making sure that no COMMIT on "+state.Deployment+" is out", err)
	}
	refs, server, err := look.read(ctx, probe)
	if err != nil {
		return r.status(), unavailable("reading the names of "+state.Deployment, err)
	}
	marks = slices.DeleteFunc(marks, func(m Mark) bool { return m.Rollout != req.Rollout })
	adopted := Adopted{Marks: marks, Refs: refs, Server: server, Request: req}
	if _, _, why := standingOf(probe.Pairs, marks, refs); why != "" {
		return r.status(), refusal(ExitHuman, "mend the names by hand, then mzcanary rollout adopt "+req.Rollout+", or abort --force --reason …",
			"rollout %s of %s cannot be adopted: %s", req.Rollout, state.Deployment, why)
	}
	return r.ask(ctx, request{adopt: &adoptOrder{adopted: adopted, salt: newSalt()}})
}

// adoptable refuses what has a journal, and ids that no mark carries.
func adoptable(s *State, rollout string) error {
	if s.Phase != PhaseIdle || len(s.Stray) == 0 {
		return refusal(ExitUsage, "mzcanary rollout status", "adopt cannot be done to %s: it has no marks without a journal", s.Deployment)
	}
	var ids []string
	for _, m := range s.Stray {
		if !slices.Contains(ids, m.Rollout) {
			ids = append(ids, m.Rollout)
		}
	}
	if !slices.Contains(ids, rollout) {
		return refusal(ExitUsage, "mzcanary rollout adopt "+ids[0], "the catalog carries no marks of rollout %q of %s; those found are of %s", rollout, s.Deployment, strings.Join(ids, ", "))
	}
	return nil
}

// takeOverMarks lays the state of the adopted rollout over the idle one.
func (r *runner) takeOverMarks(ctx context.Context, o *adoptOrder) error {
	req := o.adopted.Request
	if no := adoptable(&r.s, req.Rollout); no != nil {
		return no
	}
	r.reset(req.Rollout, o.salt, req.Who, req.Reason, r.cfg.Spec, r.cfg.Plan)
	r.s.Pairs = plainPairs(r.cfg.Spec, true, req.Rollout)
	o.adopted.At = At{r.c.opts.Clock()}
	r.handle(ctx, o.adopted)
	return nil
}

// adopted goes on in the window when the names are swapped. Otherwise nobody can
// say what was proven of the new version, and the rollout ends: everybody is on
// production, and the marks go away.
func (m *machine) adopted(e Adopted) {
	m.s.Pairs, m.s.Names, _ = standingOf(m.s.Pairs, e.Marks, e.Refs)
	m.s.Server, m.s.LastLook, m.s.Marked = e.Server, m.at, true
	m.s.note(m.at, e.Request.Who, "adopted from the marks in the catalog", e.Request.Reason)
	if m.s.Names != NamesAfter {
		m.finish(PhaseRolledBack, ExitRolledBack, "adopted without a journal; production is the old version, so it ended at weight 0 (names stand "+string(m.s.Names)+")")
		return
	}
	m.s.Swaps++
	m.s.After = AfterState{Swapped: m.at, Settle: m.p.Drain.Settle}
	m.enter(PhaseWindow, e.Request.Who, "adopted without a journal; production is the new version")
	m.route()
	m.do(Action{Kind: ActLook, For: LookConfirm})
}

// standingOf works out, pair by pair, which contents are the old and the new
// version, and how the names stand. Names that carry the rollout's id are proof;
// for the others it is the marks. A reason means that the pairs do not agree.
func standingOf(pairs []PairState, marks []Mark, refs []Ref) (out []PairState, names Standing, why string) {
	side := map[string]string{}
	for _, m := range marks {
		side[string(m.Ref.Kind)+m.Ref.ID] = m.Side
	}
	for _, p := range pairs {
		found, is := p.stands(side, refs)
		switch {
		case is == "":
			return nil, "", fmt.Sprintf("%s %s does not exist", p.Kind, p.Live)
		case names == "":
			names = is
		case names != is:
			return nil, "", fmt.Sprintf("the pairs do not agree: %s %s stands as %s a swap, those before it as %s", p.Kind, p.Live, is, names)
		}
		out = append(out, found)
	}
	return out, names, ""
}

// stands is standingOf one pair; an empty standing means that its live name is gone.
func (p PairState) stands(side map[string]string, refs []Ref) (PairState, Standing) {
	live, deploy, retired := idOf(refs, p.Kind, p.Live), idOf(refs, p.Kind, p.Deploy), idOf(refs, p.Kind, p.Retired)
	of := func(id string) string { return side[string(p.Kind)+id] }
	rejected := idOf(refs, p.Kind, p.alternative())
	switch {
	case live == "":
		return p, ""
	case retired != "":
		p.LiveID, p.DeployID = retired, live
		return p, NamesAfter
	case of(live) == "new" && of(deploy) == "old": // without a fence
		p.LiveID, p.DeployID, p.Retired = deploy, live, p.Deploy
		return p, NamesAfter
	case of(live) == "new": // the old one is dropped already
		p.LiveID, p.DeployID = "", live
		return p, NamesAfter
	case rejected != "":
		p.LiveID, p.DeployID, p.Rejected = live, rejected, p.alternative()
		return p, NamesBack
	}
	p.LiveID, p.DeployID = live, deploy
	return p, NamesBefore
}

// alternative is where the new version goes on swapping back when its deploy name
// is taken. The retired name carries the rollout's id.
func (p PairState) alternative() string {
	return RejectedName(p.Deploy, strings.TrimPrefix(p.Retired, RetiredName(p.Deploy, "")))
}
