package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// packet builds a start-up packet; parts are NUL-terminated.
func packet(code uint32, parts ...string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), code)
	for _, p := range parts {
		b = append(append(b, p...), 0)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

func startupPacket(version uint32, parts ...string) []byte {
	return packet(version, append(parts, "")...)
}

func failureKind(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return KindNone
}

func TestS1NothingIsReadAhead(t *testing.T) {
	stuffed := startupPacket(Version30, "user", "mallory")
	r := bytes.NewReader(append(packet(codeSSL), stuffed...))
	var o Opening
	p, err := o.Read(r)
	if err != nil || p.Kind != PacketSSL {
		t.Fatalf("%v %v", p, err)
	}
	if r.Len() != len(stuffed) {
		t.Fatalf("%d bytes left for TLS, want all %d", r.Len(), len(stuffed))
	}
}

func TestS2S3EncryptionRequestsOnceEach(t *testing.T) {
	in := bytes.Join([][]byte{packet(codeGSS), packet(codeSSL), startupPacket(Version30, "user", "u")}, nil)
	r, o := bytes.NewReader(in), Opening{}
	for _, want := range []PacketKind{PacketGSS, PacketSSL, PacketStartup} {
		if p, err := o.Read(r); err != nil || p.Kind != want {
			t.Fatalf("%v %v, want %v", p.Kind, err, want)
		}
	}
	for code, want := range map[uint32]Kind{codeSSL: KindDuplicateSSL, codeGSS: KindDuplicateGSS} {
		r, o := bytes.NewReader(append(packet(code), packet(code)...)), Opening{}
		if _, err := o.Read(r); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Read(r); failureKind(err) != want {
			t.Errorf("second time: %v", err)
		}
	}
}

func TestS4S5S8Refusals(t *testing.T) {
	long := startupPacket(Version30, "user", strings.Repeat("x", maxStartupBody))
	for name, c := range map[string]struct {
		in   []byte
		want Kind
	}{
		"S4 direct TLS":            {[]byte{0x16, 3, 1, 2, 0}, KindDirectTLS},
		"S5 length 7":              {[]byte{0, 0, 0, 7, 0, 3, 0}, KindBadStartup},
		"S5 length 0":              {make([]byte, 8), KindBadStartup},
		"S5 negative length":       {[]byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0}, KindTooLong},
		"S5 2 GB":                  {[]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0}, KindTooLong},
		"S5 too long":              {long, KindTooLong},
		"S6 no terminator":         {packet(Version30, "user", "u"), KindBadStartup},
		"S6 bytes behind":          {packet(Version30, "user", "u", "", "more"), KindBadStartup},
		"S6 name without value":    {append(packet(Version30)[:3], []byte{13, 0, 3, 0, 0, 'u', 's', 'e', 'r', 0}[0:]...), KindBadStartup},
		"S8 protocol 2":            {packet(2<<16, "x"), KindProtocolVersion},
		"S8 protocol 1":            {packet(1<<16, "x"), KindProtocolVersion},
		"protocol 4":               {packet(4<<16, "x"), KindProtocolVersion},
		"S9 probe":                 {nil, KindProbe},
		"half a length":            {[]byte{0, 0}, KindBadStartup},
		"half a packet":            {startupPacket(Version30, "user", "u")[:12], KindBadStartup},
		"HTTP GET":                 {[]byte("GET / HTTP/1.1\r\n"), KindHTTP},
		"HTTP POST":                {[]byte("POST / HTTP/1.1\r\n"), KindHTTP},
		"cancel too short":         {[]byte{0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1}, KindBadStartup},
		"SSLRequest of length 12":  {packet(codeSSL, "abc"), KindBadStartup},
		"GSSENCRequest too long":   {packet(codeGSS, "abc"), KindBadStartup},
		"TLS behind a GSS request": {append(packet(codeGSS), 0x16, 3, 1, 0), KindDirectTLS},
	} {
		t.Run(name, func(t *testing.T) {
			r, o := bytes.NewReader(c.in), Opening{}
			p, err := o.Read(r)
			if err == nil && p.Kind == PacketGSS {
				_, err = o.Read(r)
			}
			if failureKind(err) != c.want {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if f := err.(*Failure); !strings.HasPrefix(f.Error(), "mzcanary: ") {
				t.Errorf("%q", f.Error())
			}
		})
	}
}

func TestReadErrorIsKept(t *testing.T) {
	timeout := errors.New("deadline")
	r := io.MultiReader(bytes.NewReader([]byte{0, 0}), iotest.ErrReader(timeout))
	var o Opening
	if _, err := o.Read(r); !errors.Is(err, timeout) || failureKind(err) != KindBadStartup {
		t.Fatal(err)
	}
}

