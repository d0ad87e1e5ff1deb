package proxy

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// registry knows every session. Its lock comes before a session's.
type registry struct {
	mu    sync.Mutex
	conns int // connections accepted and not finished, of any kind
	late  int // of them, those that came while the proxy drains: nobody waits for them
	// cancels are those of the connections that have brought a CancelRequest, guests
	// those that could bring nothing else.
	cancels, guests int
	empty           chan struct{}
	ending          *wire.Failure // new sessions are refused with it
	// admitted counts the places taken: sessions and those being connected.
	admitted int
	all      map[*session]struct{}
	byKey    map[uint32]*session
	perUser  map[string]int
	fleets   map[string]*fleet
}

// fleet is the sessions of one deployment and the hold on them.
type fleet struct {
	name       string
	sessions   map[*session]struct{}
	hold       *Hold
	generation uint64
	qualified  qualified
}

func (r *registry) init() {
	r.all = make(map[*session]struct{})
	r.byKey = make(map[uint32]*session)
	r.perUser = make(map[string]int)
	r.fleets = make(map[string]*fleet)
}

// connected counts a new connection, and tells whether it may send its start-up
// packet, when no more than limit may be about to; 0 means any number. One that may
// not is a guest, if there is a place: it may send a CancelRequest and is refused
// with f for anything else.
func (r *registry) connected(limit int, late bool) (guest bool, f *wire.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns++
	switch {
	case late:
		r.late++
		f = wire.Fail(wire.KindDraining, "", nil)
	case limit > 0 && r.conns-r.admitted-r.cancels-r.guests > limit:
		f = wire.Fail(wire.KindTooManySessions, "too many connections have not sent their start-up packet", nil)
	default:
		return false, nil
	}
	if r.guests == maxGuests {
		return false, f
	}
	r.guests++
	return true, f
}

func (r *registry) disconnected(late bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns--
	if late {
		r.late--
	}
	r.tellEmpty()
}

const (
	// maxGuests bounds the connections that are read though no session can come of
	// them, guestTime how long one may take: a CancelRequest is always taken.
	maxGuests = 256
	guestTime = 2 * time.Second
	// maxCancels bounds the cancels that are under way or wait for their turn.
	maxCancels = 1024
)

func (r *registry) guestLeaves() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests--
}

// cancelBegins counts a CancelRequest, if there is a place.
func (r *registry) cancelBegins() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cancels == maxCancels {
		return false
	}
	r.cancels++
	return true
}

func (r *registry) cancelEnds() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancels--
}

func (r *registry) tellEmpty() {
	if r.conns == r.late && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// whenEmpty gives a channel that is closed when no connection is left.
func (r *registry) whenEmpty() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.empty == nil {
		r.empty = make(chan struct{})
	}
	empty := r.empty
	r.tellEmpty()
	return empty
}

// admit reserves the place of a session, within the limits. A user who has used
// its own up is told before the server is asked.
func (r *registry) admit(s *session, limits Limits) *wire.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ending != nil:
		return r.ending
	case limits.MaxSessions > 0 && r.admitted >= limits.MaxSessions:
		return wire.Fail(wire.KindTooManySessions, "", nil)
	case limits.PerUser > 0 && r.perUser[s.user] >= limits.PerUser:
		return wire.Fail(wire.KindTooManyForUser, "", nil)
	}
	r.admitted++
	s.admitted = true
	return nil
}

// charge counts a session as one of its user, who the server knows by now: before,
// anybody could use up another's places. One that is refused gives its place back
// at once.
func (r *registry) charge(s *session, limits Limits) *wire.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	if limits.PerUser > 0 && r.perUser[s.user] >= limits.PerUser {
		r.freePlace(s)
		return wire.Fail(wire.KindTooManyForUser, "", nil)
	}
	r.perUser[s.user]++
	s.charged = true
	return nil
}

// giveBack ends the reservation of admit.
func (r *registry) giveBack(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.freePlace(s)
}

