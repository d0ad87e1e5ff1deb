package proxy

import (
	"encoding/binary"

	"mzcanary/internal/wire"
	"mzcanary/router"
)

// askReader asks the server for the session's cluster and search_path and reads
// the answers. On PostgreSQL the question is an extended batch under a reserved
// name, so that the client's unnamed statement lives on; on Materialize a
// simple Query, which harms nothing there.
type askReader struct {
	materialize bool
	answers     []string // one per row
	failed      bool
}

func newAsk(materialize bool, name func() string) (*askReader, []byte) {
	a := &askReader{materialize: materialize}
	if materialize {
		return a, message(nil, 'Q', "SHOW cluster; SHOW search_path\x00")
	}
	n := name()
	b := message(nil, 'P', n+"\x00SHOW search_path\x00\x00\x00")
	b = message(b, 'B', n+"\x00"+n+"\x00\x00\x00\x00\x00\x00\x00")
	b = message(b, 'E', n+"\x00\x00\x00\x00\x00")
	b = message(b, 'C', "S"+n+"\x00")
	b = message(b, 'C', "P"+n+"\x00")
	return a, message(b, 'S', "")
}

func message(dst []byte, kind byte, body string) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, kind), uint32(4+len(body)))
	return append(dst, body...)
}

// message takes one message of the server; whole is the message with its header.
func (a *askReader) message(kind byte, body, whole []byte) wire.Action {
	switch kind {
	case '1', '2', '3', 'T', 'C':
		return wire.Swallow
	case 'D':
		if text, ok := firstColumn(whole); ok && len(a.answers) < 2 {
			a.answers = append(a.answers, text)
		} else {
			a.failed = true
		}
		return wire.Swallow
	case 'N':
		if string(wire.ParseFields(body).Code) == "MZ007" {
			return wire.Swallow // SHOW of a cluster that does not exist
		}
		return wire.Relay
	case 'S', 'A':
		return wire.Relay
	case 'E':
		if wire.ParseFields(body).Fatal() {
			return wire.Broken
		}
		a.failed = true
		return wire.Swallow
	case 'Z':
		if status, ok := wire.ParseReady(body); ok && status == 'I' {
			return wire.Finish
		}
	}
	return wire.Broken
}

// settings gives what was answered.
func (a *askReader) settings() (s router.Settings, ok bool) {
	want := 1
	if a.materialize {
		want = 2
	}
	if a.failed || len(a.answers) != want {
		return s, false
	}
	if a.materialize {
		s.Cluster = a.answers[0]
	}
	path, err := router.ParsePath(a.answers[want-1])
	s.Path = path
	return s, err == nil
}

// firstColumn reads the first value of a DataRow.
func firstColumn(msg []byte) (string, bool) {
	const header = 5
	if len(msg) < header+6 {
		return "", false
	}
	n := int32(binary.BigEndian.Uint32(msg[header+2:]))
	value := msg[header+6:]
	if n < 0 || int(n) > len(value) {
		return "", false
	}
	return string(value[:n]), true
}
