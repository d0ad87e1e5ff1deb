package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mzcanary/config"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
)

func (p *program) rollout() *cobra.Command {
	cmd := &cobra.Command{Use: "rollout", Short: "Start, watch and steer a rollout", Args: cobra.NoArgs,
		Long: "A rollout goes preflight → hydrating → ramping → promoting → window → draining → cleaning → done.\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(p.rolloutStart(), p.rolloutStatus(), p.rolloutHistory())
	for _, v := range []struct{ verb, short, example string }{
		{"pause", "Stand still; the weight stays", "mzcanary rollout pause --reason 'incident elsewhere'"},
		{"resume", "Go on after a pause", "mzcanary rollout resume"},
		{"approve", "Let the step that waits for a person go on", "mzcanary rollout approve --reason 'tests passed'"},
		{"promote", "Go on to the swap now; without a safe verdict only with --force --reason", "mzcanary rollout promote --force --reason 'hotfix'"},
		{"rollback", "Before the swap: weight 0, no DDL. In the window after it: swap back", "mzcanary rollout rollback --reason 'wrong totals'"},
		{"abort", "Give the rollout up", "mzcanary rollout abort"},
		{"retry", "After a block: look at the ids again and go on", "mzcanary rollout retry"},
		{"cleanup", "End the rollback window and drop the old version", "mzcanary rollout cleanup"},
	} {
		cmd.AddCommand(p.rolloutVerb(v.verb, v.short, v.example))
	}
	cmd.AddCommand(p.rolloutAdopt())
	return cmd
}

func (p *program) rolloutVerb(verb, short, example string) *cobra.Command {
	var req admin.Request
	cmd := &cobra.Command{Use: verb, Short: short, Example: "  " + example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, name, err := p.target(cmd.Context())
			if err != nil {
				return err
			}
			req.Who = who()
			s, err := c.Do(cmd.Context(), name, admin.Verb(verb), req)
			if err != nil {
				return err
			}
			return p.printStatus(s)
		}}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record")
	cmd.Flags().StringVar(&req.Rollout, "rollout", "", "only if this rollout `id` is the running one")
	cmd.Flags().BoolVar(&req.Force, "force", false, "without the evidence that is asked for; needs --reason")
	if verb == "abort" {
		cmd.Flags().BoolVar(&req.DropDeploy, "drop-deploy", false, "before the swap only: drop the new version too, each part verified by id")
	}
	return cmd
}

func (p *program) rolloutAdopt() *cobra.Command {
	var req admin.Request
	cmd := &cobra.Command{Use: "adopt ID", Short: "Rebuild a rollout whose journal was lost from its marks in the catalog", Args: cobra.ExactArgs(1),
		Long: `For a deployment that is blocked because the catalog carries marks, or retired names, of a rollout without a journal.
When the names are swapped it goes on in the rollback window, whose clock starts anew; otherwise it ends as rolled back: nobody
can say what was proven of the new version. What --fix had granted is not known any more and stays.

` + exitHelp,
		Example: "  mzcanary rollout adopt r7k3m2 --reason 'the disk was lost'",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			name, err := p.one(cmd.Context(), c)
			if err != nil {
				return err
			}
			req.Who, req.Rollout = who(), args[0]
			s, err := c.Do(cmd.Context(), name, "adopt", req)
			if err != nil {
				return err
			}
			return p.printStatus(s)
		}}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record")
	return cmd
}

