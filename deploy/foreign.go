package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// foreignFindings is P19: sessions by role that no hold protects, because they did
// not come through this proxy.
func foreignFindings(foreign map[string]int) []Finding {
	var found []Finding
	for _, role := range slices.Sorted(maps.Keys(foreign)) {
		n := foreign[role]
		sessions, those := "1 session did", "if it is on deploy names it goes"
		if n != 1 {
			sessions, those = fmt.Sprintf("%d sessions did", n), "those on deploy names go"
		}
		found = append(found, Finding{
			Code: "P19", Severity: Warn, Object: "role " + role,
			Sentence: fmt.Sprintf("%s not come through this proxy: no hold protects them, and %s back to the old version at the swap.", sessions, those),
		})
	}
	return found
}

// findings is the whole list of preflight: what the catalog shows, and who did not
// come through this proxy. `check` and a rollout's start share it.
func (l looker) findings(ctx context.Context, spec Spec, rollout string) ([]Finding, error) {
	found, err := l.w.Preflight(ctx, spec, rollout)
	if err != nil {
		return nil, err
	}
	l.countPrepared(ctx, spec.Name, found)
	return append(found, foreignFindings(l.foreign(ctx))...), nil
}

// AcceptShapeChange is the word that lets P09 pass.
const AcceptShapeChange = "shape-change"

// countPrepared says in an accepted P09 how many sessions it concerns: those that may
// have named statements are not moved live.
func (l looker) countPrepared(ctx context.Context, deployment string, found []Finding) {
	accepted := func(f Finding) bool { return f.Accept == AcceptShapeChange && f.Severity == Warn }
	first := slices.IndexFunc(found, accepted)
	if first < 0 {
		return
	}
	sessions, err := l.t.Sessions(ctx, deployment)
	who := "How many live sessions have named statements could not be seen."
	if err == nil {
		n := 0
		for _, s := range sessions {
			if s.Prepared {
				n++
			}
		}
		switch n {
		case 0:
			who = "No live session has named statements now."
		case 1:
			who = "1 live session has named statements and stays where it is until it reconnects or the swap."
		default:
			who = fmt.Sprintf("%d live sessions have named statements and stay where they are until they reconnect or the swap.", n)
		}
	}
	for i := range found[first:] {
		if f := &found[first+i]; accepted(*f) {
			f.Sentence += " Accepted: " + who
		}
	}
}
