package deploy

import (
	"context"

	"mzcanary/router"
)

// runner owns one deployment's state.
type runner struct {
	c         *Controller
	cfg       DeploymentConfig
	recovered chan struct{}
}

type request struct {
	start *startOrder
	event *VerbAsked
}

type startOrder struct {
	plan    Plan
	req     StartRequest
	rollout string
	salt    uint64
}

func newRunner(c *Controller, cfg DeploymentConfig) *runner {
	return &runner{c: c, cfg: cfg, recovered: make(chan struct{})}
}

func (r *runner) run(ctx context.Context)                            { close(r.recovered); <-ctx.Done() }
func (r *runner) ready() (bool, string)                              { return false, "" }
func (r *runner) rollout() string                                    { return "" }
func (r *runner) serverKind() string                                 { return "" }
func (r *runner) status() Status                                     { return Status{} }
func (r *runner) ask(ctx context.Context, q request) (Status, error) { return Status{}, nil }
func (r *runner) setWeight(ctx context.Context, w router.Weight, req Request) (Status, error) {
	return Status{}, nil
}
func (r *runner) changed(ctx context.Context, since uint64) (Status, error) { return Status{}, nil }
