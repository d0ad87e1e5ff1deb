package checker

import (
	"sync"
	"time"

	"mzcanary/internal/sim"
)

// timeline collects what the answers are judged by, while the run goes on.
type timeline struct {
	names Names
	clock func() time.Duration
	since func(time.Time) time.Duration

	mu       sync.Mutex
	states   []State
	doubts   []Span
	cuts     []Cut
	injected []Injected
	versions map[string]int // by the id of the schema
	building int            // the version that the next new deploy schema will be
	salt     uint64         // of the newest rollout
}

func newTimeline(names Names) *timeline {
	began := time.Now()
	return &timeline{names: names, versions: map[string]int{}, building: 1,
		clock:  func() time.Duration { return time.Since(began) },
		since:  func(t time.Time) time.Duration { return t.Sub(began) },
		states: []State{{Why: "before anything"}}}
}

// builds says which version is built next.
func (t *timeline) builds(version int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.building = version
}

// changed is told by the simulated server of every change of the names.
func (t *timeline) changed(c sim.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range []string{c.Schemas[t.names.Live], c.Schemas[t.names.Deploy()]} {
		if id != "" && t.versions[id] == 0 {
			t.versions[id] = t.building
		}
	}
	t.stand(Span{t.since(c.Since), t.since(c.At)}, t.versions[c.Schemas[t.names.Live]], t.versions[c.Schemas[t.names.Deploy()]])
}

// named notes what the names stand for, where nobody says it to the moment.
func (t *timeline) named(span Span, live, deploy int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stand(span, live, deploy)
}

// stand appends a state; mu must be held. With another version behind the live
// names everybody is on them: there is no canary from that very moment.
func (t *timeline) stand(span Span, live, deploy int) {
	last := t.states[len(t.states)-1]
	if last.Live == live && last.Deploy == deploy {
		return
	}
	next := last
	next.Span, next.Live, next.Deploy, next.Why = span, live, deploy, "names"
	if last.Live != live && last.Live != 0 {
		next.Open, next.Weight, next.Swaps, next.Why = false, 0, last.Swaps+1, "swap"
	}
	t.states = append(t.states, next)
}

// salted notes the salt of the rollout that begins; nobody is on the canary yet.
func (t *timeline) salted(salt uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.salt = salt
}

// route notes what the controller was seen to have published.
func (t *timeline) route(span Span, open bool, weight int, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.states[len(t.states)-1]
	if last.Open == open && last.Weight == weight {
		return
	}
	last.Span, last.Open, last.Weight, last.Salt, last.Why = span, open, weight, t.salt, why
	t.states = append(t.states, last)
}

func (t *timeline) last() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.states[len(t.states)-1]
}

func (t *timeline) doubt(s Span) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubts = append(t.doubts, s)
}

func (t *timeline) cut(s Span, what CutKind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cuts = append(t.cuts, Cut{s, what})
}

func (t *timeline) inject(i Injected) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.injected = append(t.injected, i)
}

// history puts everything together; the clients must have ended.
func (t *timeline) history(c *crowd, policy Policy) *History {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &History{States: t.states, Doubts: t.doubts, Cuts: t.cuts, Injected: t.injected, Policy: policy}
	for _, cl := range c.clients {
		h.Answers = append(h.Answers, cl.answers...)
		h.Failures = append(h.Failures, cl.failures...)
		h.Writes = append(h.Writes, cl.writes...)
	}
	return h
}
