package router

import (
	"fmt"
	"slices"
	"strings"
)

// Login is what is known about a session once the server has accepted it.
type Login struct {
	User            string
	Database        string
	ApplicationName string
	ClientAddress   string
	// Connection is a random identity, new for every session.
	Connection string
	// AskedArm is the value of the start-up option mzcanary.arm, "" when absent.
	AskedArm string
	// Settings are the values the server reported at login, role defaults included.
	Settings Settings
}

// Fixed says what puts a session on an arm other than by the weight.
type Fixed uint8

const (
	// NotFixed: the weight decides.
	NotFixed Fixed = iota
	// FixedByPin: a rule under routing.pins.
	FixedByPin
	// FixedByOption: the client's own mzcanary.arm.
	FixedByOption
	// FixedByNames: the session came with deploy names of its own.
	FixedByNames
	// FixedByCluster: only the cluster is live, no schema of the search_path. Such a
	// session reads by qualified names, which the router cannot turn; it is held at
	// swaps, but never moved to the canary.
	FixedByCluster
)

func (f Fixed) String() string {
	return [...]string{"weight", "pin", "option", "own deploy names", "cluster only"}[f]
}

// Decision is what Decide found. It is made once per login and kept for life.
type Decision struct {
	// Deployment is the name of the deployment the session belongs to; empty when
	// it is unmanaged.
	Deployment string
	// Reason says in words why the session is managed or not.
	Reason string
	// Base is what the session asked for, with deploy names of its own turned back
	// into live ones; what the arm means is derived from it.
	Base Settings
	// Key is the unit's key under the deployment's routing.key.
	Key   string
	Fixed Fixed
	// Arm is the arm a fixed session is on, or the one chosen at login for keep.
	Arm Arm
	// Weight is the weight under which Arm was chosen, for keep.
	Weight Weight
	// Salt and Swaps are the deployment's at login: the rollout and the version that
	// the decision was made for.
	Salt  uint64
	Swaps uint64
}

// Managed reports whether the session belongs to a deployment.
func (d *Decision) Managed() bool { return d.Deployment != "" }

// Counted reports whether the weight decides the session's arm. Only then may what
// happens to it be evidence: pinned and fixed sessions and units without a key are
// outside the statistics.
func (d *Decision) Counted() bool { return d.Managed() && d.Fixed == NotFixed && d.Key != "" }

// NoCanaryError refuses a session that asked for an arm that does not exist.
type NoCanaryError struct {
	Asked      string
	Deployment string // empty when the session belongs to none
	Why        string
}

func (e *NoCanaryError) Error() string {
	return fmt.Sprintf("mzcanary.arm=%s cannot be served: %s", e.Asked, e.Why)
}

// Decide says where a session belongs. The error is a *NoCanaryError, for a
// session that insists on an arm it cannot have; tests against the new version
// must never pass against production by accident.
func (s *Snapshot) Decide(l Login) (Decision, error) {
	d, dec := s.belongs(l)
	if d == nil {
		if l.AskedArm != "" {
			return dec, &NoCanaryError{Asked: l.AskedArm, Why: "the session is unmanaged: " + dec.Reason}
		}
		return dec, nil
	}
	dec.Deployment = d.Name
	dec.Salt, dec.Swaps = d.Salt, d.Swaps
	dec.Key = d.key(l)
	if err := d.fix(&dec, l); err != nil {
		return Decision{}, err
	}
	if dec.Counted() {
		dec.Weight = d.weight()
		dec.Arm = PickAt(Hash(d.Salt, dec.Key), dec.Weight)
	}
	return dec, nil
}

// belongs finds the one deployment whose names the session's settings carry.
func (s *Snapshot) belongs(l Login) (*Deployment, Decision) {
	var found *Deployment
	var at match
	for i := range s.Deployments {
		d := &s.Deployments[i]
		m := d.match(l)
		if !m.any() {
			continue
		}
		if found != nil {
			return nil, Decision{Base: l.Settings, Reason: fmt.Sprintf("its settings carry names of two deployments, %s and %s", found.Name, d.Name)}
		}
		found, at = d, m
	}
	switch {
	case found == nil:
		return nil, Decision{Base: l.Settings, Reason: s.whyNone(l)}
	case at.live() && at.deploy():
		return nil, Decision{Base: l.Settings, Reason: "its settings mix live and deploy names of " + found.Name}
	case at.deploy():
		return found, Decision{Base: found.toLive(l.Settings), Fixed: FixedByNames, Arm: Canary, Reason: "its settings carry deploy names of " + found.Name}
	case at.byDefault:
		return found, Decision{Base: *found.Defaults, Reason: "it asked for nothing, and routing.defaults of " + found.Name + " manages such sessions"}
	case at.liveSchemas == 0 && len(found.Schemas) > 0:
		return found, Decision{Base: l.Settings, Fixed: FixedByCluster, Arm: Stable, Reason: "only its cluster is live in " + found.Name + "; it reads by qualified names and stays on stable"}
	}
	return found, Decision{Base: l.Settings, Reason: "its settings carry live names of " + found.Name}
}

