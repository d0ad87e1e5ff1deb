package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(b, body...)
}

func parameter(name, value string) []byte { return AppendParameter(nil, name, value) }

// seen is a whole message as a Scanner showed it.
type seen struct {
	kind  byte
	body  string
	inner bool
	cut   bool
}

// walk scans chunks and gathers whole messages; runs are taken apart. It fails
// when the steps do not add up.
func walk(t testing.TB, s *Scanner, chunks ...[]byte) ([]seen, error) {
	t.Helper()
	var all []seen
	open := s.Partial()
	for _, chunk := range chunks {
		for len(chunk) > 0 {
			n, step, err := s.Next(chunk)
			if err != nil {
				return all, err
			}
			if n <= 0 || n > len(chunk) {
				t.Fatalf("step of %d of %d bytes", n, len(chunk))
			}
			if step.Start == open {
				t.Fatalf("start %v, inside a message %v", step.Start, open)
			}
			open = !step.End
			if (step.Count > 0) != step.End {
				t.Fatalf("%+v", step)
			}
			for range step.Count {
				all = append(all, seen{step.Type, string(step.Body), step.Inner, step.Cut})
			}
			chunk = chunk[n:]
		}
		if s.Partial() != open {
			t.Fatalf("Partial %v, open %v", s.Partial(), open)
		}
	}
	return all, nil
}

var serverStream = bytes.Join([][]byte{
	parameter("search_path", "prod_deploy, public"),
	message('R', "\x00\x00\x00\x0a"+"SCRAM-SHA-256\x00\x00"),
	message('T', "fields"), message('D', "row1"), message('D', ""), message('D', strings.Repeat("x", 300)),
	message('C', "SELECT 3\x00"), message('1', ""), message('Z', "I"),
	AppendError(nil, Notice{Severity: "ERROR", Code: "57014", Message: strings.Repeat("m", 100)}),
	message('d', "copy"), message('d', "data"), message('c', ""), message('Z', "T"),
}, nil)

var clientStream = bytes.Join([][]byte{
	message('Q', "SELECT 1;  \x00"), message('Q', "SELECT 1; SELECT 2\x00"),
	message('P', "name\x00SELECT "+strings.Repeat("y", 200)+"\x00\x00\x00"),
	message('B', "\x00name\x00\x00\x00\x00\x00\x00\x00"), message('E', "\x00\x00\x00\x00\x00"), message('S', ""),
	message('p', "secret\x00"), message('d', "1"), message('d', "2"), message('f', "no\x00"), message('X', ""),
}, nil)

// TestM14SplitAtAnyByte: whatever the reads, the same messages with the same
// bodies come out.
func TestM14SplitAtAnyByte(t *testing.T) {
	for side, stream := range [][]byte{FromClient: clientStream, FromServer: serverStream} {
		whole, err := walk(t, &Scanner{Side: Side(side)}, stream)
		if err != nil {
			t.Fatal(err)
		}
		for i := range stream {
			for _, j := range []int{i, min(i+1, len(stream)), min(i+7, len(stream))} {
				got, err := walk(t, &Scanner{Side: Side(side)}, stream[:i], stream[i:j], stream[j:])
				if err != nil || fmt.Sprint(got) != fmt.Sprint(whole) {
					t.Fatalf("side %d split at %d and %d: %v\n%v\n%v", side, i, j, err, got, whole)
				}
			}
		}
		var single [][]byte
		for i := range stream {
			single = append(single, stream[i:i+1])
		}
		if got, err := walk(t, &Scanner{Side: Side(side)}, single...); err != nil || fmt.Sprint(got) != fmt.Sprint(whole) {
			t.Fatalf("side %d byte by byte: %v\n%v\n%v", side, err, got, whole)
		}
	}
}

func TestWhatIsShown(t *testing.T) {
	got, err := walk(t, &Scanner{Side: FromServer}, serverStream)
	if err != nil {
		t.Fatal(err)
	}
	var kinds string
	for _, m := range got {
		kinds += string(m.kind)
		switch m.kind {
		case 'T', 'D', 'd', 'c', '1':
			if m.body != "" {
				t.Errorf("%c shows %q", m.kind, m.body)
			}
		case 'R':
			if m.body != "\x00\x00\x00\x0a" || !m.cut {
				t.Errorf("R shows %q", m.body)
			}
		}
	}
	if kinds != "SRTDDDC1ZEddcZ" {
		t.Errorf("%s", kinds)
	}
	if got[0].body != "search_path\x00prod_deploy, public\x00" || got[6].body != "SELECT 3\x00" || got[8].body != "I" {
		t.Errorf("%v", got)
	}
	got, err = walk(t, &Scanner{}, clientStream)
	if err != nil {
		t.Fatal(err)
	}
	if got[0].inner || !got[1].inner || got[0].body != "SELECT 1;  \x00" {
		t.Errorf("%v", got[:2])
	}
	if len(got[2].body) != 64 || !got[2].cut || got[6].body != "" {
		t.Errorf("%v", got)
	}
	wide := &Scanner{TextLimit: 1000}
	if got, _ = walk(t, wide, clientStream); len(got[2].body) != 215 || got[2].cut {
		t.Errorf("%d bytes with a wider limit", len(got[2].body))
	}
}

