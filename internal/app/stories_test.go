package app_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
)

// begin starts a rollout and returns its id.
func (p *program) begin(deployment string) string {
	p.t.Helper()
	s, err := p.client.Start(within(p.t), deployment, admin.StartRequest{Who: "test"})
	if err != nil {
		p.t.Fatalf("start %s: %v", deployment, err)
	}
	return s.Rollout
}

// ends waits for the end of a rollout.
func (p *program) ends(deployment, rollout string, exit int) admin.Status {
	p.t.Helper()
	s, got, err := p.client.Wait(within(p.t), deployment, rollout, deploy.UntilDone)
	if err != nil || got != exit {
		p.t.Fatalf("%s ended with exit code %d, want %d (%v): %s", deployment, got, exit, err, s.Sentence)
	}
	return s
}

func (p *program) do(verb deploy.Verb) {
	p.t.Helper()
	if _, err := p.client.Do(within(p.t), "shop", verb, admin.Request{Who: "test", Reason: "test"}); err != nil {
		p.t.Fatalf("%s: %v", verb, err)
	}
}

// onVersion wants every client to have been answered without an error, and to
// read one version in the end.
func onVersion(t *testing.T, clients []*asker, want string) {
	t.Helper()
	for i, a := range clients {
		if a.err != nil {
			t.Errorf("client %d: %v", i, a.err)
		}
		if a.last != want {
			t.Errorf("client %d ended on %q after %v, want %q", i, a.last, a.answers, want)
		}
	}
}

// TestRollbackInWindow swaps, and swaps back.
func TestRollbackInWindow(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr, "deployments[0].window.for=1h"))
	p.controlled()
	done := askers(t, p.Proxy, crowd)
	rollout := p.begin("shop")
	p.await("in the window", func(s admin.Status) bool { return s.Phase == deploy.PhaseWindow })
	fresh := connect(t, dsn(p.Proxy, onProd))
	if v := mustVersion(t, fresh); v != "new" {
		t.Errorf("in the window production is %q", v)
	}
	p.do(deploy.VerbRollback)
	s := p.ends("shop", rollout, deploy.ExitRolledBack)
	if s.Phase != deploy.PhaseRolledBack {
		t.Errorf("ended in %s", s.Phase)
	}
	if v := mustVersion(t, fresh); v != "old" {
		t.Errorf("after the rollback production is %q", v)
	}
	onVersion(t, done(), "old")
}

// TestStopInPromotion: told to stop while the COMMIT is out, the program settles
// the attempt before it leaves, and the next one goes on to the end.
func TestStopInPromotion(t *testing.T) {
	server, addr := onSim(t)
	cfg := configure(t, addr)
	p := start(t, cfg)
	p.controlled()
	busy := askers(t, p.Proxy, crowd)
	server.Faults().Delay(regexp.MustCompile(`^COMMIT$`), 300*time.Millisecond)
	rollout := p.begin("shop")
	p.await("the COMMIT is out", func(s admin.Status) bool { return s.Swap != nil && s.Swap.Stage == deploy.StagePrepared })
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	server.Faults().ClearDelays()
	for i, a := range busy() {
		if a.err == nil || a.answers["old"]+a.answers["new"] == 0 || !toldToReconnect(a.err) {
			t.Errorf("client %d ended with %v after %v", i, a.err, a.answers)
		}
	}

	again := start(t, cfg)
	done := askers(t, again.Proxy, crowd)
	again.ends("shop", rollout, deploy.ExitDone)
	onVersion(t, done(), "new")
	records, err := again.client.History(within(t), "shop")
	if err != nil || len(records) != 1 || records[0].Rollout != rollout {
		t.Errorf("history: %+v %v", records, err)
	}
	renamed := 0
	for _, e := range server.AuditEvents() {
		if e.EventType == "alter" && e.ObjectType == "schema" && strings.Contains(e.Details, `"new_name":"prod"`) {
			renamed++
		}
	}
	if renamed != 1 {
		t.Errorf("%d schemas were renamed to prod; the swap happens once", renamed)
	}
}

// toldToReconnect: ended by the stop, at a boundary.
func toldToReconnect(err error) bool { return strings.Contains(err.Error(), "57P01") }

// TestInterference: somebody else swaps in the middle of a ramp. Everybody is on
// live names at once, and a person is asked.
func TestInterference(t *testing.T) {
	server, addr := onSim(t)
	p := start(t, configure(t, addr, "deployments[0].rollout.plan={steps: [{weight: 50%, bake: 1h}, {promote: {}}]}"))
	p.controlled()
	conns := connect(t, dsn(p.Proxy, onProd))
	done := askers(t, p.Proxy, crowd)
	p.begin("shop")
	p.await("ramping", func(s admin.Status) bool { return s.Phase == deploy.PhaseRamping && s.Sessions == s.Wanted })
	if err := server.Exec(within(t), "ALTER SCHEMA prod SWAP WITH prod_deploy; ALTER CLUSTER prod SWAP WITH prod_deploy"); err != nil {
		t.Fatal(err)
	}
	s := p.await("blocked, everybody on live names", func(s admin.Status) bool {
		return s.Phase == deploy.PhaseBlocked && s.Sessions[1] == 0
	})
	if s.Stop == nil || s.Stop.Cause != deploy.CauseInterference || len(s.Stop.Diff) == 0 || s.Stop.Next == "" {
		t.Errorf("stop: %+v", s.Stop)
	}
	if v := mustVersion(t, conns); v != "new" {
		t.Errorf("live names mean %q; the other one has swapped", v)
	}
	onVersion(t, done(), "new")
	scrape(t, p).want(t, "mzcanary_rollout_stopped", 1, "deployment=shop", "kind=blocked", "cause=interference")
}

