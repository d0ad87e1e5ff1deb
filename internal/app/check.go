package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
)

// Checked is what `check` found out.
type Checked struct {
	Server deploy.ServerInfo `json:"server"`
	// Connection are the findings about the way between clients and server.
	Connection  []ConnectionFinding `json:"connection"`
	Deployments []CheckedDeployment `json:"deployments"`
}

// CheckedDeployment is one deployment's preflight and what its plan would do.
type CheckedDeployment struct {
	Name     string           `json:"deployment"`
	Plan     string           `json:"plan"`
	Findings []deploy.Finding `json:"findings"`
	// Sessions tells that a running serve was asked for what only it knows: P19, and the
	// count of an accepted P09.
	Sessions bool `json:"sessions_seen"`
	// Fixed are the rights that were given before Findings were read again.
	Fixed []deploy.Grant `json:"fixed,omitempty"`
}

// Refused reports whether any finding would refuse a rollout, or most clients.
func (c *Checked) Refused() bool {
	for _, f := range c.Connection {
		if f.Severity == deploy.Refuse {
			return true
		}
	}
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
	return check(ctx, cfg, only, log, nil)
}

// Fix is Check that gives the rights which are all that some findings ask for, and
// then looks again. show hears of the statements before they run. Without a rollout
// nobody takes them back; a deployment that a rollout owns is left alone.
func Fix(ctx context.Context, cfg *config.Config, only string, log *slog.Logger, show func(deployment string, grants []deploy.Grant)) (*Checked, error) {
	return check(ctx, cfg, only, log, show)
}

func check(ctx context.Context, cfg *config.Config, only string, log *slog.Logger, show func(string, []deploy.Grant)) (*Checked, error) {
	if only != "" && cfg.Deployment(only) == nil {
		return nil, fmt.Errorf("the configuration has no deployment %q", only)
	}
	certs, err := newCertificates(cfg, log)
	if err != nil {
		return nil, err
	}
	up := newUpstream(cfg.Upstream, certs)
	w := newWarehouse(cfg, up, log)
	defer w.Close()
	out := &Checked{}
	if out.Server, err = w.Server(ctx); err != nil {
		return nil, cannotConnect(cfg, err)
	}
	if out.Connection, err = connectionFindings(ctx, cfg, up); err != nil {
		return nil, cannotConnect(cfg, fmt.Errorf("%w: %w", deploy.ErrUnavailable, err))
	}
	for i := range cfg.Deployments {
		d := &cfg.Deployments[i]
		if only != "" && d.Name != only {
			continue
		}
		checked := CheckedDeployment{Name: d.Name, Plan: d.Rollout.Plan.String()}
		look := func() ([]deploy.Finding, error) {
			found, err := w.Preflight(ctx, spec(d), "")
			if err != nil {
				return nil, err
			}
			found = ownFindings(ctx, cfg, d.Name, found)
			found, checked.Sessions = sessionFindings(ctx, cfg, d.Name, found)
			return found, nil
		}
		if checked.Findings, err = look(); err == nil && show != nil {
			err = fix(ctx, w, spec(d), &checked, look, show)
		}
		if err != nil {
			return nil, cannotConnect(cfg, err)
		}
		if checked.Findings == nil {
			checked.Findings = []deploy.Finding{} // an empty list in JSON, not null
		}
		out.Deployments = append(out.Deployments, checked)
	}
	return out, nil
}

// ownFindings recognises the deployment's own rollout: by the journal of this state
// directory, else by the serve that answers at the configured address.
func ownFindings(ctx context.Context, cfg *config.Config, deployment string, found []deploy.Finding) []deploy.Finding {
	others := func() bool {
		return slices.ContainsFunc(found, func(f deploy.Finding) bool { return f.Rollout != "" && f.Severity != deploy.Info })
	}
	if !others() {
		return found
	}
	if j, err := deploy.ReadJournal(cfg.State.Dir, deployment); err == nil && j != nil { // an unreadable one owns nothing here
		found = deploy.OwnFindings(found, j.State.OwnRollout())
	}
	if !others() {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, askServe)
	defer cancel()
	if s, err := admin.NewClient(cfg.Admin.Address).Status(ctx, deployment); err == nil && (!s.Info.Final || s.Marked) {
		found = deploy.OwnFindings(found, s.Rollout)
	}
	return found
}

// sessionFindings adds what only the proxy knows, as a rollout's start does: who did
// not come through it (P19), and whom an accepted change of shape concerns (P09). It
// reports whether a serve answered.
func sessionFindings(ctx context.Context, cfg *config.Config, deployment string, found []deploy.Finding) ([]deploy.Finding, bool) {
	client := admin.NewClient(cfg.Admin.Address)
	quick, cancel := context.WithTimeout(ctx, askServe)
	_, err := client.Status(quick, deployment)
	cancel()
	if err != nil {
		return found, false
	}
	theirs, err := client.Check(ctx, deployment) // reads the catalog as we did, so it takes as long
	if err != nil {
		return found, false
	}
	for _, f := range theirs {
		switch {
		case f.Code == "P19":
			found = append(found, f)
		case f.Code == "P09" && f.Severity == deploy.Warn:
			for i := range found {
				if found[i].Code == f.Code && found[i].Severity == f.Severity && found[i].Object == f.Object {
					found[i] = f
				}
			}
		}
	}
	return found, true
}

// askServe bounds the question to a serve on this machine, which need not run.
const askServe = time.Second

// fixRounds is how often rights are given: some of them let others be seen.
const fixRounds = 3

// fix gives what is missing until nothing is, and reads the findings again.
func fix(ctx context.Context, w deploy.Warehouse, s deploy.Spec, c *CheckedDeployment, look func() ([]deploy.Finding, error), show func(string, []deploy.Grant)) error {
	for range fixRounds {
		grants := deploy.Remedies(c.Findings)
		if len(grants) == 0 {
			return nil
		}
		for _, f := range c.Findings {
			if f.Code == "P14" {
				return &deploy.Refusal{Exit: deploy.ExitRace, Findings: c.Findings, Next: "mzcanary rollout start --fix, when that one is over",
					Sentence: "no right of " + s.Name + " was given, because a rollout owns it: " + f.Sentence}
			}
		}
		show(s.Name, grants)
		done, err := w.Grant(ctx, s.Database, grants)
		c.Fixed = append(c.Fixed, grants[:done]...)
		if err != nil && !errors.Is(err, deploy.ErrUnavailable) {
			return &deploy.Refusal{Exit: deploy.ExitRefused, Findings: c.Findings, Next: "run the statement as a role that may",
				Sentence: fmt.Sprintf("%d of %d missing rights of %s were given, the next one failed: %v", done, len(grants), s.Name, err)}
		}
		if err != nil {
			return err
		}
		if c.Findings, err = look(); err != nil {
			return err
		}
	}
	return nil
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
