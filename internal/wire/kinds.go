package wire

import "strconv"

// Kind is one way in which the proxy itself fails a client. The enumeration is
// closed: every kind maps once to a SQLSTATE, a label (metrics and log field
// alike), a sentence and a hint for the client.
type Kind uint8

// The kinds of failure, in the order of a connection's life.
const (
	KindNone              Kind = iota // no failure; the zero value
	KindProbe                         // connected and went away without a byte; not an error
	KindBadStartup                    // start-up packet malformed
	KindTooLong                       // start-up packet longer than servers accept
	KindProtocolVersion               // protocol 1.0, 2.0, or a number nobody knows
	KindDuplicateSSL                  // SSLRequest twice
	KindDuplicateGSS                  // GSSENCRequest twice
	KindDirectTLS                     // a TLS ClientHello where none was expected
	KindHTTP                          // an HTTP request
	KindTLSRequired                   // plain text where only TLS is allowed
	KindTLSHandshake                  // the client's TLS handshake failed
	KindClientCertificate             // the client showed no certificate, or one that is not trusted
	KindStartupDeadline               // start-up and login took longer than allowed
	KindTooManySessions               // the proxy's limit of sessions
	KindTooManyForUser                // the proxy's limit of sessions of one user
	KindNoCanary                      // canary asked for, and there is none
	KindBadArm                        // mzcanary.arm with a value that is no arm
	KindShuttingDown                  // the proxy is stopping
	KindUpstreamDown                  // no connection to the server
	KindUpstreamTLS                   // TLS to the server impossible or not trusted
	KindUpstreamLost                  // the server's connection broke
	KindUpstreamProtocol              // the server said what no server says
	KindProtocol                      // the client broke the protocol after login
	KindTerminated                    // ended by a policy the operator chose
	KindRetargetLost                  // a retarget got no answer in time
	KindClientGone                    // the client went away; nothing to say to it
	KindInternal                      // a fault of the proxy itself
	kindCount
)

type kindFacts struct {
	label    string
	sqlstate string
	sentence string
	hint     string
}

