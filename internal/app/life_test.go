package app_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
	"mzcanary/internal/sim"
)

// TestServerComesLater: the server is down at start. Everybody is told so, and
// when it comes up nothing has to be started again.
func TestServerComesLater(t *testing.T) {
	addr := freeAddress(t)
	p := start(t, configure(t, addr))
	code, body := p.get("/readyz")
	if code != 503 {
		t.Errorf("readyz: %d", code)
	}
	says(t, "readyz", body, "upstream: cannot be reached", addr, "deployment shop: served on live names")
	if code, body := p.get("/healthz"); code != 200 {
		t.Errorf("healthz: %d %s", code, body)
	}
	told := refused(t, dsn(p.Proxy, onProd))
	if told.Severity != "FATAL" || told.Code != "08001" || !strings.HasPrefix(told.Message, "mzcanary: ") || told.Hint == "" {
		t.Errorf("a client is told %+v", told)
	}
	_, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test"})
	if r := refusal(t, err); r.Exit != deploy.ExitConnect {
		t.Errorf("start without a server: %+v", r)
	}
	scrape(t, p).want(t, "mzcanary_startup_failures_total", 1, "kind=upstream_down")

	serveSim(t, simulated(t, sim.Options{}), addr)
	conn := connect(t, dsn(p.Proxy, onProd))
	if v := mustVersion(t, conn); v != "old" {
		t.Errorf("version %q", v)
	}
	p.controlled()
	ready(t, p)
	p.weigh(100)
	p.settled()
	if v := mustVersion(t, conn); v != "new" {
		t.Errorf("version %q after the weight rose", v)
	}
}

