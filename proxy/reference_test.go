package proxy

import "fmt"

// The reference: a server that reads one message after the other and keeps
// nothing but what its own protocol loop keeps. It knows by itself whether the
// session is at a boundary, which is what the tracker must find out from the
// outside.

// said is one message of the client in the reference's words.
type said struct {
	ClientMessage
	copies bool // Query, Execute: the statement is COPY FROM STDIN
	begins bool // Query: BEGIN
	ends   bool // Query: COMMIT
}

func (m said) String() string {
	suffix := ""
	switch {
	case m.copies:
		suffix = "copy"
	case m.begins:
		suffix = "begin"
	case m.ends:
		suffix = "commit"
	}
	return string(m.Type) + suffix
}

func said1(kind byte) said { return said{ClientMessage: ClientMessage{Type: kind}} }

var (
	sQ      = said1('Q')
	sP      = said1('P')
	sE      = said1('E')
	sS      = said1('S')
	sH      = said1('H')
	sF      = said1('F')
	sd      = said1('d')
	sc      = said1('c')
	sf      = said1('f')
	sQcopy  = said{ClientMessage: ClientMessage{Type: 'Q'}, copies: true}
	sEcopy  = said{ClientMessage: ClientMessage{Type: 'E'}, copies: true}
	sBegin  = said{ClientMessage: ClientMessage{Type: 'Q'}, begins: true}
	sCommit = said{ClientMessage: ClientMessage{Type: 'Q'}, ends: true}
)

// choice is what the server makes of a message.
type choice uint8

const (
	accept choice = iota
	refuse
	refuseLate // answers CopyInResponse and fails before it reads any data
	interrupt  // inside COPY: fails for another reason than the data, and does not tell whether it read any
)

// refTraits are the three kinds of server.
var refTraits = map[string]Traits{
	"postgres":        {Strays: StraysIgnored},
	"materialize":     {Materialize: true, Strays: StraysIgnored, CopyReadsAll: true},
	"materialize-old": {Materialize: true, Strays: StraysDrained, CopyReadsAll: true},
}

type refServer struct {
	traits Traits
	skip   bool // discards until Sync
	open   bool // inside a batch without its Sync
	copy   byte // 0, 'Q' or 'E': inside COPY of that protocol
	read1  bool // inside COPY: data has been read
	status byte
	dead   bool
}

// choices are what may happen to m now.
func (s *refServer) choices(m said) []choice {
	switch {
	case s.dead, s.skip:
		return []choice{accept}
	case s.copy != 0:
		if m.Type == 'd' && !s.traits.CopyReadsAll || m.Type == 'c' {
			return []choice{accept, refuse, interrupt}
		}
		return []choice{accept}
	}
	switch m.Type {
	case 'Q', 'E':
		if m.copies && !s.traits.CopyReadsAll {
			return []choice{accept, refuse, refuseLate}
		}
		return []choice{accept, refuse}
	case 'P', 'F':
		return []choice{accept, refuse}
	case 'S':
		if s.open { // there is something to commit
			return []choice{accept, refuse}
		}
	}
	return []choice{accept}
}

func answers(kinds ...byte) []ServerMessage {
	messages := make([]ServerMessage, len(kinds))
	for i, k := range kinds {
		messages[i].Type = k
	}
	return messages
}

func (s *refServer) ready() ServerMessage { return ServerMessage{Type: 'Z', Status: s.status} }

func (s *refServer) error() ServerMessage {
	if s.status == 'T' {
		s.status = 'E'
	}
	return ServerMessage{Type: 'E'}
}

// read processes one message and gives the answers.
func (s *refServer) read(m said, c choice) []ServerMessage {
	if s.dead {
		return nil
	}
	if m.Type == 'X' {
		s.dead = true
		return nil
	}
	if s.copy != 0 {
		return s.readCopy(m, c)
	}
	if s.skip {
		if m.Type != 'S' {
			return nil
		}
		s.skip, s.open = false, false
		return []ServerMessage{s.ready()}
	}
	switch m.Type {
	case 'Q':
		s.open = false
		return s.query(m, c)
	case 'F':
		s.open = false
		if c == refuse {
			return []ServerMessage{s.error(), s.ready()}
		}
		return append(answers('V'), s.ready())
	case 'S':
		s.open = false
		if c == refuse {
			return []ServerMessage{s.error(), s.ready()}
		}
		return []ServerMessage{s.ready()}
	case 'P', 'E':
		return s.extended(m, c)
	case 'd', 'c', 'f':
		if s.traits.Strays == StraysDrained {
			s.skip = true
		}
	}
	return nil
}

