package deploy

import (
	"time"

	"mzcanary/router"
)

// Policy is what a rollout does by itself when something goes another way than
// hoped.
type Policy string

// The policies. Each field of Plan says which of them it accepts.
const (
	PolicyRollback Policy = "rollback"
	PolicyStepBack Policy = "step_back"
	PolicyTakeBack Policy = "take_back"
	PolicyPause    Policy = "pause"
	PolicyWait     Policy = "wait"
	PolicyAsk      Policy = "ask"
)

// Ways to perform the swap (Promote.Method).
const (
	MethodSwap   = "swap"
	MethodRename = "rename"
)

// What to do with those who are in the way (Promote.Stragglers, Drain.Then).
const (
	ThenWait      = "wait"
	ThenTerminate = "terminate"
)

// Plan is everything that decides how one rollout goes. It is fixed when the
// rollout starts and lies in the journal. Durations are nanoseconds in JSON.
type Plan struct {
	// Name is the preset's name, or "custom".
	Name    string     `json:"name"`
	Steps   []PlanStep `json:"steps"`
	Minimum Minimum    `json:"minimum"`

	Ready ReadyPlan   `json:"ready"`
	Judge JudgeConfig `json:"judge"`

	// OnRegress: rollback, step_back or pause.
	OnRegress Policy `json:"on_regress"`
	// OnUnready is for a canary that loses its readiness while it carries traffic:
	// take_back (weight 0 until it is ready again, then the step from its start),
	// rollback or wait.
	OnUnready Policy `json:"on_unready"`
	// OnUndecided, at a step's deadline: wait, ask or rollback.
	OnUndecided Policy `json:"on_undecided"`
	// OnInsufficient, after the step was extended once: ask, wait or rollback.
	OnInsufficient Policy `json:"on_insufficient"`

	OnRollback OnRollback  `json:"on_rollback"`
	Promote    PromotePlan `json:"promote"`
	Window     WindowPlan  `json:"window"`
	Drain      DrainPlan   `json:"drain"`
}

// PlanStep is one step of a plan. Exactly one of its kinds is set: a timed step has
// Bake, a judged one Until, an approval Approve (alone or after a bake), and the
// last one Promote. A step that has none passes at once.
type PlanStep struct {
	Weight router.Weight `json:"weight"`
	// Bake is observed, healthy time at this weight.
	Bake time.Duration `json:"bake,omitempty"`
	// Until is "safe" or "".
	Until string `json:"until,omitempty"`
	// Within bounds Until; zero means no deadline.
	Within  time.Duration `json:"within,omitempty"`
	Approve *Approve      `json:"approve,omitempty"`
	Promote bool          `json:"promote,omitempty"`
}

// Approve asks a person. Within is the deadline; afterwards the rollout is paused.
type Approve struct {
	Within time.Duration `json:"within"`
}

// ReadyPlan says when the new version counts as ready, and how often to look.
type ReadyPlan struct {
	MaxLag time.Duration `json:"max_lag"`
	// Within bounds hydrating, and how long a rollout waits for lost readiness.
	Within time.Duration `json:"within"`
	Poll   time.Duration `json:"poll"`
	// Consecutive good samples are needed, and as many bad ones of the mild kind
	// (lag) to lose readiness; a lost replica or hydration counts at once.
	Consecutive int           `json:"consecutive"`
	AllReplicas bool          `json:"all_replicas"`
	Probe       time.Duration `json:"probe"`
}

func (r ReadyPlan) options() ReadyOptions {
	return ReadyOptions{MaxLag: r.MaxLag, AllReplicas: r.AllReplicas, Probe: r.Probe}
}

// OnRollback bounds what never reaches a boundary by itself. Zero switches a
// measure off.
type OnRollback struct {
	CancelAfter     time.Duration `json:"cancel_after"`
	EndStreamsAfter time.Duration `json:"end_streams_after"`
}

// PromotePlan is how the swap is made.
type PromotePlan struct {
	Method string `json:"method"` // MethodSwap or MethodRename
	Fence  bool   `json:"fence"`
	// Gather bounds how long closed gates wait for everybody to reach a boundary.
	Gather time.Duration `json:"gather"`
	// MaxStall bounds the whole stall, from the first gate closed to release.
	MaxStall time.Duration `json:"max_stall"`
	// Attempts that closed gates, before a person is asked.
	Attempts int `json:"attempts"`
	// Patience bounds how long to look for a moment without long transactions.
	Patience time.Duration `json:"patience"`
	// Stragglers, after the last attempt: ThenWait or ThenTerminate.
	Stragglers string `json:"stragglers"`
}

// WindowPlan is the time in which rollback swaps back.
type WindowPlan struct {
	For time.Duration `json:"for"` // healthy, observed time
}

// DrainPlan is how sessions on the old version are waited for.
type DrainPlan struct {
	For  time.Duration `json:"for"`
	Then string        `json:"then"` // ThenTerminate or ThenWait
	// Settle is the observed healthy time after a restart or a clock step before
	// anything may be dropped.
	Settle time.Duration `json:"settle"`
}

// DefaultPlan is the plan of the annotated configuration, without its steps.
func DefaultPlan() Plan {
	return Plan{
		Name:    "custom",
		Minimum: Minimum{Units: 3, Exchanges: 100},
		Ready: ReadyPlan{MaxLag: 5 * time.Second, Within: time.Hour, Poll: 5 * time.Second,
			Consecutive: 3, Probe: 5 * time.Second},
		OnRegress:      PolicyRollback,
		OnUnready:      PolicyTakeBack,
		OnUndecided:    PolicyWait,
		OnInsufficient: PolicyAsk,
		OnRollback:     OnRollback{CancelAfter: 5 * time.Second, EndStreamsAfter: 30 * time.Second},
		Promote: PromotePlan{Method: MethodSwap, Fence: true, Gather: time.Second, MaxStall: 5 * time.Second,
			Attempts: 5, Patience: 10 * time.Minute, Stragglers: ThenWait},
		Window: WindowPlan{For: time.Hour},
		Drain:  DrainPlan{For: 10 * time.Minute, Then: ThenTerminate, Settle: 10 * time.Minute},
	}
}
