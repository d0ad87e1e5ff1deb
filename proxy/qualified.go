package proxy

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"

	"mzcanary/router"
)

// QualifiedNames says what happens to a canary session whose statement names a
// live schema explicitly, prod.t, and so reads the old objects on the new
// cluster.
type QualifiedNames uint8

// The rules.
const (
	// IgnoreQualified: nobody looks.
	IgnoreQualified QualifiedNames = iota
	// PinQualified: its unit goes back to stable before the statement goes through,
	// and out of the statistics, for the rest of the rollout. A session that is
	// fixed to the canary (a pin, an option, deploy names) is only counted: who
	// tests the new version must not read production by accident.
	PinQualified
	// CountQualified: it is only counted.
	CountQualified
)

const (
	// qualifiedText is how much of a statement is looked at, in bytes, as far as it
	// came with one read.
	qualifiedText = 4096
	// sampleText bounds a normalised text, maxSamples how many are kept of a
	// deployment, maxPinned how many units are.
	sampleText = 200
	maxSamples = 32
	maxPinned  = 10_000
)

// Qualified is a statement that named a live schema explicitly.
type Qualified struct {
	Text  string `json:"text"` // normalised: without literals and comments, cut after 200 bytes
	Count uint64 `json:"count"`
}

// qualified is what is known of such statements in one deployment.
type qualified struct {
	total atomic.Uint64

	mu      sync.Mutex
	samples []Qualified
	// pinned are the units that were taken off the canary of the rollout with this
	// salt, by key. Units that are connections look after themselves.
	salt   uint64
	pinned map[string]struct{}
}

// pin remembers a unit.
func (q *qualified) pin(salt uint64, key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.salt != salt || q.pinned == nil {
		q.salt, q.pinned = salt, make(map[string]struct{})
	}
	if len(q.pinned) < maxPinned {
		q.pinned[key] = struct{}{}
	}
}

func (q *qualified) holds(salt uint64, key string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.pinned[key]
	return ok && q.salt == salt
}

// sample counts a normalised text and gives the string of it that is kept;
// empty when there are too many different ones.
func (q *qualified) sample(text []byte) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.samples {
		if s := &q.samples[i]; s.Text == string(text) {
			s.Count++
			return s.Text
		}
	}
	if len(q.samples) == maxSamples {
		return ""
	}
	q.samples = append(q.samples, Qualified{Text: string(text), Count: 1})
	return q.samples[len(q.samples)-1].Text
}

// QualifiedNames gives a sample of the statements of a deployment's canary
// sessions that named a live schema explicitly, the most frequent first, and how
// many there were in all.
func (p *Proxy) QualifiedNames(deployment string) (samples []Qualified, total uint64) {
	p.reg.mu.Lock()
	f := p.reg.fleets[deployment]
	p.reg.mu.Unlock()
	if f == nil {
		return nil, 0
	}
	q := &f.qualified
	q.mu.Lock()
	defer q.mu.Unlock()
	samples = slices.Clone(q.samples)
	slices.SortStableFunc(samples, func(a, b Qualified) int { return int(b.Count) - int(a.Count) })
	return samples, q.total.Load()
}

// watchNames decides whether the session's statements are looked at before they
// go on: only those of a session that has, or is to have, deploy names. Under mu,
// like everything here.
func (s *session) watchNames() {
	s.fromClient.TextLimit = 0
	if s.fleet != nil {
		s.fromClient.TextLimit = qualifiedText
	}
	s.watch = s.fleet != nil && (s.onDeploy || !s.want.Equal(s.decision.Base)) && s.p.cfg.QualifiedNames(s.fleet.name) != IgnoreQualified
}

// looksAt takes the message that p begins with, the client's next one. seen
// says that it is to be counted when it goes on.
func (s *session) looksAt(p []byte) (seen bool) {
	text, whole := statementText(p)
	s.textLate = !whole
	if !s.namesLive(text) {
		return false
	}
	s.textLate = false
	if s.pinnable() {
		s.qualifiedSeen(text)
		s.pinStable()
		return false
	}
	return true
}

