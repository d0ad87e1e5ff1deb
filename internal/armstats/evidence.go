package armstats

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mzcanary/router"
)

// Cohort is what the count test needs to know of one metric at one weight: the
// units whose first bad event of that metric fell there, and how many of those
// units were on the canary. If the versions do not differ, each of the N is on
// the canary with probability Weight, whatever else the units are like.
type Cohort struct {
	Weight router.Weight `json:"weight"`
	Metric Metric        `json:"metric"`
	N      uint64        `json:"n"`
	K      uint64        `json:"k"`
}

// Exposure counts the exchanges that started while one weight was in force, by
// arm and class. Only arms that worked side by side at the same weight may be
// compared by rate: pooling a ramp mixes morning and evening.
type Exposure struct {
	Weight router.Weight `json:"weight"`
	Arms   [2]Counts     `json:"arms"` // indexed by router.Arm
}

// ArmEvidence sums up one arm over the whole rollout.
type ArmEvidence struct {
	// Units that had a counted exchange on this arm.
	Units uint64 `json:"units"`
	// Exchanges that were counted, whatever they ended in.
	Exchanges uint64 `json:"exchanges"`
	// Bad exchanges among them; OK and Neutral are always 0 here.
	Bad Counts `json:"bad"`
}

// Mark remembers a unit that several sessions share (routing.key other than
// connection), so that after a restart it is not counted again. Hash is the
// unit's hash, which does not reveal its key.
type Mark struct {
	Hash  uint64    `json:"hash"`
	Flags UnitFlags `json:"flags"`
}

// Evidence is everything the judge knows about one rollout: integers that can be
// written down, read back equal, and added up.
type Evidence struct {
	Rollout string    `json:"rollout"`
	Since   time.Time `json:"since"`
	// Observed is for how long evidence was collected, pauses of the process left out.
	Observed  time.Duration  `json:"observed"`
	Arms      [2]ArmEvidence `json:"arms"` // indexed by router.Arm
	Cohorts   []Cohort       `json:"cohorts,omitempty"`
	Exposures []Exposure     `json:"exposures,omitempty"`
	// Marks are kept for at most maxMarks units, those with bad events first.
	Marks []Mark `json:"marks,omitempty"`
}

// Exposed returns the exchanges counted at one weight.
func (e Evidence) Exposed(w router.Weight) Exposure {
	for _, x := range e.Exposures {
		if x.Weight == w {
			return x
		}
	}
	return Exposure{Weight: w}
}

// Merge adds up the evidence that several proxies collected in one rollout. The
// order does not matter. Units shared by several sessions are recognised by
// their marks and counted once per arm; their first bad event is counted once
// per proxy that saw one.
func Merge(parts ...Evidence) (Evidence, error) {
	var out Evidence
	marks := make(map[uint64]UnitFlags)
	for i, p := range parts {
		if i == 0 {
			out.Rollout, out.Since = p.Rollout, p.Since
		}
		if p.Rollout != out.Rollout {
			return Evidence{}, fmt.Errorf("evidence of rollout %q cannot be added to that of rollout %q", p.Rollout, out.Rollout)
		}
		if p.Since.Before(out.Since) {
			out.Since = p.Since
		}
		out.Observed = max(out.Observed, p.Observed)
		for a := range out.Arms {
			out.Arms[a].Units += p.Arms[a].Units
		}
		out.Cohorts = append(out.Cohorts, p.Cohorts...)
		out.Exposures = append(out.Exposures, p.Exposures...)
		for _, m := range p.Marks {
			for a, both := range [2]UnitFlags{onStable, onCanary} {
				if marks[m.Hash]&m.Flags&both != 0 {
					out.Arms[a].Units--
				}
			}
			marks[m.Hash] |= m.Flags
		}
	}
	out.Cohorts = sumCohorts(out.Cohorts)
	out.Exposures = sumExposures(out.Exposures)
	out.Marks = sortMarks(marks)
	out.total()
	return out, nil
}

// total derives the sums per arm from the exposures.
func (e *Evidence) total() {
	for a := range e.Arms {
		var all Counts
		for _, x := range e.Exposures {
			all = all.Plus(x.Arms[a])
		}
		e.Arms[a].Exchanges, e.Arms[a].Bad = all.Total(), all.Bad()
	}
}

func sumCohorts(in []Cohort) []Cohort {
	slices.SortFunc(in, func(a, b Cohort) int {
		return cmp.Or(cmp.Compare(a.Metric.index(), b.Metric.index()), cmp.Compare(a.Weight, b.Weight))
	})
	var out []Cohort
	for _, c := range in {
		if n := len(out); n > 0 && out[n-1].Weight == c.Weight && out[n-1].Metric == c.Metric {
			out[n-1].N += c.N
			out[n-1].K += c.K
			continue
		}
		out = append(out, c)
	}
	return out
}

func sumExposures(in []Exposure) []Exposure {
	slices.SortFunc(in, func(a, b Exposure) int { return cmp.Compare(a.Weight, b.Weight) })
	var out []Exposure
	for _, x := range in {
		if n := len(out); n > 0 && out[n-1].Weight == x.Weight {
			for a := range x.Arms {
				out[n-1].Arms[a] = out[n-1].Arms[a].Plus(x.Arms[a])
			}
			continue
		}
		out = append(out, x)
	}
	return out
}

// maxMarks bounds what a rollout with very many shared units writes to the
// journal. A unit beyond it may be counted again after a restart.
const maxMarks = 10_000

func sortMarks(marks map[uint64]UnitFlags) []Mark {
	var out []Mark
	for hash, flags := range marks {
		out = append(out, Mark{hash, flags})
	}
	if len(out) > maxMarks {
		slices.SortFunc(out, func(a, b Mark) int {
			return cmp.Or(cmp.Compare(b.Flags&spentAny, a.Flags&spentAny), cmp.Compare(a.Hash, b.Hash))
		})
		out = out[:maxMarks]
	}
	slices.SortFunc(out, func(a, b Mark) int { return cmp.Compare(a.Hash, b.Hash) })
	return out
}
