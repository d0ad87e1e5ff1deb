package sim

import (
	"fmt"
	"slices"

	"mzcanary/internal/sim/sql"
)

// newDraft starts a change of the catalog as it is now.
func (s *Server) newDraft(user string) *draft {
	c := s.catalog.Load().clone()
	return &draft{catalog: c, at: s.now(), user: user, random: s.random}
}

// changeCatalog applies one change and publishes it; writers take turns. An error leaves everything as it was.
func (s *Server) changeCatalog(user string, change func(*draft) error) error {
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	d := s.newDraft(user)
	if err := change(d); err != nil {
		return err
	}
	if d.touched {
		s.publish(d)
	}
	return nil
}

// publish makes the draft the catalog; catalogMu must be held. Then it ends the reads of what was dropped.
func (s *Server) publish(d *draft) {
	old := s.catalog.Load()
	if old != nil {
		d.revision = old.revision + 1
	}
	d.catalog.published = true
	d.plans = map[planKey]*planned{}
	d.memo = map[string][][]sql.Value{}
	since := s.now()
	s.catalog.Store(d.catalog)
	s.tellChange(d.catalog, since)
	if len(d.dropped) > 0 {
		s.endLive(d.dropped)
		s.forget(d.dropped)
	}
	s.health.wake()
}

// forget removes the data of dropped things.
func (s *Server) forget(things []droppedThing) {
	s.memoMu.Lock()
	for _, t := range things {
		if t.object {
			delete(s.memo, t.id)
		}
	}
	s.memoMu.Unlock()
	current := s.latest()
	for _, t := range things {
		if t.object && current.tables[t.id] != nil {
			_, _ = s.changeData(func(tables map[string]*tableData) error { // change cannot fail
				for _, t := range things {
					if t.object {
						delete(tables, t.id)
					}
				}
				return nil
			})
			return
		}
	}
}

// A liveRead is a SELECT that waits or a SUBSCRIBE that runs: a DROP of what it reads ends it.
type liveRead struct {
	id        string // of a subscription
	session   *session
	subscribe bool
	cluster   string   // id
	ids       []string // what it names; whatever they read takes them along when it goes
	since     uint64   // ms
	// ended gets the error once; at is the contents at that moment.
	ended chan error
	at    *dataVersion
}

func (s *Server) register(l *liveRead) {
	l.ended = make(chan error, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.subscribe {
		s.nextSub++
		l.id = fmt.Sprintf("u%d", s.nextSub)
		l.since = s.nowMillis()
	}
	s.live[l] = true
}

func (s *Server) unregister(l *liveRead) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, l)
}

// endLive tells the live reads about the drop. Relations are looked at before clusters.
func (s *Server) endLive(things []droppedThing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.live {
		if err := l.hitBy(things, s.behaves()); err != nil {
			l.at = s.latest()
			l.ended <- err // capacity 1, and it leaves the list here
			delete(s.live, l)
		}
	}
}

func (l *liveRead) hitBy(things []droppedThing, b behaviour) error {
	for _, t := range things {
		if t.object && slices.Contains(l.ids, t.id) {
			return l.dropError("relation", t.name, b)
		}
	}
	for _, t := range things {
		if t.cluster && t.id == l.cluster {
			return l.dropError("cluster", t.name, b)
		}
	}
	return nil
}

func (l *liveRead) dropError(kind, name string, b behaviour) error {
	switch {
	case !l.subscribe:
		return failf("XX000", "query could not complete because %s %q was dropped", kind, name)
	case b.droppedTexts:
		return failf("42704", "%s '%s' was dropped", kind, name)
	}
	return failf("XX000", "subscribe has been terminated because underlying %s %q was dropped", kind, name)
}
