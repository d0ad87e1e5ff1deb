package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mzcanary/config"
)

// pairOf makes a certificate that signs itself, and its key, as PEM.
func pairOf(t *testing.T, name string, from, until time.Time) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"db"},
		NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// shelf is certificates whose files and clock a test moves.
type shelf struct {
	*certificates
	t         *testing.T
	cert, key string // files
	clientCA  string
	clock     atomic.Int64
	logs      bytes.Buffer
}

func newShelf(t *testing.T, cert, key []byte) *shelf {
	dir := t.TempDir()
	s := &shelf{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), clientCA: filepath.Join(dir, "ca.pem")}
	s.write(s.cert, cert)
	s.write(s.key, key)
	s.write(s.clientCA, cert)
	cfg := config.Default()
	cfg.Listen.TLS = config.ListenTLS{CertFile: s.cert, KeyFile: s.key, ClientCAFile: s.clientCA, ClientAuth: config.ClientAuthOptional}
	var err error
	if s.certificates, err = newCertificates(&cfg, slog.New(slog.NewTextHandler(&s.logs, nil))); err != nil {
		t.Fatal(err)
	}
	s.clock.Store(time.Now().UnixNano())
	s.now = func() time.Time { return time.Unix(0, s.clock.Load()) }
	return s
}

// write replaces a file. Its time moves with every write, as the clock of a file
// system that is too coarse for a test may not.
func (s *shelf) write(file string, data []byte) {
	s.t.Helper()
	stamp := time.Now()
	if info, err := os.Stat(file); err == nil {
		stamp = info.ModTime().Add(time.Millisecond)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chtimes(file, stamp, stamp); err != nil {
		s.t.Fatal(err)
	}
}

// pass lets time pass until the files may be looked at again, n times, and gives
// who is shown to clients then.
func (s *shelf) pass(n int) string {
	s.t.Helper()
	for range n {
		s.clock.Add(int64(lookEvery))
		s.look()
	}
	return s.leaf().Subject.CommonName
}

func (s *shelf) source(name string) *source {
	for _, source := range s.sources {
		if source.name == name {
			return source
		}
	}
	s.t.Fatalf("no %s", name)
	return nil
}

func TestCertificatesAreReplaced(t *testing.T) {
	now := time.Now()
	oldCert, oldKey := pairOf(t, "old", now.Add(-time.Hour), now.Add(time.Hour))
	newCert, newKey := pairOf(t, "new", now.Add(-time.Hour), now.Add(2*time.Hour))
	s := newShelf(t, oldCert, oldKey)
	pair := s.source(listenerPair)
	s.write(s.cert, newCert)
	s.write(s.key, newKey)
	if s.look(); s.leaf().Subject.CommonName != "old" {
		t.Error("the files were looked at before it was time")
	}
	if who := s.pass(1); who != "new" || !pair.until.Equal(now.Add(2*time.Hour).Truncate(time.Second)) {
		t.Errorf("shown is %q until %v", who, pair.until)
	}
	s.write(s.cert, newCert) // touched
	if s.pass(2); pair.reloaded != 1 || pair.failed != 0 {
		t.Errorf("%d reloads, %d failures", pair.reloaded, pair.failed)
	}
	if n := strings.Count(s.logs.String(), "in use for new connections"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &s.logs)
	}
}

// TestHalfAChangeIsNoFault: certificate and key are two files, and whoever looks
// between their writing sees no pair. That is not worth a word, and never shown.
func TestHalfAChangeIsNoFault(t *testing.T) {
	now := time.Now()
	oldCert, oldKey := pairOf(t, "old", now.Add(-time.Hour), now.Add(time.Hour))
	newCert, newKey := pairOf(t, "new", now.Add(-time.Hour), now.Add(time.Hour))
	s := newShelf(t, oldCert, oldKey)
	s.write(s.cert, newCert)
	if who := s.pass(1); who != "old" {
		t.Errorf("shown is %q", who)
	}
	s.write(s.key, newKey)
	if who := s.pass(1); who != "new" {
		t.Errorf("shown is %q", who)
	}
	if pair := s.source(listenerPair); pair.failed != 0 || strings.Contains(s.logs.String(), "cannot be used") {
		t.Errorf("%d failures:\n%s", pair.failed, &s.logs)
	}
}

