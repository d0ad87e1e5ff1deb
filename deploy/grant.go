package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// The kinds of what a Grant can be on, beside those of pairs.
const (
	KindDatabase Kind = "database"
	KindRole     Kind = "role"
)

// Grant is one right of one role. It names its object by id too, because names
// move during a rollout and the right stays with the contents.
type Grant struct {
	// Privilege is USAGE, SELECT, CREATE, …; "" for membership of the role On.
	Privilege string `json:"privilege,omitempty"`
	// On is the schema, cluster, object, database or role. Database and role are
	// addressed by name and need no id.
	On Ref `json:"on"`
	// To is the role that gets it; "" is PUBLIC.
	To string `json:"to,omitempty"`
	// Text is the statement that gives it, as the names stood when it was found.
	Text string `json:"text"`
}

func (g Grant) same(o Grant) bool {
	return g.Privilege == o.Privilege && g.To == o.To && g.On.Kind == o.On.Kind && g.On.ID == o.On.ID && (g.On.ID != "" || g.On.Name == o.On.Name)
}

func (g Grant) rank() int {
	if g.On.Kind == KindRole {
		return 0
	}
	return 1
}

// Remedies are the grants that would mend findings, in the order of the list, but
// memberships first: they may bring the right to give the others.
func Remedies(findings []Finding) []Grant {
	var out []Grant
	for _, f := range findings {
		if f.Grant != nil && !slices.ContainsFunc(out, f.Grant.same) {
			out = append(out, *f.Grant)
		}
	}
	slices.SortStableFunc(out, func(a, b Grant) int { return a.rank() - b.rank() })
	return out
}

// Granted says how far giving rights came: the first Done of what was asked.
type Granted struct {
	At
	Done int
	Err  error
}

// Revoked is the end of taking them back.
type Revoked struct {
	At
	Err error
}

// give runs grants one by one.
func give(ctx context.Context, w Warehouse, clock func() time.Time, database string, grants []Grant) Granted {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	done, err := w.Grant(ctx, database, grants)
	return Granted{At: At{clock()}, Done: done, Err: err}
}

func takeBack(ctx context.Context, w Warehouse, clock func() time.Time, database string, grants []Grant) Revoked {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err := w.Revoke(ctx, database, grants)
	return Revoked{At: At{clock()}, Err: err}
}

// maxFixes is how often preflight may ask for rights: giving some may show that
// others are missing, and a restart gives them again.
const maxFixes = 3

// toGive are the grants that would make preflight pass, if they are all it lacks:
// a rollout that is refused anyway changes nothing.
func (m *machine) toGive() []Grant {
	if !m.s.Fix || m.s.Fixes >= maxFixes {
		return nil
	}
	var refusing []Finding
	for _, f := range m.s.Findings {
		if f.Severity != Refuse {
			continue
		}
		if f.Grant == nil {
			return nil
		}
		refusing = append(refusing, f)
	}
	return Remedies(refusing)
}

// give journals which rights will be given and then asks for it, so that whatever
// happens in between is taken back at a rollback.
func (m *machine) give(grants []Grant) {
	m.s.Fixes++
	m.s.Giving = true
	m.s.Granted = slices.Clone(m.s.Granted)
	for _, g := range grants {
		if !slices.ContainsFunc(m.s.Granted, g.same) {
			m.s.Granted = append(m.s.Granted, g)
		}
	}
	m.decide(controller, fmt.Sprintf("gives %d missing rights", len(grants)), sentence(texts(grants), 10))
	m.do(Action{Kind: ActGrant, Grants: grants})
}

func texts(grants []Grant) []string {
	out := make([]string, len(grants))
	for i, g := range grants {
		out[i] = g.Text
	}
	return out
}

// granted: preflight has the last word on whether the rights are there.
func (m *machine) granted(e Granted) {
	if !m.s.Giving {
		return
	}
	m.s.Giving = false
	if m.s.Phase.Final() { // it ended meanwhile and waits for this
		m.close()
		return
	}
	switch {
	case m.heard(e.Err): // which of them were given is not known; all of them stay in the journal
		m.retry(ActPreflight, retryPause)
	case e.Err != nil:
		// What was refused was not given, and is not to be taken back.
		asked := Remedies(m.s.Findings)
		refused := asked[min(e.Done, len(asked)):]
		m.s.Granted = slices.DeleteFunc(slices.Clone(m.s.Granted), func(g Grant) bool { return slices.ContainsFunc(refused, g.same) })
		m.finish(PhaseRefused, ExitRefused, "a missing right could not be given: "+e.Err.Error())
	default:
		m.do(Action{Kind: ActPreflight})
	}
}

// undoGrants decides at the end of a rollout which of the rights it gave go away
// again: all of them in reverse order when the new version did not become
// production, none where names were left to a person.
func (m *machine) undoGrants(end Phase, unknown bool) {
	switch end {
	case PhaseRefused, PhaseExpired, PhaseRolledBack, PhaseAborted:
	default:
		return
	}
	if len(m.s.Granted) == 0 {
		return
	}
	if m.s.Names == NamesAfter || unknown { // the new version is production, or may be
		m.s.note(m.at, controller, "rights that were given stay", sentence(texts(m.s.Granted), 10))
		return
	}
	m.s.Revoke = slices.Clone(m.s.Granted)
	slices.Reverse(m.s.Revoke)
}

// close ends what comes after the end: marks, rights, and then the record.
func (m *machine) close() {
	switch {
	case m.s.Marked:
		m.do(Action{Kind: ActUnmark, Refs: m.s.marked()})
	case m.s.Giving: // what is still being given is taken back after it
	case len(m.s.Revoke) > 0:
		m.do(Action{Kind: ActRevoke, Grants: m.s.Revoke})
	case m.s.Rollout != "":
		m.do(Action{Kind: ActArchive})
	}
}

// closing: the rollout is over and something of it is still being put away.
func (s *State) closing() bool { return s.Phase.Final() && (s.Marked || len(s.Revoke) > 0) }

// revoked: rights that the server does not let us take back are left and named.
func (m *machine) revoked(e Revoked) {
	if !m.s.Phase.Final() || len(m.s.Revoke) == 0 || m.s.Marked || m.s.Giving {
		return
	}
	if m.putAwayLater(ActRevoke, e.Err) {
		return
	}
	what := sentence(texts(m.s.Revoke), 10)
	m.s.Revoke, m.s.Retries = nil, 0
	if e.Err != nil {
		m.leftBehind("rights of "+what, e.Err)
	} else {
		m.decide(controller, "rights taken back", what)
	}
	m.close()
}