func (s *refServer) query(m said, c choice) []ServerMessage {
	if c == refuse || s.status == 'E' && !m.ends {
		return []ServerMessage{s.error(), s.ready()}
	}
	switch {
	case m.begins:
		s.status = 'T'
		return []ServerMessage{{Type: 'C', Tag: TagBegin}, s.ready()}
	case m.ends:
		s.status = 'I'
		return []ServerMessage{{Type: 'C', Tag: TagCommit}, s.ready()}
	case m.copies:
		s.copy = 'Q'
		if c == refuseLate {
			return append(answers('G'), s.copyError(false)...)
		}
		return answers('G')
	}
	return append(answers('T', 'D', 'C'), s.ready())
}

func (s *refServer) extended(m said, c choice) []ServerMessage {
	s.open = true
	if c == refuse || s.status == 'E' {
		s.skip = true
		return []ServerMessage{s.error()}
	}
	switch {
	case m.Type == 'P':
		return answers('1')
	case m.copies:
		s.copy = 'E'
		if c == refuseLate {
			return append(answers('G'), s.copyError(false)...)
		}
		return answers('G')
	}
	return answers('D', 'C')
}

func (s *refServer) copyError(byClient bool) []ServerMessage {
	e := s.error()
	e.CopyFail = byClient
	simple := s.copy == 'Q'
	s.copy, s.read1 = 0, false
	if simple {
		return []ServerMessage{e, s.ready()}
	}
	s.skip = true
	return []ServerMessage{e}
}

// copyData makes the error one that names a line of the data.
func (s *refServer) copyData(answer []ServerMessage) []ServerMessage {
	answer[0].CopyRead = true
	return answer
}

func (s *refServer) readCopy(m said, c choice) []ServerMessage {
	switch m.Type {
	case 'd':
		if c == interrupt { // before it is read
			return s.copyError(false)
		}
		s.read1 = true
		if c == refuse {
			return s.copyData(s.copyError(false))
		}
	case 'S', 'H':
	case 'f':
		return s.copyError(true)
	case 'c':
		read := s.read1
		switch {
		case c == interrupt, c == refuse && !read:
			return s.copyError(false)
		case c == refuse:
			return s.copyData(s.copyError(false))
		}
		simple := s.copy == 'Q'
		s.copy, s.read1 = 0, false
		if simple {
			return append(answers('C'), s.ready())
		}
		return answers('C')
	default:
		s.dead = true // PostgreSQL: FATAL, protocol synchronisation lost
		return []ServerMessage{{Type: 'E', Fatal: true}}
	}
	return nil
}

// boundary is the truth, given that nothing is under way to or from the server.
func (s *refServer) boundary() bool {
	return !s.dead && !s.skip && !s.open && s.copy == 0 && s.status == 'I'
}

// world is a client, the tracker in the middle, and the reference server.
type world struct {
	server  refServer
	tracker *Tracker
	inbox   []said          // sent, not yet read by the server
	outbox  []ServerMessage // said by the server, not yet seen by the tracker
	story   *line
}

// line is one event of a story, and what went before.
type line struct {
	before *line
	text   string
}

func (l *line) String() string {
	if l == nil {
		return ""
	}
	return l.before.String() + " " + l.text
}

func (w *world) tell(text string) { w.story = &line{w.story, text} }

func newWorld(traits Traits) *world {
	t := NewTracker(traits)
	t.Server(ServerMessage{Type: 'Z', Status: 'I'})
	return &world{server: refServer{traits: traits, status: 'I'}, tracker: t}
}

