package deploy

import (
	"time"

	"mzcanary/router"
)

// Status is one deployment as commands, API and page show it. Durations are
// nanoseconds in JSON.
type Status struct {
	Deployment string `json:"deployment"`
	// Revision moves with everything worth showing anew; see Controller.Changed.
	Revision uint64 `json:"revision"`
	Rollout  string `json:"rollout,omitempty"`
	Plan     string `json:"plan,omitempty"`
	Hand     bool   `json:"hand_made,omitempty"`
	// Phase is the phase as shown (paused and blocked in its place), Under the one
	// that stands still then.
	Phase    Phase  `json:"phase"`
	Under    Phase  `json:"under,omitempty"`
	Sentence string `json:"sentence"`
	// Info says what the phase means, Rollback included.
	Info PhaseInfo `json:"info"`

	Who     string    `json:"who,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Entered time.Time `json:"entered,omitzero"`

	// Weight is the published one. Sessions and Exchanges say what share the canary
	// really has, in [0,1]; negative when there is nobody to count.
	Weight         router.Weight `json:"weight"`
	Canary         string        `json:"canary"` // closed, deploy, live
	Sessions       [2]int        `json:"sessions"`
	Wanted         [2]int        `json:"wanted"`
	Unmanaged      int           `json:"unmanaged"`
	SessionShare   float64       `json:"session_share"`
	ExchangeShare  float64       `json:"exchange_share"`
	ArmUnits       [2]uint64     `json:"arm_units"`
	ArmExchanges   [2]uint64     `json:"arm_exchanges"`
	ArmBad         [2]uint64     `json:"arm_bad"`
	StableIs       string        `json:"stable_is"` // in words, as "new (prod)" after the swap
	CanaryIs       string        `json:"canary_is"` // as "old (prod_deploy_retired_…)" after it
	Pairs          []PairState   `json:"pairs,omitempty"`
	Step           *StepStatus   `json:"step,omitempty"`
	Steps          []PlanStep    `json:"steps,omitempty"`
	Ready          *ReadyStatus  `json:"ready,omitempty"`
	Judgement      *Judgement    `json:"judgement,omitempty"`
	Findings       []Finding     `json:"findings,omitempty"`
	Swap           *SwapStatus   `json:"swap,omitempty"`
	After          *AfterStatus  `json:"after,omitempty"`
	RollingBack    *BackState    `json:"rolling_back,omitempty"`
	Stop           *Stop         `json:"stop,omitempty"`
	Overdue        bool          `json:"overdue,omitempty"`
	Asked          *Asked        `json:"asked,omitempty"`
	Stragglers     []SessionInfo `json:"stragglers,omitempty"`
	Streaming      []SessionInfo `json:"streaming,omitempty"`
	Server         ServerInfo    `json:"server"`
	Down           time.Time     `json:"down,omitzero"`
	JournalProblem string        `json:"journal_problem,omitempty"`
	Recovering     string        `json:"recovering,omitempty"`

	// Exit and End are set when the rollout is over.
	Exit   int     `json:"exit"`
	End    string  `json:"end,omitempty"`
	Events []Entry `json:"events,omitempty"`
}

// StepStatus is step I of N with its clock.
type StepStatus struct {
	I        int           `json:"i"` // from 1
	N        int           `json:"n"`
	What     string        `json:"what"`
	Observed time.Duration `json:"observed"`
	Of       time.Duration `json:"of"` // bake or deadline; 0 when there is none
}

// ReadyStatus is readiness in one line.
type ReadyStatus struct {
	Readiness
	Good int `json:"good"`
	Of   int `json:"of"`
	// Waited counts against Within.
	Waited time.Duration `json:"waited"`
	Within time.Duration `json:"within"`
}

// SwapStatus is the promotion in numbers.
type SwapStatus struct {
	Stage     Stage           `json:"stage,omitempty"`
	Attempts  int             `json:"attempts"` // that closed gates
	Of        int             `json:"of"`
	Tries     int             `json:"tries"`
	Conflicts int             `json:"conflicts"`
	History   []AttemptRecord `json:"history,omitempty"`
	// Record is the attempt that did it; Wasted the longest stall of those that failed.
	Record     *AttemptRecord `json:"record,omitempty"`
	Wasted     time.Duration  `json:"wasted"`
	Statements []string       `json:"statements,omitempty"`
	Foreign    map[string]int `json:"foreign,omitempty"`
}

// AfterStatus is window, drain and cleanup in numbers.
type AfterStatus struct {
	Swapped  time.Time     `json:"swapped"`
	Observed time.Duration `json:"observed"`
	Of       time.Duration `json:"of"`
	Drained  time.Duration `json:"drained"`
	DrainFor time.Duration `json:"drain_for"`
	Settle   time.Duration `json:"settle,omitempty"`
	Old      []SessionInfo `json:"old,omitempty"`
	Others   []Dependent   `json:"others,omitempty"`
	Drops    []Ref         `json:"drops,omitempty"`
	Dropped  int           `json:"dropped"`
}
