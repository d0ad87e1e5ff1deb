package checker

import (
	"slices"
	"strings"
)

// Entry is one kind of error that a client may be given, and why. Whatever no
// entry names is a violation.
type Entry struct {
	Name, Reason string
	Allows       func(h *History, f *Failure) bool
}

// AllowList returns the errors that may reach a client.
func AllowList() []Entry { return slices.Clone(allowList) }

var allowList = []Entry{
	{"own cancel", "the client cancelled this very statement itself",
		func(_ *History, f *Failure) bool { return f.Code == "57014" && f.Cancelled }},
	{"server restart", "the server cut every connection; a proxy carries sessions, it cannot invent them",
		func(h *History, f *Failure) bool {
			return h.cutOff(f, CutServer, "08006", "57P01") && (f.Code != "57P01" || strings.Contains(f.Text, "did not answer while this session was moved"))
		}},
	{"program stop", "the program was stopped or killed and started again; its sessions end with 57P01 where it could say so, new ones are told 57P03 meanwhile",
		func(h *History, f *Failure) bool {
			return h.cutOff(f, CutProgram, "57P01", "57P03") && (f.Code == "" || f.Lost || strings.Contains(f.Text, "the proxy is shutting down"))
		}},
	{"injected", "the server was told to fail reads of the new version with exactly this text",
		func(h *History, f *Failure) bool {
			return slices.ContainsFunc(h.Injected, func(i Injected) bool {
				return f.Code == i.Code && strings.HasPrefix(f.Text, i.Text) && i.meets(f.Asked, f.At)
			})
		}},
	{"no canary", "the client insisted on the canary with mzcanary.arm=canary while there was none: better an error than production by accident",
		func(h *History, f *Failure) bool {
			return f.Connecting && f.Pin == ByCanary && f.Code == "08004" && slices.ContainsFunc(h.within(f.Asked, f.At), func(s State) bool { return !s.Open })
		}},
	{"deploy names after the swap", "the client came with deploy names of its own, and logged in when they did not exist any more",
		func(h *History, f *Failure) bool {
			return f.Pin == ByNames && !f.Connecting && (strings.Contains(f.Text, "unknown") || f.Code == "42P01") &&
				slices.ContainsFunc(h.within(f.Asked, f.At), func(s State) bool {
					return s.Deploy == 0 && slices.ContainsFunc(h.within(f.Knocked, f.Opened), func(o State) bool { return o.Swaps == s.Swaps })
				})
		}},
	{"promote.stragglers: terminate", "the operator chose to end sessions that stand in the way of a promotion",
		func(h *History, f *Failure) bool {
			return h.Policy.TerminateStragglers && f.Code == "57P01" && strings.Contains(f.Text, "stood in the way of a promotion")
		}},
	{"drain.then: terminate", "the operator chose to end streams that still read the replaced version, or may: of one that began while the outcome of the COMMIT was unknown nobody can say",
		func(h *History, f *Failure) bool {
			return h.Policy.EndOldStreams && f.Code == "57P01" && strings.Contains(f.Text, "still read the version that was replaced") && (h.swappedBetween(f) || h.doubted(f.Asked, f.Asked))
		}},
	{"on_rollback", "the operator chose to cancel statements and end streams that hang on a version that was rolled back",
		func(h *History, f *Failure) bool {
			return h.Policy.EndCanary && h.takenBack(f.Asked, f.At) &&
				(f.Code == "57014" || f.Code == "57P01" && strings.Contains(f.Text, "read a version that was rolled back"))
		}},
}

// cutOff: the failure is that of a connection that the end of a program cut, or
// of a login while there was nobody.
func (h *History) cutOff(f *Failure, what CutKind, codes ...string) bool {
	if !f.Lost && !slices.Contains(codes, f.Code) {
		return false
	}
	return slices.ContainsFunc(h.Cuts, func(c Cut) bool {
		switch {
		case c.What != what:
			return false
		case f.Connecting:
			return c.meets(f.Asked, f.At)
		}
		return f.Knocked <= c.To && f.Served <= c.To && f.At >= c.From
	})
}

// swappedBetween: a swap was committed while the unit ran.
func (h *History) swappedBetween(f *Failure) bool {
	states := h.within(f.Asked, f.At)
	return states[0].Swaps != states[len(states)-1].Swaps
}
