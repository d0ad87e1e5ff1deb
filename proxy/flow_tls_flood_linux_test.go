package proxy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// rawPeer is the peer of a sealed leg behind the handshake, which says what crypto/tls
// never does: TLS 1.3 with AES-128-GCM, from the secrets of the key log.
type rawPeer struct {
	t       testing.TB
	conn    net.Conn
	out, in rawKeys
	rest    []byte // opened and not read
	answers int    // key updates that came
}

type rawKeys struct {
	secret []byte
	seal   cipher.AEAD
	iv     []byte
	next   uint64
}

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
)

var (
	keyUpdate        = []byte{24, 0, 0, 1, 0}
	keyUpdateBoth    = []byte{24, 0, 0, 1, 1} // update_requested
	finishedTooOften = []byte{20, 0, 0, 0}
)

// newRawPeer is sealedLeg with a raw peer.
func newRawPeer(t *testing.T) (*leg, *rawPeer) {
	t.Helper()
	var log bytes.Buffer
	g, peer := sealedLegWith(t, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &log, MinVersion: tls.VersionTLS13})
	if suite := peer.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("skipped: the cipher is %s", tls.CipherSuiteName(suite))
	}
	r := &rawPeer{t: t, conn: peer.NetConn()}
	for line := range strings.Lines(log.String()) {
		var label, random, text string
		if _, err := fmt.Sscan(line, &label, &random, &text); err != nil {
			t.Fatal(err)
		}
		secret, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		switch label {
		case "CLIENT_TRAFFIC_SECRET_0":
			r.out.use(t, secret)
		case "SERVER_TRAFFIC_SECRET_0":
			r.in.use(t, secret)
		}
	}
	return g, r
}

// use is RFC 8446, 7.3.
func (k *rawKeys) use(t testing.TB, secret []byte) {
	key, iv := expand(t, secret, "key", 16), expand(t, secret, "iv", 12)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	*k = rawKeys{secret: secret, seal: seal, iv: iv}
}

func (k *rawKeys) update(t testing.TB) { k.use(t, expand(t, k.secret, "traffic upd", sha256.Size)) }

func (k *rawKeys) nonce() []byte {
	nonce := bytes.Clone(k.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, k.next) {
		nonce[4+i] ^= b
	}
	k.next++
	return nonce
}

