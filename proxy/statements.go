package proxy

import (
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// What a managed session prepares on one arm it may execute on another, and what
// it sends ahead may run on names that the message before has changed. Both are
// seen in the text of Query and Parse, the first 4096 bytes of it.

// textFacts are what matters of the statements that were prepared.
type textFacts struct {
	live   bool // one names a live schema explicitly
	resets bool // one may change the session's names: see wire.IsReset
}

// readText takes a whole message that goes on to the server. Under mu, like
// everything here.
func (s *session) readText(m ClientMessage, step *wire.Step) {
	moves := false // the session's names may be others behind it
	switch step.Type {
	case 'Q':
		if !s.have.Traits.Materialize {
			s.unnamed = textFacts{} // PostgreSQL forgets it
		}
		text := textOf('Q', step.Body)
		moves = s.onNames() && wire.IsReset(step.Body)
		if wire.Prepares(text) && s.looksForLive() && s.namesLive(text) {
			s.preparesLive(&s.prepared, text)
		}
		s.seenLate(text)
	case 'P':
		text := textOf('P', step.Body)
		resets := wire.IsReset(text)
		live := s.looksForLive() && s.namesLive(text)
		into := &s.unnamed
		if m.Named {
			into = &s.prepared
			resets, live = resets || into.resets, live || into.live
		}
		into.resets, into.live = resets, into.live && live
		if live && !into.live {
			s.preparesLive(into, text)
		}
		s.seenLate(text)
	case 'B':
		moves = m.Named && s.prepared.resets || !m.Named && s.unnamed.resets
	}
	if (moves || s.have.byClient && s.track.status != 'I') && s.onNames() {
		// What is pipelined behind it must not run on what it sets or restores; nor
		// behind what may end the transaction in which it was set.
		s.attn |= attnReset
	}
}

// onNames: the session has names of the proxy's, or is to have them.
func (s *session) onNames() bool { return s.onDeploy || !s.want.Equal(s.decision.Base) }

func (s *session) looksForLive() bool {
	return s.p.cfg.QualifiedNames(s.fleet.name) != IgnoreQualified
}

func (s *session) preparesLive(into *textFacts, text []byte) {
	into.live = true
	var b [sampleText]byte
	if n := normalise(b[:0], text); s.preparedText != string(n) {
		s.preparedText = string(n)
	}
}

// preparedLive: it may execute a statement that names a live schema.
func (s *session) preparedLive() bool { return s.prepared.live || s.unnamed.live }

// pinPrepared keeps the session, which is about to go to the canary, on stable.
func (s *session) pinPrepared(d *router.Deployment) {
	s.qualifiedCount([]byte(s.preparedText))
	s.isNoEvidence(d.Salt)
	s.pinOthers(d)
	s.arm = router.Stable
}

// seenLate looks at a text that was not whole when its message began to go on:
// the session follows behind it.
func (s *session) seenLate(text []byte) {
	late := s.textLate
	s.textLate = false
	if !late || !s.watch || !s.namesLive(text) {
		return
	}
	s.qualifiedSeen(text)
	if s.pinnable() {
		s.pinStable()
	}
}

// forgetPrepared takes the tag of a CommandComplete.
func (s *session) forgetPrepared(tag Tag) {
	if (tag == TagDiscardAll || tag == TagDeallocateAll) && !s.track.named {
		s.prepared = textFacts{}
	}
}
