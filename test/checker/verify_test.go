package checker

import (
	"testing"
	"time"
)

func at(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// span is a change that was to the moment when from is to.
func span(from, to float64) Span { return Span{at(from), at(to)} }

// released is an ordinary rollout: half at 10, everybody at 20, the swap at 30.
// Version 2 replaces version 1, which is retired under another name.
func released() []State {
	return []State{
		{Live: 1},
		{Span: span(5, 5), Live: 1, Deploy: 2},
		{Span: span(10, 11), Live: 1, Deploy: 2, Open: true, Weight: 5000},
		{Span: span(20, 22), Live: 1, Deploy: 2, Open: true, Weight: 10_000},
		{Span: span(30, 30.1), Live: 2, Swaps: 1},
	}
}

// takenBack is a rollout whose weight went back to 0 at 20.
func withdrawn() []State {
	return append(released()[:3], State{Span: span(20, 21), Live: 1, Deploy: 2})
}

// swappedBack goes on after the swap: back to version 1 at 40.
func swappedBack() []State {
	return append(released(), State{Span: span(40, 40.1), Live: 1, Deploy: 2, Swaps: 2})
}

// salted is an ordinary rollout whose salt is known; of the keys one is on the canary
// at half the weight and the other is not.
func salted() []State {
	states := released()
	states[2].Salt, states[3].Salt = 7, 7
	return states
}

const stableKey, canaryKey = "checker-0-2", "checker-0-1"

func keyed(key string, asked float64, version int) Answer {
	a := answer(asked, asked+0.5, version)
	a.Key = key
	if key == canaryKey {
		a.Session = 2
	}
	return a
}

// unit is an answer of session 1 of client 1, which the weight decides.
func answer(asked, answered float64, versions ...int) Answer {
	return Answer{Who: Who{Client: 1, Session: 1, Mode: "test"}, Asked: at(asked), Answered: at(answered), Ended: at(answered), Versions: versions}
}

func (a Answer) pinned(p Pin) Answer       { a.Pin = p; return a }
func (a Answer) of(session int) Answer     { a.Session = session; return a }
func (a Answer) openedAt(s float64) Answer { a.Knocked, a.Opened = at(s), at(s); return a }
func (a Answer) streaming(ended float64) Answer {
	a.Stream, a.Ended = true, at(ended)
	return a
}

// TestVerify holds every rule against histories that keep it and that break it.
func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name    string
		states  []State
		doubts  []Span
		answers []Answer
		want    []Rule
	}{
		{name: "an ordinary life", states: released(),
			answers: []Answer{answer(1, 2, 1), answer(12, 13, 1), answer(14, 15, 2), answer(23, 24, 2), answer(31, 32, 2)}},
		{name: "on its arm below 100 %", states: salted(), answers: []Answer{keyed(stableKey, 12, 1), keyed(canaryKey, 12, 2), keyed(stableKey, 23, 2), keyed(canaryKey, 23, 2)}},
		{name: "the new version for a session of the stable arm", states: salted(), answers: []Answer{keyed(stableKey, 12, 2)}, want: []Rule{RuleArm}},
		{name: "the old version for a session of the canary arm", states: salted(), answers: []Answer{keyed(canaryKey, 12, 1)}, want: []Rule{RuleArm}},
		{name: "new before there is a canary", states: released(), answers: []Answer{answer(6, 7, 2)}, want: []Rule{RuleArm}},
		{name: "new while the weight is being published", states: released(), answers: []Answer{answer(9, 10.5, 2)}},
		{name: "old at 100 %", states: released(), answers: []Answer{answer(23, 24, 1)}, want: []Rule{RuleArm}},
		{name: "old while 100 % is being published", states: released(), answers: []Answer{answer(21, 21, 1)}},
		{name: "old, held across the commit, at 100 %", states: released(), answers: []Answer{answer(29.9, 30.2, 1)}, want: []Rule{RuleArm}},
		{name: "new, held across the commit", states: released(), answers: []Answer{answer(29.9, 30.2, 2)}},
		{name: "old after the commit", states: released(), answers: []Answer{answer(30.2, 30.3, 1)}, want: []Rule{RuleOld}},
		{name: "old, asked before everybody was on the canary", states: released(), answers: []Answer{answer(15, 31, 1)}},
		{name: "a version that never was", states: released(), answers: []Answer{answer(12, 13, 7)}, want: []Rule{RuleArm}},
		{name: "two versions in a transaction", states: released(), answers: []Answer{answer(12, 13, 1, 2)}, want: []Rule{RuleMixed}},
		{name: "two versions in a stream", states: released(), answers: []Answer{answer(12, 13, 1, 2).streaming(35)}, want: []Rule{RuleMixed}},
		{name: "a stream goes on over the swap", states: released(), answers: []Answer{answer(12, 13, 1).streaming(35)}},
		{name: "a stream begins on the old version after the swap", states: released(), answers: []Answer{answer(31, 32, 1).streaming(35)}, want: []Rule{RuleOld}},
		{name: "back in version in the ramp", states: released(), answers: []Answer{answer(12, 13, 2), answer(14, 15, 1)}, want: []Rule{RuleBackwards}},
		{name: "another session may be behind", states: released(), answers: []Answer{answer(12, 13, 2), answer(14, 15, 1).of(2)}},
		{name: "back in version when the weight is", states: withdrawn(), answers: []Answer{answer(12, 13, 2), answer(20.5, 22, 1)}},
		{name: "back in version before the weight is", states: withdrawn(), answers: []Answer{answer(12, 13, 2), answer(14, 15, 1), answer(22, 23, 1)}, want: []Rule{RuleBackwards}},
		{name: "twice back in version", states: withdrawn(), answers: []Answer{answer(12, 13, 2), answer(14, 15, 1), answer(15, 16, 2), answer(16, 17, 1)}, want: []Rule{RuleBackwards, RuleBackwards}},
		{name: "new after the weight was taken back", states: withdrawn(), answers: []Answer{answer(22, 23, 2)}, want: []Rule{RuleArm}},
		{name: "back in version by a swap back", states: swappedBack(), answers: []Answer{answer(33, 34, 2), answer(41, 42, 1)}},
		{name: "new after the swap back", states: swappedBack(), answers: []Answer{answer(41, 42, 2)}, want: []Rule{RuleOld}},
		{name: "old before the swap back", states: swappedBack(), answers: []Answer{answer(33, 34, 1)}, want: []Rule{RuleOld}},
		{name: "unknown outcome: on live names, which are old", states: released(), doubts: []Span{span(25, 28)},
			answers: []Answer{answer(24, 24.5, 2), answer(26, 27, 1)}},
		{name: "unknown outcome: over", states: released(), doubts: []Span{span(25, 28)}, answers: []Answer{answer(28.5, 29, 1)}, want: []Rule{RuleArm}},
		{name: "unknown outcome: committed all the same", states: released(), doubts: []Span{span(25, 35)}, answers: []Answer{answer(31, 32, 1)}, want: []Rule{RuleOld}},
		{name: "pinned stable in the ramp", states: released(), answers: []Answer{answer(23, 24, 1).pinned(ByStable), answer(31, 32, 2).pinned(ByStable)}},
		{name: "pinned stable on the canary", states: released(), answers: []Answer{answer(23, 24, 2).pinned(ByStable)}, want: []Rule{RuleArm}},
		{name: "pinned canary in the ramp", states: released(), answers: []Answer{answer(12, 13, 2).pinned(ByCanary), answer(31, 32, 2).pinned(ByCanary)}},
		{name: "pinned canary on production", states: released(), answers: []Answer{answer(12, 13, 1).pinned(ByCanary)}, want: []Rule{RuleArm}},
		{name: "pinned canary after it was closed", states: withdrawn(), answers: []Answer{answer(22, 23, 1).pinned(ByCanary)}},
		{name: "own deploy names", states: released(), answers: []Answer{answer(6, 7, 2).pinned(ByNames).openedAt(5.5)}},
		{name: "own deploy names on production", states: released(), answers: []Answer{answer(6, 7, 1).pinned(ByNames).openedAt(5.5)}, want: []Rule{RuleArm}},
		{name: "own deploy names follow the swap", states: swappedUnfenced(), answers: []Answer{answer(31, 32, 2).pinned(ByNames).openedAt(5.5)}},
		{name: "own deploy names travel back with the swap", states: swappedUnfenced(), answers: []Answer{answer(31, 32, 1).pinned(ByNames).openedAt(5.5)}, want: []Rule{RuleOld}},
		{name: "own deploy names of the next build", states: swappedUnfenced(), answers: []Answer{answer(41, 42, 1).pinned(ByNames).openedAt(40)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Verify(&History{States: c.states, Doubts: c.doubts, Answers: c.answers})
			got := map[Rule]int{}
			for _, v := range r.Violations {
				got[v.Rule]++
			}
			for _, rule := range c.want {
				got[rule]--
			}
			for rule, n := range got {
				if n != 0 {
					t.Errorf("%q was found %+d times too often: %v", rule, n, r.Violations)
				}
			}
		})
	}
}

