package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mzcanary/internal/admin"
)

// headline is a status in one line.
func headline(s admin.Status) string {
	line := s.Deployment + ": " + string(s.Phase)
	if s.Under != "" && s.Under != s.Phase {
		line += " in " + string(s.Under)
	}
	if s.Step != nil {
		line += fmt.Sprintf(", step %d of %d: %s", s.Step.I, s.Step.N, s.Step.What)
	}
	if s.Stop != nil {
		line += ": " + s.Stop.Reason
	} else if s.Sentence != "" {
		line += ". " + s.Sentence
	}
	return line
}

// turningPoint changes when a status is worth a new line: another phase, step,
// attempt or stop, not another second.
func turningPoint(s admin.Status) string {
	point := string(s.Phase) + "/" + string(s.Under)
	if s.Step != nil {
		point += fmt.Sprintf("/step %d", s.Step.I)
	}
	if s.Swap != nil {
		point += fmt.Sprintf("/attempt %d", s.Swap.Tries)
	}
	if s.Stop != nil {
		point += "/" + s.Stop.Reason
	}
	return point
}

func (p *program) printShares(s admin.Status) {
	fmt.Fprintf(p.out, "%s: wanted %s on the canary, sessions %s, exchanges %s; %s has %s, %s has %s, %d unmanaged\n",
		s.Deployment, s.Weight, share(s.SessionShare), share(s.ExchangeShare),
		s.StableIs, sessionsOn(s, 0), s.CanaryIs, sessionsOn(s, 1), s.Unmanaged)
}

// sessionsOn counts an arm's sessions, and those of them that the weight does not put
// there and the shares do not count.
func sessionsOn(s admin.Status, arm int) string {
	text := count(s.Sessions[arm], "session")
	if n := s.Fixed[arm]; n > 0 {
		text += fmt.Sprintf(" (%d outside the weight)", n)
	}
	return text
}

// share prints a measured share; a negative one means there was nobody to count.
func share(f float64) string {
	if f < 0 {
		return "none yet"
	}
	return fmt.Sprintf("%.1f%%", f*100)
}

func (p *program) printStatus(s admin.Status) error {
	if p.output == "json" {
		return p.json(s)
	}
	fmt.Fprintln(p.out, headline(s))
	if s.Rollout != "" {
		fmt.Fprintf(p.out, "  rollout %s, plan %s, started %s by %s\n", s.Rollout, s.Plan, s.Started.Local().Format(time.DateTime), s.Who)
	}
	fmt.Fprint(p.out, "  ")
	p.printShares(s)
	fmt.Fprintf(p.out, "  %-7s %12s %12s %8s\n", "arm", "exchanges", "units", "bad")
	for i, arm := range []string{"stable", "canary"} {
		fmt.Fprintf(p.out, "  %-7s %12d %12d %8d\n", arm, s.ArmExchanges[i], s.ArmUnits[i], s.ArmBad[i])
	}
	if s.Ready != nil {
		fmt.Fprintf(p.out, "  readiness: %s\n", readiness(s.Ready))
	}
	if s.Judgement != nil && (s.Phase == "ramping" || s.Under == "ramping") {
		fmt.Fprintf(p.out, "  judge: %s. %s\n", s.Judgement.Verdict, s.Judgement.Sentence)
	}
	p.printSwap(s)
	p.printOldVersion(s)
	p.printFindings(p.out, s.Findings)
	for _, g := range s.Granted {
		fmt.Fprintf(p.out, "  right given by this rollout: %s\n", g.Text)
	}
	p.printInTheWay(s)
	if s.Stop != nil {
		fmt.Fprintf(p.out, "  %s since %s, waits for %s: %s\n  %s\n", s.Stop.Kind, s.Stop.Since.Local().Format(time.TimeOnly), s.Stop.Owner, s.Stop.Reason, next(s.Stop.Next))
		for _, c := range s.Stop.Diff {
			fmt.Fprintf(p.out, "    %s %s: was %s, is %s\n", c.Kind, c.Name, orNothing(c.Was), orNothing(c.Is))
		}
	}
	for _, problem := range []string{s.JournalProblem, s.Recovering} {
		if problem != "" {
			fmt.Fprintf(p.out, "  %s\n", problem)
		}
	}
	return nil
}

