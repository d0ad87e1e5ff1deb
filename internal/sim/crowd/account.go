package crowd

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"
)

// Tally is what one arm gave the clients.
type Tally struct {
	Exchanges     int `json:"exchanges"`
	ClientErrors  int `json:"client_errors"`
	WrongVersions int `json:"wrong_versions"`
}

// Account is the checked result of a crowd.
type Account struct {
	Tally
	// Arms splits the answers by the arm that gave them, as the clients can tell it:
	// the version behind the live names is stable, the other one canary.
	Stable Tally `json:"stable"`
	Canary Tally `json:"canary"`
	// Mixed counts transactions, streams and answers in which two versions met; they
	// are part of WrongVersions.
	Mixed int `json:"mixed"`
	// Backwards counts sessions that went back in version while nothing was taken
	// back; part of WrongVersions.
	Backwards int `json:"backwards"`
	// LostByKill counts connections lost while the proxy was known to be dead.
	LostByKill int `json:"lost_by_kill"`
	// Injected counts errors that carry the message the driver of the rollout made
	// the server fail with; they are the fault shown, not the proxy's.
	Injected int `json:"injected_errors"`
	Sessions int `json:"sessions"`
	SeenOld  int `json:"seen_old"`
	SeenNew  int `json:"seen_new"`
	// Hopped counts answers by another version than the session had before, while no
	// weight changed and everybody was in place; part of WrongVersions.
	Hopped int `json:"hopped"`
	// Shares are what share of the sessions the new version really had under every
	// weight between nobody and everybody, as the clients can tell it.
	Shares []Share `json:"shares"`
	// Modes are the answers by how the clients talk.
	Modes map[string]ModeTally `json:"modes"`
	// Examples holds the first few faults in words.
	Examples []string `json:"examples,omitempty"`
}

// ModeTally is what the clients of one mode were given. An empty answer is one
// without a row: a SUBSCRIBE or cursor that was ended before it had one.
type ModeTally struct {
	Clients int `json:"clients"`
	Answers int `json:"answers"`
	Empty   int `json:"empty"`
}

// Share is the share of one weight, in one time in which it stood.
type Share struct {
	Weight   int `json:"weight"`   // basis points
	Sessions int `json:"sessions"` // that follow the weight and had an answer
	Canary   int `json:"canary"`   // of them, those on the new version
	// Plausible: that many, or more, or fewer, are not out of reach for a proxy that
	// draws every session with this weight.
	Plausible bool `json:"plausible"`
}

// Clean reports whether the account is without fault.
func (a *Account) Clean() bool {
	return a.ClientErrors == 0 && a.WrongVersions == 0 && len(a.Silent()) == 0 &&
		!slices.ContainsFunc(a.Shares, func(s Share) bool { return !s.Plausible })
}

// Silent lists the modes that never had an answer: nothing is known of them.
func (a *Account) Silent() []string {
	var out []string
	for _, mode := range slices.Sorted(maps.Keys(a.Modes)) {
		if a.Modes[mode].Answers == 0 {
			out = append(out, mode)
		}
	}
	return out
}

// maxExamples bounds the faults told in words; the counts are complete.
const maxExamples = 8

func (a *Account) example(format string, args ...any) {
	if len(a.Examples) < maxExamples {
		a.Examples = append(a.Examples, fmt.Sprintf(format, args...))
	}
}

func (a *Account) arm(v Version, live Version) *Tally {
	if v == live || v == NoVersion {
		return &a.Stable
	}
	return &a.Canary
}

// answer is one note of a client: what it was given, and between which moments.
type answer struct {
	asked, answered time.Time
	version         Version
	session         int32
	mixed           bool
}

// failure is an error the client did not cause itself.
type failure struct {
	at         time.Time
	asked      time.Time
	what       string
	connection bool // the connection was refused or lost
	injected   bool // it carries Options.Fault
	version    Version
}

// stay is one session in one period.
type stay struct {
	session int32
	period  int
}

// check judges one client's notes.
func (a *Account) check(c *client, v *verdicts, counted []Share) {
	sort.SliceStable(c.answers, func(i, j int) bool { return c.answers[i].asked.Before(c.answers[j].asked) })
	newest := map[int32]answer{} // per session: the latest answer by the newer version
	stays := map[stay]answer{}   // the first answer
	for _, n := range c.answers {
		a.checkAnswer(c, v, n, newest, stays)
	}
	for s, first := range stays {
		if c.mode.pinned() || !v.faulty.IsZero() && first.answered.After(v.faulty) {
			continue
		}
		counted[s.period].Sessions++
		if first.version == v.periods[s.period].canary {
			counted[s.period].Canary++
		}
	}
	if a.Modes == nil {
		a.Modes = map[string]ModeTally{}
	}
	m := a.Modes[c.mode.String()]
	a.Modes[c.mode.String()] = ModeTally{Clients: m.Clients + 1, Answers: m.Answers + len(c.answers), Empty: m.Empty + c.empty}
	for _, f := range c.failures {
		if f.connection && (v.killed(f.at) || v.killed(f.asked)) {
			a.LostByKill++
			continue
		}
		if f.injected {
			a.Injected++
			continue
		}
		a.ClientErrors++
		a.arm(f.version, v.versionAt(f.at)).ClientErrors++
		a.example("client %d (%s): %s", c.id, c.mode, f.what)
	}
	a.Sessions += int(c.sessions)
}

func (a *Account) checkAnswer(c *client, v *verdicts, n answer, newest map[int32]answer, stays map[stay]answer) {
	tally := a.arm(n.version, v.versionAt(n.answered))
	a.Exchanges++
	tally.Exchanges++
	switch n.version {
	case Old:
		a.SeenOld++
	case New:
		a.SeenNew++
	}
	allowed := v.allowed(c.mode, n.asked, n.answered)
	hopped := false
	if p := v.period(n.asked, n.answered); p >= 0 && !n.mixed {
		first, seen := stays[stay{n.session, p}]
		if hopped = seen && first.version != n.version; !seen {
			stays[stay{n.session, p}] = n
		}
	}
	switch last, seen := newest[n.session]; {
	case n.mixed:
		a.Mixed++
		a.example("client %d (%s): two versions in one transaction", c.id, c.mode)
	case n.version&allowed == 0:
		a.example("client %d (%s): version %s was not possible %s after the start", c.id, c.mode, n.version, c.since(n.asked))
	case seen && n.version == Old && !v.loweredBetween(last.asked, n.answered):
		a.Backwards++
		a.example("client %d (%s): went back to the old version %s after the start", c.id, c.mode, c.since(n.asked))
	case hopped:
		a.Hopped++
		a.example("client %d (%s): changed to the %s version %s after the start while no weight changed", c.id, c.mode, n.version, c.since(n.asked))
	default:
		if n.version == New {
			newest[n.session] = n
		}
		return
	}
	a.WrongVersions++
	tally.WrongVersions++
}
