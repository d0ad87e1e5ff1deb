package mz

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/deploy"
)

var swapStatements = []string{
	`ALTER SCHEMA "materialize"."prod" SWAP WITH "prod_deploy"`,
	`ALTER CLUSTER "prod" SWAP WITH "prod_deploy"`,
}

// prepareOn makes a fake whose COMMIT is answered as told, and a prepared swap on it.
func prepareOn(t *testing.T, commit func() reply) (*fake, *Warehouse, deploy.Prepared) {
	t.Helper()
	f := &fake{t: t}
	f.answer = func(sql string) reply {
		if sql == "COMMIT" {
			return commit()
		}
		return reply{}
	}
	w := f.warehouse()
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	return f, w, p
}

func TestCommitOutcomes(t *testing.T) {
	committed := func() []pgproto3.BackendMessage {
		return []pgproto3.BackendMessage{&pgproto3.CommandComplete{CommandTag: []byte("COMMIT")}}
	}
	warning := &pgproto3.NoticeResponse{Severity: "WARNING", Code: "25P01", Message: "there is no transaction in progress"}
	cases := []struct {
		name   string
		answer reply
		want   deploy.Outcome
		wraps  error
		says   string
	}{
		{"tag COMMIT", tag("COMMIT"), deploy.Done, nil, ""},
		{"tag ROLLBACK", tag("ROLLBACK"), deploy.NotDone, nil, "rolled back"},
		{"conflict", refused("ERROR", "40001", "another session modified the catalog"), deploy.NotDone, deploy.ErrConflict, "40001"},
		{"refused", refused("ERROR", "XX000", "unknown schema 'prod'"), deploy.NotDone, nil, "unknown schema"},
		{"read-only", refused("ERROR", "25006", "cannot write in read-only mode"), deploy.NotDone, nil, "read-only"},
		{"canceled", refused("ERROR", "57014", "canceling statement"), deploy.Unknown, nil, "57014"},
		{"fatal", reply{messages: refused("FATAL", "57P01", "terminating connection").messages, cut: true}, deploy.Unknown, nil, "57P01"},
		{"cut without an answer", reply{cut: true}, deploy.Unknown, deploy.ErrUnavailable, "COMMIT was sent"},
		{"cut after the tag", reply{messages: committed(), cut: true}, deploy.Unknown, deploy.ErrUnavailable, `"COMMIT"`},
		{"error after the tag", reply{messages: append(committed(), refused("ERROR", "XX000", "late").messages...)}, deploy.Unknown, nil, "late"},
		{"another tag", tag("SELECT 1"), deploy.Unknown, nil, "SELECT 1"},
		{"still in a transaction", reply{messages: committed(), status: 'T'}, deploy.Unknown, nil, "'T'"},
		{"no transaction there", reply{messages: append([]pgproto3.BackendMessage{warning}, committed()...)}, deploy.Unknown, nil, "no transaction"},
		{"ERROR, then cut", reply{messages: refused("ERROR", "XX000", "boom").messages, cut: true}, deploy.Unknown, deploy.ErrUnavailable, "EOF"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, w, p := prepareOn(t, func() reply { return c.answer })
			got, err := p.Commit(within(t, 10*time.Second))
			if got != c.want {
				t.Fatalf("outcome %s (%v), want %s", got, err, c.want)
			}
			if (err == nil) != (c.want == deploy.Done) {
				t.Fatalf("error %v beside outcome %s", err, got)
			}
			if c.wraps != nil {
				mustBe(t, err, c.wraps)
			}
			if err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
			if again, err := p.Commit(within(t, time.Second)); again != deploy.NotDone || err == nil {
				t.Errorf("a second Commit gave %s, %v", again, err)
			}
			// Whatever happened, the next DDL works.
			if err := p.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
			next, err := w.Prepare(within(t, 10*time.Second), swapStatements)
			if err != nil {
				t.Fatalf("preparing again: %v", err)
			}
			if c.want == deploy.Unknown && next.Backend() == p.Backend() {
				t.Error("a connection of unknown state was used again")
			}
			if err := next.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCommitSilent(t *testing.T) { synctest.Test(t, commitSilent) }

func commitSilent(t *testing.T) {
	f, _, p := prepareOn(t, func() reply { return reply{silent: true} })
	got, err := p.Commit(within(t, 100*time.Millisecond))
	if got != deploy.Unknown {
		t.Fatalf("outcome %s (%v), want unknown", got, err)
	}
	mustBe(t, err, deploy.ErrUnavailable)
	mustBe(t, err, context.DeadlineExceeded)
	if n := len(slices.DeleteFunc(f.statements(), func(s string) bool { return s != "COMMIT" })); n != 1 {
		t.Errorf("COMMIT was sent %d times", n)
	}
}

func TestCommitOnDeadConnection(t *testing.T) {
	f := &fake{t: t}
	f.answer = func(sql string) reply {
		if strings.HasPrefix(sql, "ALTER CLUSTER") {
			return reply{messages: tag("ALTER CLUSTER").messages}
		}
		return reply{}
	}
	w := f.warehouse()
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	w.cut() // the network goes, both ways, before COMMIT
	got, err := p.Commit(within(t, 10*time.Second))
	if got != deploy.NotDone {
		t.Fatalf("outcome %s (%v), want not done: COMMIT was never sent", got, err)
	}
	mustBe(t, err, deploy.ErrUnavailable)
	if slices.Contains(f.statements(), "COMMIT") {
		t.Error("the server saw a COMMIT")
	}
}

func TestCommitAfterItsTime(t *testing.T) {
	f, _, p := prepareOn(t, func() reply { return tag("COMMIT") })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := p.Commit(over)
	if got != deploy.NotDone {
		t.Fatalf("outcome %s (%v), want not done", got, err)
	}
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said := f.statements(); slices.Contains(said, "COMMIT") || !slices.Contains(said, "ROLLBACK") {
		t.Errorf("the server saw %q; want a ROLLBACK and no COMMIT", said)
	}
}

func TestPrepareRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer reply
		wraps  error
	}{
		{"conflict", refused("ERROR", "40001", "another session modified the catalog"), deploy.ErrConflict},
		{"cut", reply{cut: true}, deploy.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{t: t}
			first := true
			f.answer = func(sql string) reply {
				if strings.HasPrefix(sql, "ALTER CLUSTER") && first {
					first = false
					return c.answer
				}
				return reply{}
			}
			w := f.warehouse()
			_, err := w.Prepare(within(t, 10*time.Second), swapStatements)
			mustBe(t, err, c.wraps)
			if !strings.Contains(err.Error(), "ALTER CLUSTER") {
				t.Errorf("error %q does not name its statement", err)
			}
			p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
			if err != nil {
				t.Fatalf("preparing again: %v", err)
			}
			if got, err := p.Commit(within(t, 10*time.Second)); got != deploy.Done {
				t.Fatalf("%s, %v", got, err)
			}
		})
	}
}

