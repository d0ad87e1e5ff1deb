package proxy

import (
	"bytes"

	"mzcanary/router"
)

// Certainty says how sure it is that a session has the values last seen.
//
//	          S of cluster or search_path           its end, nothing taken back in silence
//	Known ─────────────────────────────▶ Provisional ───────────────────────────────▶ Known
//	  ▲                                       │
//	  │ Injected                              │ an error in it, ROLLBACK
//	  └──────────────── Unknown ◀─────────────┘
//	                       ▲
//	                       └ DISCARD ALL, RESET, a SET that the server does not report
type Certainty uint8

// The certainties.
const (
	HaveUnknown     Certainty = iota // the values last seen need not hold
	HaveProvisional                  // they hold if the transaction that set them ends well
	HaveKnown
)

// String is the certainty as the API names it.
func (c Certainty) String() string {
	switch c {
	case HaveKnown:
		return "known"
	case HaveProvisional:
		return "provisional"
	}
	return "unknown"
}

// held is one of the two values.
type held struct {
	value   string // as last reported or injected
	seen    bool
	touched bool // reported since the last transaction's end
	certain Certainty
}

// Have is what is known about the cluster and search_path that a session has,
// from what the server said. It is pure, and sees the server's messages in
// their order. The zero value is a session before its login.
type Have struct {
	Traits Traits

	cluster, path held

	loggedIn bool
	inTxn    bool // inside an explicit transaction
	failed   bool // an error since the last ReadyForQuery
	byClient bool // the client caused a change; see ClientSet
	bySet    bool // by a value of its own, told by the server; see Own
	byReset  bool // by DISCARD ALL or RESET
	told     bool // a value was told since the last tag
	lastWas  Tag
}

// Parameter takes a ParameterStatus. It keeps copies.
func (h *Have) Parameter(name, value []byte) {
	var v *held
	switch string(name) {
	case "cluster":
		v = &h.cluster
	case "search_path":
		v = &h.path
	default:
		return
	}
	if v.value != string(value) {
		v.value = string(value)
	}
	v.seen = true
	if !h.loggedIn {
		return
	}
	h.byClient, h.told = true, true
	if h.Traits.ReportsAll {
		// It comes behind the tag, before ReadyForQuery.
		h.bySet = h.bySet || h.lastWas != TagReset && h.lastWas != TagDiscardAll
		v.certain = HaveKnown
		return
	}
	v.touched = true
	v.certain = min(v.certain, HaveProvisional)
}

// Unreadable takes the beginning of a ParameterStatus whose value is too long to
// be shown: what it is has to be asked for.
func (h *Have) Unreadable(body []byte) {
	name, _, _ := bytes.Cut(body, zero)
	if s := string(name); s != "cluster" && s != "search_path" || !h.loggedIn {
		return
	}
	h.byClient, h.bySet, h.told = true, true, true
	h.Forget()
}

// Tag takes the tag of a CommandComplete.
func (h *Have) Tag(tag Tag) {
	switch tag {
	case TagDiscardAll, TagReset:
		h.byReset = true
	case TagCommit, TagRollback: // what they tell has been taken back
	default:
		h.bySet = h.bySet || h.told
	}
	h.told, h.lastWas = false, tag
	if h.Traits.ReportsAll {
		return // whatever changes is told before ReadyForQuery
	}
	switch tag {
	case TagBegin:
		h.inTxn = true
	case TagCommit:
		if h.inTxn { // what comes behind it in the same Query is another transaction
			h.settle()
			h.inTxn = false
		}
	case TagDiscardAll, TagReset:
		h.byClient = true
		h.Forget()
	case TagRollback:
		// It takes back what was set in the transaction, and only that; what it
		// restores is reported, which is not relied upon.
		for _, v := range h.both() {
			if v.touched {
				v.certain, v.touched = HaveUnknown, false
			}
		}
		h.inTxn = false
	case TagSet, TagProcedure:
		if !h.Traits.ReportsPath {
			h.byClient = true
			h.Forget()
		}
	}
}

// Failed takes an ErrorResponse that does not end the session.
func (h *Have) Failed() { h.failed = true }

// Ready takes a ReadyForQuery.
func (h *Have) Ready(status byte) {
	switch {
	case !h.loggedIn:
		h.loggedIn = true
		for _, v := range h.both() {
			if v.seen {
				v.certain = HaveKnown
			}
		}
	case status == 'I': // inside a transaction nothing is proven
		h.settle()
	}
	h.failed, h.inTxn = false, status != 'I'
	if status == 'I' && !h.byClient {
		h.byReset = false // of something else
	}
}

// settle is called at the end of a transaction.
func (h *Have) settle() {
	for _, v := range h.both() {
		if v.touched {
			v.certain, v.touched = h.proven(), false
		}
	}
}

// proven judges a value reported in the transaction that has just ended.
func (h *Have) proven() Certainty {
	switch {
	case h.Traits.ReportsEnd, h.inTxn:
		// The end of the transaction told what it took back. Of an explicit one
		// it always does.
		return HaveKnown
	case h.failed:
		return HaveUnknown
	default:
		// SET LOCAL outside a transaction looks the same, and its end is silent.
		return HaveProvisional
	}
}

func (h *Have) both() [2]*held { return [2]*held{&h.cluster, &h.path} }

// Injected takes the outcome of a unit that set what is given here, or of a
// question that the server answered with it.
func (h *Have) Injected(values router.Settings) {
	h.cluster = held{value: values.Cluster, seen: h.cluster.seen || values.Cluster != "", certain: HaveKnown}
	h.path = held{value: router.FormatPath(values.Path), seen: true, certain: HaveKnown}
	h.byClient, h.bySet, h.byReset = false, false, false
}

// Forget says that the values are not known any more.
func (h *Have) Forget() {
	for _, v := range h.both() {
		v.certain, v.touched = HaveUnknown, false
	}
}

// Certain tells how sure the values are: as sure as the less sure of them.
func (h *Have) Certain() Certainty {
	if !h.Traits.Materialize {
		return h.path.certain
	}
	return min(h.cluster.certain, h.path.certain)
}

// Values gives the values last seen, as names; ok is false when the path was
// never seen or cannot be read.
func (h *Have) Values() (s router.Settings, ok bool) {
	s.Cluster = h.cluster.value
	if !h.path.seen {
		return s, false
	}
	path, err := router.ParsePath(h.path.value)
	s.Path = path
	return s, err == nil
}

// ClientSet tells, once, that the client itself changed one of the values or
// may have, since the last injection or call.
func (h *Have) ClientSet() bool {
	was := h.byClient
	h.byClient = false
	return was
}

// Own tells, once, how the client changed the values since the last injection:
// set is a value that the server told of, reset that it may have gone back to what the
// session started with.
func (h *Have) Own() (set, reset bool) {
	set, reset = h.bySet, h.byReset
	h.bySet, h.byReset = false, false
	return set, reset
}