// whyNone says why a session belongs to no deployment.
func (s *Snapshot) whyNone(l Login) string {
	for i := range s.Deployments {
		if d := &s.Deployments[i]; d.Database != l.Database && d.MapsNames(l.Settings) {
			return fmt.Sprintf("its settings carry names of %s, but it is connected to database %s and not to %s", d.Name, QuoteIdent(l.Database), QuoteIdent(d.Database))
		}
	}
	return "its settings carry no live name of any deployment (" + l.Settings.String() + ")"
}

// match counts the names of one deployment in a session's settings.
type match struct {
	liveSchemas, deploySchemas   int
	liveClusters, deployClusters int
	byDefault                    bool
}

func (m match) live() bool   { return m.liveSchemas+m.liveClusters > 0 }
func (m match) deploy() bool { return m.deploySchemas+m.deployClusters > 0 }
func (m match) any() bool    { return m.live() || m.deploy() || m.byDefault }

func (d *Deployment) match(l Login) match {
	var m match
	if d.Database != "" && d.Database != l.Database {
		return m
	}
	for _, name := range l.Settings.Path {
		m.liveSchemas += count(d.Schemas, name, Pair.live)
		m.deploySchemas += count(d.Schemas, name, Pair.deploy)
	}
	m.liveClusters = count(d.Clusters, l.Settings.Cluster, Pair.live)
	m.deployClusters = count(d.Clusters, l.Settings.Cluster, Pair.deploy)
	if !m.any() && d.Defaults != nil && isServerDefault(l.Settings) {
		m.byDefault = true
	}
	return m
}

// isServerDefault recognises a session that asked for nothing: the compiled-in
// defaults of Materialize (quickstart, public) and of PostgreSQL ("$user", public).
func isServerDefault(s Settings) bool {
	if s.Cluster != "" && s.Cluster != "quickstart" {
		return false
	}
	return slices.Equal(s.Path, []string{"public"}) || slices.Equal(s.Path, []string{"$user", "public"})
}

func (p Pair) live() string   { return p.Live }
func (p Pair) deploy() string { return p.Deploy }

func count(pairs []Pair, name string, side func(Pair) string) int {
	n := 0
	for _, p := range pairs {
		if side(p) == name {
			n++
		}
	}
	return n
}

// fix applies what outranks the weight: the client's own option first, its own
// deploy names next, then the operator's pins.
func (d *Deployment) fix(dec *Decision, l Login) error {
	if l.AskedArm != "" {
		arm, err := ParseArm(l.AskedArm)
		if err != nil {
			return &NoCanaryError{Asked: l.AskedArm, Deployment: d.Name, Why: err.Error()}
		}
		if arm == Canary && d.Canary == CanaryClosed {
			return &NoCanaryError{Asked: l.AskedArm, Deployment: d.Name, Why: "deployment " + d.Name + " has no canary now; start a rollout first"}
		}
		if dec.Fixed == FixedByCluster && arm == Canary {
			return &NoCanaryError{Asked: l.AskedArm, Deployment: d.Name, Why: dec.Reason}
		}
		dec.Fixed, dec.Arm, dec.Reason = FixedByOption, arm, dec.Reason+"; the client asked for "+arm.String()
		return nil
	}
	if dec.Fixed != NotFixed {
		return nil
	}
	for _, p := range d.Pins {
		if p.matches(l) {
			dec.Fixed, dec.Arm = FixedByPin, p.Arm
			dec.Reason += "; pinned to " + p.Arm.String()
			return nil
		}
	}
	return nil
}

