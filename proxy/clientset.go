package proxy

import (
	"slices"

	"mzcanary/router"
)

// A session that steers itself: it sets cluster or search_path by hand, or a
// pool resets it.
//
//	          names of two deployments, of none; any SET under release
//	managed ──────────────────────────────────────────────────────────▶ leaving ── what the
//	   ▲ │                                                                proxy set is set
//	   │ └─ live names, deploy names: mapped, still managed               back ──▶ unmanaged
//	   │                                                                              │
//	   └────── live names of one deployment again; under release only by a reset ─────┘
//
// The next statement waits at the gate for whatever that needs.

// ownSet is what became of a client's own SET, RESET or DISCARD.
type ownSet uint8

const (
	ownNone     ownSet = iota
	ownMapped          // names of its deployment: they are what it asked for now
	ownReset           // back to what it started with
	ownReleased        // it became unmanaged
	ownReturned        // it became managed again, or for the first time
	numOwnSets
)

var ownSetNames = [numOwnSets]string{"", "mapped", "reset", "released", "returned"}

func (s *session) steered(o ownSet) {
	s.own = o
	s.ownSets++
	s.p.count.clientSets[o].Add(1)
}

// clientHasSet is called at the end of an exchange outside a transaction when
// the values are not those that were injected or logged in with any more, or
// may not be. Under mu, like everything here but join.
func (s *session) clientHasSet(next *after) {
	changed := s.have.ClientSet()
	values, ok := s.have.Values()
	known := s.have.Certain() == HaveKnown && ok
	switch {
	case known:
		set, reset := s.have.Own()
		s.takeOver(values, set, reset, next)
	case s.fleet == nil:
		s.ask = changed && s.mayHaveComeBack(values, ok)
	case s.have.Certain() == HaveProvisional || !s.have.Traits.ReportsPath || !s.decision.Base.Equal(s.loginBase),
		s.have.bySet && !s.have.byReset: // in a batch that failed: a server may keep what it told of before the error
		s.ask = true // what it set itself must not be overridden by a guess
	default:
		// A reset of a session that never set anything: what it began with is what
		// it asked for still, and is set again.
		if _, reset := s.have.Own(); reset {
			s.steered(ownReset)
		}
	}
	s.judge()
}

// mayHaveComeBack tells whether it is worth asking what an unmanaged session
// has now.
func (s *session) mayHaveComeBack(seen router.Settings, ok bool) bool {
	if s.track.reason != ReasonNone {
		return false
	}
	if !s.have.bySet && s.have.byReset {
		return s.loginManaged // it went back to what it started with
	}
	if !s.have.Traits.ReportsPath {
		return true // any SET can have been of search_path
	}
	if !ok {
		return false
	}
	dec, err := s.p.table.Load().Decide(s.loginFacts(seen))
	return err == nil && dec.Managed()
}

// takeOver draws the conclusions of values that the session has now. set and
// reset say what the client did, as far as the server tells.
func (s *session) takeOver(values router.Settings, set, reset bool, next *after) {
	if s.fleet == nil {
		s.comeBack(values, reset, next)
		return
	}
	back := reset && values.Equal(s.login)
	if back && s.decision.Base.Equal(s.loginBase) {
		s.steered(ownReset)
		return // its decision stands: want is set again
	}
	if s.p.cfg.ClientSet(s.fleet.name) == ReleaseClientSet && !back && (set || !values.Equal(s.placed)) {
		s.steers = true
		s.letGo(s.asksFor(values), "the client set cluster or search_path itself (client_set: release)", next)
		return
	}
	s.adopt(values, next)
}

// asksFor is what values, which the client has set at least in part, mean it
// wants: a part that is still as the proxy placed it stands for what the session
// asked for before. Deploy names of its own are not the proxy's.
func (s *session) asksFor(values router.Settings) router.Settings {
	if s.decision.Fixed == router.FixedByNames {
		return values
	}
	if values.Cluster == s.placed.Cluster {
		values.Cluster = s.decision.Base.Cluster
	}
	if slices.Equal(values.Path, s.placed.Path) {
		values.Path = s.decision.Base.Path
	}
	return values
}

