package proxy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// resting is what a session has answered to a hold.
//
//	pending ──Z I──▶ atBoundary        (its gate is closed: it stays)
//	   │ ▲
//	   ▼ │ the streaming statement ended inside a transaction
//	streaming ──Z I──▶ atBoundary
type resting uint8

const (
	notAsked resting = iota
	pending
	atBoundary
	streaming
)

// Hold is a lease on the closed gates of one deployment's sessions. It
// releases by itself when the lease runs out, unless Pin was called.
type Hold struct {
	p          *Proxy
	fleet      *fleet
	generation uint64
	began      time.Time
	pretend    bool // Unsafe.NoHold

	// releasing lets one release at a time through; the others wait for it.
	releasing sync.Once
	released  chan struct{}
	stall     Stall

	mu      sync.Mutex
	lease   *time.Timer
	pinned  bool
	over    bool // no more sessions may enter
	counts  [streaming + 1]int
	changed chan struct{}   // capacity 1
	stalls  []time.Duration // of messages that went on
	waiting int             // messages at the opened gates that have not gone on yet
	gone    chan struct{}   // capacity 1: waiting became 0
}

// HoldReport answers a hold: who is at a boundary, who streams, who is in the
// way. Stragglers is empty when everybody is where the swap may find them.
type HoldReport struct {
	Held       int
	Streaming  []SessionInfo
	Stragglers []SessionInfo
	Gathered   time.Duration // from the first gate closed until this report
	Released   bool          // the lease ran out before the report
}

// Complete reports whether nobody is in the way.
func (r HoldReport) Complete() bool { return len(r.Stragglers) == 0 && !r.Released }

// Stall sums up what the clients of one hold had to wait: from the arrival of
// the message that waited until it went on to the server, its session's
// retarget included.
type Stall struct {
	Sessions int           `json:"sessions"` // that had a message waiting
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Max      time.Duration `json:"max"`
	// Waits are the single waits, sorted.
	Waits []time.Duration `json:"-"`
}

// Hold closes the gates of a deployment's sessions, those included that log in
// later. It fails when they are closed already.
func (p *Proxy) Hold(deployment string, lease time.Duration) (*Hold, error) {
	h := &Hold{
		p: p, began: time.Now(), pretend: p.cfg.Unsafe.NoHold,
		released: make(chan struct{}), changed: make(chan struct{}, 1), gone: make(chan struct{}, 1),
	}
	p.reg.mu.Lock()
	defer p.reg.mu.Unlock()
	f := p.reg.fleet(deployment)
	if f.hold != nil {
		return nil, fmt.Errorf("the sessions of deployment %s are held already (generation %d): release that hold first", deployment, f.generation)
	}
	f.generation++
	h.fleet, h.generation = f, f.generation
	p.count.holds.Add(1)
	if !h.pretend {
		f.hold = h
		for s := range f.sessions {
			s.mu.Lock()
			if s.fleet == f {
				s.enterHold(h)
			}
			s.mu.Unlock()
		}
	}
	h.lease = time.AfterFunc(lease, h.expire)
	return h, nil
}

// Generation numbers the holds of a deployment, from 1.
func (h *Hold) Generation() uint64 { return h.generation }

// expire is the end of the lease.
func (h *Hold) expire() {
	h.mu.Lock()
	keep := h.pinned
	h.mu.Unlock()
	if !keep {
		h.p.count.expired.Add(1)
		h.p.log.Warn("the lease of a hold ran out: its sessions go on", "deployment", h.fleet.name, "generation", h.generation)
		h.Release()
	}
}

// Pin keeps the lease from expiring while a COMMIT is out: from now on only
// Release opens the gates. It reports false when they are open already, and the
// COMMIT must not be sent.
func (h *Hold) Pin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	h.pinned = true
	return true
}

// Gather waits until every session is at a boundary or streaming, or until ctx
// ends or the hold is released, and reports either way.
func (h *Hold) Gather(ctx context.Context) HoldReport {
	for !h.gathered() {
		select {
		case <-h.changed:
			continue
		case <-ctx.Done():
		case <-h.released:
		}
		break
	}
	return h.report()
}

func (h *Hold) gathered() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts[pending] == 0
}

func (h *Hold) report() HoldReport {
	r := HoldReport{Gathered: time.Since(h.began)}
	for _, s := range h.p.reg.sessions(h.fleet.name) {
		s.mu.Lock()
		rest, mine := s.rest, s.hold == h || h.pretend
		s.mu.Unlock()
		switch {
		case !mine:
		case rest == pending:
			r.Stragglers = append(r.Stragglers, s.info())
		case rest == streaming:
			r.Streaming = append(r.Streaming, s.info())
		default:
			r.Held++
		}
	}
	h.mu.Lock()
	r.Released = h.over
	h.mu.Unlock()
	return r
}

