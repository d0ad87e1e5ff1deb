package deploy

// Verb is something a person may ask of a rollout.
type Verb string

// The verbs, as the commands and the API spell them.
const (
	VerbPause    Verb = "pause"
	VerbResume   Verb = "resume"
	VerbApprove  Verb = "approve"
	VerbPromote  Verb = "promote"
	VerbRollback Verb = "rollback"
	VerbAbort    Verb = "abort"
	VerbRetry    Verb = "retry"
	VerbCleanup  Verb = "cleanup"
	VerbWeight   Verb = "weight" // traffic set
	VerbAdopt    Verb = "adopt"
)

// Verbs lists them in the order of the published table.
func Verbs() []Verb {
	return []Verb{VerbPause, VerbResume, VerbApprove, VerbPromote, VerbRollback, VerbAbort, VerbRetry, VerbCleanup, VerbWeight, VerbAdopt}
}

// VerbRow is one line of the published table: what a verb does in a phase.
type VerbRow struct {
	Verb    Verb   `json:"verb"`
	Phase   Phase  `json:"phase"`
	Allowed bool   `json:"allowed"`
	Does    string `json:"does"`
}

// VerbTable says what every verb does in every phase. It is the law: a verb
// whose row is not allowed is refused with that row's sentence before anything
// else looks at it. The phase of a paused or blocked rollout is the one that
// stands still.
func VerbTable() []VerbRow {
	var rows []VerbRow
	for _, v := range Verbs() {
		for _, p := range Phases() {
			if p.Phase == PhasePaused || p.Phase == PhaseBlocked {
				continue
			}
			allowed, does := lookupVerb(v, p.Phase)
			rows = append(rows, VerbRow{Verb: v, Phase: p.Phase, Allowed: allowed, Does: does})
		}
	}
	return rows
}

func lookupVerb(v Verb, p Phase) (allowed bool, does string) {
	if p.Final() {
		if v == VerbWeight {
			return true, "opens a canary by hand after preflight and one readiness sample (force skips both)"
		}
		if p == PhaseIdle && v == VerbAbort {
			return true, "removes marks that were found without a journal (force); otherwise there is nothing to abort"
		}
		if p == PhaseIdle && v == VerbAdopt {
			return true, "rebuilds a lost journal from the marks in the catalog; refused without such marks"
		}
		if p == PhaseIdle {
			return false, "no rollout is running"
		}
		return false, "the rollout is over (" + string(p) + ")"
	}
	switch v {
	case VerbAdopt:
		return false, "the rollout has its journal; there is nothing to adopt"
	case VerbPause:
		return pauseIn(p)
	case VerbResume:
		return true, "goes on in the same phase; refused unless paused"
	case VerbApprove:
		if p == PhaseRamping {
			return true, "lets the step that waits for a person go on; refused when nothing waits"
		}
		return false, "nothing waits for an approval in " + string(p)
	case VerbPromote:
		return promoteIn(p)
	case VerbRollback:
		return rollbackIn(p)
	case VerbAbort:
		return abortIn(p)
	case VerbRetry:
		return true, "after a block or used-up attempts: looks at the ids again and goes on; refused otherwise"
	case VerbCleanup:
		return cleanupIn(p)
	case VerbWeight:
		if p == PhaseRamping {
			return true, "sets the weight; the plan pauses"
		}
		return false, "the weight is not free in " + string(p)
	}
	return false, "unknown verb " + string(v)
}

func pauseIn(p Phase) (bool, string) {
	switch p {
	case PhasePromoting, PhaseSwappingBack:
		return true, "gives up the attempt before its COMMIT and stands still; a COMMIT that is out is settled first"
	case PhaseRamping:
		return true, "keeps the weight, stops the plan's clock; readiness and judge keep watching"
	case PhaseCleaning:
		return true, "stands still after the drop that is running"
	case PhaseRollingBack:
		return false, "sessions on their way back to production are not stopped"
	}
	return true, "stands still"
}

func promoteIn(p Phase) (bool, string) {
	switch p {
	case PhaseRamping:
		return true, "goes on to the swap now; refused without a safe verdict unless forced with a reason"
	case PhasePromoting:
		return true, "tries the swap now instead of waiting any longer"
	case PhasePreflight, PhaseHydrating:
		return false, "the new version is not ready yet"
	case PhaseRollingBack, PhaseSwappingBack, PhaseDropping:
		return false, "the rollout is going back"
	}
	return false, "the swap is done already"
}

func rollbackIn(p Phase) (bool, string) {
	switch p {
	case PhasePreflight, PhaseHydrating:
		return true, "ends the rollout; nobody was on the new version"
	case PhaseRamping:
		return true, "weight 0, no DDL; sessions go back at their next boundary"
	case PhasePromoting:
		return true, p.Info().Rollback
	case PhaseWindow, PhaseDraining:
		return true, "swaps back"
	case PhaseRollingBack, PhaseSwappingBack:
		return false, "the rollout is rolling back already"
	case PhaseDropping:
		return false, "production is the old version already; the new one is being dropped"
	}
	return false, "the old version is being dropped; it cannot come back"
}

func abortIn(p Phase) (bool, string) {
	switch p {
	case PhasePreflight, PhaseHydrating, PhaseRamping, PhasePromoting:
		return true, "as rollback; the record says aborted. With drop_deploy the new version is dropped when nobody is on it any more"
	case PhaseRollingBack:
		return false, "the rollout is rolling back already"
	}
	return true, "only when blocked, with force and a reason: gives the rollout up and leaves all names as they are"
}

func cleanupIn(p Phase) (bool, string) {
	switch p {
	case PhaseWindow:
		return true, "ends the window now and starts draining"
	case PhaseDraining:
		return true, "draining is running already; confirms that what is left may be dropped (needed when fence is off)"
	case PhaseCleaning:
		return true, "drops what is left, where that waits for a person (fence off)"
	case PhasePreflight, PhaseHydrating, PhaseRamping, PhasePromoting:
		return false, "nothing was swapped yet; there is nothing to clean up"
	}
	return false, "the rollout is going back; there is nothing to clean up"
}
