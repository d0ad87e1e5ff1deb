package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mzcanary/router"
)

// Kind is the kind of thing a name stands for.
type Kind string

// The kinds a pair can have, and those preflight speaks about.
const (
	KindSchema  Kind = "schema"
	KindCluster Kind = "cluster"
	KindObject  Kind = "object"
)

// ObjectPair is a fine-grained pair inside one schema: the type of object
// ("view", "materialized-view", "index", "table") and both qualified names.
type ObjectPair struct {
	Type   string `json:"type"`
	Live   string `json:"live"`
	Deploy string `json:"deploy"`
}

// Spec is what is released together: the pairs of one deployment and the
// database they live in. It never changes during a rollout.
type Spec struct {
	Name     string        `json:"name"`
	Database string        `json:"database"`
	Schemas  []router.Pair `json:"schemas"`
	Clusters []router.Pair `json:"clusters"`
	Objects  []ObjectPair  `json:"objects,omitempty"`
	Accept   []string      `json:"accept,omitempty"`
	// Method is how the pairs will be exchanged, MethodSwap or MethodRename, so that
	// preflight can try just that; empty means MethodSwap.
	Method string `json:"method,omitempty"`
}

// Ref names one schema or cluster, and the id behind the name when it was read.
// Ids stay with contents; SWAP and RENAME only move names. Everything that must
// not be wrong compares ids.
type Ref struct {
	Kind Kind `json:"kind"`
	// Type is the type of an object ("view", "table", …); Name is then qualified.
	Type string `json:"type,omitempty"`
	Name string `json:"name"`
	ID   string `json:"id"`
}

// ServerInfo identifies the server process, to tell "the server restarted" from
// "the canary is sick".
type ServerInfo struct {
	Kind    string    `json:"kind"`    // "materialize" or "postgres"
	Version string    `json:"version"` // as the server prints it
	Started time.Time `json:"started"` // start of the process; zero where unknown
	// ReadOnly is true for a generation that does not accept DDL yet.
	ReadOnly bool `json:"read_only"`
}

// Severity says what a finding does to a rollout.
type Severity string

// The severities, from worst to least.
const (
	Refuse Severity = "refuse"
	Warn   Severity = "warn"
	Info   Severity = "info"
)

// Finding is one line of preflight. Code is P01..P19, stable for scripts.
type Finding struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	// Object is what the finding is about, as "schema prod" or "view prod.answer".
	Object string `json:"object"`
	// Sentence says what is wrong and what follows from it.
	Sentence string `json:"sentence"`
	// Remedy holds SQL statements that would mend it, where such exist.
	Remedy []string `json:"remedy,omitempty"`
	// Accept is the word for `accept:` that lets this finding pass, "" if none does.
	Accept string `json:"accept,omitempty"`
	// Grant is set where one right is all that is missing: then it is the remedy, and
	// the program can give it.
	Grant *Grant `json:"grant,omitempty"`
	// Rollout is whose mark or remains were found, for P14 and P15.
	Rollout string `json:"rollout,omitempty"`
}

// ReadyOptions are the thresholds of one readiness sample.
type ReadyOptions struct {
	MaxLag      time.Duration
	AllReplicas bool
	// Probe bounds the SELECT … LIMIT 1 through the canary's own settings. Zero
	// switches probing off.
	Probe time.Duration
}

// ObjectReadiness is one dataflow of a deploy cluster.
type ObjectReadiness struct {
	ID, Name string
	Cluster  string
	// State is one of ready, no-row, hydrating, lagging, lag-unknown, no-inputs
	// (ready), unreachable.
	State string
	Lag   time.Duration // negative when unknown
	Why   string
}

// Readiness is one strict sample. Ready is never true because something could
// not be seen.
type Readiness struct {
	At       time.Time         `json:"at"`
	Ready    bool              `json:"ready"`
	Hydrated int               `json:"hydrated"`
	Total    int               `json:"total"`
	Objects  []ObjectReadiness `json:"objects,omitempty"`
	// Failing says why waiting will not help (out-of-memory loop, no replica).
	Failing string `json:"failing,omitempty"`
	// Why is one sentence: what is missing, or "ready".
	Why string `json:"why"`
}

// Mark is the trace a rollout leaves on a paired object: appended to its
// comment, the user's own text kept.
type Mark struct {
	Ref     Ref    `json:"ref"`
	Rollout string `json:"rollout"`
	Phase   string `json:"phase"`
	Spec    string `json:"deployment"`
	// Side is "old" or "new": which version the marked contents are.
	Side string `json:"side"`
}

// trace says what of a rollout was found.
func (m Mark) trace() string {
	if m.Phase == "" {
		return "the retired name " + m.Ref.Name
	}
	return "marks (" + m.Phase + ")"
}

// Dependent is something that a drop would take along, or someone who still uses
// what is to be dropped.
type Dependent struct {
	Kind   string `json:"kind"` // "view", "index", "sink", "subscription" …
	ID     string `json:"id"`
	Name   string `json:"name"` // qualified
	Reason string `json:"reason"`
}

// Outcome of a COMMIT. Unknown is never guessed.
type Outcome int

const (
	// NotDone: proven not to have happened.
	NotDone Outcome = iota
	// Done: the tag was COMMIT, no error came, and ReadyForQuery said I.
	Done
	// Unknown: the connection was lost, or silent, after COMMIT was sent.
	Unknown
)