// TestStopDrains: told to stop, the program lets sessions go on for
// shutdown.drain, then ends them with a sentence, and leaves nothing behind.
func TestStopDrains(t *testing.T) {
	_, addr := onSim(t)
	check := leaks(t)
	cfg := configure(t, addr, "shutdown.drain=400ms")
	p := start(t, cfg)
	p.controlled()
	conn := connect(t, dsn(p.Proxy, onProd))
	told := make(chan error, 1)

	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	eventually(t, "readyz says that it stops", func() bool {
		code, body := p.get("/readyz")
		return code == 503 && strings.Contains(body, "stopping")
	})
	if v := mustVersion(t, conn); v != "old" {
		t.Errorf("version %q while draining", v)
	}
	eventually(t, "new sessions are refused with 57P03", func() bool {
		late, err := pgx.Connect(within(t), dsn(p.Proxy, onProd))
		if err == nil {
			hangUp(late)
		}
		var told *pgconn.PgError
		return errors.As(err, &told) && told.Code == "57P03"
	})
	go func() { _, err := conn.PgConn().ReceiveMessage(t.Context()); told <- err }()
	var fatal *pgconn.PgError
	if err := <-told; !errors.As(err, &fatal) || fatal.Code != "57P01" || !strings.HasPrefix(fatal.Message, "mzcanary: ") {
		t.Errorf("the idle session was told %v", err)
	}
	if after := time.Since(began); after < cfg.Shutdown.Drain {
		t.Errorf("it was ended after %s, before shutdown.drain was over", after)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	check()

	again := start(t, cfg)
	again.controlled()
	connect(t, dsn(again.Proxy, onProd))
}

// TestStopEndsWaits: who waits for a rollout is told that the program stops, and
// the next one goes on with it.
func TestStopEndsWaits(t *testing.T) {
	_, addr := onSim(t)
	cfg := configure(t, addr, "deployments[0].rollout.plan={steps: [{weight: 0, approve: {within: 1h}}, {promote: {}}]}")
	p := start(t, cfg)
	p.controlled()
	s, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p.await("asking", func(s admin.Status) bool { return s.Asked != nil })
	waiting := make(chan int, 1)
	go func() {
		_, exit, err := p.client.Wait(within(t), "shop", s.Rollout, deploy.UntilDone)
		if err != nil {
			t.Errorf("the wait ended with %v", err)
		}
		waiting <- exit
	}()
	// The request has arrived when its connection is seen by the server; a stop
	// before that would refuse it, which is another case.
	eventually(t, "the wait has begun", func() bool { return strings.Contains(stacks(), "(*Controller).Wait") })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if exit := <-waiting; exit != deploy.ExitInterrupted {
		t.Errorf("the wait ended with exit code %d", exit)
	}

	again := start(t, cfg)
	now := again.await("asking again", func(s admin.Status) bool { return s.Recovering == "" && s.Asked != nil })
	if now.Rollout != s.Rollout || now.Phase != deploy.PhaseRamping {
		t.Errorf("after the restart: rollout %s in %s, was %s", now.Rollout, now.Phase, s.Rollout)
	}
	if _, err := again.client.Do(within(t), "shop", deploy.VerbApprove, admin.Request{Who: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, exit, err := again.client.Wait(within(t), "shop", s.Rollout, deploy.UntilDone); exit != deploy.ExitDone || err != nil {
		t.Errorf("exit %d, %v", exit, err)
	}
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// TestStateDirHasOneOwner: the second process is told who holds it.
func TestStateDirHasOneOwner(t *testing.T) {
	_, addr := onSim(t)
	cfg := configure(t, addr)
	start(t, cfg)
	second, err := app.New(cfg, app.Options{})
	if err == nil {
		t.Fatal("two programs own one state directory", second.Close())
	}
	says(t, "the error", err.Error(), filepath.Join(cfg.State.Dir, "lock"), "process "+strconv.Itoa(os.Getpid()), "state.dir")
}

// TestAddressInUse: the key that names the address stands in the error, and
// nothing is left open.
func TestAddressInUse(t *testing.T) {
	_, addr := onSim(t)
	taken := freeAddress(t)
	ln, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	check := leaks(t)
	cfg := configure(t, addr, "observe.address="+taken)
	a, err := app.New(cfg, app.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Run(within(t))
	if err == nil {
		t.Fatal("serving on a taken address")
	}
	says(t, "the error", err.Error(), "observe.address", taken, "in use")
	check()
	a, err = app.New(cfg, app.Options{})
	if err != nil {
		t.Fatalf("the state directory is still held: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestJournalNotTrusted: a damaged journal, or one of a newer program, is not
// acted on; sessions are relayed on live names, and everybody who asks is told
// the name of the file.
func TestJournalNotTrusted(t *testing.T) {
	for _, c := range []struct{ name, text, why string }{
		{"damaged", `{"format":"mzcanary-journal","version":1,"checksum":"sha256:00","journal":{"state":{}}}`, "checksum"},
		{"cut off", `{"format":"mzcanary-journal","version":1,"jour`, "not a whole journal"},
		{"empty", ``, "not a whole journal"},
		{"newer", `{"format":"mzcanary-journal","version":999,"checksum":"sha256:00","journal":{}}`, "newer program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, addr := onSim(t)
			cfg := configure(t, addr)
			if err := os.MkdirAll(cfg.State.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(cfg.State.Dir, "shop.json")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, user := range []string{"app", "materialize"} { // roles come into being at their first login
				if err := server.ExecAs(within(t), user, "SELECT 1"); err != nil {
					t.Fatal(err)
				}
			}
			before := server.Revision()
			p := start(t, cfg)
			s := p.await("standing aside", func(s admin.Status) bool { return s.JournalProblem != "" })
			says(t, "the status", s.JournalProblem, file, c.why)
			says(t, "the status' sentence", s.Sentence, file)
			if s.Stop == nil || s.Stop.Kind != deploy.PhaseBlocked || s.Stop.Next == "" {
				t.Errorf("stop: %+v", s.Stop)
			}
			code, body := p.get("/readyz")
			if code != 200 {
				t.Errorf("readyz: %d; the relay works", code)
			}
			says(t, "readyz", body, "served on live names", file)
			stoodAside(t, p, file)
			if now := server.Revision(); now != before {
				t.Errorf("the catalog moved from %d to %d", before, now)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != c.text {
				t.Errorf("the file was touched: %q %v", text, err)
			}
		})
	}
}

// stoodAside: nothing can be asked for, and sessions are served on live names.
func stoodAside(t *testing.T, p *program, file string) {
	t.Helper()
	who := admin.Request{Who: "test", Force: true, Reason: "test"}
	for what, ask := range map[string]func() error{
		"start": func() error {
			_, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test"})
			return err
		},
		"weight":   func() error { _, err := p.client.SetWeight(within(t), "shop", 3000, who); return err },
		"rollback": func() error { _, err := p.client.Do(within(t), "shop", deploy.VerbRollback, who); return err },
		"abort":    func() error { _, err := p.client.Do(within(t), "shop", deploy.VerbAbort, who); return err },
	} {
		r := refusal(t, ask())
		if r.Exit != deploy.ExitHuman || r.Next == "" {
			t.Errorf("%s: %+v", what, r)
		}
		says(t, what, r.Sentence, file)
	}
	conn := connect(t, dsn(p.Proxy, onProd))
	if v := mustVersion(t, conn); v != "old" {
		t.Errorf("version %q", v)
	}
	told := refused(t, dsn(p.Proxy, "options='-c search_path=prod -c cluster=prod -c mzcanary.arm=canary'"))
	if told.Code != "08004" || !strings.HasPrefix(told.Message, "mzcanary: ") {
		t.Errorf("who insists on the canary is told %+v", told)
	}
}

// TestServerRestarts: sessions are lost with their server, and told; the program
// comes back by itself.
func TestServerRestarts(t *testing.T) {
	server, addr := onSim(t)
	p := start(t, configure(t, addr))
	p.controlled()
	conn := connect(t, dsn(p.Proxy, onProd))
	p.weigh(100)
	p.settled()
	server.Faults().Restart()
	var fatal *pgconn.PgError
	if _, err := conn.PgConn().ReceiveMessage(within(t)); !errors.As(err, &fatal) || fatal.Code != "08006" || !strings.HasPrefix(fatal.Message, "mzcanary: ") {
		t.Errorf("told %v", err)
	}
	again := connect(t, dsn(p.Proxy, onProd))
	if v := mustVersion(t, again); v != "new" {
		t.Errorf("version %q; the weight has not changed", v)
	}
	code, _ := p.get("/readyz")
	if code != 200 {
		t.Errorf("readyz: %d", code)
	}
}