// TestBrokenCertificatesLeaveTheOldInUse, are complained about once, and are used
// when they are mended.
func TestBrokenCertificatesLeaveTheOldInUse(t *testing.T) {
	now := time.Now()
	oldCert, oldKey := pairOf(t, "old", now.Add(-time.Hour), now.Add(time.Hour))
	newCert, newKey := pairOf(t, "new", now.Add(-time.Hour), now.Add(time.Hour))
	goneCert, goneKey := pairOf(t, "gone", now.Add(-time.Hour), now.Add(-time.Minute))
	soonCert, soonKey := pairOf(t, "soon", now.Add(time.Hour), now.Add(2*time.Hour))
	for _, c := range []struct {
		name      string
		cert, key []byte
		why       string
	}{
		{"another's key", newCert, oldKey, "private key does not match"},
		{"no certificate", []byte("hello"), newKey, "failed to find any PEM data"},
		{"a key for a certificate", newKey, newKey, "failed to find"},
		{"half a chain", append(bytes.Clone(newCert), oldCert[:len(oldCert)/2]...), newKey, "ends within a PEM block"},
		{"half a key", newCert, newKey[:len(newKey)/2], "failed to find any PEM data in key"},
		{"empty", nil, nil, "failed to find any PEM data"},
		{"expired", goneCert, goneKey, "has expired"},
		{"not yet valid", soonCert, soonKey, "not valid before"},
		{"no file", nil, newKey, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShelf(t, oldCert, oldKey)
			pair := s.source(listenerPair)
			s.write(s.cert, c.cert)
			s.write(s.key, c.key)
			if c.name == "no file" {
				os.Remove(s.cert)
			}
			if who := s.pass(5); who != "old" {
				t.Errorf("shown is %q", who)
			}
			log := s.logs.String()
			if n := strings.Count(log, "cannot be used; the one before stays in use"); n != 1 || pair.failed != 1 || !pair.failing {
				t.Errorf("said %d times, counted %d, failing %t:\n%s", n, pair.failed, pair.failing, log)
			}
			for _, part := range []string{c.why, "listen.tls.cert_file", s.cert, "in_use_until", "SIGHUP"} {
				if !strings.Contains(log, part) {
					t.Errorf("does not say %q:\n%s", part, log)
				}
			}
			for line := range strings.Lines(string(oldKey) + string(newKey)) {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "---") && strings.Contains(log, line) {
					t.Errorf("a key is in the log:\n%s", log)
				}
			}
			s.reload() // nothing new: nothing said
			if pair.failed != 1 {
				t.Errorf("counted again: %d", pair.failed)
			}
			s.write(s.cert, newCert)
			s.write(s.key, newKey)
			if who := s.pass(1); who != "new" || pair.failing || pair.reloaded != 1 {
				t.Errorf("mended: shown is %q, failing %t, %d reloads", who, pair.failing, pair.reloaded)
			}
		})
	}
}

// TestHangUpReadsAtOnce, without a look at the clock, and has a fault told at once.
func TestHangUpReadsAtOnce(t *testing.T) {
	now := time.Now()
	oldCert, oldKey := pairOf(t, "old", now.Add(-time.Hour), now.Add(time.Hour))
	newCert, newKey := pairOf(t, "new", now.Add(-time.Hour), now.Add(time.Hour))
	s := newShelf(t, oldCert, oldKey)
	s.write(s.cert, newCert)
	if s.reload(); !s.source(listenerPair).failing {
		t.Error("a fault that was asked for is not told")
	}
	s.write(s.cert, oldCert)
	if s.pass(1); s.source(listenerPair).failing || !strings.Contains(s.logs.String(), "hold again what is in use") {
		t.Errorf("back to what is in use:\n%s", &s.logs)
	}
	s.write(s.cert, newCert)
	s.write(s.key, newKey)
	if s.reload(); s.leaf().Subject.CommonName != "new" {
		t.Error("not read")
	}
}