func TestInnerSemicolon(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, ";": false, "SELECT 1": false, "SELECT 1;": false, "SELECT 1 ; \n;\t ": false,
		"BEGIN; SELECT 1": true, "SELECT 1;--x": true, ";SELECT 1": true, "SELECT ';'": true,
	} {
		b := message('Q', text+"\x00")
		for i := range b {
			got, err := walk(t, &Scanner{}, b[:i], b[i:])
			if err != nil || len(got) != 1 || got[0].inner != want {
				t.Fatalf("%q split at %d: %v %v", text, i, got, err)
			}
		}
	}
}

func TestM15MalformedLength(t *testing.T) {
	for _, c := range []struct {
		side Side
		in   string
		want Kind
	}{
		{FromClient, "Q\x00\x00\x00\x03", KindProtocol},
		{FromClient, "Q\xff\xff\xff\xff", KindProtocol},
		{FromClient, "d\x00\x00\x00\x00d", KindProtocol},
		{FromClient, "d\x40\x00\x00\x00d", KindProtocol},
		{FromClient, "S\x00\x01\x00\x00", KindProtocol},
		{FromServer, "D\x00\x00\x00\x02", KindUpstreamProtocol},
		{FromServer, "Z\x00\x01\x00\x00", KindUpstreamProtocol},
	} {
		for i := range c.in {
			if _, err := walk(t, &Scanner{Side: c.side}, []byte(c.in[:i]), []byte(c.in[i:])); failureKind(err) != c.want {
				t.Errorf("%q split at %d: %v", c.in, i, err)
			}
		}
	}
	// A gigabyte is claimed and not allocated.
	s := &Scanner{}
	if _, err := walk(t, s, []byte("d\x3f\xff\xff\xffxxx"), bytes.Repeat([]byte("x"), 100)); err != nil || !s.Partial() {
		t.Error(err)
	}
	if _, err := walk(t, &Scanner{Side: FromServer}, []byte("S\x3f\xff\xff\xff"), bytes.Repeat([]byte("x"), 10000)); err != nil {
		t.Error(err)
	}
}

func TestScannerAllocatesNothing(t *testing.T) {
	s := &Scanner{Side: FromServer}
	z := bytes.Join([][]byte{message('T', "f"), message('D', "r"), message('C', "SELECT 1\x00"), message('Z', "I")}, nil)
	if n := testing.AllocsPerRun(100, func() {
		for _, chunk := range [][]byte{z, z[:len(z)-1], z[len(z)-1:], z[:20], z[20:]} {
			for len(chunk) > 0 {
				n, _, _ := s.Next(chunk)
				chunk = chunk[n:]
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(clientStream, uint16(17), false)
	f.Add(serverStream, uint16(3), true)
	f.Add([]byte("Q\x00\x00\x00\x03"), uint16(1), false)
	f.Add([]byte("Q\x00\x00\x00\x0cselect;\x00S\x00\x00\x00\x04"), uint16(2), false)
	f.Add([]byte("Q\x00\x00\x00\x10a; \t;b--\n;\x00X\x00\x00\x00\x04"), uint16(5), false)
	f.Add([]byte("d\x00\x00\x00\x04d\x00\x00\x00\x05Zd\x00\x00\x00\x04c\x00\x00\x00\x04"), uint16(7), false)
	f.Add([]byte("D\x00\x00\x00\x06\x00\x00D\x00\x00\x00\x06\x00\x00D\x7f\xff\xff\xffZ"), uint16(11), true)
	f.Add([]byte("Z\x00\x00\x00\x05IZ\x00\x01\x00\x05I"), uint16(1), true)
	f.Add([]byte("S\x00\x00\x00\x12cluster\x00prod\x00\x00E\x00\x00\x00\x0eSERROR\x00M\x00\x00\x00"), uint16(9), true)
	f.Add([]byte("~\x00\x00\x00\x04\x00\xff\xff\xff\xff"), uint16(4), true)
	f.Fuzz(func(t *testing.T, stream []byte, seed uint16, server bool) {
		side := FromClient
		if server {
			side = FromServer
		}
		whole, wholeErr := walk(t, &Scanner{Side: side}, stream)
		var chunks [][]byte
		for rest := stream; len(rest) > 0; {
			n := min(int(seed%13)+1, len(rest))
			seed = seed*31 + 7
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		split, splitErr := walk(t, &Scanner{Side: side}, chunks...)
		if fmt.Sprint(whole) != fmt.Sprint(split) || (wholeErr == nil) != (splitErr == nil) {
			t.Fatalf("whole %v %v\nsplit %v %v", whole, wholeErr, split, splitErr)
		}
	})
}

func BenchmarkScannerRows(b *testing.B) {
	var stream []byte
	for range 100 {
		stream = append(stream, message('D', strings.Repeat("x", 60))...)
	}
	s := &Scanner{Side: FromServer}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		for p := stream; len(p) > 0; {
			n, _, _ := s.Next(p)
			p = p[n:]
		}
	}
}