func (p Pin) matches(l Login) bool {
	return (p.User == "" || p.User == l.User) &&
		(p.ApplicationName == "" || p.ApplicationName == l.ApplicationName) &&
		(p.Database == "" || p.Database == l.Database)
}

// key is the unit's key. A session without the chosen property has the empty
// key and is always stable (see Arm): a missing key must not put everybody who
// lacks it on the same side of the weight.
func (d *Deployment) key(l Login) string {
	switch d.Key {
	case KeyUser:
		return l.User
	case KeyApplicationName:
		return l.ApplicationName
	case KeyDatabase:
		return l.Database
	case KeyClientAddress:
		return l.ClientAddress
	}
	return l.Connection
}

func (d *Deployment) weight() Weight {
	if d.Canary == CanaryClosed {
		return 0
	}
	return d.Weight
}

// Arm says which arm a session should be on in this deployment state. It
// allocates nothing.
func (d *Deployment) Arm(dec *Decision) Arm {
	switch dec.Fixed {
	case FixedByNames:
		if dec.Swaps != d.Swaps {
			return Stable // the version it came for is production, or was taken back
		}
		return Canary
	case FixedByPin, FixedByOption:
		if d.Canary == CanaryClosed {
			return Stable
		}
		return dec.Arm
	case FixedByCluster:
		return Stable
	}
	if d.Canary == CanaryClosed || dec.Key == "" {
		return Stable
	}
	if d.Keep {
		return d.kept(dec)
	}
	return PickAt(Hash(d.Salt, dec.Key), d.Weight)
}

// kept is the arm of a session that keeps it for life. It was chosen for one
// rollout of one version; in any other the session is one that was there before,
// and those stay on stable.
func (d *Deployment) kept(dec *Decision) Arm {
	if dec.Salt == d.Salt && dec.Swaps == d.Swaps {
		return dec.Arm
	}
	return Stable
}

// Share is the weight under which the session's arm was chosen, which is the
// probability that equal versions find it on the canary: the weight in force, or
// the one at login for a session that keeps its arm. It is 0 where the arm was
// certain. It allocates nothing.
func (d *Deployment) Share(dec *Decision) Weight {
	switch {
	case !dec.Counted():
		return 0
	case !d.Keep || d.Canary == CanaryClosed:
		return d.weight()
	case dec.Salt == d.Salt && dec.Swaps == d.Swaps:
		return dec.Weight
	}
	return 0
}

// Target is what an arm means for a session at this moment: its own settings
// with live names replaced by the arm's.
func (d *Deployment) Target(dec *Decision, arm Arm) Settings {
	if dec.Fixed == FixedByNames {
		if d.Canary == CanaryLive || dec.Swaps != d.Swaps {
			return dec.Base
		}
		return d.toDeploy(dec.Base)
	}
	if arm == Canary && d.Canary == CanaryDeploy {
		return d.toDeploy(dec.Base)
	}
	return dec.Base
}

func (d *Deployment) toDeploy(s Settings) Settings { return d.rename(s, Pair.live, Pair.deploy) }
func (d *Deployment) toLive(s Settings) Settings   { return d.rename(s, Pair.deploy, Pair.live) }

func (d *Deployment) rename(s Settings, from, to func(Pair) string) Settings {
	out := Settings{Cluster: swapName(d.Clusters, s.Cluster, from, to), Path: make([]string, len(s.Path))}
	for i, name := range s.Path {
		out.Path[i] = swapName(d.Schemas, name, from, to)
	}
	return out
}

func swapName(pairs []Pair, name string, from, to func(Pair) string) string {
	for _, p := range pairs {
		if from(p) == name {
			return to(p)
		}
	}
	return name
}

// MapsNames reports whether a name is live or deploy in the deployment; the
// proxy asks it about values a client set by hand.
func (d *Deployment) MapsNames(s Settings) bool {
	m := d.match(Login{Database: d.Database, Settings: s})
	return m.live() || m.deploy()
}

// Names lists every schema and cluster name of the deployment, for messages.
func (d *Deployment) Names() string {
	var b strings.Builder
	for _, p := range d.Schemas {
		fmt.Fprintf(&b, "schema %s/%s ", p.Live, p.Deploy)
	}
	for _, p := range d.Clusters {
		fmt.Fprintf(&b, "cluster %s/%s ", p.Live, p.Deploy)
	}
	return strings.TrimSpace(b.String())
}
