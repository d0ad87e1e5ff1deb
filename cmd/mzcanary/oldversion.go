package main

import (
	"fmt"
	"time"

	"mzcanary/internal/admin"
)

// maxNamed bounds every list of names in a text; JSON has all of them.
const maxNamed = 10

// printOldVersion says who still uses the version that was replaced, what is built on
// it, and what it costs meanwhile.
func (p *program) printOldVersion(s admin.Status) {
	a := s.After
	if a == nil {
		return
	}
	var ours, others []string
	for _, o := range a.Old {
		ours = append(ours, fmt.Sprintf("%s of %s (%s) at %s: %s for %s: %s", o.ID, o.User, orDash(o.Application), o.Client, orDash(o.Statement), o.Age.Round(time.Millisecond), o.Why))
	}
	for _, d := range a.Others {
		others = append(others, fmt.Sprintf("%s %s: %s", d.Kind, d.Name, d.Reason))
	}
	p.printNamed("still on the old version", ours)
	p.printNamed("not through this proxy, on the old version", others)
	if a.Standby == nil {
		return
	}
	var dependents, clusters []string
	for _, d := range a.Standby.Dependents {
		dependents = append(dependents, fmt.Sprintf("%s %s: %s", d.Kind, d.Name, d.Reason))
	}
	for _, c := range a.Standby.Clusters {
		clusters = append(clusters, fmt.Sprintf("cluster %s, %s, only standing by since %s", c.Name, sizeOf(c.Replicas, c.Size), c.Since.Local().Format(time.DateTime)))
	}
	p.printNamed("in the way of the drop", dependents)
	p.printNamed("still running", clusters)
	if a.Standby.Unseen != "" {
		fmt.Fprintf(p.out, "  could not be read: %s\n", a.Standby.Unseen)
	}
}

func sizeOf(replicas int, size string) string {
	text := count(replicas, "replica")
	if size != "" {
		text += " of size " + size
	}
	return text
}

func (p *program) printNamed(what string, lines []string) {
	for i, line := range lines {
		if i == maxNamed {
			fmt.Fprintf(p.out, "  %s: and %d more\n", what, len(lines)-i)
			return
		}
		fmt.Fprintf(p.out, "  %s: %s\n", what, line)
	}
}
