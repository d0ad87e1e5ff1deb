package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mzcanary/internal/admin"
)

func (p *program) sessions() *cobra.Command {
	var arm string
	var why bool
	cmd := &cobra.Command{
		Use:     "sessions",
		Short:   "Who is where, and with --why who cannot be moved and why",
		Example: "  mzcanary sessions --why\n  mzcanary sessions --arm canary --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			list, err := c.Sessions(cmd.Context(), p.deployment, arm)
			if err != nil {
				return err
			}
			if p.output == "json" {
				return p.json(list)
			}
			w := tabwriter.NewWriter(p.out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tUSER\tAPPLICATION\tCLIENT\tDEPLOYMENT\tARM\tPLACE\tAGE\tEXCHANGES\tERRORS")
			for _, s := range list {
				place := string(s.Place)
				if s.Held {
					place += " (held)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", s.ID, s.User, s.Application, s.Client, orDash(s.Deployment), s.Arm, place,
					s.Age.Round(time.Millisecond), s.Exchanges, s.Errors)
				if why {
					fmt.Fprintf(w, "\t%s\n", reasons(s))
				}
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVar(&arm, "arm", "", "only sessions on this `arm`: stable or canary")
	cmd.Flags().BoolVar(&why, "why", false, "say why each one is where it is")
	return cmd
}

// reasons says why a session is managed or not, and why it is not moved, if so.
func reasons(s admin.SessionInfo) string {
	if s.Why == "" {
		return s.Reason
	}
	return s.Reason + "; " + s.Why
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// whoIs names sessions that are in the way, one line each.
func whoIs(list []admin.Straggler) []string {
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprintf("%s of %s (%s) at %s: %s for %s", s.ID, s.User, orDash(s.Application), s.Client, s.Why, s.Age.Round(time.Millisecond)))
	}
	return out
}