// A transaction that something between us and the server ends quietly must not look
// prepared.
func TestPrepareLosesItsTransaction(t *testing.T) {
	f := &fake{t: t, answer: func(sql string) reply {
		if strings.HasPrefix(sql, "ALTER SCHEMA") {
			return reply{messages: tag("ALTER SCHEMA").messages, status: 'I'}
		}
		return reply{}
	}}
	w := f.warehouse()
	if _, err := w.Prepare(within(t, 10*time.Second), swapStatements); err == nil || !strings.Contains(err.Error(), "'I'") {
		t.Fatalf("error %v, want one about the status", err)
	}
}

func TestPrepareReplacesADeadConnection(t *testing.T) {
	f := &fake{t: t}
	w := f.warehouse()
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.cut()
	p, err = w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatalf("after the idle connection was cut: %v", err)
	}
	if got, err := p.Commit(within(t, 10*time.Second)); got != deploy.Done {
		t.Fatalf("%s, %v", got, err)
	}
}

// While a transaction is prepared nobody else gets the DDL connection.
func TestPreparedKeepsTheConnection(t *testing.T) {
	_, w, p := prepareOn(t, func() reply { return tag("COMMIT") })
	_, err := w.Prepare(within(t, 50*time.Millisecond), swapStatements)
	mustBe(t, err, deploy.ErrUnavailable)
	mustBe(t, err, context.DeadlineExceeded)
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Prepare(within(t, 10*time.Second), swapStatements); err != nil {
		t.Fatal(err)
	}
}

func TestRollbackOfASilentServerCutsIt(t *testing.T) { synctest.Test(t, rollbackOfASilentServer) }

