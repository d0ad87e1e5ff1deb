package router

import (
	"sync"
	"sync/atomic"
)

// Pair is a live name and the name its new version is built under.
type Pair struct {
	Live   string `json:"live"`
	Deploy string `json:"deploy"`
}

// Key says what sticks to an arm: the property of a session that makes it a unit.
type Key uint8

// The keys an operator may choose (routing.key).
const (
	KeyConnection Key = iota
	KeyUser
	KeyApplicationName
	KeyDatabase
	KeyClientAddress
)

var keyNames = [...]string{"connection", "user", "application_name", "database", "client_address"}

func (k Key) String() string { return keyNames[k] }

// ParseKey reads a key by its configured name.
func ParseKey(s string) (Key, bool) {
	for i, name := range keyNames {
		if name == s {
			return Key(i), true
		}
	}
	return 0, false
}

// Pin puts the sessions that match every given property on one arm, outside the
// weight and outside the statistics. Empty properties match anything.
type Pin struct {
	User            string
	ApplicationName string
	Database        string
	Arm             Arm
}

// CanaryState says what the canary arm of a deployment means at this moment.
type CanaryState uint8

const (
	// CanaryClosed: there is no canary. Asking for one by mzcanary.arm is an error,
	// everybody else is on live names.
	CanaryClosed CanaryState = iota
	// CanaryDeploy: the canary is what stands under the deploy names.
	CanaryDeploy
	// CanaryLive: the canary's target is the live names. Set before the swap is
	// committed, so that whoever passes a gate for whatever reason lands on names
	// that mean production either way.
	CanaryLive
)

func (c CanaryState) String() string {
	return [...]string{"closed", "deploy", "live"}[c]
}

// Deployment is one named set of pairs as the router sees it. Values in a
// Snapshot are never changed; an update publishes a copy.
type Deployment struct {
	Name     string
	Database string
	Schemas  []Pair
	Clusters []Pair

	Key  Key
	Pins []Pin
	// Keep leaves live sessions on the arm they have when only the weight changes
	// (routing.live_sessions: keep). Closing the canary moves them all the same.
	Keep bool
	// KeepNamed leaves live sessions that have named prepared statements on the arm
	// they are on when a weight changes: the versions are accepted to differ in
	// shape, and such statements would fail on the other one. Swaps and the closing
	// of the canary move them all the same.
	KeepNamed bool
	// Defaults manages sessions whose reported settings equal the server's own
	// defaults; nil when such sessions stay unmanaged (routing.defaults).
	Defaults *Settings

	// Salt makes the assignment of one rollout independent of the last one's.
	Salt   uint64
	Weight Weight
	Canary CanaryState
	// Swaps counts the committed swaps. A session that came with deploy names of
	// its own belonged to the version that stood under them when it logged in: once
	// a swap has passed, those contents are production and so is the session.
	Swaps uint64
}

// Snapshot is the routing state of all deployments at one epoch.
type Snapshot struct {
	Epoch       uint64
	Deployments []Deployment
}

// Find returns the deployment of that name, or nil.
func (s *Snapshot) Find(name string) *Deployment {
	for i := range s.Deployments {
		if s.Deployments[i].Name == name {
			return &s.Deployments[i]
		}
	}
	return nil
}

// Table publishes snapshots. Reads are one atomic load; writers take turns.
type Table struct {
	mu      sync.Mutex // serialises writers
	current atomic.Pointer[Snapshot]
}

// NewTable starts with the given deployments at epoch 1, all on live names.
func NewTable(deployments []Deployment) *Table {
	t := &Table{}
	t.current.Store(&Snapshot{Epoch: 1, Deployments: deployments})
	return t
}

// Load returns the current snapshot. It is never nil and never changes.
func (t *Table) Load() *Snapshot { return t.current.Load() }

// Update publishes a copy of the named deployment changed by f and returns the
// new epoch. It reports false when there is no such deployment. The copy shares its
// slices with the snapshot before: f replaces them, it does not change elements.
func (t *Table) Update(name string, f func(*Deployment)) (uint64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.current.Load()
	next := &Snapshot{Epoch: old.Epoch + 1, Deployments: append([]Deployment(nil), old.Deployments...)}
	d := next.Find(name)
	if d == nil {
		return old.Epoch, false
	}
	f(d)
	t.current.Store(next)
	return next.Epoch, true
}
