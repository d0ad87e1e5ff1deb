package app_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/sim"
)

// replace overwrites a file with another's content.
func replace(t *testing.T, file, with string) {
	t.Helper()
	data, err := os.ReadFile(with)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// reaches tells whether a session can be had.
func reaches(t *testing.T, dsn string) bool {
	t.Helper()
	conn, err := pgx.Connect(within(t), dsn)
	if err != nil {
		return false
	}
	hangUp(conn)
	return true
}

// TestCertificatesChangeUnderTraffic: a certificate that was replaced is shown to new
// clients without a restart, sessions that are open go on, and a broken one changes
// nothing but a metric and one line of the log.
func TestCertificatesChangeUnderTraffic(t *testing.T) {
	_, addr := onSim(t)
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	certFile, keyFile := before.issue("127.0.0.1")
	p := start(t, configure(t, addr, "listen.tls.cert_file="+certFile, "listen.tls.key_file="+keyFile))
	trusting := func(a *authority) string { return dsn(p.Proxy, onProd, "sslmode=verify-full sslrootcert="+a.file) }
	session := connect(t, trusting(before))
	expires := func() float64 {
		v, _ := scrape(t, p).sum("mzcanary_tls_certificate_expiry_timestamp_seconds", "certificate=listener")
		return v
	}
	if got, want := expires(), float64(before.cert.NotAfter.Unix()); got < want-5 || got > want+5 {
		t.Errorf("expires at %v, want about %v", got, want)
	}

	if err := os.WriteFile(certFile, []byte("-----BEGIN CERTIFICATE-----\nnonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.counted(t, "mzcanary_tls_reload_failing", 1, "certificate=listener")
	scrape(t, p).want(t, "mzcanary_tls_reloads_total", 1, "certificate=listener", "outcome=failed")
	if !reaches(t, trusting(before)) {
		t.Error("the old certificate is not shown any more")
	}
	newCert, newKey := after.issue("127.0.0.1")
	replace(t, certFile, newCert)
	replace(t, keyFile, newKey)
	eventually(t, "the new certificate is shown", func() bool { return reaches(t, trusting(after)) })
	if reaches(t, trusting(before)) {
		t.Error("the old certificate is shown again")
	}
	if v := mustVersion(t, session); v != "old" {
		t.Errorf("the open session reads %q", v)
	}
	m := scrape(t, p)
	m.want(t, "mzcanary_tls_reload_failing", 0, "certificate=listener")
	m.want(t, "mzcanary_tls_reloads_total", 1, "certificate=listener", "outcome=ok")
	m.bounded(t, "shop")
	if n := strings.Count(p.logs.String(), "cannot be used; the one before stays in use"); n != 1 {
		t.Errorf("complained %d times", n)
	}
}

// TestAuthorityOfTheServerChanges: a server with a certificate of a new authority is
// trusted as soon as the file says so.
func TestAuthorityOfTheServerChanges(t *testing.T) {
	old, renewed := newAuthority(t, "old"), newAuthority(t, "renewed")
	pair, err := tls.LoadX509KeyPair(renewed.issue("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	server := serveSim(t, simulated(t, sim.Options{TLS: &tls.Config{Certificates: []tls.Certificate{pair}}}), "127.0.0.1:0")
	p := start(t, configure(t, server, "upstream.tls.mode=verify-full", "upstream.tls.ca_file="+old.file))
	if told := refused(t, dsn(p.Proxy, onProd)); told.Code != "08001" {
		t.Errorf("told %+v", told)
	}
	replace(t, old.file, renewed.file)
	eventually(t, "the server is trusted", func() bool { return reaches(t, dsn(p.Proxy, onProd)) })
	p.controlled()
	scrape(t, p).want(t, "mzcanary_tls_reloads_total", 1, "certificate=upstream_ca", "outcome=ok")
}

// issueClient makes a client's certificate, as parameters of a connection string.
func (a *authority) issueClient(name string) string {
	a.t.Helper()
	template := certificate(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	key, der := a.sign(template, a.cert)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return fmt.Sprintf("sslcert=%s sslkey=%s", pemFile(a.t, "CERTIFICATE", der), pemFile(a.t, "PRIVATE KEY", raw))
}

// insists connects with the certificate of a connection string even when the proxy
// does not name its authority as one it accepts: Go would hold it back, libpq not.
func insists(t *testing.T, dsn string) bool {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	shown := cfg.TLSConfig.Certificates[0]
	cfg.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	conn, err := pgx.ConnectConfig(within(t), cfg)
	if err != nil {
		return false
	}
	hangUp(conn)
	return true
}

// TestClientCertificates: who is let in by each mode, and what the others are told.
func TestClientCertificates(t *testing.T) {
	_, addr := onSim(t)
	ca, clients, stranger := newAuthority(t, "ours"), newAuthority(t, "clients"), newAuthority(t, "a stranger")
	certFile, keyFile := ca.issue("127.0.0.1")
	files := []string{"listen.tls.cert_file=" + certFile, "listen.tls.key_file=" + keyFile}
	authority := "listen.tls.client_ca_file=" + clients.file
	const secure = "sslmode=require "
	good, bad := clients.issueClient("app"), stranger.issueClient("app")
	for mode, c := range map[string]struct {
		set                 []string
		none, plain, theirs bool // let in: without a certificate, without TLS, with a stranger's
	}{
		"none":     {nil, true, true, true},
		"optional": {[]string{"listen.tls.client_auth=optional", authority}, true, true, false},
		"require":  {[]string{"listen.tls.client_auth=require", authority, "listen.tls.required=true"}, false, false, false},
	} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, configure(t, addr, append(files, c.set...)...))
			if got := insists(t, dsn(p.Proxy, onProd, secure+bad)); got != c.theirs {
				t.Errorf("a stranger's is let in: %t", got)
			}
			for options, in := range map[string]bool{secure + good: true, secure: c.none, "sslmode=disable": c.plain} {
				if got := reaches(t, dsn(p.Proxy, onProd, options)); got != in {
					t.Errorf("%q is let in: %t", options, got)
				}
			}
			if !c.none {
				told := refused(t, dsn(p.Proxy, onProd, secure))
				if told.Severity != "FATAL" || told.Code != "28000" || told.Message != "mzcanary: a trusted client certificate is required here" || !strings.Contains(told.Hint, "sslcert") {
					t.Errorf("told %+v", told)
				}
			}
			if !c.theirs {
				eventually(t, "the stranger is counted", func() bool {
					n, _ := scrape(t, p).sum("mzcanary_startup_failures_total", "kind=client_certificate")
					return n > 0
				})
			}
		})
	}
}

// TestNewAuthorityOfClients: who was let in by an authority that is gone is let in no
// more, also by the way of a resumed TLS session.
func TestNewAuthorityOfClients(t *testing.T) {
	_, addr := onSim(t)
	ca, first, second := newAuthority(t, "ours"), newAuthority(t, "first"), newAuthority(t, "second")
	certFile, keyFile := ca.issue("127.0.0.1")
	p := start(t, configure(t, addr, "listen.tls.cert_file="+certFile, "listen.tls.key_file="+keyFile, "listen.tls.required=true",
		"listen.tls.client_auth=require", "listen.tls.client_ca_file="+first.file))
	parse := func(a *authority) *pgx.ConnConfig {
		cfg, err := pgx.ParseConfig(dsn(p.Proxy, onProd, "sslmode=require "+a.issueClient("app")))
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		return cfg
	}
	lets := func(cfg *pgx.ConnConfig) bool {
		conn, err := pgx.ConnectConfig(within(t), cfg)
		if err != nil {
			return false
		}
		if _, err := conn.Exec(within(t), "SELECT 1"); err != nil {
			t.Error(err)
		}
		if conn.PgConn().Conn().(*tls.Conn).ConnectionState().DidResume {
			t.Error("a TLS session was resumed")
		}
		hangUp(conn)
		return true
	}
	old, renewed := parse(first), parse(second)
	for range 2 { // the second time it could resume
		if !lets(old) || lets(renewed) {
			t.Error("before: the wrong ones are let in")
		}
	}
	replace(t, first.file, second.file)
	eventually(t, "the new authority counts", func() bool { return lets(renewed) })
	if lets(old) {
		t.Error("the old authority counts still")
	}
}

// TestForwardedFor: Materialize is told the client's address where that is asked for,
// and never what a client says of itself.
func TestForwardedFor(t *testing.T) {
	_, addr := onSim(t)
	const spoof = "options='-c search_path=prod -c cluster=prod -c mz_forwarded_for=6.6.6.6' mz_forwarded_for=6.6.6.6 MZ_Forwarded_For=6.6.6.6 mz_connection_uuid=00000000-0000-0000-0000-000000000001"
	for _, on := range []bool{false, true} {
		p := start(t, configure(t, addr, fmt.Sprintf("upstream.forwarded_for=%t", on)))
		host, port, err := net.SplitHostPort(p.Proxy)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := pgx.ParseConfig(dsn(p.Proxy, spoof))
		if err != nil {
			t.Fatal(err)
		}
		// The client comes from another address of the loopback than the proxy.
		cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
			return d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		}
		conn, err := pgx.ConnectConfig(within(t), cfg)
		if err != nil {
			t.Skipf("skipped: no second address on the loopback: %v", err)
		}
		var seen string
		if err := conn.QueryRow(within(t), "SELECT client_ip FROM mz_internal.mz_sessions WHERE connection_id = pg_backend_pid()").Scan(&seen); err != nil {
			t.Error(err)
		}
		if want := map[bool]string{false: "127.0.0.1", true: "127.0.0.77"}[on]; seen != want {
			t.Errorf("forwarded_for %t: the server sees %q, want %q", on, seen, want)
		}
		hangUp(conn)
	}
}
