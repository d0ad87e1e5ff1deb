package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// breaks are the faults `demo --break` can show, and how a rollout must end then.
var breaks = map[string]string{
	"":              "done",
	"errors":        "rolled_back",
	"hydration":     "done",
	"swap-conflict": "done",
	"crash":         "done",
}

// demoOptions is what the flags of demo say.
type demoOptions struct {
	clients  int
	breaking string
	speed    float64
	seed     uint64
	unsafe   string // hidden: no-hold or no-retarget, to see the account turn red
}

func (o *demoOptions) check() error {
	if _, known := breaks[o.breaking]; !known {
		return fmt.Errorf("--break takes errors, hydration, swap-conflict or crash, not %q", o.breaking)
	}
	if o.clients < 12 {
		return fmt.Errorf("--clients must be at least 12, one of every kind, not %d", o.clients)
	}
	if o.speed < 0.25 || o.speed > 8 {
		return fmt.Errorf("--speed must lie between 0.25 and 8, not %g", o.speed)
	}
	if o.unsafe != "" && o.unsafe != "no-hold" && o.unsafe != "no-retarget" {
		return fmt.Errorf("--unsafe takes no-hold or no-retarget, not %q", o.unsafe)
	}
	if o.unsafe != "" && o.breaking == "crash" {
		return fmt.Errorf("--unsafe and --break=crash do not go together")
	}
	return nil
}

// scaled shortens a duration by the demo's speed.
func (o *demoOptions) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / o.speed).Round(10 * time.Millisecond)
}

func (p *program) demo() *cobra.Command {
	o := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A whole rollout on the built-in simulated Materialize, with a crowd of clients",
		Long: `Starts a simulated Materialize, the proxy, the controller and a crowd of clients that connect through the proxy, and
lets a rollout go from 0 % to the swap and the cleanup. The clients keep the account: every answer carries the version that
gave it. One client error or one version that no session should have seen makes the exit code non-zero; so does a session
that changes sides while no weight does, a share of sessions that the weight cannot give, a weight that never has everybody
in place, a kind of client that never had an answer, and a fault of --break that was not shown.

  --break=errors          the new view fails for some queries: automatic rollback
  --break=hydration       the new cluster loses hydration in the ramp: the weight is taken back until it is well again
  --break=swap-conflict   somebody else changes the catalog twice: the swap is tried again
  --break=crash           the proxy is killed with -9 in the middle of the promotion and started again from its journal

` + exitHelp,
		Example: "  mzcanary demo\n  mzcanary demo --break=errors --speed 2\n  mzcanary demo --clients 200 --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return p.runDemo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.clients, "clients", 64, "how many client sessions")
	f.StringVar(&o.breaking, "break", "", "show a `fault`: errors, hydration, swap-conflict or crash")
	f.Float64Var(&o.speed, "speed", 1, "how much faster than a minute")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the crowd")
	f.StringVar(&o.unsafe, "unsafe", "", "switch a protection off")
	hide(cmd, "unsafe")
	return cmd
}

// demoLimit bounds the whole demo; at speed 1 it takes about a minute.
const demoLimit = 5 * time.Minute

// runDemo is the demo as a procedure: stage, crowd, rollout, account.
func (p *program) runDemo(ctx context.Context, o *demoOptions) error {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	began := time.Now()
	st, err := setStage(ctx, o, p.err)
	if err != nil {
		return err
	}
	defer st.close()
	show := newDisplay(p.out, p.output == "json", st)
	show.opened()
	director := newDirector(st, o, show)
	ended, err := director.play(ctx)
	if err != nil {
		return err
	}
	account, err := director.account(ctx, ended, time.Since(began))
	if err != nil {
		return err
	}
	if p.output == "json" {
		err = p.json(account)
	} else {
		err = show.account(account)
	}
	if err == nil && !account.Green {
		return exit{exitHuman}
	}
	return err
}