const second = `
  - name: news
    database: materialize
    schemas:  [{live: News, deploy: "News-next"}]
    clusters: [{live: News, deploy: "News-next"}]
    rollout:
      plan: {steps: [{weight: 50%, bake: 200ms}, {promote: {}}]}
      minimum: {units: 1, exchanges: 5}
      ready: {poll: 50ms, consecutive: 2}
    window:  {for: 100ms}
    drain:   {for: 5s}
admin:`

// TestTwoDeployments run side by side through one proxy, with names that need
// their quotes; a session belongs to the one whose names it carries.
func TestTwoDeployments(t *testing.T) {
	server, addr := onSim(t)
	for name, version := range map[string]string{"News": "old", "News-next": "new"} {
		if err := server.Exec(within(t), strings.ReplaceAll(strings.ReplaceAll(versionSQL("NAME", version), "answer_idx", "idx"), "NAME", `"`+name+`"`)); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Replace(settingsFor(t, addr), "\nadmin:", second, 1)
	p := start(t, configureText(t, text))
	p.controlled()
	shop := askers(t, p.Proxy, crowd)
	news := askersWith(t, dsn(p.Proxy, `options='-c search_path="News" -c cluster=News'`), crowd)
	both := connect(t, dsn(p.Proxy, `options='-c search_path=prod,"News" -c cluster=prod'`))
	if v := mustVersion(t, both); v != "old" {
		t.Errorf("the unmanaged session reads %q", v)
	}
	list, err := p.client.Sessions(within(t), "", "")
	if err != nil || len(list) != 2*crowd+1 {
		t.Fatalf("%d sessions, %v", len(list), err)
	}
	belong := map[string]int{}
	for _, s := range list {
		belong[s.Deployment]++
	}
	if belong["shop"] != crowd || belong["news"] != crowd || belong[""] != 1 {
		t.Errorf("sessions belong to %v", belong)
	}
	s, n := p.begin("shop"), p.begin("news")
	p.ends("shop", s, deploy.ExitDone)
	p.ends("news", n, deploy.ExitDone)
	onVersion(t, shop(), "new")
	onVersion(t, news(), "new")
	m := scrape(t, p)
	m.bounded(t, "", "shop", "news")
	for _, d := range []string{"shop", "news"} {
		m.want(t, "mzcanary_rollout_phase", 1, "deployment="+d, "phase=done")
		m.some(t, "mzcanary_exchanges_total", "deployment="+d, "arm=canary", "class=ok")
	}
}

// TestLimits: too many sessions are told so, in all and of one user.
func TestLimits(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr, "limits.max_sessions=3", "limits.per_user=2"))
	connect(t, dsn(p.Proxy, onProd))
	first := connect(t, dsn(p.Proxy, onProd))
	if told := refused(t, dsn(p.Proxy, onProd)); told.Code != "53300" || !strings.Contains(told.Hint, "limits.per_user") {
		t.Errorf("the third of a user is told %+v", told)
	}
	other := strings.Replace(dsn(p.Proxy, onProd), "user=app", "user=other", 1)
	connect(t, other)
	if told := refused(t, other); told.Code != "53300" || !strings.Contains(told.Hint, "limits.max_sessions") {
		t.Errorf("the fourth is told %+v", told)
	}
	scrape(t, p).want(t, "mzcanary_startup_failures_total", 1, "kind=too_many_sessions")
	scrape(t, p).want(t, "mzcanary_startup_failures_total", 1, "kind=too_many_for_user")
	hangUp(first)
	p.counted(t, "mzcanary_connections", 2)
	connect(t, dsn(p.Proxy, onProd))
}

// TestBadArm: mzcanary.arm is an arm or an error.
func TestBadArm(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr))
	p.controlled()
	told := refused(t, dsn(p.Proxy, "options='-c search_path=prod -c cluster=prod -c mzcanary.arm=left'"))
	if told.Severity != "FATAL" || told.Code != "22023" || !strings.Contains(told.Hint, "mzcanary.arm=canary") {
		t.Errorf("told %+v", told)
	}
	p.weigh(100)
	p.settledAt(100)
	for arm, want := range map[string]string{"stable": "old", "canary": "new"} {
		conn := connect(t, dsn(p.Proxy, "options='-c search_path=prod -c cluster=prod -c mzcanary.arm="+arm+"'"))
		if v := mustVersion(t, conn); v != want {
			t.Errorf("%s reads %q", arm, v)
		}
	}
}

// settledAt waits until a weight is published.
func (p *program) settledAt(percent int) {
	p.t.Helper()
	p.await("published", func(s admin.Status) bool { return int(s.Weight) == 100*percent && s.Canary == "deploy" })
}