func rollbackOfASilentServer(t *testing.T) {
	f := &fake{t: t, answer: func(sql string) reply { return reply{silent: sql == "ROLLBACK"} }}
	w := f.warehouse()
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.ddl.backend.Load() != 0 {
		t.Error("the silent connection is still in use")
	}
}

func TestBackendGone(t *testing.T) {
	var rows [][]string
	f := &fake{t: t, answer: func(sql string) reply {
		if strings.Contains(sql, "mz_sessions") {
			return values(rows...)
		}
		return reply{}
	}}
	w := f.warehouse()
	rows = [][]string{{"true", "ours"}}
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	number := p.Backend().Number
	if p.Backend().Session != "ours" {
		t.Errorf("the transaction's session is %v", p.Backend())
	}
	for _, c := range []struct {
		name    string
		rows    [][]string
		backend deploy.Backend
		want    bool
	}{
		{"no row", nil, deploy.Backend{Number: 77, Session: "lost"}, true},
		{"the session itself", [][]string{{"true", "lost"}}, deploy.Backend{Number: 77, Session: "lost"}, false},
		{"the session itself, its role gone", [][]string{{"NULL", "lost"}}, deploy.Backend{Number: 77, Session: "lost"}, false},
		{"number used again by our role", [][]string{{"true", "later"}}, deploy.Backend{Number: 77, Session: "lost"}, true},
		{"number used again by our open transaction", [][]string{{"true", "ours"}}, deploy.Backend{Number: number, Session: "lost"}, true},
		{"our open transaction", [][]string{{"true", "ours"}}, p.Backend(), false},
		{"unknown session: no row", nil, deploy.Backend{Number: 77}, true},
		{"unknown session: one of our role", [][]string{{"true", "x"}}, deploy.Backend{Number: 77}, false},
		{"unknown session: of a role that is gone", [][]string{{"NULL", "x"}}, deploy.Backend{Number: 77}, false},
		{"unknown session: number used by another role", [][]string{{"false", "x"}}, deploy.Backend{Number: 77}, true},
		{"unknown session: our open transaction", [][]string{{"true", "x"}}, deploy.Backend{Number: number}, false},
		{"unknown session: our reading connection", [][]string{{"true", "x"}}, deploy.Backend{Number: w.reading.backend.Load()}, true},
	} {
		rows = c.rows
		backend := c.backend
		if backend.Number == 0 { // the reading connection is open by now
			backend.Number = w.reading.backend.Load()
		}
		got, err := w.BackendGone(within(t, 10*time.Second), backend)
		if err != nil || got != c.want {
			t.Errorf("%s: gone %v (%v), want %v", c.name, got, err, c.want)
		}
	}
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// COMMIT gives its word at once, whatever the ROLLBACK that may be left takes: while
// it is waited for, sessions wait.
func TestCommitDoesNotWaitForARollback(t *testing.T) { synctest.Test(t, commitBeforeRollback) }

func commitBeforeRollback(t *testing.T) {
	f := &fake{t: t}
	f.answer = func(sql string) reply { return reply{silent: sql == "ROLLBACK"} }
	w := f.warehouse()
	p, err := w.Prepare(within(t, 10*time.Second), swapStatements)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	got, err := p.Commit(over)
	if took := time.Since(began); got != deploy.NotDone || err == nil || took > 10*time.Millisecond {
		t.Fatalf("outcome %s after %s, %v", got, took, err)
	}
	if slices.Contains(f.statements(), "ROLLBACK") {
		t.Error("COMMIT rolled back")
	}
	if err := p.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.ddl.backend.Load() != 0 {
		t.Error("the silent connection is still in use")
	}
}

func TestErrorsDoNotHideDetail(t *testing.T) {
	f := &fake{t: t, answer: func(sql string) reply {
		if strings.HasPrefix(sql, "ALTER") {
			return reply{messages: []pgproto3.BackendMessage{&pgproto3.ErrorResponse{
				Severity: "ERROR", Code: "42501", Message: `permission denied for DATABASE "materialize"`,
				Detail: "The 'deployer' role needs CREATE privileges",
			}}}
		}
		return reply{}
	}}
	_, err := f.warehouse().Prepare(within(t, 10*time.Second), swapStatements)
	if err == nil || !strings.Contains(err.Error(), "needs CREATE") {
		t.Fatalf("error %v does not carry the detail", err)
	}
	if errors.Is(err, deploy.ErrUnavailable) {
		t.Error("a refusal is not unavailability")
	}
}