// swappedUnfenced leaves the old version under the deploy names.
func swappedUnfenced() []State {
	s := released()
	s[4].Deploy = 1
	return s
}

func TestStreamsOverASwapAreListedApart(t *testing.T) {
	r := Verify(&History{States: released(), Answers: []Answer{answer(12, 13, 1).streaming(35), answer(12, 13, 1).of(2).streaming(29)}})
	if r.Lingering != 1 || r.Broken() != 0 {
		t.Errorf("%d streams over the swap, %d violations; want 1 and 0", r.Lingering, r.Broken())
	}
}

// TestAllowList holds every entry against an error it allows and the nearest ones
// it does not.
func TestAllowList(t *testing.T) {
	who := Who{Client: 1, Session: 1, Mode: "test", Knocked: at(1), Opened: at(1)}
	late := Who{Client: 1, Session: 2, Mode: "test", Knocked: at(28), Opened: at(28)}
	canary := Who{Client: 2, Session: 1, Pin: ByCanary}
	names := Who{Client: 3, Session: 1, Pin: ByNames, Knocked: at(31), Opened: at(31)}
	cuts := []Cut{{span(25, 27), CutProgram}, {span(15, 15), CutServer}}
	everything := Policy{TerminateStragglers: true, EndOldStreams: true, EndCanary: true}
	const (
		stragglers = "mzcanary: this session was ended by the operator's policy for a rollout: mzcanary: this session stood in the way of a promotion for too long"
		drained    = "mzcanary: this session still read the version that was replaced; connect again"
		rolledBack = "mzcanary: this stream read a version that was rolled back; run it again"
	)
	for _, c := range []struct {
		name   string
		policy Policy
		f      Failure
		entry  string // "" is a violation
	}{
		{"own cancel", everything, Failure{Who: who, Code: "57014", Cancelled: true}, "own cancel"},
		{"somebody else's cancel", Policy{}, Failure{Who: who, Asked: at(1), At: at(2), Code: "57014"}, ""},
		{"lost by the restart of the server", everything, Failure{Who: who, Asked: at(14), At: at(15.1), Code: "08006"}, "server restart"},
		{"noticed long after it", everything, Failure{Who: who, Asked: at(20), At: at(20), Code: "08006"}, "server restart"},
		{"lost long after it, having survived it", everything, Failure{Who: who, Served: at(18), Asked: at(20), At: at(20), Code: "08006"}, ""},
		{"lost before it", everything, Failure{Who: who, Asked: at(13), At: at(14), Code: "08006"}, ""},
		{"lost by the stop", everything, Failure{Who: who, Served: at(24), Asked: at(25), At: at(26), Code: "57P01", Text: "mzcanary: the proxy is shutting down"}, "program stop"},
		{"lost without a word", everything, Failure{Who: who, Served: at(25), Asked: at(25.5), At: at(26), Lost: true}, "program stop"},
		{"ended with another sentence", everything, Failure{Who: who, Served: at(24), Asked: at(25), At: at(26), Code: "57P01", Text: "terminated"}, ""},
		{"lost by a session of afterwards", everything, Failure{Who: late, Asked: at(29), At: at(29.5), Lost: true}, ""},
		{"no login while it is down", everything, Failure{Who: who, Asked: at(26), At: at(26), Connecting: true, Lost: true}, "program stop"},
		{"no login though it is up", everything, Failure{Who: late, Asked: at(29), At: at(29), Connecting: true, Lost: true}, ""},
		{"injected", everything, Failure{Who: who, Asked: at(12), At: at(12.5), Code: injectedCode, Text: injectedText}, "injected"},
		{"injected, but it was over", everything, Failure{Who: who, Asked: at(14), At: at(14), Code: injectedCode, Text: injectedText}, ""},
		{"another error of that code", everything, Failure{Who: who, Asked: at(12), At: at(12.5), Code: injectedCode, Text: "unknown catalog item 'answer'"}, ""},
		{"no canary yet", everything, Failure{Who: canary, Asked: at(6), At: at(7), Connecting: true, Code: "08004"}, "no canary"},
		{"refused though there is one", everything, Failure{Who: canary, Asked: at(12), At: at(13), Connecting: true, Code: "08004"}, ""},
		{"somebody else is refused", everything, Failure{Who: who, Asked: at(6), At: at(7), Connecting: true, Code: "08004"}, ""},
		{"deploy names that are gone", everything, Failure{Who: names, Asked: at(32), At: at(32), Code: "XX000", Text: "unknown catalog item 'answer'"}, "deploy names after the swap"},
		{"live names that are gone", everything, Failure{Who: late, Asked: at(32), At: at(32), Code: "XX000", Text: "unknown catalog item 'answer'"}, ""},
		{"stragglers", everything, Failure{Who: who, Asked: at(29), At: at(29.5), Code: "57P01", Text: stragglers}, "promote.stragglers: terminate"},
		{"stragglers, but they wait", Policy{}, Failure{Who: late, Asked: at(29), At: at(29.5), Code: "57P01", Text: stragglers}, ""},
		{"drained", everything, Failure{Who: late, Asked: at(29), At: at(31), Stream: true, Code: "57P01", Text: drained}, "drain.then: terminate"},
		{"drained, but it began after the swap", everything, Failure{Who: late, Asked: at(31), At: at(32), Stream: true, Code: "57P01", Text: drained}, ""},
		{"ended though nothing was rolled back", everything, Failure{Who: late, Asked: at(29), At: at(29.5), Stream: true, Code: "57P01", Text: rolledBack}, ""},
		{"any other error", everything, Failure{Who: who, Asked: at(12), At: at(12), Code: "42P01", Text: "x"}, ""},
		{"a client that waited for ever", everything, Failure{Who: late, Asked: at(28), At: at(48), Text: "timeout: context deadline exceeded"}, ""},
	} {
		h := &History{States: released(), Cuts: cuts, Injected: []Injected{{span(12, 13), injectedCode, injectedText}}, Policy: c.policy, Failures: []Failure{c.f}}
		r := Verify(h)
		if c.entry == "" && (r.Broken(RuleError) != 1 || len(r.Allowed) != 0) {
			t.Errorf("%s: allowed by %v", c.name, r.Allowed)
		}
		if c.entry != "" && r.Allowed[c.entry] != 1 {
			t.Errorf("%s: not allowed by %q but by %v; %v", c.name, c.entry, r.Allowed, r.Violations)
		}
	}
	unsure := &History{States: released(), Doubts: []Span{span(29, 33)}, Policy: everything, Failures: []Failure{
		{Who: late, Asked: at(31), At: at(34), Stream: true, Code: "57P01", Text: drained},
		{Who: late, Asked: at(33.5), At: at(34), Stream: true, Code: "57P01", Text: drained}}}
	if r := Verify(unsure); r.Allowed["drain.then: terminate"] != 1 || r.Broken() != 1 {
		t.Errorf("of streams that began in doubt and after it the drain may end the first: %v, %v", r.Allowed, r.Violations)
	}
	back := &History{States: withdrawn(), Policy: everything, Failures: []Failure{{Who: who, Asked: at(19), At: at(22), Stream: true, Code: "57P01", Text: rolledBack}}}
	if r := Verify(back); r.Allowed["on_rollback"] != 1 {
		t.Errorf("a stream ended by a rollback is not allowed: %v", r.Violations)
	}
}

