package crowd

import (
	"slices"
	"sort"
	"sync"
	"time"
)

// Version is what an answer was given by.
type Version uint8

// The versions the simulated views carry in their version column.
const (
	NoVersion Version = 0
	Old       Version = 1 << 0
	New       Version = 1 << 1
	both              = Old | New
)

func (v Version) String() string {
	switch v {
	case Old:
		return "old"
	case New:
		return "new"
	}
	return "unknown"
}

// ParseVersion reads the version column.
func ParseVersion(s string) Version {
	switch s {
	case "old":
		return Old
	case "new":
		return New
	}
	return NoVersion
}

// Timeline says which versions a session could rightly be given, and when.
// Notes may come late and out of order; nothing is judged before Close.
type Timeline struct {
	mu    sync.Mutex
	notes []note
	kills []span
}

type noteKind uint8

const (
	noteWeight noteKind = iota
	noteWiden
	noteSettled
	noteCommitted
)

type note struct {
	at   time.Time
	kind noteKind
	// weight in basis points for noteWeight.
	weight int
	// live is the version behind the live names, for noteCommitted.
	live Version
}

type span struct{ from, to time.Time }

// Weight notes that the wanted share of the new version became w basis points.
func (t *Timeline) Weight(at time.Time, w int) { t.add(note{at: at, kind: noteWeight, weight: w}) }

// Widen notes that from now on either version may answer, until Settled: a
// promotion or a rollback is under way.
func (t *Timeline) Widen(at time.Time) { t.add(note{at: at, kind: noteWiden}) }

// Settled notes that every session was seen on the target it should have at that
// weight. It says nothing when the weight has changed meanwhile.
func (t *Timeline) Settled(at time.Time, weight int) {
	t.add(note{at: at, kind: noteSettled, weight: weight})
}

// Committed notes that a swap was committed: from this moment the live names
// stand for the given version, and no statement that starts later may read the
// other one by them.
func (t *Timeline) Committed(at time.Time, live Version) {
	t.add(note{at: at, kind: noteCommitted, live: live})
}

// Killed notes that the proxy was killed and was serving again at the end;
// connections lost in between are the kill's, not the proxy's.
func (t *Timeline) Killed(from, to time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kills = append(t.kills, span{from, to})
}

func (t *Timeline) add(n note) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes = append(t.notes, n)
}

// state is what was possible from its time on.
type state struct {
	at      time.Time
	allowed Version // for a session that follows the weight
	stable  Version // for a session pinned to production
	canary  Version // for a session that asked for the canary by name
	lowered bool    // sessions may go back in version until the next state
}

// period is a time in which a weight stood and everybody was where it put them:
// nobody may change arms in it.
type period struct {
	span
	weight int     // basis points
	canary Version // the version that is not behind the live names
}

// verdicts is the timeline in order, ready to be asked.
type verdicts struct {
	states  []state
	periods []period
	kills   []span
	// faulty is when the first error was made on purpose, zero if none was. From then
	// on an arm may have sessions without an answer, so no shares are counted.
	faulty time.Time
}

// disturbed looks for the first error that was made on purpose.
func (v *verdicts) disturbed(clients []*client) {
	for _, c := range clients {
		for _, f := range c.failures {
			if f.injected && (v.faulty.IsZero() || f.asked.Before(v.faulty)) {
				v.faulty = f.asked
			}
		}
	}
}

func (t *Timeline) verdicts() *verdicts {
	t.mu.Lock()
	defer t.mu.Unlock()
	notes := append([]note(nil), t.notes...)
	sort.SliceStable(notes, func(i, j int) bool { return notes[i].at.Before(notes[j].at) })
	v := &verdicts{kills: append([]span(nil), t.kills...)}
	m := machine{live: Old, pending: Old, canary: New}
	v.states = append(v.states, m.state(time.Time{}))
	for _, n := range notes {
		m.take(n)
		v.states = append(v.states, m.state(n.at))
		v.take(n, &m)
	}
	return v
}

// take begins a period when a weight has settled, and ends it with whatever else
// happens.
func (v *verdicts) take(n note, m *machine) {
	last := len(v.periods) - 1
	open := last >= 0 && v.periods[last].to.IsZero()
	switch {
	case n.kind != noteSettled && open:
		v.periods[last].to = n.at
	case n.kind == noteSettled && n.weight == m.weight && !open:
		v.periods = append(v.periods, period{span: span{from: n.at}, weight: n.weight, canary: both &^ m.live})
	}
}

// period finds the one in which all of an exchange lies, -1 if none.
func (v *verdicts) period(asked, answered time.Time) int {
	return slices.IndexFunc(v.periods, func(p period) bool {
		return !asked.Before(p.from) && (p.to.IsZero() || !answered.After(p.to))
	})
}

// machine folds the notes into what is possible.
type machine struct {
	live    Version
	weight  int
	pending Version
	canary  Version
	lowered bool
}

func (m *machine) state(at time.Time) state {
	return state{at: at, allowed: m.pending, stable: m.live, canary: m.canary, lowered: m.lowered}
}

func (m *machine) take(n note) {
	switch n.kind {
	case noteWeight:
		if n.weight < m.weight {
			m.lowered = true
			m.canary = both // taking the weight back may close the canary
		}
		m.weight = n.weight
		m.pending |= m.meant()
	case noteWiden:
		m.lowered = true
		m.pending, m.canary = both, both
	case noteSettled:
		if n.weight == m.weight {
			m.lowered = false
			m.pending = m.meant()
		}
	case noteCommitted:
		m.lowered = n.live == Old
		m.live, m.weight = n.live, 0
		// Sessions are on live names before the commit, so nothing else is possible
		// from this moment on.
		m.pending, m.canary = m.live, m.live
	}
}

func (m *machine) meant() Version {
	other := both &^ m.live
	switch {
	case m.weight == 0:
		return m.live
	case m.weight >= 10_000:
		return other
	}
	return both
}

// allowed is the union of what was possible between asking and the answer.
func (v *verdicts) allowed(m mode, asked, answered time.Time) Version {
	pick := func(s state) Version {
		switch m {
		case modePinnedStable:
			return s.stable
		case modePinnedCanary:
			return s.canary
		}
		return s.allowed
	}
	first := sort.Search(len(v.states), func(i int) bool { return v.states[i].at.After(asked) }) - 1
	var out Version
	for i := max(first, 0); i < len(v.states) && !v.states[i].at.After(answered); i++ {
		out |= pick(v.states[i])
	}
	return out
}

// loweredBetween reports whether anything was being taken back in that time.
func (v *verdicts) loweredBetween(from, to time.Time) bool {
	for i, s := range v.states {
		over := i+1 < len(v.states) && v.states[i+1].at.Before(from)
		if s.lowered && !over && !s.at.After(to) {
			return true
		}
	}
	return false
}

func (v *verdicts) killed(at time.Time) bool {
	for _, k := range v.kills {
		if !at.Before(k.from) && !at.After(k.to) {
			return true
		}
	}
	return false
}

// versionAt is the version behind the live names at that time.
func (v *verdicts) versionAt(at time.Time) Version {
	live := Old
	for _, s := range v.states {
		if s.at.After(at) {
			break
		}
		live = s.stable
	}
	return live
}
