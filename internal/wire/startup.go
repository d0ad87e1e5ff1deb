package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// PacketKind says what a start-up packet is.
type PacketKind uint8

// The packets a connection may begin with.
const (
	PacketStartup   PacketKind = iota + 1 // a StartupMessage of protocol 3
	PacketSSL                             // SSLRequest: answer 'S' or 'N'
	PacketGSS                             // GSSENCRequest: answer 'N'
	PacketCancel                          // CancelRequest: no answer, close
	PacketDirectTLS                       // a ClientHello; only with Opening.AllowDirectTLS
)

// Packet is one start-up packet.
type Packet struct {
	Kind    PacketKind
	Startup *Startup  // of PacketStartup
	Cancel  CancelKey // of PacketCancel
	Head    []byte    // of PacketDirectTLS: the bytes already read, to be replayed with Prepend
}

// CancelKey is what BackendKeyData gives and CancelRequest brings back.
type CancelKey struct {
	PID    uint32
	Secret []byte // 4 bytes in protocol 3.0, up to 256 later
}

// Opening reads the start-up packets of one connection. It never takes a byte
// more from the reader than the packets have. Every error is a *Failure.
type Opening struct {
	AllowDirectTLS bool // hand a ClientHello back as PacketDirectTLS instead of failing

	ssl, gss bool
}

// Read reads the next packet. The caller answers SSLRequest and GSSENCRequest
// and calls Read again, on the TLS connection after an 'S'.
func (o *Opening) Read(r io.Reader) (Packet, error) {
	// No packet is shorter than the 8 bytes of its length and version; the first 4
	// are enough to refuse what is none.
	head := make([]byte, 8)
	got, err := io.ReadAtLeast(r, head, 4)
	if err != nil {
		return Packet{}, startupReadFailure(got, err)
	}
	if head[0] == 0x16 {
		if o.AllowDirectTLS && !o.ssl && !o.gss {
			return Packet{Kind: PacketDirectTLS, Head: head[:got]}, nil
		}
		return Packet{}, Fail(KindDirectTLS, "", nil)
	}
	if isHTTP(head[:4]) {
		return Packet{}, Fail(KindHTTP, "", nil)
	}
	length := binary.BigEndian.Uint32(head)
	if length < 8 {
		return Packet{}, Fail(KindBadStartup, fmt.Sprintf("length %d is too small", length), nil)
	}
	if length-4 > maxStartupBody {
		return Packet{}, Fail(KindTooLong, fmt.Sprintf("length %d, at most %d", length, maxStartupBody+4), nil)
	}
	if n, err := io.ReadFull(r, head[got:]); err != nil {
		return Packet{}, startupReadFailure(got+n, err)
	}
	version := binary.BigEndian.Uint32(head[4:])
	if err := o.admit(version, length); err != nil {
		return Packet{}, err
	}
	body := make([]byte, length-8)
	if n, err := io.ReadFull(r, body); err != nil {
		return Packet{}, startupReadFailure(8+n, err)
	}
	return o.packet(version, body)
}

// admit refuses what cannot be a packet of this version before its body is
// waited for.
func (o *Opening) admit(version, length uint32) error {
	switch version {
	case codeSSL, codeGSS:
		if length != 8 {
			return Fail(KindBadStartup, fmt.Sprintf("encryption request of length %d, not 8", length), nil)
		}
	case codeCancel:
		if length < 16 || length > 12+256 {
			return Fail(KindBadStartup, fmt.Sprintf("cancel request of length %d", length), nil)
		}
	default:
		if version>>16 != 3 {
			return Fail(KindProtocolVersion, fmt.Sprintf("%d.%d: the proxy supports 3.0", version>>16, version&0xffff), nil)
		}
	}
	return nil
}

func (o *Opening) packet(version uint32, body []byte) (Packet, error) {
	switch version {
	case codeSSL:
		if o.ssl {
			return Packet{}, Fail(KindDuplicateSSL, "", nil)
		}
		o.ssl = true
		return Packet{Kind: PacketSSL}, nil
	case codeGSS:
		if o.gss {
			return Packet{}, Fail(KindDuplicateGSS, "", nil)
		}
		o.gss = true
		return Packet{Kind: PacketGSS}, nil
	case codeCancel:
		return Packet{Kind: PacketCancel, Cancel: CancelKey{PID: binary.BigEndian.Uint32(body), Secret: body[4:]}}, nil
	}
	startup, err := ParseStartup(version, body)
	if err != nil {
		return Packet{}, err
	}
	return Packet{Kind: PacketStartup, Startup: startup}, nil
}

