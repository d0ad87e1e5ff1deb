package deploy

import "fmt"

// The exit codes of the commands. One table, used by the API, the CLI and CI.
const (
	ExitDone        = 0
	ExitUsage       = 1
	ExitConnect     = 2
	ExitRefused     = 3
	ExitNotReady    = 4
	ExitRegress     = 5
	ExitRolledBack  = 6
	ExitHuman       = 7
	ExitRace        = 8
	ExitInterrupted = 130
)

// Refusal is the answer to something that was asked and not done: no state was
// changed. Exit is the code a command ends with, Sentence says why, Next is the
// command that would help, or "".
type Refusal struct {
	Exit     int       `json:"exit"`
	Sentence string    `json:"sentence"`
	Next     string    `json:"next,omitempty"`
	Findings []Finding `json:"findings,omitempty"`
}

func (r *Refusal) Error() string {
	if r.Next == "" {
		return r.Sentence
	}
	return r.Sentence + " (next: " + r.Next + ")"
}

func refusal(exit int, next, format string, args ...any) *Refusal {
	return &Refusal{Exit: exit, Sentence: fmt.Sprintf(format, args...), Next: next}
}