func TestS4DirectTLSAllowed(t *testing.T) {
	o := Opening{AllowDirectTLS: true}
	p, err := o.Read(bytes.NewReader([]byte{0x16, 3, 1, 2, 0, 1}))
	if err != nil || p.Kind != PacketDirectTLS || !bytes.Equal(p.Head, []byte{0x16, 3, 1, 2, 0, 1}) {
		t.Fatalf("%+v %v", p, err)
	}
}

func TestS20CancelRequest(t *testing.T) {
	for _, secret := range [][]byte{{1, 2, 3, 4}, bytes.Repeat([]byte{7}, 256)} {
		key := CancelKey{PID: 77, Secret: secret}
		var o Opening
		p, err := o.Read(bytes.NewReader(AppendCancel(nil, key)))
		if err != nil || p.Kind != PacketCancel || !reflect.DeepEqual(p.Cancel, key) {
			t.Fatalf("%+v %v", p, err)
		}
	}
}

func TestS23OneByteSegments(t *testing.T) {
	in := startupPacket(Version30, "user", "u", "database", "d")
	var o Opening
	p, err := o.Read(iotest.OneByteReader(bytes.NewReader(in)))
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Startup.Encode(nil, GrammarMaterialize)
	if err != nil || !bytes.Equal(in, out) {
		t.Fatalf("%q %v", out, err)
	}
}

func readStartup(t *testing.T, version uint32, parts ...string) *Startup {
	t.Helper()
	var o Opening
	p, err := o.Read(bytes.NewReader(startupPacket(version, parts...)))
	if err != nil {
		t.Fatal(err)
	}
	return p.Startup
}

func TestS6OrderDuplicatesAndBytesAreKept(t *testing.T) {
	parts := []string{"user", "u", "search_path", "b", "search_path", "a", "x", "\xff\xfe", "Cluster", "C", "empty", ""}
	s := readStartup(t, Version30, parts...)
	out, err := s.Encode([]byte("before"), GrammarMaterialize)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before" + string(startupPacket(Version30, parts...)); string(out) != want {
		t.Fatalf("%q\n%q", out, want)
	}
	for name, want := range map[string]string{"search_path": "a", "cluster": "C", "user": "u", "empty": ""} {
		if got, ok := s.Get(name); !ok || got != want {
			t.Errorf("%s: %q %v", name, got, ok)
		}
	}
	if _, ok := s.Get("absent"); ok {
		t.Error("found what is not there")
	}
	both := readStartup(t, Version30, "cluster", "low", "Cluster", "high")
	if got, _ := both.Get("cluster"); got != "low" {
		t.Errorf("the exact spelling wins: %q", got)
	}
	if empty := readStartup(t, Version30); len(empty.Params) != 0 {
		t.Error(empty)
	}
}

func TestS7Negotiation(t *testing.T) {
	s := readStartup(t, 3<<16|9999, "user", "u", "_pq_.a", "1", "_pq_.b", "2")
	unknown, needed := s.Negotiate()
	if !needed || !reflect.DeepEqual(unknown, []string{"_pq_.a", "_pq_.b"}) {
		t.Fatal(unknown, needed)
	}
	out, err := s.Encode(nil, GrammarMaterialize)
	if err != nil || !bytes.Equal(out, startupPacket(Version30, "user", "u")) {
		t.Fatalf("%q %v", out, err)
	}
	if _, needed := readStartup(t, Version30, "user", "u").Negotiate(); needed {
		t.Error("3.0 needs none")
	}
	if _, needed := readStartup(t, Version30, "_pq_.a", "1").Negotiate(); !needed {
		t.Error("an option needs one")
	}
}

func TestS18ReservedKeysAreTakenOut(t *testing.T) {
	s := readStartup(t, Version30, "user", "u", "mz_forwarded_for", "1.2.3.4", "MZ_Connection_UUID", "x",
		"mzcanary.arm", "canary", "MZCANARY.x", "1", "options", "-c mzcanary.arm=stable", "application_name", "a")
	out, err := s.Encode(nil, GrammarMaterialize)
	if err != nil || !bytes.Equal(out, startupPacket(Version30, "user", "u", "application_name", "a")) {
		t.Fatalf("%q %v", out, err)
	}
	if arm, ok := s.Arm(GrammarMaterialize); !ok || arm != "canary" {
		t.Errorf("a direct parameter beats options: %q", arm)
	}
}

