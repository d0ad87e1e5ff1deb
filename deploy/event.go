package deploy

import (
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// Event is something that happened to a rollout: a result, a reading, the clock,
// or a person. When is the wall clock at the time it was fed to Step.
type Event interface {
	when() time.Time
}

// At is the time of an event.
type At struct{ Time time.Time }

func (a At) when() time.Time { return a.Time }

// Began starts the rollout the state was made for.
type Began struct{ At }

// Restarted is the first event after the journal was read.
type Restarted struct{ At }

// ClockStepped: the wall clock and the monotonic one went apart.
type ClockStepped struct {
	At
	By time.Duration
}

// Preflighted is the answer of preflight, with the ids read after it.
type Preflighted struct {
	At
	Findings []Finding
	Refs     []Ref
	Server   ServerInfo
	Err      error
}

// HandOpened opens a canary by hand, without a plan. Refs are empty when the
// server could not be asked and the person forced it.
type HandOpened struct {
	At
	Findings []Finding
	Refs     []Ref
	Server   ServerInfo
	Sample   *Readiness
	Weight   router.Weight
	Request  Request
}

// StrayFound: marks in the catalog, and no journal that explains them.
type StrayFound struct {
	At
	Marks []Mark
}

// Marks of a rollout were set, or removed.
type (
	Marked struct {
		At
		Err error
	}
	Unmarked struct {
		At
		Err error
	}
)

// Sampled is one readiness sample.
type Sampled struct {
	At
	Sample Readiness
	Server ServerInfo
	Err    error
}

// LookFor says why the ids were read.
type LookFor string

// The purposes of a look at the ids.
const (
	LookWatch   LookFor = "watch"
	LookRecover LookFor = "recover"
	LookAttempt LookFor = "attempt"
	LookConfirm LookFor = "confirm"
	LookRetry   LookFor = "retry"
	LookJudge   LookFor = "judge" // was the server well when it regressed?
)

// Looked is a reading of the ids behind all names of the rollout.
type Looked struct {
	At
	For LookFor
	// Epoch is State.Epoch when the reading began; a watch of another epoch
	// overlapped with our own change of names and says nothing.
	Epoch  uint64
	Refs   []Ref
	Server ServerInfo
	// Evidence is what was counted when the reading began: if it succeeds, the
	// server was well until then.
	Evidence *armstats.Evidence
	Foreign  map[string]int
	Took     time.Duration
	Err      error
}

// Ticked is the clock with what can be seen without asking the server.
type Ticked struct {
	At
	Elapsed   time.Duration // monotonic, since the last tick; capped
	Judgement *Judgement
	// Minimum: both arms have the evidence a timed step needs.
	Minimum bool
	// Canary and Left count sessions that are on the canary, and those that should
	// not be any more.
	Canary, Left int
	// Stuck are sessions that would spoil a gather: not at a boundary nor streaming
	// for longer than promote.gather. Blind says why nobody could be seen: then nothing
	// of the above is known.
	Stuck []SessionInfo
	Blind error
	// Silent is how long the outside watcher's look has been without an answer.
	Silent time.Duration
}

// blind: what is waited for that long is not being observed.
func (e Ticked) blind() bool { return e.Silent >= outageGrace }

// SwapPrepared is the promotion saying that the swap stands in an open transaction
// and may be committed as soon as this is in the journal.
type SwapPrepared struct {
	At
	Backend Backend
}

// Ended says how an attempt ended.
type Ended string

// The ends of an attempt. Only EndDone and EndUnknown may have changed names;
// EndUnderWay and EndNotDone stand in records only.
const (
	EndDone        Ended = "done"
	EndConflict    Ended = "conflict"     // 40001, at any point
	EndNotGathered Ended = "not_gathered" // stragglers at the end of gather
	EndBusy        Ended = "busy"         // somebody came between look and gates; nobody waited
	EndChanged     Ended = "changed"      // the ids were not the recorded ones
	EndFailed      Ended = "failed"       // any other error of the server
	EndUnavailable Ended = "unavailable"  // the server could not be asked before COMMIT was sent
	EndReadOnly    Ended = "read_only"    // the server takes no changes now
	EndStopped     Ended = "stopped"      // by a verb or by shutdown, before COMMIT
	EndUnknown     Ended = "unknown"      // COMMIT was sent and nothing proves its outcome
	EndUnderWay    Ended = "under_way"    // the COMMIT may be sent, and no end is known yet
	EndNotDone     Ended = "not_done"     // unknown at first; the ids said that it did not happen
)

// SwapEnded is the end of an attempt.
type SwapEnded struct {
	At
	End    Ended
	Record AttemptRecord
	Diff   []Change
	Err    error
}

// Resolved is what the ids said after an unknown outcome, once the lost session
// had ended and a barrier had been committed.
type Resolved struct {
	At
	Refs []Ref
	Took time.Duration
	// Stall is what sessions waited that were held for the answer after a restart.
	Stall Stall
	Err   error
}

// CensusTaken says who still uses the old version.
type CensusTaken struct {
	At
	Old    []SessionInfo
	Others []Dependent
	// Standby is nil when it was not due.
	Standby *Standby
	Err     error
}

// Notified says how many sessions on the old version are told so.
type Notified struct {
	At
	Sessions int
	Err      error
}

// Dropped is the end of one drop, proven by id before and after.
type Dropped struct {
	At
	Ref    Ref
	Users  []Dependent // who still uses it: nothing was dropped
	Diff   []Change    // the names stand for something else: nothing was dropped
	Err    error
	OldOwn []SessionInfo
}

// VerbAsked is a person's verb.
type VerbAsked struct {
	At
	Verb    Verb
	Weight  router.Weight // of VerbWeight
	Request Request
}
