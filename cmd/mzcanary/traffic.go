package main

import (
	"context"

	"github.com/spf13/cobra"

	"mzcanary/internal/admin"
)

func (p *program) traffic() *cobra.Command {
	cmd := &cobra.Command{Use: "traffic", Short: "Show or set the share of traffic on the canary by hand", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(p.trafficShow(), p.trafficSet())
	return cmd
}

func (p *program) trafficShow() *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Wanted and actual share of every deployment", Args: cobra.NoArgs,
		Example: "  mzcanary traffic show\n  mzcanary traffic show --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			shown, err := p.statuses(cmd.Context(), c)
			if err != nil {
				return err
			}
			if p.output == "json" {
				return p.json(shown)
			}
			for _, s := range shown {
				p.printShares(s)
			}
			return nil
		}}
}

// statuses are those of all deployments, or of the one that was named.
func (p *program) statuses(ctx context.Context, c *admin.Client) ([]admin.Status, error) {
	if p.deployment == "" {
		return c.Statuses(ctx)
	}
	s, err := c.Status(ctx, p.deployment)
	return []admin.Status{s}, err
}

func (p *program) trafficSet() *cobra.Command {
	var req admin.Request
	cmd := &cobra.Command{
		Use:   "set WEIGHT",
		Short: "Set the share of units on the canary",
		Long: `Sets the weight by hand. With a rollout its plan pauses (resume goes on with it). Without one, preflight and a readiness
sample are asked first; --force skips both. Sessions follow at their next boundary, within moments; nobody sees an error.

` + exitHelp,
		Example: "  mzcanary traffic set 20%\n  mzcanary traffic set 0% --reason 'dashboards look odd'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			weight, err := admin.ParseWeight(args[0])
			if err != nil {
				return err
			}
			c, name, err := p.target(cmd.Context())
			if err != nil {
				return err
			}
			req.Who = who()
			s, err := c.SetWeight(cmd.Context(), name, weight, req)
			if err != nil {
				return err
			}
			if p.output == "json" {
				return p.json(s)
			}
			p.printShares(s)
			return nil
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&req.Force, "force", false, "skip preflight and readiness")
	return cmd
}
