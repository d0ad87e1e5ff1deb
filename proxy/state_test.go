package proxy_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

// describe plays lib/pq's first round trip of a parameterised query.
func describe(c *player, s *scripted) {
	c.t.Helper()
	c.send(&pgproto3.Parse{Query: "SELECT $1"}, &pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Sync{})
	s.expect(`P "" "SELECT $1"`, "*pgproto3.Describe", "S")
	s.send(&pgproto3.ParseComplete{}, &pgproto3.ParameterDescription{}, &pgproto3.NoData{}, ready('I'))
	c.expect("*pgproto3.ParseComplete", "*pgproto3.ParameterDescription", "*pgproto3.NoData", "Z I")
}

// TestDescribedStatementIsExecutedFirst: a weight's move waits for its Execute.
func TestDescribedStatementIsExecutedFirst(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		describe(c, s)
		r.toCanary()
		r.p.Nudge()
		r.becomes("told to wait", func(i proxy.SessionInfo) bool { return strings.HasPrefix(i.Why, "has described a statement") })
		c.send(&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
		s.expect("B", "E", "S")
		s.send(&pgproto3.BindComplete{}, complete("SELECT 1"), ready('I'))
		c.expect("*pgproto3.BindComplete", `C "SELECT 1"`, "Z I")
		c.send(query("SELECT 2"))
		s.expect(moveToCanary)
	})
}

// TestDescribedStatementDelaysNoLongerThanASecond: nothing comes, the session is
// moved all the same.
func TestDescribedStatementDelaysNoLongerThanASecond(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		describe(c, s)
		began := time.Now()
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		if d := time.Since(began); d < time.Second || d > 1200*time.Millisecond {
			r.t.Errorf("moved after %v", d)
		}
	})
}

// TestDescribedStatementDelaysNoHold: nor a rollback, nor a swap.
func TestDescribedStatementDelaysNoHold(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		describe(c, s)
		hold, err := r.p.Hold(shop, time.Minute)
		if err != nil {
			r.t.Fatal(err)
		}
		if report := hold.Gather(cancelled()); !report.Complete() || report.Held != 1 {
			r.t.Errorf("report %+v", report)
		}
		r.route(func(d *router.Deployment) { d.Canary = router.CanaryLive })
		hold.Release()
		s.expect(moveToStable)
	})
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		describe(c, s)
		r.toStable()
		r.p.Nudge()
		s.expect(moveToStable)
	})
}

// TestNamedStatementsStayWhereShapesDiffer: no weight moves them, a rollback does.
func TestNamedStatementsStayWhereShapesDiffer(t *testing.T) {
	s := onPostgres(t)
	s.route(func(d *router.Deployment) { d.KeepNamed = true })
	conn := s.connect(onProd)
	if _, err := conn.Prepare(t.Context(), "mine", "SELECT version FROM answer WHERE k = 1"); err != nil {
		t.Fatal(err)
	}
	ask := func(want string) {
		t.Helper()
		var v string
		if err := conn.QueryRow(t.Context(), "mine").Scan(&v); err != nil || v != want {
			t.Fatalf("version %q, want %q; %v", v, want, err)
		}
	}
	s.weigh(100)
	ask("old")
	if i := s.p.Sessions(shop)[0]; !strings.HasPrefix(i.Why, "has named prepared statements") || i.Arm != router.Stable || !i.Prepared {
		t.Errorf("session %+v", i)
	}
	run(t, conn, "DEALLOCATE ALL")
	readsVersion(t, conn, "without statements", "new")
	if _, err := conn.Prepare(t.Context(), "mine2", "SELECT version FROM answer WHERE k = 1"); err != nil {
		t.Fatal(err)
	}
	s.route(func(d *router.Deployment) { d.Weight = 5 })
	readsVersion(t, conn, "at another weight", "new")
	s.route(func(d *router.Deployment) { d.Weight, d.Canary = 0, router.CanaryClosed })
	readsVersion(t, conn, "after a rollback", "old")
}

// TestStateSurvivesAMoveOnPostgres: what a session has besides its names is
// untouched by a retarget, and reads what it was made for.
func TestStateSurvivesAMoveOnPostgres(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	run(t, conn, "CREATE TEMP TABLE mine AS SELECT 7 AS n", "LISTEN news",
		"BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT version FROM answer ORDER BY k; COMMIT",
		"PREPARE st AS SELECT version FROM answer WHERE k = 1", "SET work_mem = '5MB'", "SELECT pg_advisory_lock(77)")
	one := func(want, text string) {
		t.Helper()
		var v string
		if err := conn.QueryRow(t.Context(), text, pgx.QueryExecModeSimpleProtocol).Scan(&v); err != nil || v != want {
			t.Errorf("%s: %q, want %q; %v", text, v, want, err)
		}
	}
	for round, version := range []string{"old", "new", "old"} {
		s.weigh(100 * (round % 2))
		one(version, "EXECUTE st") // planned again where the names mean something else
		one("7", "SELECT n::text FROM mine")
		one("old", "FETCH 1 FROM held") // its rows were read when it was made
		one("5MB", "SHOW work_mem")
		one("true", "SELECT pg_advisory_unlock(77)::text FROM (SELECT pg_advisory_lock(77)) AS l")
	}
	other := s.connect(onProd)
	run(t, other, "NOTIFY news, 'hello'")
	ctx, done := context.WithTimeout(t.Context(), guard)
	defer done()
	if n, err := conn.WaitForNotification(ctx); err != nil || n.Payload != "hello" {
		t.Errorf("notification %+v, %v", n, err)
	}
	// A cursor of a transaction keeps the session where it is until its end.
	run(t, conn, "BEGIN", "DECLARE c CURSOR FOR SELECT version FROM answer ORDER BY k")
	s.weigh(100)
	eventually(t, "why it is not moved", func() bool {
		return s.p.Sessions(shop)[0].Why == "idle in a transaction with an open cursor"
	})
	one("old", "FETCH 1 FROM c")
	run(t, conn, "COMMIT")
	readsVersion(t, conn, "after the transaction", "new")
}

// TestStateSurvivesAMoveOnMaterialize: prepared statements are planned for the
// names of the moment, a SUBSCRIBE goes on and is named.
func TestStateSurvivesAMoveOnMaterialize(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			s, _ := onSim(t, v)
			conn, err := pgx.Connect(t.Context(), dsnOf(s, onProdCluster))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			if _, err := conn.Prepare(t.Context(), "mine", "SELECT version FROM answer WHERE k = 1"); err != nil {
				t.Fatal(err)
			}
			for round, want := range []string{"old", "new", "old"} {
				s.weigh(100 * (round % 2))
				var got string
				if err := conn.QueryRow(t.Context(), "mine").Scan(&got); err != nil || got != want {
					t.Errorf("round %d: %q, want %q; %v", round, got, want, err)
				}
			}
			run(t, conn, "BEGIN", "DECLARE c CURSOR FOR SELECT version FROM answer")
			s.weigh(100)
			eventually(t, "why it is not moved", func() bool {
				return s.p.Sessions(shop)[0].Why == "idle in a transaction with an open cursor"
			})
			run(t, conn, "COMMIT")
			readsVersion(t, conn, "after the transaction", "new")
		})
	}
}
