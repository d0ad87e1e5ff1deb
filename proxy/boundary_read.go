package proxy

import (
	"bytes"

	"mzcanary/internal/wire"
)

// ClientMessage is what the tracker must know of a whole message of the client.
type ClientMessage struct {
	Type  byte
	Inner bool // Query: a ';' with something behind it
	Named bool // Parse, Bind: the statement has a name
	Fetch bool // Query, Parse: the text begins with FETCH
}

// ReadClient makes a ClientMessage of a step with End set, from a Scanner of
// the client's side. It keeps nothing of the step's body.
func ReadClient(step wire.Step) ClientMessage {
	m := ClientMessage{Type: step.Type, Inner: step.Inner}
	switch step.Type {
	case 'Q':
		m.Fetch = isFetch(step.Body)
	case 'P':
		name, text, ok := bytes.Cut(step.Body, zero)
		m.Named = len(name) > 0
		m.Fetch = ok && isFetch(text)
	case 'B':
		_, statement, ok := bytes.Cut(step.Body, zero)
		m.Named = !ok || len(statement) == 0 || statement[0] != 0
	}
	return m
}

// ServerMessage is what the tracker must know of a whole message of the server.
type ServerMessage struct {
	Type      byte
	Status    byte // ReadyForQuery
	Tag       Tag  // CommandComplete
	Fatal     bool // ErrorResponse: the server ends the session
	CopyFail  bool // ErrorResponse: the answer to a CopyFail
	CopyRead  bool // ErrorResponse: COPY data had been read before it
	Subscribe bool // NoticeResponse: the one that a SUBSCRIBE begins with
}

// ReadServer makes a ServerMessage of a step with End set, from a Scanner of
// the server's side. It keeps nothing of the step's body.
func ReadServer(step wire.Step) ServerMessage {
	m := ServerMessage{Type: step.Type}
	switch step.Type {
	case 'Z':
		m.Status, _ = wire.ParseReady(step.Body)
	case 'C':
		m.Tag = ReadTag(wire.ParseTag(step.Body))
	case 'E':
		f := wire.ParseFields(step.Body)
		m.Fatal = f.Fatal()
		m.CopyFail = string(f.Code) == "57014" && bytes.HasPrefix(f.Message, copyFailed)
		m.CopyRead = readsCopy(f.Context)
	case 'N':
		f := wire.ParseFields(step.Body)
		m.Subscribe = string(f.Code) == "01000" && string(f.Severity) == "NOTICE"
	}
	return m
}

var (
	zero       = []byte{0}
	fetch      = []byte("FETCH")
	copyFailed = []byte("COPY from stdin failed")
	copyWord   = []byte("COPY ")
	copyLine   = []byte(", line ")
)

// readsCopy tells whether the context of an error is a line of COPY data that
// was read at least in part: "COPY t, line 7", "COPY t, line 1, column a" or
// "COPY t, line 1: …". Line 1 alone may stand for the wait for its first byte.
// Words of another language tell nothing.
func readsCopy(context []byte) bool {
	if i := bytes.LastIndexByte(context, '\n'); i >= 0 {
		context = context[i+1:] // the outermost place: the COPY itself
	}
	at := bytes.Index(context, copyLine)
	if at < 0 || !bytes.HasPrefix(context, copyWord) {
		return false
	}
	number := context[at+len(copyLine):]
	n := 0
	for n < len(number) && number[n] >= '0' && number[n] <= '9' {
		n++
	}
	if rest := number[n:]; len(rest) > 0 {
		return n > 0 && (rest[0] == ':' || rest[0] == ',')
	}
	return n > 1 || n == 1 && number[0] > '1'
}

func isFetch(text []byte) bool { return bytes.EqualFold(wire.Keyword(text), fetch) }

// Tag is a command tag as far as it matters here.
type Tag uint8

// The tags.
const (
	TagOther Tag = iota
	TagBegin
	TagCommit
	TagRollback
	TagSet
	TagReset
	TagDiscardAll
	TagDeallocateAll
	TagPrepare
	TagDeclareCursor
	TagFetch
	TagProcedure // CALL, DO: may hold any statement
)

// ReadTag recognises a command tag, without its terminating NUL.
func ReadTag(tag []byte) Tag {
	switch string(tag) {
	case "BEGIN", "START TRANSACTION":
		return TagBegin
	case "COMMIT":
		return TagCommit
	case "ROLLBACK":
		return TagRollback
	case "SET":
		return TagSet
	case "RESET":
		return TagReset
	case "DISCARD ALL":
		return TagDiscardAll
	case "DEALLOCATE ALL":
		return TagDeallocateAll
	case "PREPARE":
		return TagPrepare
	case "DECLARE CURSOR":
		return TagDeclareCursor
	case "CALL", "DO":
		return TagProcedure
	}
	if bytes.HasPrefix(tag, fetch) && len(tag) > len(fetch) && tag[len(fetch)] == ' ' {
		return TagFetch
	}
	return TagOther
}
