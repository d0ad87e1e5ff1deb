package app_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
)

// TestDrain: two streams stay on the old version, one past the proxy. Both are named
// from the window on, with what the old cluster costs; ours is told by a NOTICE, and in
// the end with 57P01; the other one is waited for.
func TestDrain(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr, "deployments[0].window.for=1h", "deployments[0].drain.for=1s"))
	p.controlled()
	stream := func(to string, notices chan<- string) (*pgx.Conn, <-chan error) {
		cfg, err := pgx.ParseConfig(dsn(to, onProd))
		if err != nil {
			t.Fatal(err)
		}
		cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
			if strings.HasPrefix(n.Message, "mzcanary: ") {
				notices <- n.Severity + " " + n.Code + " " + n.Message
			}
		}
		conn, err := pgx.ConnectConfig(within(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hangUp(conn) })
		result := conn.PgConn().Exec(t.Context(), "SUBSCRIBE answer")
		if !result.NextResult() || !result.ResultReader().NextRow() {
			t.Fatalf("the stream does not begin: %v", result.Close())
		}
		ended := make(chan error, 1)
		go func() {
			for result.ResultReader().NextRow() {
			}
			ended <- result.Close()
		}()
		return conn, ended
	}
	notices := make(chan string, 10)
	_, ours := stream(p.Proxy, notices)
	other, others := stream(addr, nil)
	done := askers(t, p.Proxy, crowd)
	rollout := p.begin("shop")
	p.await("in the window", func(s admin.Status) bool { return s.Phase == deploy.PhaseWindow })
	onVersion(t, done(), "new")
	s := p.await("the old version's users", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseWindow && s.After != nil && len(s.After.Old) == 1 && len(s.After.Others) == 1 && s.After.Standby != nil
	})
	if o := s.After.Old[0]; o.User != "app" || o.Statement != "SUBSCRIBE" || o.Age == 0 || o.Why == "" {
		t.Errorf("ours is %+v", o)
	}
	if c := s.After.Standby.Clusters; len(c) != 1 || !strings.HasPrefix(c[0].Name, "prod_deploy_retired_") || c[0].Replicas != 1 || c[0].Size != "bootstrap" || !c[0].Since.Equal(s.After.Swapped) {
		t.Errorf("standing by: %+v", c)
	}
	p.do(deploy.VerbCleanup)
	select {
	case n := <-notices:
		says(t, "the notice", n, "NOTICE 00000 mzcanary: this session still reads the version that was replaced; it is ended with 57P01 in 1s")
	case err := <-ours:
		t.Fatalf("ended without a notice: %v", err)
	case <-time.After(patience):
		t.Fatal("no notice")
	}
	var fatal *pgconn.PgError
	if err := <-ours; !errors.As(err, &fatal) || fatal.Code != "57P01" {
		t.Errorf("ours ended with %v", err)
	}
	s = p.await("in use", func(s admin.Status) bool {
		return s.Stop != nil && s.Stop.Cause == deploy.CauseInUse && len(s.After.Old) == 0 && len(s.After.Others) == 1
	})
	if s.After.Notified != 1 || len(notices) != 0 || s.After.Standby == nil {
		t.Errorf("%d told, %d more notices; %+v", s.After.Notified, len(notices), s.After)
	}
	select {
	case err := <-others:
		t.Errorf("the stream past the proxy was ended: %v", err)
	default:
	}
	other.PgConn().Conn().Close()
	<-others
	p.ends("shop", rollout, deploy.ExitDone)
}
