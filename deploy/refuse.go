package deploy

import "fmt"

// The exit codes of the commands, for the API, the command line and CI. What
// they mean is in ExitMeanings, whose words the help and docs/guide.md use.
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

// ExitMeanings says each code in words.
func ExitMeanings() map[int]string {
	return map[int]string{
		ExitDone:        "done",
		ExitUsage:       "usage or configuration",
		ExitConnect:     "cannot connect",
		ExitRefused:     "preflight refused",
		ExitNotReady:    "not ready in time",
		ExitRegress:     "the judge said regress",
		ExitRolledBack:  "rolled back",
		ExitHuman:       "needs a human",
		ExitRace:        "lost a race with another deployment",
		ExitInterrupted: "interrupted",
	}
}

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