// startupReadFailure: nothing at all is a probe, a part of a packet a fault.
func startupReadFailure(got int, err error) *Failure {
	if got == 0 {
		return Fail(KindProbe, "", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Fail(KindBadStartup, fmt.Sprintf("connection closed after %d bytes", got), io.ErrUnexpectedEOF)
	}
	return Fail(KindBadStartup, fmt.Sprintf("nothing more after %d bytes", got), err)
}

func isHTTP(head []byte) bool {
	switch string(head) {
	case "GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "PATC", "CONN", "TRAC", "PRI ":
		return true
	}
	return false
}

// Param is one name and value of a StartupMessage: the client's bytes, which
// need not be UTF-8.
type Param struct{ Name, Value string }

// Startup is a StartupMessage as the client sent it.
type Startup struct {
	Version uint32  // the whole code, 0x00030000 for 3.0
	Params  []Param // in the client's order, duplicates kept
}

// ParseStartup reads the body behind the version. The error is a *Failure.
func ParseStartup(version uint32, body []byte) (*Startup, error) {
	s := &Startup{Version: version, Params: make([]Param, 0, 8)}
	rest := string(body) // which all names and values are parts of
	for {
		name, after, ok := strings.Cut(rest, "\x00")
		if !ok {
			return nil, Fail(KindBadStartup, "no terminator behind the parameters", nil)
		}
		rest = after
		if len(name) == 0 {
			break
		}
		value, after, ok := strings.Cut(rest, "\x00")
		if !ok {
			return nil, Fail(KindBadStartup, "a parameter without a value", nil)
		}
		rest = after
		s.Params = append(s.Params, Param{name, value})
	}
	if len(rest) != 0 {
		return nil, Fail(KindBadStartup, "bytes behind the terminator", nil)
	}
	return s, nil
}

// Get gives a parameter as the servers see it: of equal names the last one
// wins; a name spelled exactly so beats one that differs in case only.
func (s *Startup) Get(name string) (value string, ok bool) {
	exact := false
	for _, p := range s.Params {
		switch {
		case p.Name == name:
			value, ok, exact = p.Value, true, true
		case !exact && strings.EqualFold(p.Name, name):
			value, ok = p.Value, true
		}
	}
	return value, ok
}

// Negotiate says whether the client must be told that only 3.0 is spoken here,
// and lists the protocol options it asked for, in order.
func (s *Startup) Negotiate() (unknown []string, needed bool) {
	for _, p := range s.Params {
		if strings.HasPrefix(p.Name, "_pq_.") {
			unknown = append(unknown, p.Name)
		}
	}
	return unknown, s.Version != Version30 || len(unknown) > 0
}

// Arm gives the value of mzcanary.arm: of a direct parameter, else of options.
func (s *Startup) Arm(g Grammar) (value string, ok bool) {
	if value, ok = s.Get(armName); ok {
		return value, true
	}
	for _, p := range s.Params {
		if p.Name != "options" {
			continue
		}
		value, ok = "", false // of several options parameters the last one counts
		for _, o := range SplitOptions(g, p.Value) {
			if o.Setting && strings.EqualFold(o.Name, armName) {
				value, ok = o.Value, true
			}
		}
	}
	return value, ok
}

// Encode appends the packet for the server: version 3.0, the client's own
// parameters in their order, without the keys that are the proxy's or that
// servers trust a proxy to set, and then what the proxy adds. Errors with a
// *Failure when too long.
func (s *Startup) Encode(dst []byte, g Grammar, added ...Param) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, Version30)
	for _, p := range s.Params {
		if reservedKey(p.Name) || strings.HasPrefix(p.Name, "_pq_.") {
			continue
		}
		value := p.Value
		if p.Name == "options" {
			stripped := StripOptions(g, value, reservedKey)
			if stripped != value && strings.TrimLeft(stripped, " \t\n\v\f\r") == "" {
				continue
			}
			value = stripped
		}
		dst = appendText(appendText(dst, p.Name), value)
	}
	for _, p := range added {
		dst = appendText(appendText(dst, p.Name), p.Value)
	}
	dst = append(dst, 0)
	if body := len(dst) - at - 4; body > maxStartupBody {
		return nil, Fail(KindTooLong, fmt.Sprintf("%d bytes, at most %d", body, maxStartupBody), nil)
	}
	return finish(dst, at), nil
}

const armName = "mzcanary.arm"

// ForwardedFor is the parameter in which Materialize believes a proxy about the
// address of its client.
const ForwardedFor = "mz_forwarded_for"

// reservedKey tells the names that never reach a server from a client: the
// proxy's own, and the two that Materialize trusts blindly. It knows more
// spellings than any server is known to take for these names.
func reservedKey(name string) bool {
	name = strings.Trim(name, " \t\n\v\f\r\"'")
	if len(name) >= len("mzcanary.") && strings.EqualFold(name[:len("mzcanary.")], "mzcanary.") {
		return true
	}
	return sameName(name, ForwardedFor) || sameName(name, "mz_connection_uuid")
}

// sameName compares without regard to case and to the kind of dash.
func sameName(name, with string) bool {
	return len(name) == len(with) && strings.EqualFold(strings.ReplaceAll(name, "-", "_"), with)
}
