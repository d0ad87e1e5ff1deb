package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"mzcanary/config"
	"mzcanary/deploy"
)

// Checked is what `check` found out.
type Checked struct {
	Server      deploy.ServerInfo   `json:"server"`
	Deployments []CheckedDeployment `json:"deployments"`
}

// CheckedDeployment is one deployment's preflight and what its plan would do.
type CheckedDeployment struct {
	Name     string           `json:"deployment"`
	Plan     string           `json:"plan"`
	Findings []deploy.Finding `json:"findings"`
}

// Refused reports whether any finding would refuse a rollout.
func (c *Checked) Refused() bool {
	for _, d := range c.Deployments {
		for _, f := range d.Findings {
			if f.Severity == deploy.Refuse {
				return true
			}
		}
	}
	return false
}

// Check connects as the controller would and runs preflight for the named
// deployment, or for all. It changes nothing. Errors that mean "cannot connect"
// are a *deploy.Refusal with that exit code.
func Check(ctx context.Context, cfg *config.Config, only string, log *slog.Logger) (*Checked, error) {
	if only != "" && cfg.Deployment(only) == nil {
		return nil, fmt.Errorf("the configuration has no deployment %q", only)
	}
	up, err := newUpstream(cfg.Upstream)
	if err != nil {
		return nil, err
	}
	w := newWarehouse(cfg, up, log)
	defer w.Close()
	out := &Checked{}
	if out.Server, err = w.Server(ctx); err != nil {
		return nil, cannotConnect(cfg, err)
	}
	for i := range cfg.Deployments {
		d := &cfg.Deployments[i]
		if only != "" && d.Name != only {
			continue
		}
		findings, err := w.Preflight(ctx, spec(d), "")
		if err != nil {
			return nil, cannotConnect(cfg, err)
		}
		if findings == nil {
			findings = []deploy.Finding{} // an empty list in JSON, not null
		}
		out.Deployments = append(out.Deployments, CheckedDeployment{Name: d.Name, Plan: d.Rollout.Plan.String(), Findings: findings})
	}
	return out, nil
}

func cannotConnect(cfg *config.Config, err error) error {
	if !errors.Is(err, deploy.ErrUnavailable) {
		return err
	}
	return &deploy.Refusal{
		Exit:     deploy.ExitConnect,
		Sentence: fmt.Sprintf("the control role %q cannot ask the server at %s: %v", cfg.Control.User, cfg.Upstream.Address, err),
		Next:     "check upstream.address, upstream.tls, control.user and its password",
	}
}
