package deploy

import (
	"fmt"
	"time"
)

// dryRun writes out what a plan would do. The rollout's id is not known before
// it starts; the text says <id> where it would stand.
func dryRun(spec Spec, plan Plan, kind string) (DryRun, error) {
	if err := plan.Validate(spec); err != nil {
		return DryRun{}, err
	}
	const id = "<id>"
	d := dialect{kind: kind, database: spec.Database}
	pairs := plainPairs(spec, plan.Promote.Fence, id)
	out := DryRun{Deployment: spec.Name, Plan: plan, Cleanup: d.drops(pairs)}
	var err error
	if out.Promote, err = d.promote(pairs, plan.Promote.Method, id); err != nil {
		return DryRun{}, err
	}
	if out.SwapBack, err = d.swapBack(pairs, plan.Promote.Method, id); err != nil {
		return DryRun{}, err
	}
	for i, s := range plan.Steps {
		out.Steps = append(out.Steps, fmt.Sprintf("%d. %s", i+1, s.String()))
	}
	out.Steps = append(out.Steps, fmt.Sprintf("%d. rollback window of %s, then drain for at most %s, then cleanup", len(plan.Steps)+1, plan.Window.For, plan.Drain.For))
	out.Notes = append(out.Notes, "promote and swap back are one transaction each; the statements of cleanup stand alone, each after its id was verified")
	if !plan.Promote.Fence {
		out.Notes = append(out.Notes, "fence is off: the old version keeps the deploy names, and cleanup is by hand")
	}
	if len(spec.Schemas)+len(spec.Clusters) == 0 {
		out.Notes = append(out.Notes, "only single objects are paired: sessions cannot be told apart, so nobody is moved or held; each statement reads the version that has the name when it starts")
	}
	return out, nil
}

// String says what a step does, in words.
func (s PlanStep) String() string {
	if s.Promote {
		return "promote: prepare the swap, gather the sessions, commit"
	}
	text := "weight " + s.Weight.String()
	switch {
	case s.Until != "" && s.Within > 0:
		text += " until judged safe, within " + s.Within.String()
	case s.Until != "":
		text += " until judged safe"
	case s.Bake > 0:
		text += " for " + s.Bake.Round(time.Millisecond).String()
	}
	if s.Approve != nil {
		text += ", then a person approves within " + s.Approve.Within.String()
	}
	return text
}
