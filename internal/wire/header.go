package wire

import (
	"encoding/binary"
	"fmt"
)

// maxMessage is the largest length a header may claim: PostgreSQL's limit for
// large messages, MaxAllocSize.
const maxMessage = 1<<30 - 1

// maxSmall is PostgreSQL's limit for messages that cannot be large.
const maxSmall = 10000

// bodyBound is how much of a body is shown at most, unless a Scanner's
// TextLimit asks for more of a statement's text.
const bodyBound = 2048

// Side says whose bytes a Scanner walks over.
type Side uint8

// The two sides of a session.
const (
	FromClient Side = iota
	FromServer
)

// Step is a run of bytes within one message, or a run of whole messages of one
// kind whose bodies nobody looks at.
type Step struct {
	Type  byte // the message's type
	Start bool // the first byte of the message is in this step
	End   bool // the last byte of the message is in this step
	Count int  // whole messages that ended in this step: 0 or 1; more for a run of DataRow or CopyData

	// Length is the header's length (4 + body), 0 while the header is not whole.
	Length int
	// Body, at End, holds the body of a message whose content matters, or as
	// much of its beginning as the bound allows. It is valid until the next
	// call and may point into the chunk. Nil for all other messages.
	Body []byte
	// Cut says that Body is only the beginning.
	Cut bool
	// Inner says of a Query, at End, that its text has a ';' with something
	// other than white space behind it. A ';' within a literal counts as well:
	// the answer errs towards "several statements".
	Inner bool
}

// Scanner walks over the messages of one direction of a session, chunk after
// chunk, without decoding and without allocating in the steady state. It keeps
// a partial header, the length of what is left of a body, and the beginnings
// of bodies that matter when a read split them.
//
// The zero value walks over a client's messages behind the start-up packet.
type Scanner struct {
	Side Side
	// TextLimit is how many bytes of the bodies of Query and Parse are shown.
	// 0 means 64: enough for the kind of statement.
	TextLimit int

	kind   byte
	head   uint8 // header bytes seen, 0 to 5
	length uint32
	rest   uint32 // body bytes still to come
	want   int    // body bytes to show

	semicolon, inner bool

	kept  []byte
	small [64]byte
}

// Partial tells whether the last chunk ended inside a message.
func (s *Scanner) Partial() bool { return s.head != 0 }

// Next looks at the beginning of p, which must not be empty, and returns how
// many bytes of it belong to the step. A step never reaches over the end of a
// message, runs excepted. The error is a *Failure (KindProtocol or
// KindUpstreamProtocol); the position in the stream is lost after it.
func (s *Scanner) Next(p []byte) (n int, step Step, err error) {
	if s.head == 0 {
		if n, count := s.run(p); count > 0 {
			return n, Step{Type: p[0], Start: true, End: true, Count: count}, nil
		}
		step.Start = true
		s.begin(p[0])
		n = 1
	}
	step.Type = s.kind
	for s.head < 5 {
		if n == len(p) {
			return n, step, nil
		}
		s.length = s.length<<8 | uint32(p[n])
		s.head++
		n++
		if s.head == 5 {
			if err := s.check(); err != nil {
				return n, step, err
			}
		}
	}
	step.Length = int(s.length)
	piece := p[n:]
	if uint32(len(piece)) > s.rest {
		piece = piece[:s.rest]
	}
	n += len(piece)
	s.rest -= uint32(len(piece))
	s.look(piece)
	if s.rest > 0 {
		s.keep(piece)
		return n, step, nil
	}
	s.end(piece, &step)
	return n, step, nil
}

func (s *Scanner) begin(kind byte) {
	s.kind, s.head, s.length = kind, 1, 0
	s.semicolon, s.inner = false, false
	s.kept = s.kept[:0]
}

// check is called when the header is whole.
func (s *Scanner) check() error {
	if s.length < 4 || s.length > maxMessage || s.length > maxSmall && small(s.Side, s.kind) {
		return s.fail()
	}
	s.rest = s.length - 4
	s.want = min(s.shown(), int(s.rest))
	return nil
}

func (s *Scanner) fail() error {
	kind, who := KindProtocol, "the client"
	if s.Side == FromServer {
		kind, who = KindUpstreamProtocol, "the server"
	}
	return Fail(kind, fmt.Sprintf("message of type %q from %s claims length %d", s.kind, who, int32(s.length)), nil)
}

// small names the messages that have a body of a name at most.
func small(side Side, kind byte) bool {
	if side == FromServer {
		switch kind {
		case 'Z', '1', '2', '3', 'n', 's', 'I', 'K', 'c':
			return true
		}
		return false
	}
	switch kind {
	case 'S', 'H', 'X', 'c':
		return true
	}
	return false
}

// shown says how many bytes of the body of the present message matter.
func (s *Scanner) shown() int {
	if s.Side == FromServer {
		switch s.kind {
		case 'Z':
			return 1
		case 'R':
			return 4
		case 'C':
			return 64
		case 'S', 'E', 'N', 'K', 'v':
			return bodyBound
		}
		return 0
	}
	switch s.kind {
	case 'Q', 'P':
		return max(s.TextLimit, 64)
	case 'B', 'D', 'C', 'E':
		return 64
	}
	return 0
}

// run recognises whole messages, one behind the other, of a kind whose bodies
// nobody looks at and whose number does not matter one by one.
func (s *Scanner) run(p []byte) (n, count int) {
	kind := p[0]
	if kind != 'd' && (kind != 'D' || s.Side != FromServer) {
		return 0, 0
	}
	for len(p)-n >= 5 && p[n] == kind {
		length := binary.BigEndian.Uint32(p[n+1:])
		if length < 4 || length > maxMessage || uint64(len(p)-n) < 1+uint64(length) {
			break
		}
		n += 1 + int(length)
		count++
	}
	return n, count
}

// look follows the text of a Query for a ';' with something behind it.
func (s *Scanner) look(piece []byte) {
	if s.kind != 'Q' || s.Side != FromClient || s.inner {
		return
	}
	for i := 0; i < len(piece); i++ {
		if !s.semicolon {
			at := indexSemicolon(piece[i:])
			if at < 0 {
				return
			}
			i += at
			s.semicolon = true
			continue
		}
		switch piece[i] {
		case ' ', '\t', '\n', '\v', '\f', '\r', ';', 0:
		default:
			s.inner = true
			return
		}
	}
}

// keep saves what must be shown of a body that goes on in the next chunk.
func (s *Scanner) keep(piece []byte) {
	need := s.want - len(s.kept)
	if need <= 0 {
		return
	}
	if cap(s.kept) == 0 {
		s.kept = s.small[:0]
	}
	s.kept = append(s.kept, piece[:min(need, len(piece))]...)
}

func (s *Scanner) end(piece []byte, step *Step) {
	step.End, step.Count = true, 1
	step.Inner = s.inner
	if s.want > 0 || s.shown() > 0 {
		if len(s.kept) == 0 {
			step.Body = piece[:min(s.want, len(piece))]
		} else {
			s.keep(piece)
			step.Body = s.kept
			if cap(s.kept) > len(s.small) {
				s.kept = nil // an idle session keeps no large buffer
			}
		}
		if step.Body == nil {
			step.Body = s.small[:0]
		}
		step.Cut = int(s.length)-4 > len(step.Body)
	}
	s.head = 0
}