func (r *registry) freePlace(s *session) {
	if s.admitted {
		r.admitted--
	}
	if s.charged {
		if r.perUser[s.user]--; r.perUser[s.user] == 0 {
			delete(r.perUser, s.user)
		}
	}
	s.admitted, s.charged = false, false
}

// add makes an admitted session, which has both its legs, known to everybody,
// and gives it its key.
func (r *registry) add(s *session) *wire.Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending != nil {
		return r.ending
	}
	for {
		// The sign bit stays 0: there are clients that print it as a number.
		pid := binary.BigEndian.Uint32(randomBytes(4)) & 0x7fffffff
		if _, taken := r.byKey[pid]; pid != 0 && !taken {
			s.key = wire.CancelKey{PID: pid, Secret: randomBytes(4)}
			break
		}
	}
	r.byKey[s.key.PID] = s
	r.all[s] = struct{}{}
	return nil
}

// find gives the session that a cancel key belongs to, or nil.
func (r *registry) find(key wire.CancelKey) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.byKey[key.PID]
	if s == nil || subtle.ConstantTimeCompare(s.key.Secret, key.Secret) != 1 {
		return nil
	}
	return s
}

func (r *registry) fleet(name string) *fleet {
	f := r.fleets[name]
	if f == nil {
		f = &fleet{name: name, sessions: make(map[*session]struct{})}
		r.fleets[name] = f
	}
	return f
}

// enter makes a session one of its deployment's, or unmanaged. Registering it
// and asking whether gates are closed is one critical section: a session is
// either found by a hold or born with its gate closed.
func (r *registry) enter(s *session, dec router.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decision, s.reason = dec, dec.Reason
	if !dec.Managed() {
		return
	}
	f := r.fleet(dec.Deployment)
	f.sessions[s] = struct{}{}
	s.fleet = f
	snap := s.p.table.Load()
	d := snap.Find(dec.Deployment)
	if d != nil && d.Key != router.KeyConnection && f.qualified.holds(d.Salt, dec.Key) {
		s.offCanary, s.offSalt = true, d.Salt
	}
	if s.p.cfg.Stats != nil {
		if s.stats = s.p.cfg.Stats.Find(dec.Deployment); s.stats != nil {
			s.enterUnit(s.stats.Generation())
		}
	}
	s.placed, _ = s.have.Values()
	if d != nil && d.Canary != router.CanaryClosed {
		s.loginWeight = d.Weight
	}
	s.epoch = snap.Epoch
	s.reckon(snap)
	if f.hold != nil {
		s.enterHold(f.hold)
	}
}

// leave takes a session off its deployment: it has become unmanaged.
func (r *registry) leave(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.fleets {
		delete(f.sessions, s)
	}
}

// remove takes out a session that has ended.
func (r *registry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.all[s]; !ok {
		return
	}
	delete(r.all, s)
	delete(r.byKey, s.key.PID)
	r.freePlace(s)
	for _, f := range r.fleets {
		delete(f.sessions, s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveHold()
	s.heldMessageLost()
	if s.running != nil {
		s.unitGone(armstats.Broken)
	}
	if s.stats != nil {
		s.stats.Leave(s.unit)
		s.unit, s.stats = nil, nil
	}
	s.fleet = nil
}

// sessions gives the sessions of a deployment; of all with an empty name. In
// the order in which they connected.
func (r *registry) sessions(deployment string) []*session {
	r.mu.Lock()
	set := r.all
	if deployment != "" {
		set = nil
		if f := r.fleets[deployment]; f != nil {
			set = f.sessions
		}
	}
	list := make([]*session, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b *session) int { return cmp.Compare(a.connected, b.connected) })
	return list
}

// releaseHolds ends every hold, so that no lease outlives the proxy.
func (r *registry) releaseHolds() {
	r.mu.Lock()
	var holds []*Hold
	for _, f := range r.fleets {
		if f.hold != nil {
			holds = append(holds, f.hold)
		}
	}
	r.mu.Unlock()
	for _, h := range holds {
		h.Release()
	}
}

// refuse makes admit refuse from now on.
func (r *registry) refuse(f *wire.Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = f
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}
