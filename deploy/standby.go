package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// standbyEvery is how often what stands beside production is read. It hardly ever
// changes, and reading it costs the server more than the rest of a census.
const standbyEvery = time.Minute

// Standby is what the old version costs while it stands by, and what would be lost
// with it.
type Standby struct {
	At       time.Time        `json:"at"`
	Clusters []StandbyCluster `json:"clusters,omitempty"`
	// Dependents are objects outside the old version that depend on it and that nobody
	// accepted by name: its drop will be refused because of them.
	Dependents []Dependent `json:"dependents,omitempty"`
	// Unseen says what of the above could not be read, and why.
	Unseen string `json:"unseen,omitempty"`
}

// StandbyCluster is a cluster that goes on running for a version that is not
// production any more.
type StandbyCluster struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Size is that of its replicas, all of them where they differ; "" without replicas.
	Size     string    `json:"size"`
	Replicas int       `json:"replicas"`
	Since    time.Time `json:"since"` // the swap
}

func (s *State) standbyDue(now time.Time) bool {
	return s.After.Standby == nil || now.Sub(s.After.Standby.At) >= standbyEvery
}

// standby reads what stands there. It is for people to see: what the server refuses
// to tell is named and holds nothing up.
func (c cleaner) standby(ctx context.Context, s State) (*Standby, error) {
	out := &Standby{At: c.clock()}
	var unseen []string
	missed := func(what string, err error) error {
		if errors.Is(err, ErrUnavailable) {
			return err
		}
		if err != nil {
			unseen = append(unseen, what+": "+err.Error())
		}
		return nil
	}
	var err error
	if clusters := remaining(s, KindCluster); len(clusters) > 0 {
		out.Clusters, err = c.w.Clusters(ctx, clusters)
		if err := missed("sizes of the old clusters", err); err != nil {
			return nil, err
		}
		for i := range out.Clusters {
			out.Clusters[i].Since = s.After.Swapped
		}
	}
	out.Dependents, err = c.dependents(ctx, s)
	if err := missed("what depends on the old version", err); err != nil {
		return nil, err
	}
	out.Unseen = strings.Join(unseen, "; ")
	return out, nil
}

// standby is what there still is to show of it. When drops have begun they say
// themselves what is in their way.
func (s *State) standby() *Standby {
	if s.After.Standby == nil {
		return nil
	}
	out := *s.After.Standby
	switch s.Phase {
	case PhaseWindow, PhaseDraining:
	case PhaseCleaning:
		out.Dependents, out.Unseen = nil, ""
	default:
		return nil
	}
	left := remaining(*s, KindCluster)
	out.Clusters = slices.DeleteFunc(slices.Clone(out.Clusters), func(c StandbyCluster) bool {
		return !slices.ContainsFunc(left, func(r Ref) bool { return r.ID == c.ID })
	})
	if len(out.Clusters)+len(out.Dependents) == 0 && out.Unseen == "" {
		return nil
	}
	return &out
}
