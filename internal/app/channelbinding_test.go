package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/app"
	"mzcanary/internal/pgtest"
	"mzcanary/internal/sim"
)

// psql runs SELECT 1 with libpq and gives what it says, "1" when it works.
func psql(t *testing.T, addr, role string, options ...string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	conninfo := fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=require ", host, port, role) + strings.Join(options, " ")
	cmd := exec.CommandContext(within(t), "psql", "-X", "-A", "-t", "-c", "SELECT 1", conninfo)
	cmd.Env = []string{"PGPASSWORD=" + pgtest.Password, "PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C"}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("skipped: psql is not installed")
	}
	if err != nil {
		return complaint.String()
	}
	return strings.TrimSpace(string(out))
}

// What libpq says when it cannot log in.
const (
	boundElsewhere = "SCRAM channel binding check failed"
	plusInPlain    = "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"
	notOffered     = "server did not offer an authentication method that supports channel binding"
)

// TestChannelBinding: SCRAM through a proxy that ends TLS works where the server offers
// no PLUS. Where it does, libpq's default fails, and check has said so before.
func TestChannelBinding(t *testing.T) {
	ca := newAuthority(t, "ours")
	serverCert, serverKey := ca.issue("127.0.0.1")
	proxyCert, proxyKey := ca.issue("127.0.0.1")
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	server := pgtest.Need(t, func() (*pgtest.Server, error) {
		return pgtest.StartWith(pgtest.Options{Cert: read(serverCert), Key: read(serverKey)})
	})
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(pgtest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	secured := []string{"upstream.tls.mode=verify-full", "upstream.tls.ca_file=" + ca.file}
	offering := func(cert, key string) []string {
		return []string{"listen.tls.cert_file=" + cert, "listen.tls.key_file=" + key}
	}
	const required = "listen.tls.required=true"
	own, same := offering(proxyCert, proxyKey), offering(serverCert, serverKey)
	all := func(lists ...[]string) (set []string) {
		for _, l := range lists {
			set = append(set, l...)
		}
		return set
	}
	for _, c := range []struct {
		name                  string
		set                   []string
		tls, disable, require string // what libpq says over TLS: by default, and with channel_binding
		plain                 string // and without TLS; "" when the proxy takes none
		finding               deploy.Severity
		says                  []string
	}{
		{"TLS on both legs", all(secured, own), boundElsewhere, "1", boundElsewhere, plusInPlain, deploy.Warn,
			[]string{"by_scram", boundElsewhere, plusInPlain, "upstream.tls.mode: disable", "channel_binding=disable", "the server's own certificate", "pg_hba.conf"}},
		{"TLS on both legs, required", all(secured, own, []string{required}), boundElsewhere, "1", boundElsewhere, "", deploy.Refuse, []string{boundElsewhere}},
		{"one certificate on both legs", all(secured, same), "1", "1", "1", plusInPlain, deploy.Warn, []string{plusInPlain, "listen.tls.required"}},
		{"one certificate, required", all(secured, same, []string{required}), "1", "1", "1", "", "", nil},
		{"TLS to the server only", secured, "", "", "", plusInPlain, deploy.Warn, []string{plusInPlain, "offer TLS in listen.tls"}},
		{"TLS to clients only", all(own, []string{"upstream.tls.mode=disable"}), "1", "1", notOffered, "1", "", nil},
		{"no TLS", []string{"upstream.tls.mode=disable"}, "", "", "", "1", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := strings.Replace(postgresSettings, ", tls: {mode: disable}", "", 1)
			set := append(c.set, "control.user="+pgtest.RoleSCRAM, "control.password_file="+password, "control.password_env=")
			cfg := configureText(t, fmt.Sprintf(settings, server.Addr(), filepath.Join(t.TempDir(), "state")), set...)
			finding := connectionFinding(t, cfg, "C01")
			if finding.Severity != c.finding {
				t.Errorf("check finds %+v, want %q", finding, c.finding)
			}
			says(t, "check", finding.Sentence+strings.Join(finding.Remedies, "\n"), c.says...)

			p := start(t, cfg)
			if c.finding != "" { // pgx binds where it can, and does not mind an offer that it cannot take
				for options, want := range map[string]bool{"sslmode=require": c.tls == "1", "sslmode=require channel_binding=disable": c.disable == "1", "sslmode=disable": c.plain != ""} {
					if got := reaches(t, pgtest.DSN(p.Proxy, pgtest.RoleSCRAM, options)); got != want {
						t.Errorf("%q: pgx gets in: %t", options, got)
					}
				}
			}
			for options, want := range map[string]string{"": c.tls, "channel_binding=disable": c.disable, "channel_binding=require": c.require,
				"sslmode=disable": c.plain, "sslmode=disable channel_binding=disable": c.plain} {
				if want == "" {
					continue
				}
				if got := psql(t, p.Proxy, pgtest.RoleSCRAM, options); got != want && (want == "1" || !strings.Contains(got, want)) {
					t.Errorf("%q: psql says %q, want %q", options, got, want)
				}
				if strings.Contains(options, "require") {
					continue
				}
				for _, role := range []string{pgtest.RoleMD5, pgtest.RoleCleartext} {
					if got := psql(t, p.Proxy, role, options); got != "1" {
						t.Errorf("%q as %s: psql says %q", options, role, got)
					}
				}
			}
		})
	}
}

