package checker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mzcanary/router"
)

// Rule is a promise that was broken.
type Rule string

// The rules, most telling first.
const (
	RuleMixed     Rule = "two versions in one unit"
	RuleOld       Rule = "the old version after the swap's commit"
	RuleArm       Rule = "a version outside its arm"
	RuleBackwards Rule = "a session went back in version"
	RuleError     Rule = "an error nobody allowed"
	RuleWrite     Rule = "a write lost or doubled"
)

// Violation is one broken promise, with what shows it.
type Violation struct {
	Rule Rule
	At   time.Duration
	Text string
}

func (v Violation) String() string { return fmt.Sprintf("%9s %s: %s", clock(v.At), v.Rule, v.Text) }

func clock(t time.Duration) string {
	if t == Forever {
		return "never"
	}
	return fmt.Sprintf("%.4fs", t.Seconds())
}

// Report is the judgement of a history.
type Report struct {
	Violations []Violation
	// Allowed counts the errors by the entry of the allow-list that names them.
	Allowed map[string]int
	// Lingering counts streams that ran across a swap and ended on the old version.
	Lingering int
	// Seen counts answers by version.
	Seen map[int]int
	// Modes counts answers and acknowledged writes by the mode of the client.
	Modes                      map[string]int
	Sessions, Answers, Commits int
}

// Broken counts violations of some rules, of all with none given.
func (r *Report) Broken(rules ...Rule) int {
	n := 0
	for _, v := range r.Violations {
		if len(rules) == 0 || slices.Contains(rules, v.Rule) {
			n++
		}
	}
	return n
}

// Verify judges a history. It is pure: the same history gives the same report.
func Verify(h *History) *Report {
	r := &Report{Allowed: map[string]int{}, Seen: map[int]int{}, Modes: map[string]int{}}
	for _, s := range h.States[1:] {
		if s.Swaps > h.States[0].Swaps {
			r.Commits = s.Swaps - h.States[0].Swaps
		}
	}
	sessions := map[[2]int][]*Answer{}
	for i := range h.Answers {
		a := &h.Answers[i]
		key := [2]int{a.Client, a.Session}
		sessions[key] = append(sessions[key], a)
		r.Answers++
		r.answer(h, a)
	}
	r.Sessions = len(sessions)
	for _, list := range sessions {
		r.session(h, list)
	}
	for i := range h.Failures {
		r.failure(h, &h.Failures[i])
	}
	for i := range h.Writes {
		r.write(&h.Writes[i])
	}
	slices.SortStableFunc(r.Violations, func(a, b Violation) int { return cmp.Compare(a.At, b.At) })
	return r
}

func (r *Report) broke(rule Rule, at time.Duration, format string, args ...any) {
	r.Violations = append(r.Violations, Violation{Rule: rule, At: at, Text: fmt.Sprintf(format, args...)})
}

// answer judges one unit by itself.
func (r *Report) answer(h *History, a *Answer) {
	r.Modes[a.Mode]++
	for _, v := range a.Versions {
		r.Seen[v]++
	}
	if len(a.Versions) != 1 {
		r.broke(RuleMixed, a.Asked, "%s saw %v between %s and %s", a.Who, a.Versions, clock(a.Asked), clock(max(a.Answered, a.Ended)))
		return
	}
	v := a.Versions[0]
	may := h.possible(&a.Who, a.Asked, a.Answered)
	if !slices.Contains(may, v) {
		rule := RuleArm
		if h.replaced(v, a.Asked) {
			rule = RuleOld
		}
		r.broke(rule, a.Asked, "%s asked at %s and was answered at %s by version %d; possible was %v", a.Who, clock(a.Asked), clock(a.Answered), v, may)
		return
	}
	if a.Stream && h.replaced(v, a.Ended) {
		r.Lingering++
	}
}