// kindTable is the single place where a kind becomes text. Sentences complete
// "mzcanary: …"; hints say what to do next.
var kindTable = [kindCount]kindFacts{
	KindNone:  {"none", "00000", "no failure", ""},
	KindProbe: {"probe", "08006", "connection closed before the first byte", ""},
	KindBadStartup: {"bad_startup", "08P01", "the start-up packet is malformed",
		"Check that the client speaks the PostgreSQL protocol."},
	KindTooLong: {"startup_too_long", "53400", "the start-up packet is longer than a server accepts",
		"Shorten options and other connection parameters to less than 10000 bytes in all."},
	KindProtocolVersion: {"protocol_version", "0A000", "unsupported frontend protocol",
		"Use a client that speaks protocol 3."},
	KindDuplicateSSL: {"duplicate_ssl_request", "08P01", "TLS was asked for twice", ""},
	KindDuplicateGSS: {"duplicate_gss_request", "08P01", "GSSAPI encryption was asked for twice", ""},
	KindDirectTLS: {"direct_tls", "08P01", "TLS without being offered",
		"Set sslnegotiation=postgres, or sslmode=disable where the proxy has no certificate."},
	KindHTTP: {"http", "08P01", "this port speaks the PostgreSQL protocol, not HTTP",
		"Metrics and the API have their own addresses: see observe.address and admin.address."},
	KindTLSRequired: {"tls_required", "08004", "TLS is required here",
		"Connect with sslmode=require or stricter."},
	KindTLSHandshake: {"tls_handshake", "08006", "the TLS handshake failed", ""},
	KindClientCertificate: {"client_certificate", "28000", "a trusted client certificate is required here",
		"Connect with sslcert and sslkey of a certificate from the authority in listen.tls.client_ca_file."},
	KindStartupDeadline: {"startup_deadline", "08006", "login took too long",
		"Finish the login within limits.startup."},
	KindTooManySessions: {"too_many_sessions", "53300", "too many sessions",
		"Close connections, or raise limits.max_sessions."},
	KindTooManyForUser: {"too_many_for_user", "53300", "too many sessions of this user",
		"Close connections of this user, or raise limits.per_user."},
	KindNoCanary: {"no_canary", "08004", "there is no canary to connect to",
		"Start a rollout first, or connect without mzcanary.arm=canary."},
	KindBadArm: {"bad_arm", "22023", "mzcanary.arm is neither stable nor canary",
		"Use options='-c mzcanary.arm=canary' or '-c mzcanary.arm=stable'."},
	KindShuttingDown: {"shutting_down", "57P01", "the proxy is shutting down",
		"Reconnect."},
	KindUpstreamDown: {"upstream_down", "08001", "the server cannot be reached",
		"Try again; the proxy keeps trying. Operators: see upstream.address and /readyz."},
	KindUpstreamTLS: {"upstream_tls", "08001", "no trusted TLS connection to the server",
		"Operators: see upstream.tls (mode, ca_file, server_name)."},
	KindUpstreamLost: {"upstream_lost", "08006", "the server closed the connection",
		"Reconnect; whether the last statement took effect is unknown."},
	KindUpstreamProtocol: {"upstream_protocol", "08P01", "the server sent a malformed message",
		"Reconnect."},
	KindProtocol: {"protocol_violation", "08P01", "the client sent a malformed message",
		"Check the client's driver."},
	KindTerminated: {"terminated_by_policy", "57P01", "this session was ended by the operator's policy for a rollout",
		"Reconnect."},
	KindRetargetLost: {"retarget_lost", "57P01", "the server did not answer while this session was moved",
		"Reconnect."},
	KindClientGone: {"client_gone", "08006", "the client closed the connection", ""},
	KindInternal: {"internal", "XX000", "internal fault of the proxy",
		"Reconnect, and report the proxy's log."},
}

// Kinds returns every kind but [KindNone], for building metrics at start.
func Kinds() []Kind {
	kinds := make([]Kind, 0, kindCount-1)
	for k := KindNone + 1; k < kindCount; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

func (k Kind) facts() kindFacts {
	if k >= kindCount {
		return kindTable[KindInternal]
	}
	return kindTable[k]
}

// SQLSTATE is the five-character code the client gets.
func (k Kind) SQLSTATE() string { return k.facts().sqlstate }

// Label is the metric label and the log field's value, in snake case.
func (k Kind) Label() string { return k.facts().label }

// Sentence is what the client reads after "mzcanary: ".
func (k Kind) Sentence() string { return k.facts().sentence }

// Hint says what to do next; it may be empty.
func (k Kind) Hint() string { return k.facts().hint }

// String returns the label.
func (k Kind) String() string { return k.Label() }

// Failure is an error of the proxy's own, with its kind. Detail goes to the
// client; Err only to logs. Neither may hold a secret.
type Failure struct {
	Kind   Kind
	Detail string // shown to the client as DETAIL; may be empty
	Err    error  // the cause, for logs; may be nil
}

// Fail makes a Failure. err may be nil.
func Fail(kind Kind, detail string, err error) *Failure {
	return &Failure{Kind: kind, Detail: detail, Err: err}
}

// Error is the whole sentence, for logs.
func (f *Failure) Error() string {
	text := "mzcanary: " + f.Kind.Sentence()
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Append adds the FATAL ErrorResponse that tells the client.
func (f *Failure) Append(dst []byte) []byte {
	return AppendError(dst, Notice{
		Severity: "FATAL", Code: f.Kind.SQLSTATE(), Message: f.Kind.Sentence(),
		Detail: f.Detail, Hint: f.Kind.Hint(),
	})
}

func itoa(n int) string { return strconv.Itoa(n) }
