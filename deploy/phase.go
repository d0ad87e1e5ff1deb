package deploy

// Phase is where a rollout stands.
//
//	idle ─start─▶ preflight ─▶ hydrating ─▶ ramping ─▶ promoting ─▶ window ─▶ draining ─▶ cleaning ─▶ done
//	                 │             │           │  ▲        │ not done   │          │
//	                 ▼             ▼           │  └────────┘ (retry)    ├─ rollback ┴▶ swapping_back ─▶ rolled_back
//	              refused       expired        └─ regress / rollback ─▶ rolling_back ─▶ rolled_back
//
//	any phase ─ pause ─▶ paused(reason) ─ resume ─▶ the same phase
//	any phase ─ needs a person ─▶ blocked(reason, remedy) ─ retry ─▶ the same phase
//	before the swap ─ abort --drop-deploy ─▶ rolling_back ─▶ dropping ─▶ aborted
//	blocked, names not ours to mend ─ abort --force ─▶ aborted
//
// Paused and Blocked are shown in place of the phase that stands still; State
// keeps that phase and a Stop beside it.
type Phase string

// The phases of a rollout.
const (
	PhaseIdle         Phase = "idle"
	PhasePreflight    Phase = "preflight"
	PhaseHydrating    Phase = "hydrating"
	PhaseRamping      Phase = "ramping"
	PhasePromoting    Phase = "promoting"
	PhaseWindow       Phase = "window"
	PhaseDraining     Phase = "draining"
	PhaseCleaning     Phase = "cleaning"
	PhaseDone         Phase = "done"
	PhaseRefused      Phase = "refused"
	PhaseExpired      Phase = "expired"
	PhaseRollingBack  Phase = "rolling_back"
	PhaseSwappingBack Phase = "swapping_back"
	PhaseDropping     Phase = "dropping"
	PhaseRolledBack   Phase = "rolled_back"
	PhaseAborted      Phase = "aborted"
	PhasePaused       Phase = "paused"
	PhaseBlocked      Phase = "blocked"
)

// PhaseInfo says what a phase means to whoever reads a status.
type PhaseInfo struct {
	Phase    Phase  `json:"phase"`
	Sentence string `json:"sentence"`
	// Canary: traffic may be on the new version under its deploy names.
	Canary bool `json:"traffic_may_be_on_canary"`
	// Reversible: leaving for the old version needs no DDL.
	Reversible bool `json:"reversible_without_ddl"`
	// Rollback says what the verb does here.
	Rollback string `json:"rollback"`
	// Final: the rollout is over.
	Final bool `json:"final"`
}

const (
	noDDL    = "weight 0, no DDL"
	swaps    = "swaps back"
	noEffect = "no effect"
)

// Phases lists every phase in the order a rollout meets them; help and docs print it.
func Phases() []PhaseInfo {
	return []PhaseInfo{
		{PhaseIdle, "No rollout is running; everybody is on production.", false, true, noEffect, true},
		{PhasePreflight, "The catalog is read and every fault that would hurt later is looked for.", false, true, noDDL, false},
		{PhaseHydrating, "The new version is being built; nobody is sent to it until it is ready several times in a row.", false, true, noDDL, false},
		{PhaseRamping, "The plan's share of the sessions is on the new version, and both versions are watched.", true, true, noDDL, false},
		{PhasePromoting, "The swap is being prepared or committed.", true, true, "gives up the attempt; if its COMMIT is out, its outcome decides between no DDL and swapping back", false},
		{PhaseWindow, "Production is the new version; the old one stands by under its retired name.", false, false, swaps, false},
		{PhaseDraining, "Whoever still reads the old version is being waited for.", false, false, swaps, false},
		{PhaseCleaning, "What is left of the old version is being dropped, each drop verified by id.", false, false, "refused: parts of the old version may be gone", false},
		{PhaseDone, "The new version is production and the old one is gone.", false, false, noEffect, true},
		{PhaseRefused, "Preflight found faults; nothing was touched.", false, true, noEffect, true},
		{PhaseExpired, "The new version was not ready in time; nothing was touched.", false, true, noEffect, true},
		{PhaseRollingBack, "Every canary session is on its way back to production; no DDL.", true, true, noEffect, false},
		{PhaseSwappingBack, "The swap is being taken back.", false, false, noEffect, false},
		{PhaseDropping, "Production is the old version; the new one is being dropped, as was asked for, each drop verified by id.", false, true, noEffect, false},
		{PhaseRolledBack, "Production is the old version; the new one was left standing for inspection.", false, true, noEffect, true},
		{PhaseAborted, "The rollout was given up by a person; all names were left as they are.", false, true, noEffect, true},
		{PhasePaused, "The rollout stands still where it is until somebody, or a healthy server, lets it go on.", true, true, "as in the phase that stands still", false},
		{PhaseBlocked, "The rollout needs a person.", true, true, "as in the phase that stands still", false},
	}
}

// Info returns what the phase means.
func (p Phase) Info() PhaseInfo {
	for _, i := range Phases() {
		if i.Phase == p {
			return i
		}
	}
	return PhaseInfo{Phase: p, Sentence: "Unknown phase."}
}

// Final reports whether a rollout in this phase is over.
func (p Phase) Final() bool { return p.Info().Final }

// swapped reports whether production is, or may be, the new version.
func (p Phase) swapped() bool {
	switch p {
	case PhaseWindow, PhaseDraining, PhaseCleaning, PhaseDone, PhaseSwappingBack:
		return true
	}
	return false
}
