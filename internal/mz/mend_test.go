package mz

import (
	"crypto/tls"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/deploy"
	"mzcanary/internal/sim"
)

func TestErrorsSayWhatMendsThem(t *testing.T) {
	denied := func(message, detail string) reply {
		return reply{messages: []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Severity: "ERROR", Code: codeForbidden, Message: message, Detail: detail}}}
	}
	login := func(code string) func(map[string]string) *pgproto3.ErrorResponse {
		return func(map[string]string) *pgproto3.ErrorResponse {
			return &pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"}
		}
	}
	for name, c := range map[string]struct {
		fake        *fake
		want        string
		unavailable bool
	}{
		"password":    {&fake{login: login("28P01")}, "make the password of role mzcanary right in control.password_file /run/x", true},
		"role":        {&fake{login: login("28000")}, "make the password of role mzcanary right", true},
		"connections": {&fake{login: login("53300")}, "limits.max_sessions", true},
		"database":    {&fake{login: login("3D000")}, "control.database", true},
		"shutting":    {&fake{login: login("57P03")}, "", true},
		"right": {&fake{answer: func(string) reply {
			return denied("permission denied for VIEW", `The 'mzcanary' role needs SELECT privileges on VIEW "materialize.prod.a"`)
		}}, `GRANT SELECT ON TABLE "materialize"."prod"."a" TO "mzcanary"`, false},
		"system right": {&fake{answer: func(string) reply {
			return denied("permission denied for SYSTEM", `The 'mzcanary' role needs CREATECLUSTER privileges on SYSTEM`)
		}}, `GRANT CREATECLUSTER ON SYSTEM TO "mzcanary"`, false},
		"owner":       {&fake{answer: func(string) reply { return denied("must be owner of SCHEMA materialize.prod", "") }}, `GRANT the owner of SCHEMA materialize.prod TO "mzcanary"`, false},
		"other right": {&fake{answer: func(string) reply { return denied("access to system object is restricted", "") }}, `GRANT what is missing TO "mzcanary"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.fake.t = t
			w := c.fake.warehouse(func(c *Config) { c.PasswordFrom = "control.password_file /run/x" })
			_, err := w.Foreign(within(t, 10*time.Second), nil)
			if err == nil || errors.Is(err, deploy.ErrUnavailable) != c.unavailable {
				t.Fatalf("error %v, want one that means unavailable: %t", err, c.unavailable)
			}
			how := ""
			if m, ok := errors.AsType[*deploy.Mendable](err); ok {
				how = m.Mend
			}
			if !strings.Contains(how, c.want) || c.want == "" && how != "" {
				t.Errorf("%v: mended by %q, want %q", err, how, c.want)
			}
		})
	}
}

func TestBadCertificateSaysWhatMendsIt(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	s := needSimulator(t, sim.Options{TLS: &tls.Config{Certificates: certified.TLS.Certificates}})
	w := New(Config{Address: s.address, User: s.user, TLS: &tls.Config{}})
	defer w.Close()
	_, err := w.Server(within(t, 20*time.Second))
	if m, ok := errors.AsType[*deploy.Mendable](err); !ok || !strings.Contains(m.Mend, "upstream.tls") {
		t.Errorf("%v", err)
	}
}
