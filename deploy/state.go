package deploy

import (
	"maps"
	"slices"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// State is one rollout as the journal keeps it. It is a value: Step takes one
// and returns the next. Everything a restart needs is in it, together with the
// Plan and the Spec that the journal keeps beside it.
type State struct {
	Deployment string `json:"deployment"`
	Database   string `json:"database"`
	// Rollout is the id, "" when no rollout was ever started.
	Rollout string `json:"rollout,omitempty"`
	Phase   Phase  `json:"phase"`
	// Stop is set while the rollout stands still: paused or blocked.
	Stop *Stop `json:"stop,omitempty"`
	// Hand marks a canary that was opened by `traffic set`, without a plan.
	Hand bool `json:"hand,omitempty"`
	// TakeOver lets preflight pass over the marks of another rollout.
	TakeOver bool `json:"take_over,omitempty"`
	// Fix: rights that preflight misses are given. Granted are those that were, or
	// may have been; Fixes counts how often that was tried. Revoke are those that are
	// still to be taken back now that the rollout is over, in their order.
	Fix     bool    `json:"fix,omitempty"`
	Fixes   int     `json:"fixes,omitempty"`
	Granted []Grant `json:"granted,omitempty"`
	Giving  bool    `json:"-"` // a job of this process is giving them
	Revoke  []Grant `json:"revoke,omitempty"`

	Who     string    `json:"who"`
	Reason  string    `json:"reason,omitempty"`
	Started time.Time `json:"started"`
	Entered time.Time `json:"entered"` // when the phase was entered
	// Seq counts decisions; the journal is written whenever it moves.
	Seq uint64 `json:"seq"`

	// Salt, Swaps and Weight are what is published to the router. Swaps counts the
	// committed swaps of the deployment over all rollouts.
	Salt   uint64        `json:"salt"`
	Swaps  uint64        `json:"swaps"`
	Weight router.Weight `json:"weight"`

	// Pairs are the names and the ids recorded behind them by preflight.
	Pairs []PairState `json:"pairs,omitempty"`
	// Names says which of them stand for what; it moves only with proof.
	Names  Standing   `json:"names,omitempty"`
	Server ServerInfo `json:"server"`
	// Marked: marks may be on the paired objects and must be removed at the end.
	Marked   bool      `json:"marked,omitempty"`
	Findings []Finding `json:"findings,omitempty"`

	Ready ReadyState `json:"ready"`
	Ramp  RampState  `json:"ramp"`
	Swap  SwapState  `json:"swap"`
	Back  BackState  `json:"back"`
	After AfterState `json:"after"`

	// Evidence is the last that was seen while the server was known to be well.
	Evidence  *armstats.Evidence `json:"evidence,omitempty"`
	Judgement *Judgement         `json:"judgement,omitempty"`

	// Down is since when the control connections cannot ask the server, DownFor how
	// much of that was observed, DownWhy the last error and DownMend what mends it;
	// zero while they can. LastLook is when the catalog was last read and found as
	// recorded.
	Down     time.Time     `json:"down,omitzero"`
	DownFor  time.Duration `json:"down_for,omitempty"`
	DownWhy  string        `json:"down_why,omitempty"`
	DownMend string        `json:"down_mend,omitempty"`
	LastLook time.Time     `json:"last_look,omitzero"`
	// Unwell says why the server is not trusted: it restarted, or could not be asked
	// for long. It stays until the server has proven itself, whatever else the
	// rollout stands still for.
	Unwell string `json:"unwell,omitempty"`
	// Refused counts, by what was asked, how often in a row the server said no.
	Refused map[string]int `json:"refused,omitempty"`
	// Epoch moves when we change names ourselves, so that a reading of the catalog
	// that overlaps with it is not taken for interference.
	Epoch uint64 `json:"epoch"`
	// Recovering: after a restart the catalog has not been read yet.
	Recovering bool `json:"-"`
	// DropNew: the new version is dropped at the end of an abort before the swap.
	DropNew bool `json:"drop_new,omitempty"`
	// Pending is a read or an act that failed and is done again in RetryIn; Retries
	// counts how often it was.
	Pending ActionKind    `json:"pending,omitempty"`
	Retries int           `json:"retries,omitempty"`
	RetryIn time.Duration `json:"retry_in,omitempty"`
	// Stray are marks found in the catalog without a journal.
	Stray []Mark `json:"stray,omitempty"`

	// Exit and End are set when the rollout is over: the exit code of a command
	// that waited for it, and the sentence.
	Exit int    `json:"exit"`
	End  string `json:"end,omitempty"`

	Log []Entry `json:"log,omitempty"`
}

// PairState is one pair with the ids recorded before anything was changed. After
// the swap the old version (LiveID) stands under Retired.
type PairState struct {
	Kind     Kind   `json:"kind"`
	Type     string `json:"type,omitempty"` // of an object: view, table, …
	Live     string `json:"live"`
	Deploy   string `json:"deploy"`
	LiveID   string `json:"live_id"`
	DeployID string `json:"deploy_id"`
	// Retired is where the old version stands after the swap.
	Retired string `json:"retired"`
	// Rejected is where the new version stands after swapping back.
	Rejected string `json:"rejected,omitempty"`
}

// Stop says why a rollout stands still, whose move it is, until when, and what
// to type.
type Stop struct {
	Kind   Phase     `json:"kind"` // PhasePaused or PhaseBlocked
	Cause  Cause     `json:"cause"`
	Reason string    `json:"reason"`
	Owner  string    `json:"owner"`
	Since  time.Time `json:"since"`
	// Deadline is when the stop counts as overdue: status, log and metrics say so;
	// nothing is done by itself.
	Deadline time.Time `json:"deadline"`
	Next     string    `json:"next"`
	// Auto: it ends by itself when its cause has gone.
	Auto bool `json:"auto,omitempty"`
	// Live: everybody was sent to live names until it is resolved.
	Live bool     `json:"live_names,omitempty"`
	Diff []Change `json:"diff,omitempty"`
	Exit int      `json:"exit"`
	// Asks, when set, is what the server refuses to say or do; the stop ends by itself
	// when it no longer does.
	Asks string `json:"asks,omitempty"`
}

// Cause is the closed list of reasons to stand still; a metric label.
type Cause string

// The causes of a Stop.
const (
	CauseHand         Cause = "hand"         // somebody said pause, or set the weight
	CauseUpstream     Cause = "upstream"     // the server restarted, or cannot be asked
	CauseStragglers   Cause = "stragglers"   // attempts or patience used up
	CauseConflict     Cause = "conflict"     // the catalog never stood still long enough
	CausePlanEnd      Cause = "plan_end"     // the plan has no promote step and is at its end
	CauseApproval     Cause = "approval"     // an approval expired
	CauseInsufficient Cause = "insufficient" // not enough evidence, a person is asked
	CauseUndecided    Cause = "undecided"    // no verdict in time, a person is asked
	CauseRegress      Cause = "regress"      // on_regress: pause or step_back
	CauseInterference Cause = "interference" // somebody changed our names
	CauseError        Cause = "error"        // the server refused what we asked of it
	CauseCleanup      Cause = "cleanup"      // cleanup is by hand
	CauseInUse        Cause = "in_use"       // the old version is still used
	CauseJournal      Cause = "journal"      // marks without a journal, or no usable journal
)

// Change is one line of the diff of names and ids: what was recorded, and what
// stands there now ("" for nothing).
type Change struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// ReadyState is the running account of readiness samples.
type ReadyState struct {
	Good int `json:"good"`
	Bad  int `json:"bad"`
	// Waited is observed time spent hydrating, or since readiness was lost.
	Waited time.Duration `json:"waited"`
	Last   *Readiness    `json:"last,omitempty"`
	// Age is observed time since Last was taken.
	Age time.Duration `json:"age,omitempty"`
}

// RampState is where the plan stands.
type RampState struct {
	Step    int       `json:"step"`
	Entered time.Time `json:"entered"`
	// Observed is healthy, observed time in this step.
	Observed time.Duration `json:"observed"`
	Extended bool          `json:"extended,omitempty"`
	// Asked is set while the step waits for an approval; Approved once it came.
	Asked    *Asked        `json:"asked,omitempty"`
	Approved bool          `json:"approved,omitempty"`
	Safe     router.Weight `json:"safe"` // of the last step that passed
	// TakenBack: the weight is 0 because readiness was lost; Taken is what it was.
	TakenBack bool          `json:"taken_back,omitempty"`
	Taken     router.Weight `json:"taken,omitempty"`
	// Regress: the judge said regress and the policy was not rollback. Accepted: a
	// person said to go on all the same.
	Regress  bool `json:"regress,omitempty"`
	Accepted bool `json:"accepted,omitempty"`
	// Suspect is what the judge said of a regress that is not believed yet: first a
	// look that began after it must show that the server was well.
	Suspect string `json:"suspect,omitempty"`
}

// Asked is a question to a person with its deadline.
type Asked struct {
	Question string    `json:"question"`
	Owner    string    `json:"owner"`
	Since    time.Time `json:"since"`
	Deadline time.Time `json:"deadline"`
	Next     string    `json:"next"`
	// Left is how much observed time the person still has; Deadline follows it.
	Left time.Duration `json:"left"`
}

// Stage is where a promotion, or a swap back, stands.
//
//	patience ─▶ looking ─▶ preparing ─▶ prepared ─▶ (done)
//	   ▲                      │            │ unknown
//	   └──── backoff ◀─ not done           ▼
//	                 ◀─ ids old ────── resolving ─ ids new ─▶ (done)
type Stage string

// The stages. Before StagePrepared is in the journal no COMMIT is sent; from
// then on only the ids in the catalog can say what happened.
const (
	StageNone      Stage = ""
	StagePatience  Stage = "patience"
	StageLooking   Stage = "looking"
	StagePreparing Stage = "preparing"
	StagePrepared  Stage = "prepared"
	StageResolving Stage = "resolving"
	StageBackoff   Stage = "backoff"
)

// active reports whether a DDL transaction of ours may be open or committing.
func (s Stage) active() bool {
	return s == StagePreparing || s == StagePrepared || s == StageResolving
}

// SwapState is the promotion, or the swap back, that is running or was the last.
type SwapState struct {
	Stage Stage `json:"stage,omitempty"`
	// Serial numbers the attempts of the whole rollout, swapping back included: a
	// record of the history is found by it.
	Serial int `json:"serial,omitempty"`
	// Tries counts transactions opened, Attempts those that closed gates.
	Tries     int `json:"tries"`
	Attempts  int `json:"attempts"`
	Conflicts int `json:"conflicts"`
	// Impatient: a person asked for the swap now; patience is skipped once.
	Impatient  bool          `json:"impatient,omitempty"`
	Waited     time.Duration `json:"waited"` // of the patience
	Backoff    time.Duration `json:"backoff,omitempty"`
	Statements []string      `json:"statements,omitempty"`
	Backend    Backend       `json:"backend,omitzero"`
	Stragglers []SessionInfo `json:"stragglers,omitempty"`
	// Wish is a verb that came while the attempt could not be stopped; WishDrop, of
	// an abort, that the new version is to be dropped with it.
	Wish     Verb            `json:"wish,omitempty"`
	WishWho  string          `json:"wish_who,omitempty"`
	WishDrop bool            `json:"wish_drop,omitempty"`
	History  []AttemptRecord `json:"history,omitempty"`
	// Record is the attempt that did it; Wasted is what sessions waited in attempts
	// that did not, of the whole rollout.
	Record    *AttemptRecord `json:"record,omitempty"`
	Wasted    Wasted         `json:"wasted,omitzero"`
	Confirmed bool           `json:"confirmed,omitempty"`
	// Foreign counts sessions by role that no hold protected.
	Foreign map[string]int `json:"foreign,omitempty"`
}

// AttemptRecord is what one attempt cost and how it ended.
type AttemptRecord struct {
	Try  int       `json:"try"` // SwapState.Serial of the attempt
	At   time.Time `json:"at"`
	Back bool      `json:"back,omitempty"`
	// Outcome is final unless it is EndUnderWay or EndUnknown. After an unknown one
	// the ids make it EndDone or EndNotDone, and Resolve says how long that took.
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	// Held: gates were closed. Prepare, Gather, Commit and Resolve are durations of
	// the steps; Stall is what clients waited.
	Held       bool          `json:"held"`
	Prepare    time.Duration `json:"prepare"`
	Gather     time.Duration `json:"gather"`
	Commit     time.Duration `json:"commit"`
	Resolve    time.Duration `json:"resolve,omitempty"`
	Closed     time.Duration `json:"closed"` // first gate closed to release
	Stall      Stall         `json:"stall"`
	Streaming  []SessionInfo `json:"streaming,omitempty"`
	Stragglers []SessionInfo `json:"stragglers,omitempty"`
}

// BackState is a rollback on its way.
type BackState struct {
	Cause     string        `json:"cause,omitempty"` // regress, unready, undecided, insufficient, hand, abort
	Why       string        `json:"why,omitempty"`
	Waited    time.Duration `json:"waited"`
	Cancelled bool          `json:"cancelled,omitempty"`
	Ended     bool          `json:"ended,omitempty"`
	// Left counts sessions that still have to come back.
	Left int `json:"left"`
	// Exit and Sentence are what the rollout will end with.
	Exit     int    `json:"exit"`
	Sentence string `json:"sentence,omitempty"`
	// Final is the phase it ends in.
	Final Phase `json:"final,omitempty"`
}

// AfterState is everything after the swap: window, draining, cleaning.
type AfterState struct {
	Swapped  time.Time     `json:"swapped,omitzero"`
	Observed time.Duration `json:"observed"`
	Drained  time.Duration `json:"drained"`
	// Notified counts sessions on the old version that were sent a NOTICE as the drain
	// began.
	Notified int `json:"notified,omitempty"`
	// Terminated: sessions on the old version were told to go.
	Terminated bool          `json:"terminated,omitempty"`
	Old        []SessionInfo `json:"old,omitempty"`
	Others     []Dependent   `json:"others,omitempty"`
	// Standby is what the old version costs and who is built on it, as last read;
	// replaced whole.
	Standby *Standby `json:"standby,omitempty"`
	// Cleanup: a person confirmed the cleanup (needed when fence is off).
	Cleanup bool `json:"cleanup,omitempty"`
	// Settle is observed healthy time still to pass before anything is dropped.
	Settle time.Duration `json:"settle,omitempty"`
	// Dropped counts the drops that are proven; Dropping is the intent to do the next.
	Dropped  int  `json:"dropped"`
	Dropping bool `json:"dropping,omitempty"`
}

// Entry is one line of the rollout's log: who did what, when and why, and what the
// routing was from then on. Every change of weight or canary has a line, so that the
// log is the history of the routing too.
type Entry struct {
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"`
	Why  string    `json:"why,omitempty"`
	// Weight and Canary are as in [Status]. Canary is empty in lines of journals that
	// did not know it yet.
	Weight router.Weight `json:"weight"`
	Canary string        `json:"canary,omitempty"`
}

// controller is the name under which the rollout acts by itself.
const controller = "controller"

// maxLog bounds the log; the first entries stay, because they say who started it.
const maxLog = 200

// Shown is the phase as people see it: paused and blocked take its place.
func (s *State) Shown() Phase {
	if s.Stop != nil {
		return s.Stop.Kind
	}
	return s.Phase
}

// Running reports whether a rollout is going on.
func (s *State) Running() bool { return !s.Phase.Final() }

func (s *State) note(at time.Time, who, what, why string) {
	if n := len(s.Log); n >= maxLog {
		s.Log = slices.Delete(s.Log, 20, 21)
	}
	s.Log = append(s.Log, Entry{At: at, Who: who, What: what, Why: why})
}

// clone copies what Step changes in place. Slices that are only ever replaced
// whole (findings, session lists, statements) are shared.
func (s State) clone() State {
	s.Log = slices.Clone(s.Log)
	s.Pairs = slices.Clone(s.Pairs)
	s.Swap.History = slices.Clone(s.Swap.History)
	s.Swap.Wasted.Spread = maps.Clone(s.Swap.Wasted.Spread)
	if s.Stop != nil {
		stop := *s.Stop
		s.Stop = &stop
	}
	if s.Ramp.Asked != nil {
		asked := *s.Ramp.Asked
		s.Ramp.Asked = &asked
	}
	return s
}