func (w *world) clone() *world {
	c := *w
	t := *w.tracker
	t.ring.large = append([]unit(nil), t.ring.large...)
	if len(t.ring.large) == 0 {
		t.ring.large = nil
	}
	c.tracker = &t
	c.inbox = append([]said(nil), w.inbox...)
	c.outbox = append([]ServerMessage(nil), w.outbox...)
	return &c
}

func (w *world) send(m said) {
	w.tracker.Client(m.ClientMessage)
	w.inbox = append(w.inbox, m)
	w.tell(">" + m.String())
}

func (w *world) serve(c choice) {
	m := w.inbox[0]
	w.inbox = w.inbox[1:]
	w.outbox = append(w.outbox, w.server.read(m, c)...)
	if c != accept {
		w.tell(fmt.Sprintf("(%v fails %d)", m, c))
	}
}

func (w *world) deliver() {
	m := w.outbox[0]
	w.outbox = w.outbox[1:]
	w.tracker.Server(m)
	w.tell("<" + string(m.Type))
}

// inert tells whether what is on its way to the server changes nothing there.
func (w *world) inert() bool {
	server := w.server
	for _, m := range w.inbox {
		if len(server.choices(m)) > 1 || len(server.read(m, accept)) > 0 {
			return false
		}
	}
	return server == w.server
}

// onlyEnds tells whether nothing is on its way to the server but the end of
// what it is doing.
func (w *world) onlyEnds() bool {
	syncs := 0
	for _, m := range w.inbox {
		switch m.Type {
		case 'S':
			syncs++
		case 'H':
		default:
			return false
		}
	}
	return syncs <= 1
}

// fault compares what the tracker says with the truth.
func (w *world) fault() string {
	quiet := len(w.inbox) == 0 && len(w.outbox) == 0
	truth := quiet && w.server.boundary()
	nearly := len(w.outbox) == 0 && w.server.boundary() && w.inert()
	state := w.tracker.State()
	if w.tracker.AtBoundary() != (state.Phase == PhaseBoundary) {
		return "AtBoundary and State differ"
	}
	switch state.Phase {
	case PhaseBoundary:
		if !nearly {
			return "claims a boundary that is none"
		}
	case PhaseUntrackable:
		switch state.Reason {
		case ReasonInsideCopy, ReasonCopyFailed:
		default:
			return "untrackable: " + state.Reason.String()
		}
	case PhaseStreaming:
		if w.server.status != 'I' || !w.onlyEnds() {
			return "claims to stream"
		}
	default:
		if truth && !state.Settling {
			return "misses a boundary, says " + state.Phase.String()
		}
	}
	return ""
}

// appendKey appends all that decides what can happen from here on.
func (w *world) appendKey(b []byte) []byte {
	t, s := w.tracker, &w.server
	b = append(b, t.status, byte(t.reason), byte(t.owed), byte(t.swallow), byte(t.early), byte(t.extra), s.copy, s.status)
	var bits uint32
	for i, on := range [...]bool{t.curOn, t.answered, t.proof, t.skip, t.closing, t.describedOnly, t.copying, t.copyDone, t.begun, t.named,
		t.txn.begun, t.txn.fetched, t.txn.other, s.skip, s.open, s.dead, s.read1} {
		if on {
			bits |= 1 << i
		}
	}
	b = append(b, byte(bits), byte(bits>>8), byte(bits>>16), t.txn.declared)
	b = t.open.appendKey(b)
	if t.curOn {
		b = t.cur.appendKey(b)
	}
	for i := range t.ring.length {
		b = t.ring.at(i).appendKey(b)
	}
	b = append(b, '|')
	for _, m := range w.inbox {
		b = append(b, m.String()...)
	}
	b = append(b, '|')
	for _, m := range w.outbox {
		var flags byte
		if m.CopyFail {
			flags |= 1
		}
		if m.CopyRead {
			flags |= 2
		}
		b = append(b, m.Type, m.Status, byte(m.Tag), flags)
	}
	return b
}

func (u *unit) appendKey(b []byte) []byte { return append(b, byte(u.ext), byte(u.n), u.end, u.flags) }
