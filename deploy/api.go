package deploy

import (
	"context"
	"log/slog"
	"time"

	"mzcanary/router"
)

// Options are what a Controller works with. Clock, Log and Observer may be left
// zero: the wall clock, no log, nobody.
type Options struct {
	Warehouse   Warehouse
	Traffic     Traffic
	Store       Store
	Deployments []DeploymentConfig
	Clock       func() time.Time
	Log         *slog.Logger
	Observer    Observer
	// Tick is how often evidence and sessions are looked at; 250 ms when zero.
	Tick time.Duration
	// Watch is the shortest time between two looks at the ids; 3 s when zero. It
	// grows with what a look costs.
	Watch time.Duration
}

// DeploymentConfig is one deployment and the plan it uses when a start names none.
type DeploymentConfig struct {
	Spec Spec
	Plan Plan
}

// Observer hears of what metrics count. Calls come from the deployment's own
// goroutine and must not block.
type Observer interface {
	PhaseChanged(deployment string, from, to Phase)
	// AttemptEnded tells how an attempt ended; EndUnknown is followed by
	// AttemptResolved when the ids have said what became of it.
	AttemptEnded(deployment string, a AttemptRecord)
	AttemptResolved(deployment string, a AttemptRecord)
	Stopped(deployment string, stop *Stop) // nil when it goes on
}

// Request says who asks and why.
type Request struct {
	// Rollout, when set, must be the running one.
	Rollout string `json:"rollout,omitempty"`
	Who     string `json:"who"`
	Reason  string `json:"reason,omitempty"`
	Force   bool   `json:"force,omitempty"`
	// DropDeploy, of abort before the swap: the new version is dropped as well.
	DropDeploy bool `json:"drop_deploy,omitempty"`
}

// StartRequest starts a rollout.
type StartRequest struct {
	// Plan replaces the deployment's own when set.
	Plan     *Plan  `json:"plan,omitempty"`
	Who      string `json:"who"`
	Reason   string `json:"reason,omitempty"`
	TakeOver bool   `json:"take_over,omitempty"`
	// Fix gives the rights that preflight finds missing, when they are all that is
	// missing; a rollback takes them away again.
	Fix bool `json:"fix,omitempty"`
}

// Until says what Wait waits for.
type Until string

// The ends of a wait.
const (
	UntilPromoted Until = "promoted"
	UntilDone     Until = "done"
)

// DryRun is what a rollout would do: its steps in words and its exact SQL.
type DryRun struct {
	Deployment string   `json:"deployment"`
	Plan       Plan     `json:"plan"`
	Steps      []string `json:"steps"`
	Promote    []string `json:"promote"`
	SwapBack   []string `json:"swap_back"`
	Cleanup    []string `json:"cleanup"`
	Notes      []string `json:"notes,omitempty"`
}

// API is what the commands and the HTTP API may ask; Controller is it.
// Errors that mean "no" are *Refusal.
type API interface {
	Deployments() []string
	Check(ctx context.Context, deployment string) ([]Finding, error)
	Start(ctx context.Context, deployment string, req StartRequest) (Status, error)
	DryRun(deployment string, plan *Plan) (DryRun, error)
	Do(ctx context.Context, deployment string, verb Verb, req Request) (Status, error)
	SetWeight(ctx context.Context, deployment string, weight router.Weight, req Request) (Status, error)
	Status(deployment string) (Status, error)
	Statuses() []Status
	History(ctx context.Context, deployment string) ([]Record, error)
	Wait(ctx context.Context, deployment, rollout string, until Until) (Status, int)
	Changed(ctx context.Context, deployment string, since uint64) (Status, error)
	Ready(deployment string) (bool, string)
}
