package proxy

import "mzcanary/router"

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

// told says which of the values were reported.
type told uint8

const (
	toldCluster told = 1 << iota
	toldPath
)

// Have is what is known about the cluster and search_path that a session has,
// from what the server said. It is pure, and sees the server's messages in
// their order. The zero value is a session before its login.
type Have struct {
	Traits Traits

	cluster, path         string // as last reported or injected
	clusterSeen, pathSeen bool
	certain               Certainty

	loggedIn bool
	inTxn    bool // status T or E
	touched  told // reported since the last transaction's end
	failed   bool // an error since the last ReadyForQuery
	lost     bool // something that may have changed the values in silence
	byClient bool // the client caused a change; see ClientSet
}

// Parameter takes a ParameterStatus. It keeps copies.
func (h *Have) Parameter(name, value []byte) {
	var known *string
	var which told
	switch string(name) {
	case "cluster":
		known, which, h.clusterSeen = &h.cluster, toldCluster, true
	case "search_path":
		known, which, h.pathSeen = &h.path, toldPath, true
	default:
		return
	}
	if *known != string(value) {
		*known = string(value)
	}
	if h.loggedIn {
		h.touched |= which
		h.byClient = true
		if h.certain == HaveKnown && !h.Traits.ReportsAll {
			h.certain = HaveProvisional
		}
	}
}

// Tag takes the tag of a CommandComplete.
func (h *Have) Tag(tag Tag) {
	if h.Traits.ReportsAll {
		return // whatever changes is told before ReadyForQuery
	}
	switch tag {
	case TagDiscardAll, TagReset:
		h.lost, h.byClient = true, true
	case TagRollback:
		// It takes back what was set in the transaction, and only that. What it
		// restores is reported, but by 26.4 not in every case.
		h.lost = h.lost || h.touched != 0
	case TagSet, TagProcedure:
		if !h.Traits.ReportsPath {
			h.lost, h.byClient = true, true
		}
	}
	if h.lost {
		h.certain = HaveUnknown
	}
}

// Failed takes an ErrorResponse that does not end the session.
func (h *Have) Failed() { h.failed = true }

// Ready takes a ReadyForQuery.
func (h *Have) Ready(status byte) {
	defer func() { h.failed, h.inTxn = false, status != 'I' }()
	if !h.loggedIn {
		h.loggedIn = true
		h.touched, h.byClient = 0, false
		if h.pathSeen && (h.clusterSeen || !h.Traits.Materialize) {
			h.certain = HaveKnown
		}
		return
	}
	if h.Traits.ReportsAll || status != 'I' {
		if h.Traits.ReportsAll {
			h.touched = 0
		}
		return // inside a transaction nothing is proven
	}
	if h.touched != 0 && !h.lost {
		h.certain = h.proven()
	}
	h.touched, h.lost = 0, false
}

// proven judges values reported in the transaction that has just ended.
func (h *Have) proven() Certainty {
	switch {
	case h.certain == HaveUnknown && h.touched != h.values():
		return HaveUnknown // one report does not prove the other value
	case h.Traits.ReportsEnd:
		return HaveKnown
	case h.inTxn:
		// An explicit transaction tells at its end what it takes back.
		return HaveKnown
	case h.failed:
		return HaveUnknown
	default:
		// SET LOCAL outside a transaction looks the same, and its end is silent.
		return HaveProvisional
	}
}

// values are those that a session on this server has.
func (h *Have) values() told {
	if h.Traits.Materialize {
		return toldCluster | toldPath
	}
	return toldPath
}

// Injected takes the outcome of a unit that set what is given here.
func (h *Have) Injected(want router.Settings) {
	h.cluster, h.path = want.Cluster, router.FormatPath(want.Path)
	h.clusterSeen, h.pathSeen = h.clusterSeen || want.Cluster != "", true
	h.certain = HaveKnown
	h.touched, h.lost, h.byClient = 0, false, false
}

// Forget says that the values are not known any more: an injection ended in a
// way that proves nothing.
func (h *Have) Forget() { h.certain = HaveUnknown }

// Certain tells how sure the values are.
func (h *Have) Certain() Certainty { return h.certain }

// Values gives the values last seen, as names; ok is false when the path was
// never seen or cannot be read.
func (h *Have) Values() (s router.Settings, ok bool) {
	if !h.pathSeen {
		return router.Settings{Cluster: h.cluster}, false
	}
	path, err := router.ParsePath(h.path)
	return router.Settings{Cluster: h.cluster, Path: path}, err == nil
}

// ClientSet tells, once, that the client itself changed one of the values or
// may have, since the last injection or call.
func (h *Have) ClientSet() bool {
	was := h.byClient
	h.byClient = false
	return was
}
