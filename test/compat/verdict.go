package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Result is the line every suite program prints.
type Result struct {
	Driver  string  `json:"driver"`
	Version string  `json:"version"`
	Checks  []Check `json:"checks"`
	// Exchanges, of which Old and New were answered by one version.
	Exchanges    int `json:"exchanges"`
	Old          int `json:"old"`
	New          int `json:"new"`
	Mixed        int `json:"mixed"`   // exchanges and transactions with answers of both versions
	Strange      int `json:"strange"` // answers of neither version
	Transactions int `json:"transactions"`
	Errors       int `json:"errors"` // failed runs of a check
}

// Check is one thing that the driver did, many times.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Runs   int    `json:"runs"`
	Detail string `json:"detail"` // the first failure
}

// entry is one line of the table.
type entry struct {
	suite           suite
	server          string // its version, where one half has several
	direct, proxied Result
	disturbance     disturbance
	differences     []string
}

// verdict compares. Only what the direct run does not show counts against the
// proxy; what the suite itself gets wrong directly is a fault of the suite.
func (e *entry) verdict(proxied bool) {
	add := func(format string, args ...any) { e.differences = append(e.differences, fmt.Sprintf(format, args...)) }
	if e.direct.Mixed+e.direct.Strange+e.direct.New > 0 {
		add("directly: %d mixed, %d strange, %d new: the suite is wrong", e.direct.Mixed, e.direct.Strange, e.direct.New)
	}
	for _, c := range e.direct.Checks {
		if !c.OK {
			add("directly: %s: %s", c.Name, c.Detail)
		}
	}
	if !proxied {
		return
	}
	through := map[string]Check{}
	for _, c := range e.proxied.Checks {
		through[c.Name] = c
	}
	for _, c := range e.direct.Checks {
		switch p, ok := through[c.Name]; {
		case !ok:
			add("%s: not reached through the proxy", c.Name)
		case c.OK && !p.OK:
			add("%s: %s", c.Name, p.Detail)
		}
	}
	if e.proxied.Mixed > 0 {
		add("%d exchanges or transactions with answers of both versions", e.proxied.Mixed)
	}
	if e.proxied.Strange > 0 {
		add("%d answers of neither version, or on the other version's cluster", e.proxied.Strange)
	}
	if e.proxied.Old == 0 || e.proxied.New == 0 {
		add("only one version was seen: %d old, %d new", e.proxied.Old, e.proxied.New)
	}
	for _, t := range e.disturbance.Troubles {
		add("the disturbance could not be made: %s", t)
	}
	for outcome, n := range e.disturbance.NotMoved {
		add("%d moves ended as %q", n, outcome)
	}
	for _, s := range e.disturbance.Sessions {
		add("%s", s)
	}
	if took := e.disturbance.LongestRollback; took > 2*time.Second+patience*e.disturbance.Late {
		add("a rollback took %s", took.Round(10*time.Millisecond))
	}
	if e.disturbance.Flips == 0 || e.disturbance.Rollbacks == 0 {
		add("only %d flips and %d rollbacks", e.disturbance.Flips, e.disturbance.Rollbacks)
	}
	if e.disturbance.Moves == 0 || e.disturbance.Holds == 0 {
		add("nothing was proven: %d moves and %d holds", e.disturbance.Moves, e.disturbance.Holds)
	}
}

func (e *entry) print(w io.Writer, verbose bool) {
	verdict := "ok"
	if len(e.differences) > 0 {
		verdict = "DIFFERENT"
	}
	fmt.Fprintf(w, "%-20s %-14s%-10s direct %6d exchanges %3d errors | proxied %6d exchanges %3d errors, %d old %d new, %d mixed, %d transactions, %d moves, %d holds | %s\n",
		e.suite.name, e.server, e.direct.Version, e.direct.Exchanges, e.direct.Errors, e.proxied.Exchanges, e.proxied.Errors,
		e.proxied.Old, e.proxied.New, e.proxied.Mixed, e.proxied.Transactions, e.disturbance.Moves, e.disturbance.Holds, verdict)
	for _, d := range e.differences {
		fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(d, "\n", "\n      "))
	}
	if !verbose {
		return
	}
	for _, c := range e.direct.Checks {
		i := slices.IndexFunc(e.proxied.Checks, func(p Check) bool { return p.Name == c.Name })
		through := "-"
		if i >= 0 {
			through = fmt.Sprint(e.proxied.Checks[i].Runs)
		}
		fmt.Fprintf(w, "    %-45s direct %5d, proxied %5s\n", c.Name, c.Runs, through)
	}
}
