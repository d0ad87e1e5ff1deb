package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim/crowd"
)

// display shows the rollout as it goes: one line that is drawn again and again
// on a terminal, one a second elsewhere, and nothing when JSON is asked for.
type display struct {
	out     io.Writer
	quiet   bool
	redraw  bool
	st      *stage
	start   time.Time
	last    time.Time
	phase   string
	pending bool // a redrawn line is on the screen
}

func newDisplay(out io.Writer, quiet bool, st *stage) *display {
	d := &display{out: out, quiet: quiet, st: st, start: time.Now()}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		d.redraw = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return d
}

func (d *display) opened() {
	d.say("simulated Materialize on %s, proxy on %s, API on %s, metrics on http://%s/metrics", d.st.addrs.Server, d.st.addrs.Proxy, d.st.addrs.Admin, d.st.addrs.Observe)
}

func (d *display) clock() string { return fmt.Sprintf("%5.1fs", time.Since(d.start).Seconds()) }

// say prints a line that stays.
func (d *display) say(format string, args ...any) {
	if d.quiet {
		return
	}
	d.clear()
	fmt.Fprintf(d.out, "%s  %s\n", d.clock(), fmt.Sprintf(format, args...))
}

func (d *display) clear() {
	if d.pending {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.pending = false
	}
}

// status draws the live line.
func (d *display) status(s admin.Status, live crowd.Live) {
	if d.quiet {
		return
	}
	if phase := turningPoint(s); phase != d.phase {
		d.phase = phase
		d.say("%s", headline(s))
	}
	every := time.Second
	if d.redraw {
		every = 100 * time.Millisecond
	}
	if time.Since(d.last) < every {
		return
	}
	d.last = time.Now()
	stall := "-"
	if s.Swap != nil && s.Swap.Record != nil {
		stall = ms(s.Swap.Record.Stall.Max)
	}
	line := fmt.Sprintf("%s  %-10s wanted %4s actual %6s (%d outside the weight) | %s: %3d sessions %6d exchanges %d bad | %s: %3d sessions %6d exchanges %d bad | stall %s | clients %d, %d answers, %d errors",
		d.clock(), s.Phase, s.Weight, share(s.SessionShare), s.Fixed[0]+s.Fixed[1],
		s.StableIs, s.Sessions[0], s.ArmExchanges[0], s.ArmBad[0],
		s.CanaryIs, s.Sessions[1], s.ArmExchanges[1], s.ArmBad[1],
		stall, live.Connected, live.Exchanges, live.Errors)
	if !d.redraw {
		fmt.Fprintln(d.out, line)
		return
	}
	fmt.Fprint(d.out, "\r\x1b[K"+line)
	d.pending = true
}

// account prints the result in words.
func (d *display) account(a *demoAccount) error {
	d.clear()
	word := "GREEN"
	if !a.Green {
		word = "RED"
	}
	_, err := fmt.Fprintf(d.out, `
account kept by the clients: %s
  outcome            %s (expected %s) after %.1f s
  exchanges          %d in %d sessions: %d by the old version, %d by the new one
  client errors      %d (and %d made by the demo on purpose, %d connections lost by the kill)
  wrong versions     %d (%d mixed, %d went back, %d changed sides for no reason)
  sessions moved     %d times between the versions; %d holds, longest stall %.1f ms
  shown              weight taken back %d times, %d conflicts, %d kills, %d automatic rollbacks
`, word, a.Outcome, a.Expected, a.DurationS, a.Exchanges, a.Sessions, a.SeenOld, a.SeenNew,
		a.ClientErrors, a.Injected, a.LostByKill, a.WrongVersions, a.Mixed, a.Backwards, a.Hopped, a.SessionsMoved, a.Holds, a.LongestStallMS,
		a.WeightsTakenBack, a.Conflicts, a.Kills, a.AutomaticRollbacks)
	for _, s := range a.Shares {
		if err == nil {
			_, err = fmt.Fprintf(d.out, "  at %3g %%           %d of %d sessions read the new version\n", float64(s.Weight)/100, s.Canary, s.Sessions)
		}
	}
	var modes []string
	for _, mode := range slices.Sorted(maps.Keys(a.Modes)) {
		modes = append(modes, fmt.Sprintf("%s %d", mode, a.Modes[mode].Answers))
	}
	if err == nil {
		_, err = fmt.Fprintf(d.out, "  answers by mode    %s\n", strings.Join(modes, ", "))
	}
	for _, why := range a.Red {
		if err == nil {
			_, err = fmt.Fprintf(d.out, "  RED: %s\n", why)
		}
	}
	for _, e := range a.Examples {
		if err == nil {
			_, err = fmt.Fprintf(d.out, "  - %s\n", e)
		}
	}
	return err
}
