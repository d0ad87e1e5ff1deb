package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mzcanary/internal/admin"
)

func (p *program) sessions() *cobra.Command {
	var filter admin.SessionFilter
	var why, qualified bool
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Who is where, and with --why who cannot be moved and why",
		Example: "  mzcanary sessions --why\n  mzcanary sessions --arm canary --output json\n" +
			"  mzcanary sessions --place busy --min-age 10s\n  mzcanary sessions --qualified-names",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			if qualified {
				return p.qualifiedNames(cmd.Context(), c)
			}
			filter.Deployment = p.deployment
			list, err := c.FindSessions(cmd.Context(), filter)
			if err != nil {
				return err
			}
			if p.output == "json" {
				return p.json(list)
			}
			w := tabwriter.NewWriter(p.out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tUSER\tAPPLICATION\tCLIENT\tDEPLOYMENT\tARM\tHAS\tWANTS\tPLACE\tAGE\tEXCHANGE\tEXCHANGES\tERRORS\tIN\tOUT")
			for _, s := range list {
				place := string(s.Place)
				if s.Held {
					place += " (held)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.ID, s.User, orDash(s.Application), s.Client,
					orDash(s.Deployment), s.Arm, has(s), wants(s), place, s.Age.Round(time.Millisecond), s.Exchange.Round(time.Millisecond),
					s.Exchanges, s.Errors, size(s.BytesIn), size(s.BytesOut))
				if why {
					fmt.Fprintf(w, "\t%s\n", reasons(s))
				}
			}
			return w.Flush()
		},
	}
	cmd.Flags().StringVar(&filter.Arm, "arm", "", "only sessions on this `arm`: stable or canary")
	cmd.Flags().StringVar(&filter.User, "user", "", "only sessions of this `user`")
	cmd.Flags().StringVar(&filter.Application, "application", "", "only sessions with this application_`name`")
	cmd.Flags().StringVar(&filter.Place, "place", "", "only sessions at this `place`: boundary, streaming, busy, unknown or starting")
	cmd.Flags().DurationVar(&filter.MinAge, "min-age", 0, "only those whose exchange or transaction has run for this `long`")
	cmd.Flags().BoolVar(&qualified, "qualified-names", false, "instead list statements on the canary that named a live schema explicitly")
	cmd.Flags().BoolVar(&why, "why", false, "say why each one is where it is")
	return cmd
}

// has is what a session has, as far as it is known, and wants what it should have,
// where that is another.
func has(s admin.SessionInfo) string {
	text := settings(s.Have)
	if s.HaveState != "known" {
		text += "?"
	}
	return text
}

func wants(s admin.SessionInfo) string {
	if s.Deployment == "" || s.Moved {
		return "-"
	}
	return settings(s.Want)
}

// settings is short: cluster/path.
func settings(s admin.Settings) string {
	path := strings.Join(s.Path, ",")
	if s.Cluster == "" {
		return orDash(path)
	}
	return s.Cluster + "/" + path
}

// size is a number of bytes for people.
func size(n uint64) string {
	for i, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 10_000 || i == 3 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n /= 1000
	}
	return ""
}

// qualifiedNames lists the samples of one deployment or all.
func (p *program) qualifiedNames(ctx context.Context, c *admin.Client) error {
	names := []string{p.deployment}
	if p.deployment == "" {
		list, err := c.Statuses(ctx)
		if err != nil {
			return err
		}
		names = nil
		for _, s := range list {
			names = append(names, s.Deployment)
		}
	}
	all := make(map[string]admin.QualifiedAnswer)
	w := tabwriter.NewWriter(p.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "DEPLOYMENT\tCOUNT\tSTATEMENT")
	for _, name := range names {
		a, err := c.QualifiedNames(ctx, name)
		if err != nil {
			return err
		}
		all[name] = a
		for _, q := range a.Samples {
			fmt.Fprintf(w, "%s\t%d\t%s\n", name, q.Count, q.Text)
		}
		fmt.Fprintf(w, "%s\t%d\tin all\n", name, a.Total)
	}
	if p.output == "json" {
		return p.json(all)
	}
	return w.Flush()
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