// connectionFinding is check's finding of that code, or a zero one.
func connectionFinding(t *testing.T, cfg *config.Config, code string) (found app.ConnectionFinding) {
	t.Helper()
	checked, err := app.Check(within(t), cfg, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(checked); err != nil || !bytes.Contains(text, []byte(`"connection":[`)) {
		t.Errorf("as JSON: %s, %v", text, err)
	}
	for _, f := range checked.Connection {
		if f.Code == code {
			if refuses := f.Severity == deploy.Refuse; refuses && !checked.Refused() || len(f.Remedies) == 0 || f.Object == "" {
				t.Errorf("%+v: refused %t", f, checked.Refused())
			}
			found = f
		}
	}
	return found
}

// TestNoChannelBindingOnMaterialize: it offers none, so there is nothing to find, and
// libpq's default logs in through TLS on both legs.
func TestNoChannelBindingOnMaterialize(t *testing.T) {
	ca := newAuthority(t, "ours")
	cert, key := ca.issue("127.0.0.1")
	auth := sim.Auth{Kind: sim.AuthSCRAM, Passwords: map[string]string{"materialize": pgtest.Password, "app": pgtest.Password}}
	server := serveSim(t, simulated(t, sim.Options{TLS: serverTLS(t, cert, key), Auth: auth}), "127.0.0.1:0")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(pgtest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	ownCert, ownKey := ca.issue("127.0.0.1")
	cfg := configure(t, server, "upstream.tls.mode=verify-full", "upstream.tls.ca_file="+ca.file, "listen.tls.required=true", "upstream.forwarded_for=true",
		"listen.tls.cert_file="+ownCert, "listen.tls.key_file="+ownKey, "control.password_file="+password, "control.password_env=")
	for _, code := range []string{"C01", "C02"} {
		if f := connectionFinding(t, cfg, code); f.Code != "" {
			t.Errorf("found %+v", f)
		}
	}
	p := start(t, cfg)
	for options, want := range map[string]string{"": "1", "channel_binding=disable": "1", "channel_binding=require": notOffered} {
		if got := psql(t, p.Proxy, "app", options, "dbname=materialize"); got != want && (want == "1" || !strings.Contains(got, want)) {
			t.Errorf("%q: psql says %q, want %q", options, got, want)
		}
	}
}

// TestBalancerRefusesForwardedFor: where the server does not take the address of a
// client, check says so before every client is told.
func TestBalancerRefusesForwardedFor(t *testing.T) {
	_, behind := onSim(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go balance(conn, behind)
		}
	}()
	if f := connectionFinding(t, configure(t, ln.Addr().String()), "C02"); f.Code != "" {
		t.Errorf("found without being asked for: %+v", f)
	}
	cfg := configure(t, ln.Addr().String(), "upstream.forwarded_for=true")
	f := connectionFinding(t, cfg, "C02")
	if f.Severity != deploy.Refuse {
		t.Errorf("found %+v", f)
	}
	says(t, "check", f.Sentence, "mz_forwarded_for", "08004", "balancer")
	if told := refused(t, dsn(start(t, cfg).Proxy, onProd)); told.Code != "08004" {
		t.Errorf("a client is told %+v", told)
	}
}

// balance plays Materialize's balancer: it refuses two parameters and passes the rest on.
func balance(conn net.Conn, behind string) {
	defer conn.Close()
	front := pgproto3.NewBackend(conn, conn)
	m, err := front.ReceiveStartupMessage()
	st, ok := m.(*pgproto3.StartupMessage)
	if err != nil || !ok {
		return
	}
	for _, name := range []string{"mz_forwarded_for", "mz_connection_uuid"} {
		if _, set := st.Parameters[name]; set {
			front.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08004", Message: "invalid parameter '" + name + "'"})
			_ = front.Flush() // the test misses it then
			return
		}
	}
	server, err := net.Dial("tcp", behind)
	if err != nil {
		return
	}
	defer server.Close()
	raw, err := st.Encode(nil)
	if err != nil {
		return
	}
	if _, err := server.Write(raw); err != nil {
		return
	}
	copied := make(chan struct{})
	go func() { defer close(copied); relay(conn, server) }()
	relay(server, conn)
	<-copied
}

// relay copies until an end and passes that on.
func relay(to, from net.Conn) {
	var b [8 << 10]byte
	for {
		n, err := from.Read(b[:])
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	to.Close()
	from.Close()
}