// adopt makes values, which the client has set, what the session asked for.
func (s *session) adopt(values router.Settings, next *after) {
	asked := s.asksFor(values)
	unchanged := values.Equal(s.placed)
	s.placed = values
	switch {
	case unchanged:
		return
	case s.decision.Fixed != router.FixedByNames && asked.Equal(s.decision.Base):
		s.steered(ownMapped)
		return
	}
	snap := s.p.table.Load()
	facts := s.loginFacts(asked)
	facts.AskedArm = ""
	dec, err := snap.Decide(facts)
	switch {
	case err != nil || !dec.Managed():
		s.letGo(asked, "after the client's own SET "+dec.Reason, next)
	case dec.Deployment != s.decision.Deployment:
		s.letGo(asked, "the client's own SET names deployment "+dec.Deployment, next)
	default:
		old := s.decision
		if old.Fixed == router.FixedByOption || old.Fixed == router.NotFixed && dec.Fixed == router.NotFixed {
			dec.Fixed, dec.Arm = old.Fixed, old.Arm
		}
		s.decision, s.reason = dec, dec.Reason+"; set by the client itself"
		s.epoch = snap.Epoch
		s.steered(ownMapped)
		s.reckon(snap)
	}
}

// letGo makes the session unmanaged once it has nothing any more that the proxy
// set: home is what it asked for itself.
func (s *session) letGo(home router.Settings, why string, next *after) {
	if values, ok := s.have.Values(); !ok || values.Equal(home) || s.p.cfg.Unsafe.NoRetarget {
		s.release(why, next)
		return
	}
	s.leaving, s.stuckEpoch = why, 0
	// On its way out it is on no arm but production's and counts for none.
	s.decision.Base, s.decision.Fixed, s.decision.Arm = home, router.FixedByCluster, router.Stable
	s.reckon(s.p.table.Load())
}

// release makes the session unmanaged, until it says live names again.
func (s *session) release(why string, next *after) {
	s.reason, s.leaving = why, ""
	s.steered(ownReleased)
	s.leaveHold()
	if s.stats != nil {
		s.stats.Leave(s.unit)
		s.unit, s.stats = nil, nil
	}
	s.fleet = nil
	s.attn &^= attnMove | attnReset
	s.wakeClient()
	next.leave = true
	if values, ok := s.have.Values(); ok && !s.steers && s.have.Certain() == HaveKnown {
		s.comeBack(values, false, next) // its names may be another deployment's
	}
}

// comeBack looks whether an unmanaged session's values make it managed.
func (s *session) comeBack(values router.Settings, reset bool, next *after) {
	next.join = false
	s.attn &^= attnJoin
	dec, err := s.p.table.Load().Decide(s.loginFacts(values))
	if err != nil || !dec.Managed() {
		return
	}
	if s.p.cfg.ClientSet(dec.Deployment) == ReleaseClientSet && !(reset && values.Equal(s.login)) {
		s.reason = "it set names of " + dec.Deployment + " itself (client_set: release)"
		return
	}
	// Registering it needs the registry's lock; until then nothing goes on.
	next.join = true
	s.attn |= attnJoin
}

// join makes an unmanaged session managed, by what it has now. Server's pump,
// no lock held.
func (s *session) join() {
	s.mu.Lock()
	values, _ := s.have.Values()
	s.mu.Unlock()
	facts := s.loginFacts(values)
	dec, err := s.p.table.Load().Decide(facts)
	if err != nil {
		facts.AskedArm = "" // the arm it asked for at its login is gone
		dec, err = s.p.table.Load().Decide(facts)
	}
	if err == nil && dec.Managed() {
		dec.Reason += "; set by the client itself"
		s.p.reg.enter(s, dec)
		s.mu.Lock()
		s.steers = false
		s.steered(ownReturned)
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.attn &^= attnJoin
	s.wakeClient()
	s.mu.Unlock()
}
