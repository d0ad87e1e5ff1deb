package wire

import (
	"encoding/binary"
	"strings"
)

// Codes that take the place of a version in a start-up packet, and versions.
const (
	codeCancel     = 80877102
	codeSSL        = 80877103
	codeGSS        = 80877104
	Version30      = 3 << 16 // the only version ever sent to a server
	maxStartupBody = 10000   // MAX_STARTUP_PACKET_LENGTH of PostgreSQL, without the length itself
)

// Notice is the content of an ErrorResponse or a NoticeResponse that the proxy
// itself sends. The message is prefixed with "mzcanary: ".
type Notice struct {
	Severity string // not localised: FATAL, ERROR, WARNING, NOTICE
	Code     string // SQLSTATE
	Message  string
	Detail   string // optional
	Hint     string // optional
}

// begin appends a header whose length is set by finish.
func begin(dst []byte, kind byte) ([]byte, int) {
	dst = append(dst, kind, 0, 0, 0, 0)
	return dst, len(dst) - 4
}

func finish(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// appendText appends s up to its first NUL, and a NUL: nothing in a text can
// begin another field.
func appendText(dst []byte, s string) []byte {
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	return append(append(dst, s...), 0)
}

func appendNotice(dst []byte, kind byte, n Notice) []byte {
	dst, at := begin(dst, kind)
	for _, f := range [...]struct {
		code byte
		text string
	}{{'S', n.Severity}, {'V', n.Severity}, {'C', n.Code}, {'M', "mzcanary: " + n.Message}, {'D', n.Detail}, {'H', n.Hint}} {
		if f.text != "" {
			dst = appendText(append(dst, f.code), f.text)
		}
	}
	return finish(append(dst, 0), at)
}

// AppendError adds an ErrorResponse.
func AppendError(dst []byte, n Notice) []byte { return appendNotice(dst, 'E', n) }

// AppendNotice adds a NoticeResponse.
func AppendNotice(dst []byte, n Notice) []byte { return appendNotice(dst, 'N', n) }

// AppendNegotiate adds NegotiateProtocolVersion: this side speaks 3.0 and does
// not know the listed options.
func AppendNegotiate(dst []byte, unknown []string) []byte {
	dst, at := begin(dst, 'v')
	dst = binary.BigEndian.AppendUint32(dst, Version30)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(unknown)))
	for _, name := range unknown {
		dst = appendText(dst, name)
	}
	return finish(dst, at)
}

// AppendReady adds ReadyForQuery with status 'I', 'T' or 'E'.
func AppendReady(dst []byte, status byte) []byte {
	return append(dst, 'Z', 0, 0, 0, 5, status)
}

// AppendParameter adds ParameterStatus.
func AppendParameter(dst []byte, name, value string) []byte {
	dst, at := begin(dst, 'S')
	return finish(appendText(appendText(dst, name), value), at)
}

// AppendBackendKey adds BackendKeyData. secret is four bytes for protocol 3.0.
func AppendBackendKey(dst []byte, pid uint32, secret []byte) []byte {
	dst, at := begin(dst, 'K')
	dst = binary.BigEndian.AppendUint32(dst, pid)
	return finish(append(dst, secret...), at)
}

// AppendCancel adds a CancelRequest, a packet without a type byte.
func AppendCancel(dst []byte, key CancelKey) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(12+len(key.Secret)))
	dst = binary.BigEndian.AppendUint32(dst, codeCancel)
	dst = binary.BigEndian.AppendUint32(dst, key.PID)
	return append(dst, key.Secret...)
}

// AppendSSLRequest adds an SSLRequest.
func AppendSSLRequest(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 8)
	return binary.BigEndian.AppendUint32(dst, codeSSL)
}

// AppendTerminate adds Terminate.
func AppendTerminate(dst []byte) []byte { return append(dst, 'X', 0, 0, 0, 4) }

// The one-byte answers to SSLRequest and GSSENCRequest.
const (
	AnswerTLS   byte = 'S'
	AnswerPlain byte = 'N'
)

// AppendHTTP adds an answer for a client that spoke HTTP, in its own language.
func AppendHTTP(dst []byte) []byte {
	text := "mzcanary: " + KindHTTP.Sentence() + ". " + KindHTTP.Hint() + "\n"
	return append(dst, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "+
		itoa(len(text))+"\r\n\r\n"+text...)
}