func (p *program) rolloutStart() *cobra.Command {
	var planName, wait string
	var dry bool
	req := admin.StartRequest{}
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start a rollout of what stands under the deploy names",
		Long: `Starts with preflight and goes through the plan. --wait returns at the promotion, --wait=done after cleanup, both
with the exit code of the outcome. --dry-run prints the steps and the exact SQL, and does nothing. --fix gives the rights that
preflight finds missing (status shows which), if they are all that is missing; a rollback takes them back.

` + exitHelp,
		Example: "  mzcanary rollout start --wait\n  mzcanary rollout start --plan canary-10-5m --wait=done --output json\n  mzcanary rollout start --dry-run",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait != "" && wait != "promoted" && wait != "done" {
				return fmt.Errorf("--wait takes promoted or done, not %q", wait)
			}
			ctx := cmd.Context()
			c, name, err := p.target(ctx)
			if err != nil {
				return err
			}
			if planName != "" {
				if req.Plan, err = planFor(ctx, c, name, planName); err != nil {
					return err
				}
			}
			if dry {
				plan, err := c.DryRun(ctx, name, req.Plan)
				if err != nil {
					return err
				}
				return p.printDryRun(plan)
			}
			if req.Fix {
				if err := p.showMissing(ctx, c, name); err != nil {
					return err
				}
			}
			req.Who = who()
			s, err := c.Start(ctx, name, req)
			if err != nil {
				return err
			}
			if wait == "" {
				return p.printStatus(s)
			}
			return p.waitFor(ctx, c, name, s.Rollout, admin.Until(wait))
		},
	}
	f := cmd.Flags()
	f.StringVar(&planName, "plan", "", "preset or `file` with steps, instead of the configured plan")
	f.StringVar(&wait, "wait", "", "wait for `promoted` (also when no value is given) or done")
	f.Lookup("wait").NoOptDefVal = "promoted"
	f.BoolVar(&dry, "dry-run", false, "print steps and SQL, do nothing")
	f.StringVar(&req.Reason, "reason", "", "why, for the record")
	f.BoolVar(&req.Fix, "fix", false, "give missing rights; a rollback takes them back")
	f.BoolVar(&req.TakeOver, "take-over", false, "take the pair over from another rollout's marks")
	return cmd
}

// showMissing prints the rights that --fix is about to give.
func (p *program) showMissing(ctx context.Context, c *admin.Client, deployment string) error {
	findings, err := c.Check(ctx, deployment)
	if err != nil {
		return err
	}
	for _, g := range admin.Remedies(findings) {
		fmt.Fprintf(p.err, "deployment %s: missing, to be given by this rollout: %s;\n", deployment, g.Text)
	}
	return nil
}

// planFor puts the steps of a preset or file into the plan the deployment is
// configured with, so that its policies stay in force.
func planFor(ctx context.Context, c *admin.Client, deployment, name string) (*admin.Plan, error) {
	steps, err := config.ResolvePlan(name)
	if err != nil {
		return nil, err
	}
	configured, err := c.DryRun(ctx, deployment, nil)
	if err != nil {
		return nil, err
	}
	plan := app.WithSteps(configured.Plan, steps)
	return &plan, nil
}

func (p *program) waitFor(ctx context.Context, c *admin.Client, name, rollout string, until admin.Until) error {
	if p.output == "text" {
		watching, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); p.follow(watching, c, name) }()
		defer func() { stop(); <-done }()
	}
	s, code, err := c.Wait(ctx, name, rollout, until)
	if err != nil {
		return err
	}
	if err := p.printStatus(s); err != nil {
		return err
	}
	return exit{code}
}

// follow prints a line whenever the phase or the step changes, until the
// context ends. A lost connection ends it too: the wait itself reports that.
func (p *program) follow(ctx context.Context, c *admin.Client, name string) {
	last, since := "", uint64(0)
	for ctx.Err() == nil {
		s, err := c.Changed(ctx, name, since)
		if err != nil {
			return
		}
		since = s.Revision
		if point := turningPoint(s); point != last {
			last = point
			fmt.Fprintln(p.err, headline(s))
		}
	}
}

func (p *program) rolloutStatus() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{Use: "status", Short: "Where a rollout stands", Args: cobra.NoArgs,
		Example: "  mzcanary rollout status\n  mzcanary rollout status --watch\n  mzcanary rollout status --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, name, err := p.target(ctx)
			if err != nil {
				return err
			}
			s, err := c.Status(ctx, name)
			for err == nil {
				if err = p.printStatus(s); err != nil || !watch {
					return err
				}
				s, err = c.Changed(ctx, name, s.Revision)
			}
			return err
		}}
	cmd.Flags().BoolVar(&watch, "watch", false, "print again whenever something changes")
	return cmd
}

func (p *program) rolloutHistory() *cobra.Command {
	return &cobra.Command{Use: "history", Short: "Rollouts that are over, newest first", Args: cobra.NoArgs,
		Example: "  mzcanary rollout history",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, name, err := p.target(cmd.Context())
			if err != nil {
				return err
			}
			records, err := c.History(cmd.Context(), name)
			if err != nil {
				return err
			}
			if p.output == "json" {
				return p.json(records)
			}
			for _, r := range records {
				fmt.Fprintf(p.out, "%s  %s  %-11s %s  by %s: %s\n", r.Started.Local().Format(time.DateTime), r.Rollout, r.Phase,
					r.Ended.Sub(r.Started).Round(time.Second), r.Who, r.End)
			}
			return nil
		}}
}
