package deploy

import (
	"context"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// Routing is what the controller publishes about one deployment: published
// values with an epoch, so that N proxies can follow the same ones.
type Routing struct {
	Weight router.Weight
	Canary router.CanaryState
	Salt   uint64
	// Swaps counts committed swaps of this deployment, forwards and back.
	Swaps uint64
}

// Place is where a session stood when it was asked, or why it cannot be held.
type Place string

// The places of a session at a hold, in the words of the cut-over.
const (
	AtBoundary Place = "at boundary" // held
	Streaming  Place = "streaming"   // planned already, runs on by id, untouched by a swap
	Busy       Place = "busy"        // transaction open, exchange in flight, COPY in, half a message sent
	Untracked  Place = "unknown"     // the tracker does not understand it
	Starting   Place = "starting"    // logging in; its gate is born closed
)

// SessionInfo is one session as the controller sees it.
type SessionInfo struct {
	ID          string        `json:"id"`
	Backend     uint32        `json:"backend"` // the server's id of its connection
	User        string        `json:"user"`
	Database    string        `json:"database"`
	Application string        `json:"application_name"`
	Client      string        `json:"client"`
	Arm         router.Arm    `json:"arm"`
	Fixed       string        `json:"fixed,omitempty"`
	Place       Place         `json:"place"`
	Why         string        `json:"why"` // why it is not at a boundary or not moved, in words
	Statement   string        `json:"statement,omitempty"`
	Age         time.Duration `json:"age"`      // of the current exchange or transaction
	Moved       bool          `json:"moved"`    // have equals want
	OldVersion  bool          `json:"old"`      // its running exchange or transaction began before the last swap, on the version that is old now
	Prepared    bool          `json:"prepared"` // it may have named prepared statements
	Connected   time.Duration `json:"connected"`
}

// Survey is a look at one deployment's sessions without closing any gate.
type Survey struct {
	Epoch    uint64
	Sessions [2]int // managed, by the arm they have
	// Wanted counts sessions by the arm they should be on.
	Wanted [2]int
	// Fixed counts, of Sessions, those that do not follow the weight.
	Fixed      [2]int
	Unmanaged  int
	Stragglers []SessionInfo // not at a boundary and not streaming
	Streaming  []SessionInfo
	Old        []SessionInfo // still on the version that was replaced
}

// HoldReport answers a hold: who is at a boundary, who streams, who is in the way.
type HoldReport struct {
	Held       int
	Streaming  []SessionInfo
	Stragglers []SessionInfo
	// Gathered is how long it took from the first gate closed until the report.
	Gathered time.Duration
}

// Complete reports whether nobody is in the way.
func (r HoldReport) Complete() bool { return len(r.Stragglers) == 0 }

// Stall sums up what the clients of one hold had to wait.
type Stall struct {
	Sessions int           `json:"sessions"` // that had a message waiting
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	// Waits are those of the sessions one by one, for histograms; not journaled.
	Waits []time.Duration `json:"-"`
}

// Hold is a lease on closed gates. It releases by itself when the lease runs
// out, unless it was told that a COMMIT is out (Pin).
type Hold interface {
	Generation() uint64
	// Gather waits until every session is at a boundary or streaming, or until the
	// context ends, and reports either way.
	Gather(ctx context.Context) HoldReport
	// Pin keeps the lease from expiring while a COMMIT is out; bounded by the
	// caller's own max_stall, after which Release must be called. It reports false
	// when the lease had run out before: the gates are open, and a COMMIT now would
	// meet sessions that nobody holds.
	Pin() bool
	// Release opens the gates, spread over a few milliseconds, and reports.
	// Releasing twice is harmless.
	Release() Stall
}

// Which selects sessions for End and Cancel.
type Which struct {
	Arm      *router.Arm
	IDs      []string
	Old      bool          // only those on the replaced version
	Streams  bool          // only streaming ones
	MinAge   time.Duration // of the exchange
	AwayFrom bool          // only those whose have is not their want
}

// Traffic is the data plane as the controller sees it, written so that it can be
// N proxies: weights are published values with an epoch, a hold is a lease with
// a generation.
type Traffic interface {
	// Route publishes and returns the new epoch.
	Route(ctx context.Context, deployment string, r Routing) (uint64, error)
	Survey(ctx context.Context, deployment string) (Survey, error)
	// Sessions lists everybody, unmanaged ones too, for census and display.
	Sessions(ctx context.Context, deployment string) ([]SessionInfo, error)
	Hold(ctx context.Context, deployment string, lease time.Duration) (Hold, error)
	// End closes sessions with FATAL 57P01 and the sentence where the protocol
	// allows one; it returns how many.
	End(ctx context.Context, deployment string, which Which, sentence string) (int, error)
	// Notify sends sessions a NOTICE with the sentence, between two messages of what
	// goes to the client, and returns how many they are.
	Notify(ctx context.Context, deployment string, which Which, sentence string) (int, error)
	// Cancel sends the server a cancel for the running statements.
	Cancel(ctx context.Context, deployment string, which Which) (int, error)
	// Backends lists the server's ids of all proxied connections.
	Backends(ctx context.Context) ([]uint32, error)

	// BeginEvidence starts counting for a new rollout; RestoreEvidence puts back
	// counters from the journal, or discards an interval by restoring what was
	// there before it.
	BeginEvidence(ctx context.Context, deployment string, rollout string) error
	RestoreEvidence(ctx context.Context, deployment string, e armstats.Evidence) error
	Evidence(ctx context.Context, deployment string) (armstats.Evidence, error)
}