// move counts a session's new answer.
func (h *Hold) move(from, to resting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[from]--
	h.counts[to]++
	if h.counts[pending] == 0 {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

// enterHold closes the session's gate. Under registry.mu and the session's.
func (s *session) enterHold(h *Hold) {
	s.hold = h
	s.attn |= attnHold
	s.rest = notAsked
	s.settleHold()
}

// settleHold brings the session's answer up to date. Under mu.
func (s *session) settleHold() {
	now := pending
	switch s.track.State().Phase {
	case PhaseBoundary:
		if s.attn&attnUnit == 0 {
			now = atBoundary
		}
	case PhaseStreaming:
		now = streaming
	case PhaseClosing:
		if s.track.owed == 0 {
			now = atBoundary // it can begin nothing any more
		}
	}
	if now != s.rest {
		s.hold.move(s.rest, now)
		s.rest = now
	}
}

// leaveHold opens the session's gate. Under mu.
func (s *session) leaveHold() {
	if s.hold == nil {
		return
	}
	s.hold.move(s.rest, notAsked)
	s.hold, s.rest = nil, notAsked
	s.attn &^= attnHold
	s.wakeClient()
}

// releaseBatch is how many waiting sessions are woken at once.
const releaseBatch = 32

// Release opens the gates, those with a message waiting spread over the
// configured time, and reports when the messages have gone on, at the latest
// after a quarter of a second. Releasing twice is harmless.
func (h *Hold) Release() Stall {
	h.releasing.Do(func() {
		h.release()
		close(h.released)
	})
	<-h.released
	return h.stall
}

func (h *Hold) release() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.p.reg.mu.Lock()
	h.lease.Stop()
	if h.pretend {
		h.p.reg.mu.Unlock()
		return
	}
	h.fleet.hold = nil
	var waiting []*session
	for s := range h.fleet.sessions {
		s.mu.Lock()
		switch {
		case s.hold != h:
		case s.waitSince != 0:
			waiting = append(waiting, s)
		default:
			s.leaveHold()
		}
		s.mu.Unlock()
	}
	h.p.reg.mu.Unlock()
	h.p.sweep.nudge()

	h.mu.Lock()
	h.waiting = len(waiting)
	h.mu.Unlock()
	h.wakeSpread(waiting)
	h.awaitWaiting()
	h.sum()
}

// wakeSpread opens the gates in batches, each at its own moment of the
// configured time: a machine that is late does not add its delays up.
func (h *Hold) wakeSpread(waiting []*session) {
	batches := (len(waiting) + releaseBatch - 1) / releaseBatch
	begin := time.Now()
	for i := 1; len(waiting) > 0; i++ {
		n := min(releaseBatch, len(waiting))
		for _, s := range waiting[:n] {
			s.mu.Lock()
			s.stallOf = h
			s.leaveHold()
			s.mu.Unlock()
		}
		waiting = waiting[n:]
		if len(waiting) > 0 {
			due := h.p.cfg.ReleaseSpread * time.Duration(i) / time.Duration(batches)
			time.Sleep(due - time.Since(begin))
		}
	}
}

const stallWait = 250 * time.Millisecond

func (h *Hold) awaitWaiting() {
	limit := time.NewTimer(stallWait)
	defer limit.Stop()
	for {
		h.mu.Lock()
		left := h.waiting
		h.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-h.gone:
		case <-limit.C:
			return
		}
	}
}

// heldMessageGoes notes that the message that waited goes on. Under the
// session's mu.
func (s *session) heldMessageGoes() {
	d := time.Duration(s.p.now() - s.waitSince)
	s.waitSince = 0
	s.attn &^= attnWaited
	s.p.count.stalled(d)
	if h := s.stallOf; h != nil {
		s.stallOf = nil
		h.wentOn(d)
	}
}

// heldMessageLost notes that the message that waited is never sent.
func (s *session) heldMessageLost() {
	s.waitSince = 0
	s.attn &^= attnWaited
	if h := s.stallOf; h != nil {
		s.stallOf = nil
		h.wentOn(-1)
	}
}

// wentOn counts a message that no longer waits; negative: it was dropped.
func (h *Hold) wentOn(stall time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if stall >= 0 {
		h.stalls = append(h.stalls, stall)
	}
	if h.waiting--; h.waiting == 0 {
		select {
		case h.gone <- struct{}{}:
		default:
		}
	}
}

func (h *Hold) sum() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.stalls) == 0 {
		return
	}
	slices.Sort(h.stalls)
	at := func(q float64) time.Duration { return h.stalls[int(q*float64(len(h.stalls)-1)+0.5)] }
	h.stall = Stall{Sessions: len(h.stalls), P50: at(0.5), P99: at(0.99), Max: h.stalls[len(h.stalls)-1],
		Waits: h.stalls[:len(h.stalls):len(h.stalls)]}
}