func (o Outcome) String() string { return [...]string{"not done", "done", "unknown"}[o] }

// ErrConflict is wrapped by errors of a DDL transaction that lost against a
// concurrent catalog change (SQLSTATE 40001): try again.
var ErrConflict = errors.New("another session changed the catalog")

// ErrUnavailable is wrapped when the server could not be asked: connection
// refused, cut, or silent. Nothing is known; nothing was changed by reading.
var ErrUnavailable = errors.New("the server cannot be asked")

// ErrReadOnly is wrapped when the server does not take changes now: a generation that
// waits for its promotion, or a standby. Waiting helps.
var ErrReadOnly = errors.New("the server does not accept changes yet")

// ErrChanged is wrapped when the ids behind the names are not the expected ones.
var ErrChanged = errors.New("the names do not stand for the recorded objects")

// Backend is one session on the server. Servers use the numbers again, also for
// sessions of our own, so Session identifies it over all time: "" when the server did
// not say.
type Backend struct {
	Number  uint32 `json:"number"`
	Session string `json:"session,omitempty"`
}

// UnmarshalJSON also reads the bare number that earlier programs journaled.
func (b *Backend) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &b.Number) == nil {
		return nil
	}
	type fields Backend
	return json.Unmarshal(raw, (*fields)(b))
}

func (b Backend) String() string {
	if b.Session == "" {
		return strconv.FormatUint(uint64(b.Number), 10)
	}
	return fmt.Sprintf("%d (%s)", b.Number, b.Session)
}

// Prepared is an open DDL transaction with every statement executed and nothing
// visible to anybody. Rollback ends it, and so does Commit, except that after
// NotDone Rollback must still be called: what it takes to clean up is not waited for
// while sessions wait for the outcome. Rollback after any end is harmless.
type Prepared interface {
	// Backend is the session of the transaction, by which its end can be observed
	// after the connection is lost.
	Backend() Backend
	// Commit sends COMMIT and returns at the context's end at the latest. NotDone
	// carries the error that proves it, wrapping ErrConflict for 40001; Unknown
	// carries what was seen last.
	Commit(ctx context.Context) (Outcome, error)
	Rollback(ctx context.Context) error
}

// Warehouse is everything the controller asks of the server. internal/mz
// implements it for Materialize; schema pairs on PostgreSQL come behind the same
// interface. Implementations hold two connections: one reads the catalog, one
// runs DDL; both reconnect by themselves. All methods are safe for concurrent
// use, and every error that means "could not ask" wraps ErrUnavailable.
type Warehouse interface {
	Server(ctx context.Context) (ServerInfo, error)
	// Identify reads the ids behind names on the reading connection. A name that
	// does not exist is absent from the answer.
	Identify(ctx context.Context, database string, names []Ref) ([]Ref, error)
	Preflight(ctx context.Context, spec Spec, rollout string) ([]Finding, error)
	Readiness(ctx context.Context, spec Spec, opts ReadyOptions) (Readiness, error)
	// Mark appends the rollout's mark to the comments of the given objects, or
	// replaces the rollout's earlier one; Unmark removes it and restores the text.
	Mark(ctx context.Context, database string, marks []Mark) error
	Unmark(ctx context.Context, database string, refs []Ref) error
	// Marks finds marks on the deployment's objects and on anything named as its
	// retired sides. A retired name without a mark is one with an empty phase.
	Marks(ctx context.Context, spec Spec) ([]Mark, error)
	// Grant gives rights in their order, one statement each, and returns how many
	// were given before an error. Revoke takes rights away; it finds what they are on
	// by id, and what is gone, or was not given, is passed over.
	Grant(ctx context.Context, database string, grants []Grant) (int, error)
	Revoke(ctx context.Context, database string, grants []Grant) error
	// Prepare opens the DDL transaction and executes the statements. 40001 wraps
	// ErrConflict; on any error nothing stays open.
	Prepare(ctx context.Context, statements []string) (Prepared, error)
	// BackendGone reports whether the session of a lost DDL connection has ended
	// on the server, whoever has its number now.
	BackendGone(ctx context.Context, backend Backend) (bool, error)
	// Barrier commits a harmless catalog change (a comment on an object of ours) so
	// that any DDL transaction still open must fail.
	Barrier(ctx context.Context, database string, on Ref) error
	// Dependents lists what a drop of these schemas and clusters would take along
	// that lies outside of them, by id.
	Dependents(ctx context.Context, database string, refs []Ref) ([]Dependent, error)
	// Subscriptions lists who uses these schemas and clusters at this moment without
	// belonging to the given backends (our own proxied sessions are counted elsewhere):
	// on Materialize live subscriptions on the clusters, on PostgreSQL sessions that hold
	// locks on relations of the schemas.
	Subscriptions(ctx context.Context, refs []Ref, ours []uint32) ([]Dependent, error)
	// Clusters says how large those of the refs are that are clusters and exist. Since
	// is left to the caller. PostgreSQL has none.
	Clusters(ctx context.Context, refs []Ref) ([]StandbyCluster, error)
	// Drop drops one schema or cluster with everything in it, after reading the id
	// behind the name once more: ErrChanged if it is another. A name that is gone is
	// not an error.
	Drop(ctx context.Context, database string, ref Ref) error
	// Foreign counts sessions by role that did not come through these backends.
	Foreign(ctx context.Context, ours []uint32) (map[string]int, error)
}
