package proxy

import (
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// begin starts an exchange with a message of this type, if it is one that
// does. Under mu, like everything here.
func (s *session) begin(kind byte) {
	switch kind {
	case 'Q', 'F', 'P', 'B', 'D', 'E', 'C', 'S':
		s.beginAt(s.p.now())
	}
}

func (s *session) beginAt(now int64) {
	s.began = now
	s.exArm, s.exWeight = s.arm, s.weight
	if s.txnBegan == 0 {
		s.exVersion = s.swaps
		if s.onDeploy {
			s.exVersion++
		}
	}
}

// answered takes a ReadyForQuery: an exchange is over.
func (s *session) answered(status byte, next *after) {
	s.have.Ready(status)
	now := s.p.now()
	if s.began != 0 {
		s.observe(s.exClass, now)
	}
	if status == 'I' {
		s.txnBegan = 0
	} else if s.txnBegan == 0 {
		s.txnBegan = max(s.began, 1)
	}
	s.began, s.lastEnd = 0, now
	if s.track.owed > 0 || s.track.unsynced() {
		s.beginAt(now) // the server turns to what was pipelined behind it
	}
	if status == 'I' && (s.have.byClient || s.fleet != nil && s.have.Certain() != HaveKnown) {
		s.clientHasSet(next)
	}
}

// observe counts the running exchange, which ended in class.
func (s *session) observe(class armstats.Class, now int64) {
	s.exchanges++
	if s.exError || class == armstats.Lost {
		s.errors++
	}
	if s.stats != nil {
		if g := s.stats.Generation(); g != s.generation {
			s.enterUnit(g)
		}
		s.stats.Observe(s.unit, armstats.Exchange{
			Arm: s.exArm, Weight: s.exWeight, Class: class,
			Latency:  time.Duration(now - s.began),
			Streamed: s.exStream || s.track.txn.declared > 0,
			Counted:  s.decision.Fixed == router.NotFixed && s.decision.Key != "",
		})
	}
	s.exClass, s.exError, s.exStream = armstats.OK, false, false
}

// enterUnit takes the session's unit of the evidence that is collected now.
func (s *session) enterUnit(generation uint64) {
	s.generation = generation
	s.stats.Leave(s.unit)
	s.unit = nil
	if s.decision.Fixed != router.NotFixed || s.decision.Key == "" {
		return // not chosen by the weight: traffic, no evidence
	}
	if d := s.p.table.Load().Find(s.fleet.name); d != nil && !s.isOff(d.Salt) {
		s.unit = s.stats.Enter(router.Hash(d.Salt, s.decision.Key), d.Key != router.KeyConnection)
	}
}

// lost counts the exchange that the server did not finish.
func (s *session) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began != 0 {
		s.observe(armstats.Lost, s.p.now())
		s.began = 0
	}
}

// word is the first word of the running or last statement, for people.
func (s *session) word() string {
	text := s.statement[:s.stmtLen]
	if s.stmtKind == 'P' {
		for i, c := range text {
			if c == 0 {
				text = text[i+1:]
				break
			}
		}
	}
	// The scanner shows a beginning; a word cut there is still a word.
	var b [len(s.statement) + 1]byte
	n := copy(b[:], text)
	word := wire.Keyword(b[:n+1])
	out := make([]byte, len(word))
	for i, c := range word {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}
