package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"mzcanary/internal/admin"
	"mzcanary/internal/app"
)

func (p *program) check() *cobra.Command {
	var offline, fix bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, connection, privileges and pairs",
		Long: `Reads the configuration, connects as the control role and prints every finding with its remedy, all of them at once.
Nothing is changed. Exit code 3 when a finding would refuse a rollout, or would keep clients out.

A serve that answers at admin.address is asked who goes past it (P19); the list is then the one that rollout start looks at.

Findings C01 and C02 are about the way between clients and server, as the control role meets it: authentication that cannot
work through a proxy, and a server that does not take what the configuration adds to a login.

--fix shows the missing rights (P11 and every other finding whose remedy is a GRANT), gives them, and looks again. They stay
given; rollout start --fix gives them as part of a rollout, whose rollback takes them back.

` + exitHelp,
		Example: "  mzcanary check -c deploy.yaml\n  mzcanary check --offline\n  mzcanary check --fix\n  mzcanary check -d shop --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			if offline {
				return p.checkedOffline(len(cfg.Deployments))
			}
			quiet := slog.New(slog.DiscardHandler)
			var checked *app.Checked
			if fix {
				checked, err = app.Fix(cmd.Context(), cfg, p.deployment, quiet, p.showGrants)
			} else {
				checked, err = app.Check(cmd.Context(), cfg, p.deployment, quiet)
			}
			if err != nil {
				return err
			}
			if err := p.printChecked(checked); err != nil {
				return err
			}
			if checked.Refused() {
				return exit{exitRefused}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "only the configuration, without connecting")
	cmd.Flags().BoolVar(&fix, "fix", false, "give the missing rights, after showing them")
	cmd.MarkFlagsMutuallyExclusive("offline", "fix")
	return cmd
}

// showGrants announces what is about to be changed. It is no part of the answer, so
// it goes where it does not disturb JSON.
func (p *program) showGrants(deployment string, grants []admin.Grant) {
	fmt.Fprintf(p.err, "deployment %s: giving %s, outside of any rollout, so nothing takes them back by itself:\n", deployment, count(len(grants), "missing right"))
	for _, g := range grants {
		fmt.Fprintf(p.err, "  %s;\n", g.Text)
	}
}

func (p *program) checkedOffline(deployments int) error {
	if p.output == "json" {
		return p.json(map[string]any{"configuration": "ok", "deployments": deployments})
	}
	_, err := fmt.Fprintf(p.out, "configuration: ok, %s\n", count(deployments, "deployment"))
	return err
}

func (p *program) printChecked(c *app.Checked) error {
	if p.output == "json" {
		return p.json(c)
	}
	fmt.Fprintf(p.out, "server: %s %s\n", c.Server.Kind, c.Server.Version)
	for _, f := range c.Connection {
		fmt.Fprintf(p.out, "  %s %-6s %s: %s\n", f.Code, f.Severity, f.Object, f.Sentence)
		for _, remedy := range f.Remedies {
			fmt.Fprintf(p.out, "      or: %s\n", remedy)
		}
	}
	for _, d := range c.Deployments {
		fmt.Fprintf(p.out, "deployment %s: %s (plan: %s)\n", d.Name, count(len(d.Findings), "finding"), d.Plan)
		if len(d.Fixed) > 0 {
			fmt.Fprintf(p.out, "  %s given before this was read\n", count(len(d.Fixed), "missing right"))
		}
		p.printFindings(p.out, d.Findings)
		if !d.Sessions {
			fmt.Fprintln(p.out, "  not looked at: sessions that go past the proxy (P19); only a running serve can tell, and none answered at admin.address")
		}
	}
	return nil
}

func (p *program) printFindings(w io.Writer, findings []admin.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "  %s %-6s %s: %s\n", f.Code, f.Severity, f.Object, f.Sentence)
		for _, sql := range f.Remedy {
			fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(sql, ";")+";")
		}
		if f.Accept != "" {
			fmt.Fprintf(w, "      or accept it: accept: [%q]\n", f.Accept)
		}
	}
}

// count writes "1 session", "3 sessions".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
