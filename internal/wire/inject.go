package wire

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"

	"mzcanary/router"
)

// Unit is what the proxy says to the server between two messages of the
// client: one exchange, ended by one ReadyForQuery.
//
//	Materialize  one simple Query: SET cluster = "…"; SET search_path = "…", "…"
//	             atomic, and harmless to the client's unnamed statement there
//	PostgreSQL   Parse, Bind, Execute, Close, Close, Sync of one SET search_path
//	             under a reserved name: a simple Query would destroy the
//	             client's unnamed statement
//
// It is legal at a boundary only.
type Unit struct {
	Bytes []byte
	// Want is what the server should report afterwards; only the parts that
	// the unit sets.
	Want           router.Settings
	Cluster, Path  bool // which parts the unit sets
	extended       bool
	parses, closes int
	sets           int
}

// MaterializeUnit sets want's cluster, its path, or both. It appends to dst.
func MaterializeUnit(dst []byte, want router.Settings, cluster, path bool) Unit {
	u := Unit{Want: want, Cluster: cluster && want.Cluster != "", Path: path}
	dst, at := begin(dst, 'Q')
	if u.Cluster {
		dst = append(dst, "SET cluster = "...)
		dst = append(dst, router.QuoteIdent(want.Cluster)...)
		u.sets++
	}
	if u.Path {
		if u.sets > 0 {
			dst = append(dst, "; "...)
		}
		dst = append(dst, "SET search_path = "...)
		dst = appendPath(dst, want.Path)
		u.sets++
	}
	u.Bytes = finish(append(dst, 0), at)
	return u
}

// PostgresUnit sets want's path under name, which must not be one the client
// could own: see [UnitNames]. It appends to dst.
func PostgresUnit(dst []byte, name string, want router.Settings) Unit {
	u := Unit{Want: want, Path: true, extended: true, parses: 1, closes: 2, sets: 1}
	dst, at := begin(dst, 'P')
	dst = appendText(dst, name)
	dst = append(dst, "SET search_path TO "...)
	dst = appendPath(dst, want.Path)
	dst = finish(append(dst, 0, 0, 0), at)
	dst, at = begin(dst, 'B')
	dst = appendText(appendText(dst, name), name)
	dst = finish(append(dst, 0, 0, 0, 0, 0, 0), at)
	dst, at = begin(dst, 'E')
	dst = finish(append(appendText(dst, name), 0, 0, 0, 0), at)
	for _, what := range [...]byte{'S', 'P'} {
		dst, at = begin(dst, 'C')
		dst = finish(appendText(append(dst, what), name), at)
	}
	u.Bytes = append(dst, 'S', 0, 0, 0, 4)
	return u
}

// appendPath writes a search_path; an empty one is the empty name, which both
// servers accept and which names no schema.
func appendPath(dst []byte, path []string) []byte {
	if len(path) == 0 {
		return append(dst, "''"...)
	}
	return append(dst, router.FormatPath(path)...)
}

// UnitNames gives reserved names for [PostgresUnit]: a random part per process
// and a number, so that a name left behind by a refused unit is not used again.
type UnitNames struct {
	prefix string
	next   uint64
}

// NewUnitNames draws the random part.
func NewUnitNames() *UnitNames {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return &UnitNames{prefix: "_mzcanary_" + hex.EncodeToString(b[:]) + "_"}
}

// Next returns a fresh name. Not safe for concurrent use.
func (n *UnitNames) Next() string {
	n.next++
	return n.prefix + strconv.FormatUint(n.next, 36)
}

// Action is what to do with one message of the server while a unit is running.
type Action uint8

// The actions.
const (
	Swallow Action = iota // an answer to the unit: the client does not see it
	Relay                 // not an answer to the unit: pass it on
	Finish                // swallow it; the unit is over, see Outcome
	Broken                // see Outcome: UnitFatal relay it and end; UnitConfused end
)

// Outcome is how a unit ended.
//
//	           Z                      every SET answered, values as wanted
//	Running ──────▶ UnitDone
//	   │    ──────▶ UnitMissing       NOTICE MZ007: a missing cluster was set
//	   │    ──────▶ UnitRefused       E: nothing has changed
//	   │    ──────▶ UnitDiffers       done, but the server reports other values
//	   └──────────▶ UnitFatal, UnitConfused   the session cannot go on
type Outcome uint8

// The outcomes.
const (
	UnitRunning Outcome = iota
	UnitDone
	UnitMissing
	UnitRefused
	UnitDiffers
	UnitFatal
	UnitConfused
)