// TestS18EverySpelling: however a client writes the names that servers believe a
// proxy about, directly or in options, the server sees none of them, and the rest as
// it was. What the proxy itself says goes out last, once.
func TestS18EverySpelling(t *testing.T) {
	names := []string{"mz_forwarded_for", "MZ_FORWARDED_FOR", "Mz_Forwarded_For", "mz-forwarded-for", "mz_forwarded-FOR", " mz_forwarded_for", "mz_forwarded_for\t",
		`"mz_forwarded_for"`, "mz_connection_uuid", "MZ_CONNECTION_UUID", "mz-connection-uuid"}
	for _, g := range []Grammar{GrammarMaterialize, GrammarPostgres} {
		for _, name := range names {
			escaped := strings.ReplaceAll(strings.ReplaceAll(name, " ", `\ `), "\t", "\\\t")
			needless := strings.NewReplacer("o", `\o`, "O", `\O`).Replace(escaped)
			for _, options := range []string{
				"-c " + escaped + "=6.6.6.6", "-c" + escaped + "=6.6.6.6", "--" + escaped + "=6.6.6.6", "-c " + needless + "=6.6.6.6", "-c " + escaped + `=\ 6\ -c`,
			} {
				s := &Startup{Version: Version30, Params: []Param{{"user", "u"}, {name, "6.6.6.6"}, {"options", "-c a=b " + options + " --c=d"}, {name, "7.7.7.7"}, {"options", options}}}
				out, err := s.Encode(nil, g, Param{ForwardedFor, "10.0.0.1"})
				want := startupPacket(Version30, "user", "u", "options", "-c a=b --c=d", ForwardedFor, "10.0.0.1")
				if err != nil || !bytes.Equal(out, want) {
					t.Errorf("%q in %q: %q %v", name, options, out, err)
				}
				if out, _ = s.Encode(nil, g); bytes.Contains(bytes.ToLower(out), []byte("forwarded")) || bytes.Contains(out, []byte("uuid")) {
					t.Errorf("%q in %q: %q", name, options, out)
				}
			}
		}
	}
	for _, name := range []string{"mz_forwarded", "mz_forwarded_for_me", "xmz_forwarded_for", "forwarded_for", "mz_connection", "mzcanaries"} {
		s := &Startup{Version: Version30, Params: []Param{{"user", "u"}, {name, "1"}, {"options", "-c " + name + "=1"}}}
		if out, err := s.Encode(nil, GrammarMaterialize); err != nil || !bytes.Equal(out, startupPacket(Version30, "user", "u", name, "1", "options", "-c "+name+"=1")) {
			t.Errorf("%q is the client's own: %q %v", name, out, err)
		}
	}
}

func TestS5LengthIsCheckedAgain(t *testing.T) {
	s := &Startup{Version: Version30, Params: []Param{{"user", strings.Repeat("x", maxStartupBody)}}}
	if _, err := s.Encode(nil, GrammarMaterialize); failureKind(err) != KindTooLong {
		t.Fatal(err)
	}
}

func FuzzStartup(f *testing.F) {
	f.Add(startupPacket(Version30, "user", "u", "options", "-c a=b"))
	f.Add(startupPacket(3<<16|2, "user", "u", "_pq_.x", "1"))
	f.Add(packet(codeSSL))
	f.Add(AppendCancel(nil, CancelKey{1, []byte{1, 2, 3, 4}}))
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add([]byte{0x16, 3, 1, 2, 0, 1})
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0})
	f.Add([]byte{0, 0, 0, 8, 0, 3, 0, 0})
	f.Add(append(packet(codeGSS), packet(codeSSL)...))
	f.Add(startupPacket(2<<16, "user", "u"))
	f.Add(AppendCancel(nil, CancelKey{1 << 31, make([]byte, 256)}))
	f.Add(startupPacket(Version30, "user", "u", "search_path", "a", "search_path", "\xff\xfe", "Search_Path", "b"))
	f.Add(startupPacket(Version30, "user", "u", "options", "-c mzcanary.arm=canary", "options", "--mz-forwarded-for=1", "MZ_FORWARDED_FOR", "1"))
	f.Add(append(startupPacket(Version30, "user", "u"), 'Q', 0, 0, 0, 5, 0))
	f.Add(packet(Version30, "user", "u", "", "more"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, o := bytes.NewReader(in), Opening{}
		p, err := o.Read(r)
		if err != nil {
			if failureKind(err) == KindNone {
				t.Fatalf("untyped %v", err)
			}
			return
		}
		if p.Kind != PacketStartup {
			return
		}
		if used := len(in) - r.Len(); used != int(binary.BigEndian.Uint32(in)) {
			t.Fatalf("%d bytes used of a packet of %d", used, binary.BigEndian.Uint32(in))
		}
		for _, g := range []Grammar{GrammarMaterialize, GrammarPostgres} {
			out, err := p.Startup.Encode(nil, g)
			if err != nil {
				t.Fatal(err)
			}
			var again Opening
			q, err := again.Read(bytes.NewReader(out))
			if err != nil {
				t.Fatalf("own packet refused: %v", err)
			}
			if twice, _ := q.Startup.Encode(nil, g); !bytes.Equal(out, twice) {
				t.Fatalf("not settled:\n%q\n%q", out, twice)
			}
			if _, ok := q.Startup.Arm(g); ok {
				t.Fatalf("the arm is still there: %q", out)
			}
		}
	})
}
