package deploy

import (
	"mzcanary/internal/armstats"
)

// ActionKind is what the runner is to do. Tests enumerate them: a kind that no
// crash scenario meets is a failure.
type ActionKind string

// The actions. Those of the first group are done at once by the runner, the
// second group are jobs whose end comes back as an event.
const (
	ActRoute         ActionKind = "route"          // publish State.Routing
	ActBeginEvidence ActionKind = "begin_evidence" // start counting
	ActRestore       ActionKind = "restore"        // put counters back
	ActStopSwap      ActionKind = "stop_swap"      // give up the running attempt before COMMIT
	ActCancel        ActionKind = "cancel"         // cancel statements that hang on the canary
	ActEndStreams    ActionKind = "end_streams"    // end canary streams, 57P01
	ActEndOld        ActionKind = "end_old"        // end sessions on the old version, 57P01
	ActArchive       ActionKind = "archive"        // write the record
	ActRefuse        ActionKind = "refuse"         // answer a verb with no

	ActPreflight ActionKind = "preflight"
	ActGrant     ActionKind = "grant"  // give the rights that preflight missed
	ActRevoke    ActionKind = "revoke" // take them away again
	ActMark      ActionKind = "mark"
	ActUnmark    ActionKind = "unmark"
	ActLook      ActionKind = "look"
	ActSwap      ActionKind = "swap"
	ActResolve   ActionKind = "resolve"
	ActDrop      ActionKind = "drop"
	ActNotify    ActionKind = "notify" // tell sessions on the old version, by NOTICE
)

// ActionKinds lists all of them.
func ActionKinds() []ActionKind {
	return []ActionKind{ActRoute, ActBeginEvidence, ActRestore, ActStopSwap, ActCancel, ActEndStreams, ActEndOld,
		ActArchive, ActRefuse, ActPreflight, ActGrant, ActRevoke, ActMark, ActUnmark, ActLook, ActSwap, ActResolve, ActDrop, ActNotify}
}

// Action is one thing to do; the fields that its kind needs are set.
type Action struct {
	Kind     ActionKind         `json:"kind"`
	Routing  *Routing           `json:"routing,omitempty"`
	Evidence *armstats.Evidence `json:"evidence,omitempty"`
	Marks    []Mark             `json:"marks,omitempty"`
	Refs     []Ref              `json:"refs,omitempty"`
	Ref      *Ref               `json:"ref,omitempty"`
	Grants   []Grant            `json:"grants,omitempty"`
	For      LookFor            `json:"for,omitempty"`
	Swap     *SwapOrder         `json:"swap,omitempty"`
	Backend  Backend            `json:"backend,omitzero"`
	Sentence string             `json:"sentence,omitempty"`
	Refusal  *Refusal           `json:"refusal,omitempty"`
	// Safe: it only takes traffic away from the canary, so it is done even when the
	// journal cannot be written.
	Safe bool `json:"safe,omitempty"`
}

// SwapOrder is everything one attempt needs.
type SwapOrder struct {
	Deployment string   `json:"deployment"`
	Database   string   `json:"database"`
	Back       bool     `json:"back,omitempty"`
	Statements []string `json:"statements"`
	// Expect are the names and ids that must stand before the COMMIT; Absent the
	// names that must be free.
	Expect []Ref `json:"expect"`
	Absent []Ref `json:"absent,omitempty"`
	// Commit is published before the COMMIT is sent, After when it is done, Before
	// when it is proven not to have happened.
	Before Routing     `json:"before"`
	Commit Routing     `json:"commit"`
	After  Routing     `json:"after"`
	Plan   PromotePlan `json:"plan"`
	// Impatient: a person asked for it now; nobody is waited for beforehand.
	Impatient bool `json:"impatient,omitempty"`
	// Terminate: this is the last attempt, and stragglers are to be ended.
	Terminate bool `json:"terminate,omitempty"`
}
