package wire

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// connected gives the two ends of a loopback TCP connection.
func connected(t *testing.T) (client, server net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if client, err = net.Dial("tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{client, server} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return client, server
}

// tap notes the writes that reach the socket.
type tap struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (r *tap) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, bytes.Clone(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func (r *tap) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.writes
	r.writes = nil
	return w
}

// aeadOverhead is what one record of application data has besides its plaintext, in
// bytes: the tag of AES-GCM, and its nonce or the inner type.
var aeadOverhead = map[uint16]int{tls.VersionTLS12: 8 + 16, tls.VersionTLS13: 1 + 16}

// securePair is a client and a server of ours that have shaken hands over recorded.
func securePair(t *testing.T, version uint16) (client *tls.Conn, server *ClientTLS, recorded *tap) {
	t.Helper()
	a := newAuthority(t)
	near, far := connected(t)
	recorded = &tap{Conn: far}
	client = tls.Client(near, &tls.Config{RootCAs: a.pool, ServerName: "db", MaxVersion: version,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	server, err := ServeTLS(t.Context(), recorded, OfferTLS(&tls.Config{Certificates: []tls.Certificate{a.issue(t, "db")}}))
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	recorded.take()
	return client, server, recorded
}

// TestS21RecordsOfAtMost8KiB reads the records off the socket: none has more than 8192
// bytes of plaintext, from the first one behind the handshake on, and together they
// are what was written.
func TestS21RecordsOfAtMost8KiB(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, server, recorded := securePair(t, version)
		for _, size := range []int{1, 8191, 8192, 8193, 16384, 16385, 60000, 81919, 81920, 81921, 300000, 1} {
			payload := bytes.Repeat([]byte{byte(size)}, size)
			read := make(chan error, 1)
			got := make([]byte, size)
			go func() { _, err := io.ReadFull(client, got); read <- err }()
			if n, err := server.Write(payload); n != size || err != nil {
				t.Fatal(n, err)
			}
			if err := <-read; err != nil || !bytes.Equal(got, payload) {
				t.Fatalf("%d bytes: %v", size, err)
			}
			writes := recorded.take()
			if want := 1 + size/batchBound; len(writes) > want {
				t.Errorf("%d bytes in %d writes to the socket, want at most %d", size, len(writes), want)
			}
			checkRecords(t, version, size, bytes.Join(writes, nil))
		}
		if server.under.buf != nil {
			t.Error("an idle connection holds a buffer")
		}
	}
}

// checkRecords wants size bytes of plaintext in as few records as there may be.
func checkRecords(t *testing.T, version uint16, size int, stream []byte) {
	t.Helper()
	var sizes []int
	sum := 0
	for len(stream) > 0 {
		length := int(binary.BigEndian.Uint16(stream[3:]))
		plain := length - aeadOverhead[version]
		if stream[0] != 23 || plain > 8192 {
			t.Fatalf("%d bytes: a record of type %d with %d bytes", size, stream[0], plain)
		}
		sizes, sum = append(sizes, plain), sum+plain
		stream = stream[5+length:]
	}
	if sum != size || len(sizes) != (size+8191)/8192 {
		t.Errorf("%d bytes in records of %v", size, sizes)
	}
}

func TestServeTLSHandshakeFailure(t *testing.T) {
	near, far := connected(t)
	go near.Write(startupPacket(Version30, "user", "stuffed"))
	_, err := ServeTLS(t.Context(), far, &tls.Config{Certificates: []tls.Certificate{newAuthority(t).issue(t, "db")}})
	if failureKind(err) != KindTLSHandshake {
		t.Fatal(err)
	}
}

// answerTLS plays a server: reads SSLRequest, says what it is told, then
// perhaps speaks TLS and sends one byte.
func answerTLS(conn net.Conn, answer []byte, config *tls.Config) {
	io.ReadFull(conn, make([]byte, 8))
	conn.Write(answer)
	if config != nil {
		tls.Server(conn, config).Write([]byte("x"))
	}
}

func TestServerTLSModes(t *testing.T) {
	good, other := newAuthority(t), newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{good.issue(t, "db.example")}}
	var name string
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { name = hello.ServerName; return nil, nil }
	for label, c := range map[string]struct {
		leg  ServerTLS
		want Kind
	}{
		"require, anybody":     {ServerTLS{Mode: TLSRequire, ServerName: "wrong", RootCAs: other.pool}, KindNone},
		"verify-ca":            {ServerTLS{Mode: TLSVerifyCA, ServerName: "wrong", RootCAs: good.pool}, KindNone},
		"verify-ca, other":     {ServerTLS{Mode: TLSVerifyCA, ServerName: "db.example", RootCAs: other.pool}, KindUpstreamTLS},
		"verify-full":          {ServerTLS{Mode: TLSVerifyFull, ServerName: "db.example", RootCAs: good.pool}, KindNone},
		"verify-full, name":    {ServerTLS{Mode: TLSVerifyFull, ServerName: "wrong", RootCAs: good.pool}, KindUpstreamTLS},
		"verify-full, foreign": {ServerTLS{Mode: TLSVerifyFull, ServerName: "db.example", RootCAs: other.pool}, KindUpstreamTLS},
	} {
		near, far := connected(t)
		done := make(chan struct{})
		go func() { defer close(done); answerTLS(far, []byte{'S'}, config) }()
		conn, err := c.leg.Start(t.Context(), near)
		if failureKind(err) != c.want {
			t.Errorf("%s: %v", label, err)
		}
		if err == nil {
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Errorf("%s: %v", label, err)
			}
		}
		near.Close()
		<-done
		if name != c.leg.ServerName {
			t.Errorf("%s: server name %q", label, name)
		}
	}
}

func TestServerTLSRefusals(t *testing.T) {
	leg := ServerTLS{Mode: TLSRequire}
	for answer, want := range map[string]Kind{"N": KindUpstreamTLS, "E": KindUpstreamTLS, "SE\x00\x00\x00\x05\x00": KindUpstreamTLS} {
		near, far := connected(t)
		go answerTLS(far, []byte(answer), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := leg.Start(ctx, near); failureKind(err) != want {
			t.Errorf("answer %q: %v", answer, err)
		}
		cancel()
	}
	near, far := connected(t)
	far.Close()
	if _, err := leg.Start(t.Context(), near); failureKind(err) != KindUpstreamDown {
		t.Error(err)
	}
	silent, _ := connected(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := leg.Start(ctx, silent); failureKind(err) != KindUpstreamDown {
		t.Error(err)
	}
	plain, _ := connected(t)
	if conn, err := (ServerTLS{}).Start(t.Context(), plain); conn != plain || err != nil {
		t.Error("disable changes nothing")
	}
}

func TestTLSModeNames(t *testing.T) {
	for _, m := range []TLSMode{TLSDisable, TLSRequire, TLSVerifyCA, TLSVerifyFull} {
		if got, err := ParseTLSMode(m.String()); got != m || err != nil {
			t.Error(m, err)
		}
	}
	if _, err := ParseTLSMode("prefer"); err == nil {
		t.Error("prefer is none of ours: it may end in plain text")
	}
}

func TestPrepend(t *testing.T) {
	near, far := connected(t)
	go func() { far.Write([]byte("cd")); far.Close() }()
	if got, err := io.ReadAll(Prepend(near, []byte("ab"))); string(got) != "abcd" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
}
