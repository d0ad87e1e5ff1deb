package deploy

import (
	"fmt"
	"time"
)

// sentenceOf says in one line where a rollout stands and what it waits for, and what
// is wrong with the server where that is not the reason.
func sentenceOf(s *State, plan Plan) string {
	text := standing(s, plan)
	if s.Stop != nil && s.Stop.Cause == CauseUpstream {
		return text
	}
	switch {
	case !s.Down.IsZero():
		text += " The server cannot be asked since " + s.Down.UTC().Format(time.TimeOnly) + " UTC" + because(s.DownWhy) + "."
	case s.Unwell != "":
		text += " The server still has to prove itself: " + s.Unwell + "."
	}
	return text
}

func standing(s *State, plan Plan) string {
	switch {
	case s.Stop != nil:
		return fmt.Sprintf("%s in %s: %s. Next: %s.", s.Stop.Kind, s.Phase, s.Stop.Reason, s.Stop.Next)
	case s.Phase.Final() && s.End != "":
		return s.End
	case s.Recovering:
		return "Restarted; the catalog is read before anything is done, and everybody is on live names until then."
	}
	switch s.Phase {
	case PhaseHydrating:
		return hydratingSentence(s, plan)
	case PhaseRamping:
		return rampingSentence(s, plan)
	case PhasePromoting, PhaseSwappingBack:
		return swapSentence(s, plan)
	case PhaseRollingBack:
		if s.Back.Left < 0 {
			return s.Back.Sentence
		}
		return fmt.Sprintf("%s; %d sessions still have to come back.", s.Back.Sentence, s.Back.Left)
	case PhaseWindow:
		return fmt.Sprintf("Production is the new version; rollback swaps back for another %s of healthy, observed time.", short(plan.Window.For-s.After.Observed))
	case PhaseDraining:
		return fmt.Sprintf("%d proxied sessions and %d others still use the old version; drain.then (%s) in %s.",
			len(s.After.Old), len(s.After.Others), plan.Drain.Then, short(plan.Drain.For-s.After.Drained))
	case PhaseDropping:
		return fmt.Sprintf("Production is the old version; dropping part %d of %d of the new one.", s.After.Dropped+1, len(s.Pairs))
	case PhaseCleaning:
		if s.After.Settle > 0 {
			return "Nothing is dropped before " + short(s.After.Settle) + " of healthy, observed time have passed after the restart."
		}
		return fmt.Sprintf("Dropping part %d of %d of the old version.", s.After.Dropped+1, len(s.Pairs))
	}
	return s.Phase.Info().Sentence
}

func hydratingSentence(s *State, plan Plan) string {
	last := s.Ready.Last
	if last == nil {
		return "Waiting for the first readiness sample."
	}
	if last.Ready {
		return fmt.Sprintf("Ready %d times of %d in a row.", s.Ready.Good, plan.Ready.Consecutive)
	}
	return fmt.Sprintf("Not ready: %s (%d of %d hydrated); expires in %s.", last.Why, last.Hydrated, last.Total, short(plan.Ready.Within-s.Ready.Waited))
}

func rampingSentence(s *State, plan Plan) string {
	switch {
	case s.Hand && s.Ramp.TakenBack:
		return "The canary was opened by hand; its weight is taken back until the new version is ready again."
	case s.Hand:
		return fmt.Sprintf("The canary was opened by hand at %s and stays there: no plan moves it. `mzcanary traffic set` changes the weight, 0%% closes it.", s.Weight)
	case s.Ramp.TakenBack:
		return "The weight is taken back until the new version is ready again."
	case s.Ramp.Asked != nil:
		return "Waiting for a person: " + s.Ramp.Asked.Question + " Until " + s.Ramp.Asked.Deadline.UTC().Format(time.RFC3339) + "; " + s.Ramp.Asked.Next + "."
	case s.Ramp.Step >= len(plan.Steps):
		return s.Phase.Info().Sentence
	}
	return fmt.Sprintf("Step %d of %d: %s; %s observed.", s.Ramp.Step+1, len(plan.Steps), plan.Steps[s.Ramp.Step], short(s.Ramp.Observed))
}

func swapSentence(s *State, plan Plan) string {
	sw := &s.Swap
	switch sw.Stage {
	case StagePatience:
		if len(sw.Stragglers) > 0 {
			return fmt.Sprintf("Waiting for a good moment; in the way: %s.", names(sw.Stragglers))
		}
		return "Looking for a good moment."
	case StageBackoff:
		return fmt.Sprintf("Attempt %d was not done; trying again in %s.", sw.Tries, sw.Backoff.Round(10*time.Millisecond))
	case StageLooking:
		return "Reading the ids before the swap."
	case StageResolving:
		return "The answer to COMMIT was lost; the ids in the catalog decide. Everybody is on live names, which is right either way."
	case StageNone:
		return "Confirming by ids."
	}
	return fmt.Sprintf("Attempt %d (%d of %d that held sessions).", sw.Tries, sw.Attempts+1, plan.Promote.Attempts)
}

func short(d time.Duration) string { return max(d, 0).Round(time.Second).String() }