// possible lists the versions that a unit may rightly have been given: the union
// of what was possible at any moment between asking and the answer.
func (h *History) possible(w *Who, from, to time.Duration) []int {
	var out []int
	add := func(versions ...int) {
		for _, v := range versions {
			if v != 0 && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	for _, s := range h.within(from, to) {
		add(s.versions(w, h)...)
		if h.doubted(max(from, s.From), to) {
			add(s.Live)
		}
	}
	return out
}

// versions lists what a session may be given in one state.
func (s State) versions(w *Who, h *History) []int {
	canary := s.Live
	if s.Open && s.Deploy != 0 {
		canary = s.Deploy
	}
	switch {
	case w.Pin == ByStable:
		return []int{s.Live}
	case w.Pin == ByCanary:
		return []int{canary}
	case w.Pin == ByNames && s.Deploy != 0 && slices.ContainsFunc(h.within(w.Knocked, w.Opened), func(o State) bool { return o.Swaps == s.Swaps }):
		if h.swapBefore(w.Opened) {
			return []int{s.Deploy, s.Live}
		}
		return []int{s.Deploy}
	case w.Pin == ByNames || s.Weight == 0:
		return []int{s.Live}
	case w.Key == "" && s.Weight < 10_000:
		return []int{s.Live, canary}
	case router.PickAt(router.Hash(s.Salt, w.Key), router.Weight(s.Weight)) == router.Canary:
		return []int{canary}
	}
	return []int{s.Live}
}

// nameGrace is how long after a swap the proxy may take a session that logs in with
// deploy names for one that meant the version that was swapped: it waited at the
// gate, or came before the answer to COMMIT.
const nameGrace = 2 * time.Second

func (h *History) swapBefore(t time.Duration) bool {
	for i := 1; i < len(h.States); i++ {
		if s := h.States[i]; s.Swaps != h.States[i-1].Swaps && s.From <= t && t <= s.To+nameGrace {
			return true
		}
	}
	return false
}

// replaced: at that moment the version had already stood behind the live names
// and did so no longer.
func (h *History) replaced(v int, t time.Duration) bool {
	was := false
	for _, s := range h.States {
		if s.To > t {
			break
		}
		was = was || s.Live == v
	}
	return was && !slices.ContainsFunc(h.at(t), func(s State) bool { return s.Live == v })
}

// session judges the order of one session's answers.
func (r *Report) session(h *History, list []*Answer) {
	slices.SortStableFunc(list, func(a, b *Answer) int { return cmp.Compare(a.Asked, b.Asked) })
	var newest *Answer
	for _, a := range list {
		if len(a.Versions) != 1 {
			continue
		}
		if newest != nil && a.Versions[0] < newest.Versions[0] && !h.takenBack(newest.Asked, a.Answered) {
			r.broke(RuleBackwards, a.Asked, "%s was given version %d at %s and version %d at %s, and nothing was taken back",
				a.Who, newest.Versions[0], clock(newest.Answered), a.Versions[0], clock(a.Answered))
		}
		if newest == nil || a.Versions[0] >= newest.Versions[0] || h.takenBack(newest.Asked, a.Answered) {
			newest = a
		}
	}
}

// takenBack reports whether anything was being taken back in a stretch: a smaller
// weight, a closed canary, a swap back, an unknown outcome.
func (h *History) takenBack(from, to time.Duration) bool {
	if h.doubted(from, to) {
		return true
	}
	for i := 1; i < len(h.States); i++ {
		if was, is := h.States[i-1], h.States[i]; is.lowers(was) && is.meets(from, to) {
			return true
		}
	}
	return false
}

// lowers tells a state that takes something back from one that goes on. A swap
// closes the canary too, but by making its version production.
func (s State) lowers(was State) bool {
	if s.Swaps != was.Swaps {
		return s.Live < was.Live
	}
	return was.Open && (!s.Open || s.Weight < was.Weight)
}

func (r *Report) failure(h *History, f *Failure) {
	for _, e := range allowList {
		if e.Allows(h, f) {
			r.Allowed[e.Name]++
			return
		}
	}
	r.broke(RuleError, f.At, "%s, open since %s, asked at %s: %s %s", f.Who, clock(f.Opened), clock(f.Asked), f.Code, f.Text)
}

// write: what was acknowledged is there once, what was not at most once.
func (r *Report) write(w *Write) {
	if w.Acked {
		r.Modes[w.Mode]++
	}
	if w.Stored > 1 || w.Acked && w.Stored != 1 {
		r.broke(RuleWrite, w.Opened, "%s wrote %s (acknowledged: %t) and it was found %d times", w.Who, w.ID, w.Acked, w.Stored)
	}
}