// namesLive tells whether the text of a statement names a live schema of the
// session's deployment.
func (s *session) namesLive(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	d := s.p.table.Load().Find(s.fleet.name)
	return d != nil && namesSchema(text, d.Schemas, s.database)
}

// statementText gives what p holds of the text of the Query or Parse that it
// begins with, if it is one, and whether that is all there is to look at.
func statementText(p []byte) (text []byte, whole bool) {
	const header = 5
	if p[0] != 'Q' && p[0] != 'P' {
		return nil, true
	}
	if len(p) <= header {
		return nil, false
	}
	length := 1 + int(p[1])<<24 + int(p[2])<<16 + int(p[3])<<8 + int(p[4])
	body := p[header:max(header, min(len(p), length))]
	text = textOf(p[0], body)
	return text, len(p) >= length || len(body) > qualifiedText || len(text) < len(body)-1 && p[0] == 'Q'
}

// textOf gives the text in what there is of the body of a Query or Parse.
func textOf(kind byte, body []byte) []byte {
	body = body[:min(len(body), qualifiedText)]
	if kind == 'P' {
		_, text, ok := bytes.Cut(body, zero)
		if !ok {
			return nil
		}
		body = text
	}
	if end := bytes.IndexByte(body, 0); end >= 0 {
		body = body[:end]
	}
	return body
}

// pinnable tells whether the session is to be taken off the canary, and was not.
func (s *session) pinnable() bool {
	d := s.p.table.Load().Find(s.fleet.name)
	return s.decision.Fixed == router.NotFixed && !s.isOff(d.Salt) && s.p.cfg.QualifiedNames(s.fleet.name) == PinQualified
}

// pinStable takes the session's unit off the canary for this rollout.
func (s *session) pinStable() {
	snap := s.p.table.Load()
	d := snap.Find(s.fleet.name)
	s.takeOff(snap, d.Salt)
	s.pinOthers(d)
}

// pinOthers takes the other sessions of its unit along.
func (s *session) pinOthers(d *router.Deployment) {
	if f, key := s.fleet, s.decision.Key; d.Key != router.KeyConnection {
		f.qualified.pin(d.Salt, key)
		s.p.wg.Go(func() { s.p.pinUnit(f, d.Salt, key) })
	}
}

func (s *session) takeOff(snap *router.Snapshot, salt uint64) {
	s.isNoEvidence(salt)
	s.epoch = snap.Epoch
	s.reckon(snap)
}

func (s *session) isNoEvidence(salt uint64) {
	s.offCanary, s.offSalt = true, salt
	if s.stats != nil {
		s.stats.Leave(s.unit)
		s.unit = nil
	}
}

// pinUnit takes the unit's other sessions off the canary.
func (p *Proxy) pinUnit(f *fleet, salt uint64, key string) {
	for _, s := range p.reg.sessions(f.name) {
		s.mu.Lock()
		if s.fleet == f && s.decision.Fixed == router.NotFixed && s.decision.Key == key && !s.isOff(salt) {
			s.takeOff(p.table.Load(), salt)
		}
		s.mu.Unlock()
	}
	p.Nudge()
}

// isOff tells whether the session's unit was taken off the canary of the
// rollout with this salt.
func (s *session) isOff(salt uint64) bool { return s.offCanary && s.offSalt == salt }

// qualifiedSeen counts a statement that names a live schema.
func (s *session) qualifiedSeen(text []byte) {
	var b [sampleText]byte
	s.qualifiedCount(normalise(b[:0], text))
}

// qualifiedCount is the same for a text that is normalised already.
func (s *session) qualifiedCount(normalised []byte) {
	q := &s.fleet.qualified
	q.total.Add(1)
	s.qualifiedNames++
	if text := q.sample(normalised); text != "" {
		s.qualifiedText = text
	}
}

// whyQualified goes behind the reason why a session is managed.
func (s *session) whyQualified() string {
	text := "; on the canary it named a live schema explicitly"
	if s.qualifiedText != "" {
		text += " (" + s.qualifiedText + ")"
	}
	if d := s.p.table.Load().Find(s.fleet.name); d != nil && s.isOff(d.Salt) && s.decision.Fixed == router.NotFixed {
		text += " and stays on stable for this rollout"
	}
	return text
}