func TestWritesAreThereOnce(t *testing.T) {
	for _, c := range []struct {
		acked  bool
		stored int
		broken int
	}{{true, 1, 0}, {false, 0, 0}, {false, 1, 0}, {true, 0, 1}, {true, 2, 1}, {false, 2, 1}} {
		r := Verify(&History{States: released(), Writes: []Write{{ID: "w", Acked: c.acked, Stored: c.stored}}})
		if r.Broken(RuleWrite) != c.broken {
			t.Errorf("acknowledged %t, found %d times: %d violations, want %d", c.acked, c.stored, r.Broken(), c.broken)
		}
	}
}

// TestDrawIsAFunction: a failing seed can be played again.
func TestDrawIsAFunction(t *testing.T) {
	kinds := map[Kind]bool{}
	for seed := range uint64(200) {
		if a, b := Draw(seed).String(), Draw(seed).String(); a != b {
			t.Fatalf("seed %d gives\n%s\nand\n%s", seed, a, b)
		}
		for _, y := range Draw(seed).Cycles {
			for _, f := range y.Faults {
				kinds[f.Kind] = true
			}
		}
	}
	for _, k := range []Kind{SlowCommit, SilentCommit, SlowAlter, SlowSet, SlowReads, RaceCommit, OtherDDL, CutBefore, CutAfter,
		ServerRestart, LostHydration, FailingReads, LongTx, HalfMessage, StopStart, PauseResume} {
		if !kinds[k] {
			t.Errorf("no seed draws %q", k)
		}
	}
}