// TestAuthoritiesAreReplaced: the pool that clients' certificates are checked with
// changes as a whole, and half a file is none.
func TestAuthoritiesAreReplaced(t *testing.T) {
	now := time.Now()
	cert, key := pairOf(t, "db", now.Add(-time.Hour), now.Add(time.Hour))
	other, _ := pairOf(t, "other", now.Add(-time.Hour), now.Add(3*time.Hour))
	s := newShelf(t, cert, key)
	ca := s.source(clientCA)
	before := s.offered.Load()
	if before.ClientAuth != tls.VerifyClientCertIfGiven || before.ClientCAs == nil || before.MinVersion != tls.VersionTLS12 {
		t.Errorf("offered %+v", before)
	}
	s.write(s.clientCA, append(bytes.Clone(other), cert[:len(cert)/2]...))
	if s.pass(2); s.offered.Load() != before || !ca.failing {
		t.Error("half a file is used")
	}
	s.write(s.clientCA, append(bytes.Clone(other), cert...))
	s.pass(1)
	both := x509.NewCertPool()
	both.AppendCertsFromPEM(append(bytes.Clone(other), cert...))
	if now := s.offered.Load(); !now.ClientCAs.Equal(both) || now.Certificates[0].Leaf.Subject.CommonName != "db" {
		t.Error("the new authorities are not in use")
	}
	if !ca.until.Equal(now.Add(3 * time.Hour).Truncate(time.Second)) {
		t.Errorf("authorities until %v", ca.until)
	}
}

// TestNoHandshakeSeesTwoGenerations: while the two files are rewritten over and over,
// every handshake succeeds with one pair or the other.
func TestNoHandshakeSeesTwoGenerations(t *testing.T) {
	now := time.Now()
	var certs, keys [2][]byte
	trusted := x509.NewCertPool()
	for i, name := range []string{"one", "two"} {
		certs[i], keys[i] = pairOf(t, name, now.Add(-time.Hour), now.Add(time.Hour))
		trusted.AppendCertsFromPEM(certs[i])
	}
	s := newShelf(t, certs[0], keys[0])
	s.now = func() time.Time { return time.Unix(0, s.clock.Add(int64(lookEvery))) } // every handshake looks
	offered := s.clientTLS()
	stop := make(chan struct{})
	var work sync.WaitGroup
	var seen [2]atomic.Int64
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				near, far := net.Pipe()
				served := make(chan error, 1)
				go func() { served <- tls.Server(far, offered).Handshake() }()
				client := tls.Client(near, &tls.Config{RootCAs: trusted, ServerName: "db"})
				if err := errors.Join(client.Handshake(), <-served); err != nil {
					t.Error(err)
				} else if client.ConnectionState().PeerCertificates[0].Subject.CommonName == "one" {
					seen[0].Add(1)
				} else {
					seen[1].Add(1)
				}
				near.Close()
				far.Close()
			}
		})
	}
	for i := 1; seen[0].Load() < 20 || seen[1].Load() < 20; i++ {
		s.write(s.cert, certs[i%2])
		s.write(s.key, keys[i%2])
		before := seen[i%2].Load()
		for deadline := time.Now().Add(20 * time.Second); seen[i%2].Load() < before+2; {
			if time.Now().After(deadline) || t.Failed() {
				close(stop)
				work.Wait()
				t.Fatalf("the new pair is not used; seen %d and %d", seen[0].Load(), seen[1].Load())
			}
			runtime.Gosched()
		}
	}
	close(stop)
	work.Wait()
}
