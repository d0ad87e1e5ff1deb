package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/app"
	"mzcanary/internal/sim"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	var der []byte
	a.key, der = a.sign(template, template)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = pemFile(t, "CERTIFICATE", der)
	return a
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
}

// sign makes a key and its certificate; without a key of its own the authority
// signs itself.
func (a *authority) sign(template, parent *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

// issue makes a server's certificate for a host name or address.
func (a *authority) issue(host string) (certFile, keyFile string) {
	a.t.Helper()
	template := certificate(host)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	key, der := a.sign(template, a.cert)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pemFile(a.t, "CERTIFICATE", der), pemFile(a.t, "PRIVATE KEY", raw)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), strings.ToLower(strings.ReplaceAll(kind, " ", "-"))+".pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestTLSToClients: offered, used, checked, and demanded where it is required.
func TestTLSToClients(t *testing.T) {
	_, addr := onSim(t)
	ca, stranger := newAuthority(t, "ours"), newAuthority(t, "a stranger")
	certFile, keyFile := ca.issue("127.0.0.1")
	files := []string{"listen.tls.cert_file=" + certFile, "listen.tls.key_file=" + keyFile}
	offered := start(t, configure(t, addr, files...))
	required := start(t, configure(t, addr, append(files, "listen.tls.required=true")...))
	for _, p := range []*program{offered, required} {
		for _, mode := range []string{"sslmode=require", "sslmode=verify-full sslrootcert=" + ca.file} {
			conn := connect(t, dsn(p.Proxy, onProd, mode))
			if _, secure := conn.PgConn().Conn().(*tls.Conn); !secure {
				t.Errorf("%s: not encrypted", mode)
			}
			if v := mustVersion(t, conn); v != "old" {
				t.Errorf("%s: version %q", mode, v)
			}
		}
	}
	connect(t, dsn(offered.Proxy, onProd, "sslmode=disable"))
	told := refused(t, dsn(required.Proxy, onProd, "sslmode=disable"))
	if told.Severity != "FATAL" || told.Code != "08004" || !strings.HasPrefix(told.Message, "mzcanary: ") || !strings.Contains(told.Hint, "sslmode=require") {
		t.Errorf("a plain client is told %+v", told)
	}
	scrape(t, required).want(t, "mzcanary_startup_failures_total", 1, "kind=tls_required")

	// A client that does not trust us breaks the handshake off; that is counted too.
	c, err := net.Dial("tcp", offered.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		t.Fatal(err)
	}
	var yes [1]byte
	if _, err := c.Read(yes[:]); err != nil || yes[0] != 'S' {
		t.Fatalf("SSLRequest was answered %q, %v", yes, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(stranger.cert)
	if err := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}).Handshake(); err == nil {
		t.Error("trusted by a stranger")
	}
	offered.counted(t, "mzcanary_startup_failures_total", 1, "kind=tls_handshake")
}

// TestTLSToServer: every mode trusts whom libpq's does, and who is not trusted is
// named in one sentence, to clients, in readyz and in check.
func TestTLSToServer(t *testing.T) {
	ca, stranger := newAuthority(t, "ours"), newAuthority(t, "a stranger")
	secured := func(a *authority, host string) string {
		pair, err := tls.LoadX509KeyPair(a.issue(host))
		if err != nil {
			t.Fatal(err)
		}
		return serveSim(t, simulated(t, sim.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}}), "127.0.0.1:0")
	}
	byAddress, byName, strange := secured(ca, "127.0.0.1"), secured(ca, "materialize.test"), secured(stranger, "127.0.0.1")
	_, plain := onSim(t)
	for _, c := range []struct{ name, server, mode, serverName, why string }{
		{"verify-full", byAddress, "verify-full", "", ""},
		{"verify-full by name", byName, "verify-full", "materialize.test", ""},
		{"verify-full, wrong address", byName, "verify-full", "", "127.0.0.1"},
		{"verify-full, wrong name", byName, "verify-full", "other.test", "other.test"},
		{"verify-full, wrong authority", strange, "verify-full", "", "unknown authority"},
		{"verify-ca, wrong name", byName, "verify-ca", "", ""},
		{"verify-ca, wrong authority", strange, "verify-ca", "", "unknown authority"},
		{"require, wrong authority", strange, "require", "", ""},
		{"require, no TLS", plain, "require", "", "offers no TLS"},
		{"verify-full, no TLS", plain, "verify-full", "", "offers no TLS"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := []string{"upstream.tls.mode=" + c.mode, "upstream.tls.server_name=" + c.serverName}
			if c.mode != "require" { // which checks nothing
				set = append(set, "upstream.tls.ca_file="+ca.file)
			}
			cfg := configure(t, c.server, set...)
			_, checkErr := app.Check(within(t), cfg, "", slog.New(slog.DiscardHandler))
			p := start(t, cfg)
			if c.why == "" {
				p.controlled()
				ready(t, p)
				if v := mustVersion(t, connect(t, dsn(p.Proxy, onProd))); v != "old" || checkErr != nil {
					t.Errorf("version %q, check: %v", v, checkErr)
				}
				return
			}
			told := refused(t, dsn(p.Proxy, onProd))
			if told.Code != "08001" || told.Message != "mzcanary: no trusted TLS connection to the server" || !strings.Contains(told.Hint, "upstream.tls") {
				t.Errorf("a client is told %+v", told)
			}
			code, body := p.get("/readyz")
			if code != 503 {
				t.Errorf("readyz: %d", code)
			}
			says(t, "readyz", body, "upstream: ", c.why)
			says(t, "check", refusal(t, checkErr).Error(), c.why, "upstream.tls")
			scrape(t, p).want(t, "mzcanary_startup_failures_total", 1, "kind=upstream_tls")
		})
	}
}

func serverTLS(t *testing.T, certFile, keyFile string) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}
