package admin

import (
	"mzcanary/deploy"
	"mzcanary/proxy"
	"mzcanary/router"
)

// The words of the API, for those who only speak to it: a command knows the
// client and nothing behind it.
type (
	Status       = deploy.Status
	ReadyStatus  = deploy.ReadyStatus
	SwapStatus   = deploy.SwapStatus
	AfterStatus  = deploy.AfterStatus
	Standby      = deploy.Standby
	BackState    = deploy.BackState
	Finding      = deploy.Finding
	Grant        = deploy.Grant
	Refusal      = deploy.Refusal
	Request      = deploy.Request
	StartRequest = deploy.StartRequest
	DryRun       = deploy.DryRun
	Plan         = deploy.Plan
	PlanStep     = deploy.PlanStep
	Record       = deploy.Record
	Verb         = deploy.Verb
	Phase        = deploy.Phase
	Until        = deploy.Until
	SessionInfo  = proxy.SessionInfo
	Settings     = router.Settings
	Straggler    = deploy.SessionInfo
	// Dependent and StandbyCluster are what AfterStatus lists.
	Dependent      = deploy.Dependent
	StandbyCluster = deploy.StandbyCluster
	Weight         = router.Weight
)

// The exit codes of the commands.
const (
	ExitDone        = deploy.ExitDone
	ExitUsage       = deploy.ExitUsage
	ExitConnect     = deploy.ExitConnect
	ExitRefused     = deploy.ExitRefused
	ExitNotReady    = deploy.ExitNotReady
	ExitRegress     = deploy.ExitRegress
	ExitRolledBack  = deploy.ExitRolledBack
	ExitHuman       = deploy.ExitHuman
	ExitRace        = deploy.ExitRace
	ExitInterrupted = deploy.ExitInterrupted
)

// ExitMeanings says each exit code in words.
func ExitMeanings() map[int]string { return deploy.ExitMeanings() }

// ParseWeight reads a weight such as "20%".
func ParseWeight(s string) (Weight, error) { return router.ParseWeight(s) }

// Remedies are the rights that are all that some findings ask for.
func Remedies(findings []Finding) []Grant { return deploy.Remedies(findings) }

// Phases lists every phase with its sentence.
func Phases() []deploy.PhaseInfo { return deploy.Phases() }

// Verbs is the published table of what every verb does in every phase.
func Verbs() []deploy.VerbRow { return deploy.VerbTable() }
