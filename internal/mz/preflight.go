package mz

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// check is one line of the list below: what it finds in a snapshot. It never asks the
// server.
type check struct {
	code string
	find func(*snapshot) []deploy.Finding
}

// checks of a server of this kind, in the order in which they are printed. P19 is not
// among them: it needs the proxy's own backends, which the controller knows.
func (d dialect) checks() []check {
	all := []check{
		{"P01", (*snapshot).missingNames},
		{"P02", (*snapshot).ambiguousPairs},
		{"P03", (*snapshot).missingRights},
		{"P14", (*snapshot).ownedByAnother},
		{"P15", (*snapshot).leftovers},
	}
	if d.postgres() {
		return all
	}
	all = append(all,
		check{"P04", (*snapshot).newReadsOld},
		check{"P05", (*snapshot).outsideReadsOld},
		check{"P06", (*snapshot).sinksReadOld},
		check{"P07", (*snapshot).statefulInside},
		check{"P08", (*snapshot).oneSided},
		check{"P09", (*snapshot).shapeChanges},
		check{"P10", (*snapshot).lostIndexes},
		check{"P11", (*snapshot).lostGrants},
		check{"P12", (*snapshot).weakClusters},
		check{"P13", (*snapshot).misplaced},
		check{"P16", (*snapshot).roleDefaults},
		check{"P17", (*snapshot).refusedSwap},
		check{"P18", (*snapshot).boundOutside},
	)
	slices.SortStableFunc(all, func(a, b check) int { return strings.Compare(a.code, b.code) })
	return all
}

// Preflight reads the catalog once and lists everything that speaks against the
// rollout, refusals and warnings, ordered by code and object. Nothing is changed: the
// swap is tried in a transaction that is rolled back.
func (w *Warehouse) Preflight(ctx context.Context, spec deploy.Spec, rollout string) ([]deploy.Finding, error) {
	s, err := w.readSnapshot(ctx, spec, rollout)
	if err != nil {
		return nil, err
	}
	if !w.dialect.postgres() {
		if s.swap, err = w.trySwap(ctx, s); err != nil {
			return nil, err
		}
	}
	return s.findings(w.dialect.checks()), nil
}

// findings runs the checks. Where the database is missing, or it is not even clear
// which version a name means, comparing versions would only add noise: then nothing
// beyond names and rights is looked at.
func (s *snapshot) findings(checks []check) []deploy.Finding {
	if !s.databaseExists || len(s.ambiguousPairs()) > 0 {
		checks = slices.DeleteFunc(checks, func(c check) bool { return !slices.Contains([]string{"P01", "P02", "P03", "P14"}, c.code) })
	}
	var all []deploy.Finding
	for _, c := range checks {
		found := c.find(s)
		for i := range found {
			found[i].Code = c.code
			if found[i].Severity == "" {
				found[i].Severity = deploy.Refuse
			}
		}
		slices.SortStableFunc(found, func(a, b deploy.Finding) int { return strings.Compare(a.Object, b.Object) })
		all = append(all, found...)
	}
	return slices.DeleteFunc(all, func(f deploy.Finding) bool { return s.accepted(f.Accept) && f.Severity == deploy.Refuse })
}

// accepted says whether the configuration lets a finding pass by this word.
func (s *snapshot) accepted(word string) bool {
	return word != "" && slices.Contains(s.spec.Accept, word)
}

// trySwap asks the server by doing it: every pair that exists is exchanged, in the way
// the deployment does it, in a transaction that is then rolled back. nil means that it would work, or that there
// is nothing to try. A conflict with somebody else's change says nothing and is tried
// again.
func (w *Warehouse) trySwap(ctx context.Context, s *snapshot) (*refusal, error) {
	there := s.spec
	there.Schemas, there.Clusters = nil, nil
	for _, p := range s.spec.Schemas {
		if s.paired(deploy.KindSchema, p.Live, p.Deploy) {
			there.Schemas = append(there.Schemas, p)
		}
	}
	for _, p := range s.spec.Clusters {
		if s.paired(deploy.KindCluster, p.Live, p.Deploy) {
			there.Clusters = append(there.Clusters, p)
		}
	}
	there.Objects = slices.DeleteFunc(slices.Clone(there.Objects), func(p deploy.ObjectPair) bool {
		return p.Live == p.Deploy || !s.exists(deploy.KindObject, p.Live) || !s.exists(deploy.KindObject, p.Deploy)
	})
	statements, err := deploy.Exchange(there, w.dialect.kind)
	if err != nil || len(statements) == 0 {
		return nil, err
	}
	for range snapshotTries {
		p, err := w.Prepare(ctx, statements)
		if err == nil {
			return nil, p.Rollback(ctx)
		}
		if errors.Is(err, deploy.ErrConflict) {
			continue
		}
		if pgErr := answered(err); pgErr != nil {
			return &refusal{pgErr}, nil
		}
		return nil, err
	}
	return nil, nil // others change the catalog all the time; promotion has its own retries
}

// paired says that both names exist and are different things.
func (s *snapshot) paired(kind deploy.Kind, live, deployed string) bool {
	a, okA := s.ids[nameKey{kind, live}]
	b, okB := s.ids[nameKey{kind, deployed}]
	return okA && okB && a != b
}