var outcomeNames = [...]string{"running", "done", "missing_cluster", "refused", "differs", "fatal", "confused"}

// String is the metric label.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "unknown"
}

// UnitReader reads the server's answers to one unit, as a pure function of the
// messages it is given. What it says about a message is valid at once; the
// ParameterStatus it swallowed count only when Outcome is UnitDone.
type UnitReader struct {
	unit    Unit
	outcome Outcome
	missing bool
	failed  bool

	parses, binds, closes, sets int

	cluster, path         string
	clusterSeen, pathSeen bool

	// Code and Message of the error or notice that made the unit fail.
	Code, Message string
}

// NewUnitReader starts reading the answers to u.
func NewUnitReader(u Unit) *UnitReader { return &UnitReader{unit: u} }

// Outcome is UnitRunning until Take answered Finish or Broken.
func (r *UnitReader) Outcome() Outcome { return r.outcome }

// Reported gives the values the server reported, where it did.
func (r *UnitReader) Reported() (cluster string, clusterOK bool, path string, pathOK bool) {
	return r.cluster, r.clusterSeen, r.path, r.pathSeen
}

// Take takes one message of the server: its type and body, as a Scanner of
// the server's side shows it.
func (r *UnitReader) Take(kind byte, body []byte) Action {
	switch kind {
	case 'A':
		return Relay
	case 'N':
		return r.notice(body)
	case 'S':
		return r.parameter(body)
	case 'E':
		return r.failure(body)
	case 'C':
		return r.expect(string(ParseTag(body)) == "SET" && r.sets < r.unit.sets, &r.sets)
	case '1':
		return r.expect(r.parses < r.unit.parses, &r.parses)
	case '2':
		return r.expect(r.binds < r.parses, &r.binds)
	case '3':
		return r.expect(r.sets == r.unit.sets && r.closes < r.unit.closes, &r.closes)
	case 'Z':
		return r.ready(body)
	}
	return r.confused()
}

func (r *UnitReader) expect(ok bool, count *int) Action {
	if !ok || r.failed {
		return r.confused()
	}
	*count++
	return Swallow
}

func (r *UnitReader) confused() Action {
	r.outcome = UnitConfused
	return Broken
}

func (r *UnitReader) notice(body []byte) Action {
	f := ParseFields(body)
	if string(f.Code) != "MZ007" || !r.unit.Cluster {
		return Relay
	}
	r.missing = true
	r.Code, r.Message = string(f.Code), string(f.Message)
	return Swallow
}

func (r *UnitReader) parameter(body []byte) Action {
	name, value, ok := ParseParameter(body)
	switch {
	case !ok:
		return Relay
	case string(name) == "cluster" && r.unit.Cluster:
		r.cluster, r.clusterSeen = string(value), true
	case string(name) == "search_path" && r.unit.Path:
		r.path, r.pathSeen = string(value), true
	default:
		return Relay
	}
	return Swallow
}

func (r *UnitReader) failure(body []byte) Action {
	f := ParseFields(body)
	r.Code, r.Message = string(f.Code), string(f.Message)
	if f.Fatal() {
		r.outcome = UnitFatal
		return Broken
	}
	if r.failed {
		return r.confused()
	}
	r.failed = true
	// The ParameterStatus sent so far are void: the unit is atomic.
	r.clusterSeen, r.pathSeen = false, false
	r.cluster, r.path = "", ""
	return Swallow
}

func (r *UnitReader) ready(body []byte) Action {
	status, ok := ParseReady(body)
	if !ok || status != 'I' {
		return r.confused()
	}
	switch {
	case r.failed:
		r.outcome = UnitRefused
	case r.sets != r.unit.sets || r.closes != r.unit.closes:
		return r.confused()
	case r.missing:
		r.outcome = UnitMissing
	case !r.asWanted():
		r.outcome = UnitDiffers
	default:
		r.outcome = UnitDone
	}
	return Finish
}

// asWanted compares what the server reported, where it reports, with the unit.
func (r *UnitReader) asWanted() bool {
	if r.unit.Cluster && (!r.clusterSeen || r.cluster != r.unit.Want.Cluster) {
		return false
	}
	if !r.unit.Path {
		return true
	}
	if !r.pathSeen {
		return r.unit.extended // PostgreSQL reports search_path from version 18 on
	}
	path, err := router.ParsePath(r.path)
	if err != nil {
		return false
	}
	want := r.unit.Want.Path
	if len(want) == 0 {
		want = []string{""}
	}
	if len(path) != len(want) {
		return false
	}
	for i, name := range want {
		if path[i] != name {
			return false
		}
	}
	return true
}