func expand(t testing.TB, secret []byte, label string, n int) []byte {
	info := append([]byte{0, byte(n), byte(len("tls13 ") + len(label))}, "tls13 "+label+"\x00"...)
	b, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// record appends a record to b.
func (r *rawPeer) record(b []byte, kind byte, plain []byte) []byte {
	n := len(plain) + 1 + r.out.seal.Overhead()
	header := []byte{recordData, 3, 3, byte(n >> 8), byte(n)}
	b = append(b, header...)
	return r.out.seal.Seal(b, r.out.nonce(), append(bytes.Clone(plain), kind), header)
}

// update appends a key update, and goes on with the next key.
func (r *rawPeer) update(b, message []byte) []byte {
	b = r.record(b, recordHandshake, message)
	r.out.update(r.t)
	return b
}

func (r *rawPeer) send(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// Read implements io.Reader for what the leg has written, to its goodbye.
func (r *rawPeer) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var header [5]byte
		if _, err := io.ReadFull(r.conn, header[:]); err != nil {
			return 0, err
		}
		sealed := make([]byte, binary.BigEndian.Uint16(header[3:]))
		if _, err := io.ReadFull(r.conn, sealed); err != nil {
			return 0, err
		}
		plain, err := r.in.seal.Open(nil, r.in.nonce(), sealed, header[:])
		if err != nil {
			return 0, err
		}
		kind := plain[len(plain)-1]
		switch plain = plain[:len(plain)-1]; {
		case kind == recordData:
			r.rest = plain
		case bytes.Equal(plain, keyUpdate):
			r.answers++
			r.in.update(r.t)
		case kind == recordAlert && plain[1] == 0:
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("record of type %d: % x", kind, plain)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// readSoon reads what is on its way.
func readSoon(g *leg, b []byte) (n int, err error) {
	limit := time.Now().Add(5 * time.Second)
	for err = syscall.EAGAIN; err == syscall.EAGAIN && time.Now().Before(limit); {
		g.ready, g.tls.dry = true, false // there is no loop here to say so
		n, err = g.read(b)
	}
	return n, err
}

// TestSealedLegUpdatesKeys: the peer asks for new keys while records of the old ones
// wait, and everything arrives under the key it was sealed with.
func TestSealedLegUpdatesKeys(t *testing.T) {
	for _, full := range []bool{false, true} {
		g, peer := newRawPeer(t)
		buf := make([]byte, largeBuffer)
		var want []byte
		if full {
			want = fill(t, g)
		}
		for i := range byte(3) {
			b := peer.record(nil, recordData, []byte{'a' + i})
			b = peer.update(b, keyUpdate)
			b = peer.record(b, recordData, []byte("bc"))
			b = peer.update(b, keyUpdateBoth)
			peer.send(peer.record(b, recordData, []byte("d")))
			var got []byte
			for len(got) < 4 {
				n, err := readSoon(g, buf)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, buf[:n]...)
			}
			if string(got) != string('a'+i)+"bcd" {
				t.Fatalf("round %d: %q was opened", i, got)
			}
			if _, err := g.write(got); err != nil {
				t.Fatal(err)
			}
			want = append(want, got...)
		}
		g.closeWrite()
		if got := drain(t, g, peer); !bytes.Equal(got, want) {
			t.Errorf("full %t: %d bytes arrived, not as the %d that were written", full, len(got), len(want))
		}
		if peer.answers != 3 {
			t.Errorf("full %t: %d key updates were answered, want 3", full, peer.answers)
		}
	}
}

// TestSealedLegKeepsFewAnswers: a peer that asks for new keys and reads nothing does not
// fill the memory.
func TestSealedLegKeepsFewAnswers(t *testing.T) {
	g, peer := newRawPeer(t)
	fill(t, g)
	waits := len(g.tls.out)
	buf := make([]byte, largeBuffer)
	for range 100 {
		b := peer.record(nil, recordData, []byte("x")) // which makes crypto/tls patient again
		for range 15 {
			b = peer.update(b, keyUpdateBoth)
		}
		peer.send(b)
		n, err := readSoon(g, buf)
		if err != nil {
			if n > 0 {
				t.Errorf("%d bytes came with the end", n)
			}
			return
		}
	}
	t.Errorf("1500 key updates are not too many: %d bytes more wait", len(g.tls.out)-waits)
}

// TestSealedLegReadsAFew: one read is bounded also in records, or a peer that sends tiny
// ones would keep the loop to itself, and pile up answers meanwhile.
func TestSealedLegReadsAFew(t *testing.T) {
	g, peer := newRawPeer(t)
	var b []byte
	const sent = 500
	for range sent {
		b = peer.record(b, recordData, []byte("x"))
	}
	for range sent {
		b = peer.record(b, recordData, []byte("y"))
		b = peer.update(b, keyUpdateBoth)
	}
	b = peer.record(b, recordData, []byte("z"))
	peer.send(b)
	time.Sleep(100 * time.Millisecond) // all of it is there
	buf := make([]byte, largeBuffer)
	var got []byte
	reads := 0
	for ; len(got) < 2*sent+1; reads++ {
		if !g.ready {
			t.Fatalf("the leg says that nothing is left behind %d bytes", len(got))
		}
		n, err := g.read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > 100 || bytes.Count(buf[:n], []byte("y")) > 2 {
			t.Fatalf("one read opened %d records", n)
		}
		got = append(got, buf[:n]...)
	}
	if want := strings.Repeat("x", sent) + strings.Repeat("y", sent) + "z"; string(got) != want {
		t.Errorf("%q was read", got)
	}
}

// TestSealedLegFailsForGood: what TLS refuses ends the stream behind the bytes that came
// before it, and for good: what the peer sends behind it is not read.
func TestSealedLegFailsForGood(t *testing.T) {
	g, peer := newRawPeer(t)
	b := peer.record(nil, recordData, []byte("before"))
	b = peer.record(b, recordHandshake, finishedTooOften)
	peer.send(peer.record(b, recordData, []byte("behind")))
	buf := make([]byte, largeBuffer)
	if n, err := readSoon(g, buf); string(buf[:n]) != "before" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	for range 2 {
		if n, err := readSoon(g, buf); n != 0 || err == nil || err == syscall.EAGAIN {
			t.Errorf("behind the failure %q is read, %v", buf[:n], err)
		}
	}
}