// readiness is the last sample in words, and how many there were in a row.
func readiness(r *admin.ReadyStatus) string {
	line := fmt.Sprintf("%d/%d hydrated, %s in a row", r.Hydrated, r.Total, count(r.Good, "good sample"))
	if r.Good <= r.Of {
		line += fmt.Sprintf(" of %d needed", r.Of)
	} else {
		line += fmt.Sprintf(", %d were needed", r.Of)
	}
	if r.Why != "" {
		line += ": " + r.Why
	}
	return line
}

// next introduces what to do: a command that can be run as it stands, or words.
func next(what string) string {
	if strings.HasPrefix(what, "mzcanary ") {
		return "next: " + what
	}
	return "what to do: " + what
}

// printInTheWay names sessions only where somebody waits for them: everybody who
// works is in the middle of something at any moment.
func (p *program) printInTheWay(s admin.Status) {
	switch {
	case s.Phase == "promoting", s.Phase == "swapping_back", s.Under == "promoting", s.Under == "swapping_back":
		for _, line := range whoIs(s.Stragglers) {
			fmt.Fprintf(p.out, "  in the way: %s\n", line)
		}
	}
	for _, line := range whoIs(s.Streaming) {
		fmt.Fprintf(p.out, "  streaming: %s\n", line)
	}
}

func (p *program) printSwap(s admin.Status) {
	if s.Swap != nil && s.Swap.Tries > 0 {
		fmt.Fprintf(p.out, "  swap: %d tries, %d conflicts, %d of %d attempts that held sessions", s.Swap.Tries, s.Swap.Conflicts, s.Swap.Attempts, s.Swap.Of)
		if r := s.Swap.Record; r != nil {
			fmt.Fprintf(p.out, "; stall p50 %s p99 %s max %s", ms(r.Stall.P50), ms(r.Stall.P99), ms(r.Stall.Max))
		}
		fmt.Fprintln(p.out)
		if len(s.Swap.Foreign) > 0 {
			fmt.Fprintf(p.out, "  not through this proxy at the last attempt, so not held: %s\n", foreign(s.Swap.Foreign))
		}
	}
	if a := s.After; a != nil {
		fmt.Fprintf(p.out, "  after the swap: window %s of %s, drained %s of %s, %s still on the old version, %d told so, %d of %d dropped\n",
			a.Observed.Round(time.Second), a.Of, a.Drained.Round(time.Second), a.DrainFor, count(len(a.Old), "session"), a.Notified, a.Dropped, len(a.Drops))
	}
}

// foreign says who no hold protected at the last attempt, role by role.
func foreign(byRole map[string]int) string {
	var parts []string
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		parts = append(parts, fmt.Sprintf("%s (%d)", role, byRole[role]))
	}
	return strings.Join(parts, ", ")
}

func ms(d time.Duration) string { return d.Round(100 * time.Microsecond).String() }

func orNothing(id string) string {
	if id == "" {
		return "nothing"
	}
	return id
}

func (p *program) printDryRun(d admin.DryRun) error {
	if p.output == "json" {
		return p.json(d)
	}
	fmt.Fprintf(p.out, "deployment %s, plan %s\n  %s\n", d.Deployment, d.Plan.Name, strings.Join(d.Steps, "\n  "))
	for _, part := range []struct {
		name string
		sql  []string
	}{{"promote", d.Promote}, {"swap back", d.SwapBack}, {"cleanup", d.Cleanup}} {
		fmt.Fprintf(p.out, "%s:\n", part.name)
		for _, sql := range part.sql {
			fmt.Fprintf(p.out, "  %s;\n", strings.TrimSuffix(sql, ";"))
		}
	}
	for _, n := range d.Notes {
		fmt.Fprintln(p.out, n)
	}
	return nil
}
