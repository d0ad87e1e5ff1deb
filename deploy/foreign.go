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
	return append(found, foreignFindings(l.foreign(ctx))...), nil
}
