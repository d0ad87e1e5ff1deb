package app_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
)

// asker is an application's session that asks for the version until it is told
// to stop, and remembers what it was told.
type asker struct {
	conn    *pgx.Conn
	mode    pgx.QueryExecMode
	answers map[string]int
	last    string
	err     error
}

// pace keeps a crowd from taking the machine's whole time.
const pace = 3 * time.Millisecond

// ask goes on until the context has ended, and asks once more after that, so that
// its last answer is no older than the end.
func (a *asker) ask(ctx context.Context) {
	next := time.NewTicker(pace)
	defer next.Stop()
	for over := false; !over; {
		over = ctx.Err() != nil
		var v string
		if err := a.conn.QueryRow(context.WithoutCancel(ctx), "SELECT version FROM answer WHERE k = 1", a.mode).Scan(&v); err != nil {
			a.err = err
			return
		}
		a.last = v
		a.answers[v]++
		select {
		case <-next.C:
		case <-ctx.Done():
		}
	}
}

// crowd is how many sessions a test needs so that at 50 % none of its arms stays
// empty: that happens once in half a million runs.
const crowd = 20

// askers lets some sessions ask in different modes; done stops and returns them.
func askers(t *testing.T, addr string, n int) (done func() []*asker) {
	t.Helper()
	return askersWith(t, dsn(addr, onProd), n)
}

func askersWith(t *testing.T, dsn string, n int) (done func() []*asker) {
	t.Helper()
	modes := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec}
	ctx, end := context.WithCancel(context.Background())
	var all []*asker
	var wg sync.WaitGroup
	for i := range n {
		a := &asker{conn: connect(t, dsn), mode: modes[i%len(modes)], answers: map[string]int{}}
		all = append(all, a)
		wg.Go(func() { a.ask(ctx) })
	}
	done = sync.OnceValue(func() []*asker { end(); wg.Wait(); return all })
	t.Cleanup(func() { done() })
	return done
}

// TestRollout goes from nothing to done on the simulated server under clients
// that never stop asking.
func TestRollout(t *testing.T) {
	server, addr := onSim(t)
	cfg := configure(t, addr)
	p := start(t, cfg)
	p.controlled()
	ready(t, p)
	done := askers(t, p.Proxy, crowd)

	s, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test", Reason: "the whole journey"})
	if err != nil {
		t.Fatal(err)
	}
	journalled(t, cfg.State.Dir, s.Rollout)
	s, exit, err := p.client.Wait(within(t), "shop", s.Rollout, deploy.UntilDone)
	if err != nil || exit != deploy.ExitDone || s.Phase != deploy.PhaseDone {
		t.Fatalf("exit %d in %s (%v): %s", exit, s.Phase, err, s.Sentence)
	}
	for i, a := range done() {
		if a.err != nil {
			t.Errorf("client %d: %v", i, a.err)
		}
		if a.last != "new" || a.answers["new"] == 0 {
			t.Errorf("client %d ended on %q after %v", i, a.last, a.answers)
		}
	}
	if err := server.Exec(within(t), "SHOW CLUSTERS; SELECT version FROM prod.answer"); err != nil {
		t.Error(err)
	}
	recorded(t, p, cfg.State.Dir, s.Rollout)
	promoted(t, p)
}

// ready: both answers are yes.
func ready(t *testing.T, p *program) {
	t.Helper()
	if code, body := p.get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %s", code, body)
	}
	code, body := p.get("/readyz")
	if code != 200 {
		t.Errorf("readyz: %d", code)
	}
	says(t, "readyz", body, "upstream: ok", "deployment shop: idle")
}

// journalled: the intent is on disk before the start was answered.
func journalled(t *testing.T, dir, rollout string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "shop.json"))
	if err != nil {
		t.Fatal(err)
	}
	says(t, "the journal", string(raw), "mzcanary-journal", "sha256:", rollout)
}

// recorded: the rollout is over and remembered.
func recorded(t *testing.T, p *program, dir, rollout string) {
	t.Helper()
	records, err := p.client.History(within(t), "shop")
	if err != nil || len(records) != 1 {
		t.Fatalf("history: %d records, %v", len(records), err)
	}
	r := records[0]
	if r.Rollout != rollout || r.Phase != deploy.PhaseDone || r.Exit != deploy.ExitDone || r.Who != "test" || r.Reason != "the whole journey" || !r.Ended.After(r.Started) {
		t.Errorf("record: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "history", "shop", rollout+".json")); err != nil {
		t.Error(err)
	}
}

// promoted reads the metrics after a rollout with a crowd.
func promoted(t *testing.T, p *program) {
	t.Helper()
	m := scrape(t, p)
	m.bounded(t, "shop")
	m.want(t, "mzcanary_rollout_phase", 1, "phase=done")
	m.want(t, "mzcanary_rollout_phase", 0, "phase=ramping")
	m.want(t, "mzcanary_weight_wanted_ratio", 0)
	m.want(t, "mzcanary_promote_attempts_total", 1, "outcome=done")
	m.want(t, "mzcanary_sessions", 0, "deployment=shop", "arm=canary")
	m.want(t, "mzcanary_sessions", crowd, "deployment=shop", "arm=stable")
	for _, arm := range []string{"stable", "canary"} {
		m.some(t, "mzcanary_exchanges_total", "arm="+arm, "class=ok")
		m.some(t, "mzcanary_exchange_seconds_count", "arm="+arm)
		for _, class := range []string{"neutral", "server", "arm", "other", "connect", "lost"} {
			m.want(t, "mzcanary_exchanges_total", 0, "arm="+arm, "class="+class)
		}
	}
	m.some(t, "mzcanary_holds_total")
	m.some(t, "mzcanary_retargets_total", "outcome=retargeted")
	m.some(t, "mzcanary_injected_total", "outcome=retargeted")
	m.want(t, "mzcanary_session_share_ratio", 0)
	m.has(t, "mzcanary_exchange_share_ratio", "mzcanary_hold_stall_seconds_count", "mzcanary_promote_gather_seconds_count",
		"mzcanary_promote_commit_seconds_count", "mzcanary_promote_stall_seconds_count", "mzcanary_startup_failures_total",
		"mzcanary_session_failures_total", "mzcanary_cancels_total", "mzcanary_connections", "go_goroutines", "process_open_fds")
	if t.Failed() {
		t.Log(strings.Join(m.lines, "\n"))
	}
}
