package deploy

import "slices"

// Standing says what the names of the pairs stand for.
//
//	before  live → old   deploy → new    retired free
//	after   live → new   retired → old   (retired is the deploy name without a fence)
//	back    live → old   rejected → new
type Standing string

// The standings. An empty one means that no ids were recorded yet.
const (
	NamesBefore Standing = "before"
	NamesAfter  Standing = "after"
	NamesBack   Standing = "back"
)

func (p PairState) ref(name, id string) Ref {
	return Ref{Kind: p.Kind, Type: p.Type, Name: name, ID: id}
}

// expected lists what must stand under which name, and which names must be free.
func expected(pairs []PairState, names Standing) (present, absent []Ref) {
	for _, p := range pairs {
		switch names {
		case NamesBefore:
			present = append(present, p.ref(p.Live, p.LiveID), p.ref(p.Deploy, p.DeployID))
			if p.Retired != p.Deploy {
				absent = append(absent, p.ref(p.Retired, ""))
			}
		case NamesAfter:
			present = append(present, p.ref(p.Live, p.DeployID), p.ref(p.Retired, p.LiveID))
		case NamesBack:
			present = append(present, p.ref(p.Live, p.LiveID), p.ref(p.Rejected, p.DeployID))
		}
	}
	return present, absent
}

// lookNames lists every name a rollout has to do with, each once.
func lookNames(pairs []PairState, rollout string) []Ref {
	var out []Ref
	for _, p := range pairs {
		names := []string{p.Live, p.Deploy}
		for _, n := range []string{p.Retired, p.Rejected, RejectedName(p.Deploy, rollout), temporary(p, rollout)} {
			if n != "" && n != p.Deploy && n != names[len(names)-1] {
				names = append(names, n)
			}
		}
		for _, n := range names {
			out = append(out, p.ref(n, ""))
		}
	}
	return out
}

// idOf finds what stands under a name in a reading, "" for nothing.
func idOf(refs []Ref, kind Kind, name string) string {
	for _, r := range refs {
		if r.Kind == kind && r.Name == name {
			return r.ID
		}
	}
	return ""
}

// differ compares a reading with what must stand. A pair whose ids were never
// recorded (a canary opened by force) is not compared.
func differ(present, absent, refs []Ref) []Change {
	var out []Change
	for _, want := range present {
		if is := idOf(refs, want.Kind, want.Name); want.ID != "" && is != want.ID {
			out = append(out, Change{Kind: want.Kind, Name: want.Name, Was: want.ID, Is: is})
		}
	}
	for _, free := range absent {
		if is := idOf(refs, free.Kind, free.Name); is != "" {
			out = append(out, Change{Kind: free.Kind, Name: free.Name, Is: is})
		}
	}
	return out
}

// diff compares a reading with the state's own standing. While a version
// is being dropped, its absence is not a change.
func (s *State) diff(refs []Ref) []Change {
	present, absent := expected(s.Pairs, s.Names)
	out := differ(present, absent, refs)
	if s.Phase != PhaseCleaning && s.Phase != PhaseDropping {
		return out
	}
	var left []Change
	for _, c := range out {
		if c.Is != "" || !s.goes(c) {
			left = append(left, c)
		}
	}
	return left
}

// goes says whether what is missing is a part that is being dropped.
func (s *State) goes(c Change) bool {
	return slices.ContainsFunc(s.drops(), func(r Ref) bool { return r.Kind == c.Kind && r.Name == c.Name && r.ID == c.Was })
}

// drops are the parts that go, in their order: those of the old version, or, at the
// end of an abort that asked for it, of the new one.
func (s *State) drops() []Ref {
	var out []Ref
	for _, p := range dropOrder(s.Pairs) {
		if s.Phase == PhaseDropping {
			out = append(out, p.ref(p.Deploy, p.DeployID))
			continue
		}
		out = append(out, p.ref(p.Retired, p.LiveID))
	}
	return out
}

// marks are the rollout's traces on both versions, as the names stand.
func (s *State) marks(phase Phase) []Mark {
	present, _ := expected(s.Pairs, s.Names)
	var out []Mark
	for _, r := range present {
		if r.ID == "" {
			continue
		}
		out = append(out, Mark{Ref: r, Rollout: s.Rollout, Phase: string(phase), Spec: s.Deployment, Side: s.side(r)})
	}
	return out
}

func (s *State) side(r Ref) string {
	for _, p := range s.Pairs {
		if p.Kind == r.Kind && p.DeployID == r.ID {
			return "new"
		}
	}
	return "old"
}

// marked are the objects that may carry marks; what was dropped is left out.
func (s *State) marked() []Ref {
	present, _ := expected(s.Pairs, s.Names)
	var out []Ref
	for _, r := range present {
		if r.ID == "" || s.Phase == PhaseDone && s.side(r) == "old" {
			continue
		}
		out = append(out, r)
	}
	return out
}
