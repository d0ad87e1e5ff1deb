package deploy

import (
	"fmt"
	"strings"
)

// Validate finds everything in a plan that could not work for this deployment.
// The error is a *Refusal that lists all of it.
func (p Plan) Validate(spec Spec) error {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	if len(p.Steps) == 0 {
		say("the plan has no steps")
	}
	for i, s := range p.Steps {
		p.validateStep(i, s, spec, say)
	}
	oneOf(say, "on_regress", p.OnRegress, PolicyRollback, PolicyStepBack, PolicyPause)
	oneOf(say, "on_unready", p.OnUnready, PolicyTakeBack, PolicyRollback, PolicyWait)
	oneOf(say, "on_undecided", p.OnUndecided, PolicyWait, PolicyAsk, PolicyRollback)
	oneOf(say, "on_insufficient", p.OnInsufficient, PolicyAsk, PolicyWait, PolicyRollback)
	oneOf(say, "promote.method", p.Promote.Method, MethodSwap, MethodRename)
	oneOf(say, "promote.stragglers", p.Promote.Stragglers, ThenWait, ThenTerminate)
	oneOf(say, "drain.then", p.Drain.Then, ThenWait, ThenTerminate)
	if p.Ready.Poll <= 0 || p.Ready.Consecutive < 1 || p.Ready.Within <= 0 {
		say("ready.poll, ready.within and ready.consecutive must be above zero")
	}
	if p.Promote.Gather <= 0 || p.Promote.MaxStall < p.Promote.Gather || p.Promote.Attempts < 1 {
		say("promote.gather and promote.attempts must be above zero, and promote.max_stall not below gather")
	}
	if len(spec.Schemas)+len(spec.Clusters)+len(spec.Objects) == 0 {
		say("the deployment has no pairs")
	}
	if _, err := (dialect{kind: KindMaterialize}).promote(plainPairs(spec, p.Promote.Fence, "r"), p.Promote.Method, "r"); err != nil {
		say("%v", err)
	}
	if len(bad) == 0 {
		return nil
	}
	return refusal(ExitUsage, "mzcanary check --offline", "the plan of %s cannot be used: %s", spec.Name, strings.Join(bad, "; "))
}

func (p Plan) validateStep(i int, s PlanStep, spec Spec, say func(string, ...any)) {
	n := i + 1
	if s.Promote && i != len(p.Steps)-1 {
		say("step %d promotes, but is not the last", n)
	}
	if s.Promote && (s.Weight != 0 || s.Bake != 0 || s.Until != "" || s.Approve != nil) {
		say("step %d promotes and must say nothing else", n)
	}
	if s.Until != "" && s.Until != "safe" {
		say("step %d: until %q is not \"safe\"", n, s.Until)
	}
	if s.Until != "" && s.Bake != 0 {
		say("step %d has both a bake and an until", n)
	}
	if s.Until != "" && s.Weight == 0 {
		say("step %d waits for a verdict at weight 0, where there is none to come", n)
	}
	if s.Approve != nil && s.Approve.Within <= 0 {
		say("step %d: an approval needs a deadline (within)", n)
	}
	if s.Weight > 10000 {
		say("step %d: weight %s is above 100%%", n, s.Weight)
	}
	if s.Weight > 0 && len(spec.Schemas)+len(spec.Clusters) == 0 {
		say("step %d has a weight, but pairs of objects inside one schema cannot be told apart by search_path: promote only", n)
	}
}

func oneOf[T ~string](say func(string, ...any), what string, got T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if a == got {
			return
		}
		names[i] = string(a)
	}
	say("%s is %q, not one of %s", what, got, strings.Join(names, ", "))
}
