package deploy

import (
	"time"

	"mzcanary/router"
)

// Status is one deployment as commands and API show it. Durations are
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

	// Weight is the published one. SessionShare and ExchangeShare say what share the
	// canary really has, in [0,1], negative when there is nobody to count. Like the
	// weight they are of sessions that follow it: those counted under Fixed, which are
	// part of Sessions and Wanted, are left out of both.
	Weight         router.Weight `json:"weight"`
	Canary         string        `json:"canary"` // closed, deploy, live
	Sessions       [2]int        `json:"sessions"`
	Wanted         [2]int        `json:"wanted"`
	Fixed          [2]int        `json:"fixed"`
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
	DownWhy        string        `json:"down_why,omitempty"`
	JournalProblem string        `json:"journal_problem,omitempty"`
	Recovering     string        `json:"recovering,omitempty"`

	// Marked: our marks are on the paired objects. While a rollout that is over is
	// still marked it is not in the history, and another one cannot start.
	Marked bool `json:"marked,omitempty"`
	// Granted are the rights this rollout has given, which a rollback takes back.
	Granted []Grant `json:"granted,omitempty"`
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
	// Lacks says what the step still waits for, in the judge's words.
	Lacks string `json:"lacks,omitempty"`
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
	// Record is the attempt that did it; Wasted what sessions waited in those that did
	// not.
	Record     *AttemptRecord `json:"record,omitempty"`
	Wasted     Stall          `json:"wasted"`
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
	Notified int           `json:"notified,omitempty"` // by NOTICE, as the drain began
	Old      []SessionInfo `json:"old,omitempty"`
	Others   []Dependent   `json:"others,omitempty"`
	// Standby is what goes on running for the old version, and what outside of it is
	// built on it and not accepted; nil before it was read and when all is gone.
	Standby *Standby `json:"standby,omitempty"`
	Drops   []Ref    `json:"drops,omitempty"`
	Dropped int      `json:"dropped"`
}

// status puts the published copies into one picture; it asks nobody.
func (r *runner) status() Status {
	v := &r.view
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &v.state
	routing := s.routing()
	out := Status{
		Deployment: s.Deployment, Revision: v.revision, Rollout: s.Rollout, Hand: s.Hand,
		Phase: s.Shown(), Info: s.Phase.Info(),
		Who: s.Who, Reason: s.Reason, Started: s.Started, Entered: s.Entered,
		Weight: routing.Weight, Canary: routing.Canary.String(),
		Sessions: v.survey.Sessions, Wanted: v.survey.Wanted, Fixed: v.survey.Fixed, Unmanaged: v.survey.Unmanaged,
		Pairs: s.Pairs, Judgement: s.Judgement, Findings: s.Findings,
		Stop: s.Stop, Asked: s.Ramp.Asked, Streaming: v.survey.Streaming, Stragglers: v.survey.Stragglers,
		Server: s.Server, Down: s.Down, DownWhy: s.DownWhy, JournalProblem: v.problem,
		Marked: s.closing() || s.Marked, Granted: s.Granted, Exit: s.Exit, End: s.End, Events: s.Log,
	}
	if s.Stop != nil {
		out.Under = s.Phase
		out.Overdue = r.c.opts.Clock().After(s.Stop.Deadline)
	}
	if s.Recovering {
		out.Recovering = "the catalog was not read yet after the start; sessions are on live names"
	}
	out.shares(v)
	out.words(s, v.spec)
	out.progress(s, v.plan)
	out.lacks(s, v)
	out.Sentence = sentenceOf(s, v.plan)
	return out
}

// lacks asks the judge what the running step waits for.
func (o *Status) lacks(s *State, v *view) {
	if o.Step == nil || s.Judgement == nil || s.Phase != PhaseRamping || s.Weight == 0 || s.Ramp.Step >= len(v.plan.Steps) {
		return
	}
	st := v.plan.Steps[s.Ramp.Step]
	switch {
	case st.Until != "" && s.Judgement.Verdict != Safe:
		o.Step.Lacks = s.Judgement.Sentence
	case st.Bake > 0:
		_, o.Step.Lacks = Advance(*s.Judgement, v.plan.judge(), MinimumMet(v.evidence, v.plan.judge()), s.Ramp.Observed >= st.Bake)
	}
}

