package deploy

import (
	"context"
	"time"
)

// JournalVersion is the version of the journal this program writes. A newer one
// is refused: guessing at a rollout is worse than standing still.
const JournalVersion = 1

// Journal is what the store keeps of one deployment: the state, and beside it
// the plan and the spec that do not change while the rollout runs.
type Journal struct {
	Version int `json:"version"`
	// Revision grows by one with every write; the store refuses any other.
	Revision uint64    `json:"revision"`
	Saved    time.Time `json:"saved"`
	Spec     Spec      `json:"spec"`
	Plan     Plan      `json:"plan"`
	State    State     `json:"state"`
}

// Record is a rollout that is over.
type Record struct {
	Deployment string    `json:"deployment"`
	Rollout    string    `json:"rollout"`
	Phase      Phase     `json:"phase"`
	Exit       int       `json:"exit"`
	End        string    `json:"end"`
	Who        string    `json:"who"`
	Reason     string    `json:"reason,omitempty"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Plan       Plan      `json:"plan"`
	Spec       Spec      `json:"spec"`
	State      State     `json:"state"`
}

// Store keeps the journals. It is written so that it can be shared by several
// proxies: one owner at a time, and every write carries the next revision.
type Store interface {
	// Load returns the journal of a deployment, nil when there is none, and a
	// *JournalError when there is one that must not be acted on.
	Load(ctx context.Context, deployment string) (*Journal, error)
	// Save replaces the journal. When it returns nil the bytes are on disk.
	Save(ctx context.Context, j Journal) error
	// Archive keeps the record of a rollout that is over; archiving the same rollout
	// again replaces it.
	Archive(ctx context.Context, r Record) error
	// History lists records, newest first.
	History(ctx context.Context, deployment string) ([]Record, error)
}

// JournalError means: there is a journal and it cannot be trusted. The
// deployment is served on live names and nothing is done until a person acted.
type JournalError struct {
	File string
	Why  string
	Next string // what to do
	Err  error
}

func (e *JournalError) Error() string {
	s := "journal " + e.File + ": " + e.Why
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s + "; " + e.Next
}

func (e *JournalError) Unwrap() error { return e.Err }
