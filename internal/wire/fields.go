package wire

import (
	"bytes"
	"encoding/binary"
)

func indexSemicolon(b []byte) int { return bytes.IndexByte(b, ';') }

// Fields are the fields of an ErrorResponse or NoticeResponse that are looked
// at. They point into the body they were read from.
type Fields struct {
	Severity []byte // not localised where the server says so (field V)
	Code     []byte // SQLSTATE; nil when the server sent none
	Message  []byte // perhaps cut
	Context  []byte // field W: where it happened, the outermost place last; perhaps cut
}

// ParseFields reads the body of an ErrorResponse or NoticeResponse. It takes
// what it finds: a cut or malformed body gives the fields before the fault.
func ParseFields(body []byte) Fields {
	var f Fields
	for len(body) > 0 && body[0] != 0 {
		code := body[0]
		text, rest := body[1:], []byte(nil)
		if i := bytes.IndexByte(text, 0); i >= 0 {
			text, rest = text[:i], text[i+1:]
		}
		switch code {
		case 'V':
			f.Severity = text
		case 'S':
			if f.Severity == nil {
				f.Severity = text
			}
		case 'C':
			f.Code = text
		case 'M':
			f.Message = text
		case 'W':
			f.Context = text
		}
		body = rest
	}
	return f
}

// Fatal tells whether the server ends the session with this error.
func (f Fields) Fatal() bool {
	return string(f.Severity) == "FATAL" || string(f.Severity) == "PANIC"
}

// ParseParameter reads the body of a ParameterStatus.
func ParseParameter(body []byte) (name, value []byte, ok bool) {
	name, rest, ok := cstring(body)
	if !ok {
		return nil, nil, false
	}
	value, rest, ok = cstring(rest)
	return name, value, ok && len(rest) == 0
}

// ParseTag reads the body of a CommandComplete, perhaps cut: the tag without
// its NUL.
func ParseTag(body []byte) []byte {
	if i := bytes.IndexByte(body, 0); i >= 0 {
		return body[:i]
	}
	return body
}

// ParseReady reads the body of a ReadyForQuery.
func ParseReady(body []byte) (status byte, ok bool) {
	if len(body) != 1 {
		return 0, false
	}
	return body[0], body[0] == 'I' || body[0] == 'T' || body[0] == 'E'
}

// ParseBackendKey reads the body of a BackendKeyData. The secret is copied.
func ParseBackendKey(body []byte) (key CancelKey, ok bool) {
	if len(body) < 5 {
		return CancelKey{}, false
	}
	return CancelKey{PID: binary.BigEndian.Uint32(body), Secret: bytes.Clone(body[4:])}, true
}

// Keyword returns the first word of an SQL text in its own spelling, behind
// white space, semicolons, opening parentheses and comments. Empty when there is none, or when
// a cut text ends before it.
func Keyword(text []byte) []byte {
	for len(text) > 0 {
		switch c := text[0]; {
		case c == ' ' || c >= '\t' && c <= '\r' || c == '(' || c == ';':
			text = text[1:]
		case c == '-' && len(text) > 1 && text[1] == '-':
			i := bytes.IndexByte(text, '\n')
			if i < 0 {
				return nil
			}
			text = text[i+1:]
		case c == '/' && len(text) > 1 && text[1] == '*':
			i := endOfComment(text)
			if i < 0 {
				return nil
			}
			text = text[i:]
		default:
			i := 0
			for i < len(text) && (text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z' || text[i] == '_') {
				i++
			}
			if i == len(text) {
				return nil // it may go on
			}
			return text[:i]
		}
	}
	return nil
}

// endOfComment gives the index behind a block comment, which may nest.
func endOfComment(text []byte) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch {
		case text[i] == '/' && text[i+1] == '*':
			depth++
			i++
		case text[i] == '*' && text[i+1] == '/':
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// IsReset tells whether one of the statements of a Query, as far as its body is
// given, begins with DISCARD or RESET: what pools send, and what may silently
// take a session off its target. A ';' within a literal counts as well.
func IsReset(body []byte) bool {
	for {
		word := Keyword(body)
		if bytes.EqualFold(word, []byte("DISCARD")) || bytes.EqualFold(word, []byte("RESET")) {
			return true
		}
		i := indexSemicolon(body)
		if i < 0 {
			return false
		}
		body = body[i+1:]
	}
}

func cstring(b []byte) (text, rest []byte, ok bool) { return bytes.Cut(b, []byte{0}) }
