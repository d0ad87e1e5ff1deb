package mz

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/deploy"
)

func TestControlConnectionsIntroduceThemselves(t *testing.T) {
	f := &fake{t: t}
	w := f.warehouse()
	if _, err := w.Foreign(within(t, 10*time.Second), nil); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"user": "mzcanary", "database": "materialize", "application_name": "mzcanary",
		"cluster": "mz_catalog_server", "options": "--welcome_message=off",
	}
	for key, value := range want {
		if got := f.logins[0][key]; got != value {
			t.Errorf("start-up %s = %q, want %q", key, got, value)
		}
	}
	if len(f.logins[0]) != len(want) {
		t.Errorf("start-up parameters %v: more than expected", f.logins[0])
	}
}

// What the environment says to libpq's clients must not reach a control connection.
func TestEnvironmentIsIgnored(t *testing.T) {
	for key, value := range map[string]string{
		"PGHOST": "elsewhere", "PGUSER": "somebody", "PGPASSWORD": "x", "PGOPTIONS": "-c search_path=evil", "PGSSLMODE": "require",
		"PGAPPNAME": "psql", "PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "nonsense", "PGREQUIREAUTH": "scram-sha-256",
	} {
		t.Setenv(key, value)
	}
	f := &fake{t: t}
	if _, err := f.warehouse().Foreign(within(t, 10*time.Second), nil); err != nil {
		t.Fatal(err)
	}
	if got := f.logins[0]["options"]; got != "--welcome_message=off" {
		t.Errorf("options %q", got)
	}
}

func TestPasswordIsReadForEachConnect(t *testing.T) {
	server, client := "first", "first"
	f := &fake{t: t, password: func() string { return server }}
	w := f.warehouse(func(c *Config) { c.Password = func() (string, error) { return client, nil } })
	ask := func() error { _, err := w.Foreign(within(t, 10*time.Second), nil); return err }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	server = "second" // rotated on the server, and a reconnect needed
	w.cut()
	err := ask()
	mustBe(t, err, deploy.ErrUnavailable)
	if strings.Contains(err.Error(), "first") {
		t.Errorf("the error shows the password: %v", err)
	}
	client = "second"
	if err := ask(); err != nil {
		t.Fatalf("after the rotation: %v", err)
	}
}

func TestUnreadablePassword(t *testing.T) {
	f := &fake{t: t}
	w := f.warehouse(func(c *Config) { c.Password = func() (string, error) { return "", os.ErrNotExist } })
	_, err := w.Foreign(within(t, 10*time.Second), nil)
	mustBe(t, err, deploy.ErrUnavailable)
	mustBe(t, err, fs.ErrNotExist)
	if f.connections() != 0 {
		t.Error("connected without the password")
	}
}

func TestReadReplacesAStaleConnectionOnce(t *testing.T) {
	f := &fake{t: t}
	w := f.warehouse()
	if _, err := w.Foreign(within(t, 10*time.Second), nil); err != nil {
		t.Fatal(err)
	}
	w.cut()
	if _, err := w.Foreign(within(t, 10*time.Second), nil); err != nil {
		t.Fatalf("after the idle connection was cut: %v", err)
	}
	if n := f.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	f.answer = func(string) reply { return reply{cut: true} }
	_, err := w.Foreign(within(t, 10*time.Second), nil)
	mustBe(t, err, deploy.ErrUnavailable)
	if n := f.connections(); n != 3 {
		t.Errorf("%d connections, want 3: a fresh connection that is cut is not replaced within the call", n)
	}
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		w := New(Config{Address: "fake:1", User: "u", Dial: func(context.Context, string, string) (net.Conn, error) {
			attempts++
			return nil, errors.New("connection refused")
		}})
		defer w.Close()
		begin := time.Now()
		for time.Since(begin) < time.Minute {
			_, err := w.Foreign(t.Context(), nil)
			mustBe(t, err, deploy.ErrUnavailable)
		}
		if attempts < 15 || attempts > 60 {
			t.Errorf("%d attempts in a minute; want a pause that grows to %s", attempts, backoffMost)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		asked := time.Now()
		_, err := w.Foreign(short, nil)
		mustBe(t, err, deploy.ErrUnavailable)
		if took := time.Since(asked); took > 10*time.Millisecond {
			t.Errorf("a call with a deadline of 1ms took %s", took)
		}
	})
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, answer: func(string) reply { return reply{silent: true} }}
		w := f.warehouse()
		begin := time.Now()
		_, err := w.Foreign(t.Context(), nil)
		mustBe(t, err, deploy.ErrUnavailable)
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("gave up after %s, want the read timeout of 30s", took)
		}
	})
}

func TestCloseEndsCallsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t, answer: func(string) reply { return reply{silent: true} }}
		w := f.warehouse()
		done := make(chan error, 1)
		go func() {
			_, err := w.Foreign(t.Context(), nil)
			done <- err
		}()
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		mustBe(t, <-done, deploy.ErrUnavailable)
		_, err := w.Foreign(t.Context(), nil)
		mustBe(t, err, ErrClosed)
	})
}

func TestCloseCutsAPreparedTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		w := f.warehouse()
		p, err := w.Prepare(t.Context(), swapStatements)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := p.Commit(t.Context()); got != deploy.NotDone || err == nil {
			t.Errorf("commit after Close: %s, %v", got, err)
		}
	})
}

func TestServer(t *testing.T) {
	readOnly := true
	f := &fake{t: t, answer: func(sql string) reply {
		switch {
		case strings.Contains(sql, "pg_postmaster_start_time"):
			return values([]string{"1700000000.25"})
		case strings.HasPrefix(sql, "ALTER CLUSTER IF EXISTS") && readOnly:
			return refused("ERROR", "25006", "cannot write in read-only mode")
		}
		return reply{}
	}}
	w := f.warehouse()
	info, err := w.Server(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := deploy.ServerInfo{Kind: Materialize, Version: "v26.4.0 (fake)", Started: time.Unix(1700000000, 250e6).UTC(), ReadOnly: true}
	if info != want {
		t.Errorf("%+v, want %+v", info, want)
	}
	readOnly = false
	for range 2 {
		if info, err = w.Server(within(t, 10*time.Second)); err != nil || info.ReadOnly {
			t.Errorf("after the promotion: %+v, %v", info, err)
		}
	}
	asked := 0
	for _, s := range f.statements() {
		if strings.HasPrefix(s, "ALTER") {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times for DDL, want 2: a server that takes DDL is not asked again", asked)
	}
}

func TestBadAddress(t *testing.T) {
	for _, address := range []string{"", "no-port", "host:http", "host:99999999"} {
		w := New(Config{Address: address})
		if _, err := w.Foreign(within(t, time.Second), nil); err == nil || !strings.Contains(err.Error(), "address") {
			t.Errorf("address %q: error %v", address, err)
		}
		w.Close()
	}
}

// Every query has a comment, one statement, qualified names, and is used.
func TestQueryFiles(t *testing.T) {
	source := ""
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil && !strings.HasSuffix(name, "_test.go") {
			source += string(text)
		}
	}
	unqualified := regexp.MustCompile(`\b(?:FROM|JOIN)\s+[a-z_]+(?:[^a-z_.(]|$)`)
	for _, kind := range []string{Materialize, Postgres} {
		d := newDialect(kind)
		entries, err := queryFiles.ReadDir("queries/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			raw, err := queryFiles.ReadFile("queries/" + kind + "/" + e.Name())
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(e.Name(), ".sql")
			text := d.text(name)
			if !strings.HasPrefix(string(raw), "-- ") {
				t.Errorf("%s/%s says nothing about itself", kind, name)
			}
			if strings.Contains(text, ";") || strings.Contains(text, "--") || text == "" {
				t.Errorf("%s/%s is not one bare statement", kind, name)
			}
			if m := unqualified.FindString(text); m != "" && !strings.HasPrefix(m, "FROM reach") {
				t.Errorf("%s/%s has an unqualified name: %s", kind, name, m)
			}
			if !strings.Contains(source, `"`+name+`"`) {
				t.Errorf("%s/%s is not used", kind, name)
			}
		}
	}
}

func TestLoginRefused(t *testing.T) {
	f := &fake{t: t, login: func(map[string]string) *pgproto3.ErrorResponse {
		return &pgproto3.ErrorResponse{Severity: "FATAL", Code: "MZ010", Message: "login blocked"}
	}}
	_, err := f.warehouse().Foreign(within(t, 10*time.Second), nil)
	mustBe(t, err, deploy.ErrUnavailable)
	if !strings.Contains(err.Error(), "login blocked") {
		t.Errorf("error %v does not say why", err)
	}
}