// shares compares what is wanted with what is: by sessions and by exchanges.
func (o *Status) shares(v *view) {
	o.SessionShare, o.ExchangeShare = -1, -1
	stableNow, canaryNow := o.Following()
	if n := stableNow + canaryNow; n > 0 {
		o.SessionShare = float64(canaryNow) / float64(n)
	}
	if v.state.Rollout == "" || v.evidence.Rollout != v.state.Rollout {
		return
	}
	for a, arm := range v.evidence.Arms {
		o.ArmUnits[a], o.ArmExchanges[a], o.ArmBad[a] = arm.Units, arm.Exchanges, arm.Bad.Total()
	}
	at := v.evidence.Exposed(o.Weight)
	stable, canary := at.Arms[router.Stable].Total(), at.Arms[router.Canary].Total()
	if stable+canary > 0 {
		o.ExchangeShare = float64(canary) / float64(stable+canary)
	}
}

// Following counts the sessions that follow the weight, by the arm they have.
func (o *Status) Following() (stable, canary int) {
	return o.Sessions[router.Stable] - o.Fixed[router.Stable], o.Sessions[router.Canary] - o.Fixed[router.Canary]
}

// words names both versions as they stand: stable and canary mislead after the swap.
// Without a rollout, or one that is known, the configuration names them.
func (o *Status) words(s *State, spec Spec) {
	pairs := s.Pairs
	if len(pairs) == 0 {
		pairs = plainPairs(spec, false, "")
	}
	if len(pairs) == 0 {
		return
	}
	p := pairs[0]
	switch s.Names {
	case NamesAfter:
		o.StableIs, o.CanaryIs = "new ("+p.Live+")", "old ("+p.Retired+")"
		if s.Phase == PhaseDone {
			o.CanaryIs = "old (dropped)"
		}
	case NamesBack:
		o.StableIs, o.CanaryIs = "old ("+p.Live+")", "new ("+p.Rejected+"), rejected"
	default:
		o.StableIs, o.CanaryIs = "stable ("+p.Live+")", "canary ("+p.Deploy+")"
	}
}

// progress fills in the parts that belong to the phase.
func (o *Status) progress(s *State, plan Plan) {
	if s.Rollout == "" {
		return
	}
	if o.Plan = plan.Name; !s.Hand {
		o.Steps = plan.Steps
	}
	if i := s.Ramp.Step; !s.Hand && i < len(plan.Steps) && (s.Phase == PhaseRamping || s.Phase == PhasePromoting) {
		st := plan.Steps[i]
		o.Step = &StepStatus{I: i + 1, N: len(plan.Steps), What: st.String(), Observed: s.Ramp.Observed, Of: max(st.Bake, st.Within)}
	}
	if s.Ready.Last != nil {
		o.Ready = &ReadyStatus{Readiness: *s.Ready.Last, Good: s.Ready.Good, Of: plan.Ready.Consecutive, Waited: s.Ready.Waited, Within: plan.Ready.Within}
	}
	if s.Swap.Stage != StageNone || s.Swap.Tries > 0 || len(s.Swap.History) > 0 {
		o.Swap = &SwapStatus{Stage: s.Swap.Stage, Attempts: s.Swap.Attempts, Of: plan.Promote.Attempts, Tries: s.Swap.Tries,
			Conflicts: s.Swap.Conflicts, History: s.Swap.History, Record: s.Swap.Record, Statements: s.Swap.Statements, Foreign: s.Swap.Foreign,
			Wasted: s.Swap.Wasted.Stall}
		if len(s.Swap.Stragglers) > 0 {
			o.Stragglers = s.Swap.Stragglers
		}
	}
	if !s.After.Swapped.IsZero() {
		o.After = &AfterStatus{Swapped: s.After.Swapped, Observed: s.After.Observed, Of: plan.Window.For, Drained: s.After.Drained,
			DrainFor: plan.Drain.For, Settle: s.After.Settle, Notified: s.After.Notified, Old: s.After.Old, Others: s.After.Others, Standby: s.standby(), Drops: s.drops(), Dropped: s.After.Dropped}
	}
	if s.Back.Cause != "" {
		back := s.Back
		o.RollingBack = &back
	}
}
