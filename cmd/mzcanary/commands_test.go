package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/admin"
	"mzcanary/internal/app"
	"mzcanary/internal/sim"
)

const managed = "-c search_path=prod -c cluster=prod"

func TestCheck(t *testing.T) {
	t.Run("well", func(t *testing.T) {
		_, addr := serveSimulated(t, sim.Options{}, twoVersions)
		file, _, _ := writeConfig(t, addr)
		s := &site{t: t, config: file}
		s.want(exitDone, []string{"server: materialize v", "deployment shop: 0 findings"}, "check")
		checked := decode[app.Checked](t, s.want(exitDone, []string{`"findings": []`}, "check", "--output", "json", "-d", "shop"))
		if len(checked.Deployments) != 1 || checked.Deployments[0].Name != "shop" || checked.Server.Version == "" {
			t.Errorf("as JSON: %+v", checked)
		}
		s.want(exitUsage, []string{`no deployment "shoes"`}, "check", "-d", "shoes")
		s.want(exitDone, []string{"1 deployment"}, "check", "--offline")
	})
	t.Run("without a canary", func(t *testing.T) {
		_, addr := serveSimulated(t, sim.Options{}, oldVersion)
		file, _, _ := writeConfig(t, addr)
		s := &site{t: t, config: file}
		s.want(exitRefused, []string{"P01", "refuse", "prod_deploy"}, "check")
		checked := decode[app.Checked](t, s.want(exitRefused, nil, "check", "--output", "json"))
		if len(checked.Deployments) != 1 || len(checked.Deployments[0].Findings) < 2 || checked.Deployments[0].Findings[0].Code != "P01" {
			t.Errorf("as JSON: %+v", checked)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		nobody, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		file, _, _ := writeConfig(t, nobody)
		s := &site{t: t, config: file}
		s.want(exitConnect, []string{nobody, "what to do: check upstream.address"}, "check")
		if r := decode[admin.Refusal](t, s.want(exitConnect, nil, "check", "--output", "json")); r.Exit != exitConnect || r.Sentence == "" || r.Next == "" {
			t.Errorf("as JSON: %+v", r)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		_, addr := serveSimulated(t, sim.Options{Auth: sim.Auth{Kind: sim.AuthSCRAM, Passwords: map[string]string{"materialize": "right"}}}, twoVersions)
		file, _, _ := writeConfig(t, addr)
		t.Setenv("MZCANARY_PASSWORD", "hunter2")
		s := &site{t: t, config: file}
		code, out, errOut := s.run("check")
		if code != exitConnect || strings.Contains(out+errOut, "hunter2") || !strings.Contains(errOut, "password") {
			t.Errorf("exit %d: %s%s", code, out, errOut)
		}
		t.Setenv("MZCANARY_PASSWORD", "right")
		s.want(exitDone, nil, "check")
	})
}

func TestTraffic(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	s.want(exitUsage, []string{"101%"}, "traffic", "set", "101%")
	s.want(exitUsage, []string{`"lots" is not a percentage`}, "traffic", "set", "lots")
	s.want(exitUsage, []string{"no canary"}, "traffic", "set", "0%")
	s.want(exitUsage, []string{"arg"}, "traffic", "set")
	conn := s.connect(managed)
	s.want(exitDone, []string{"shop: wanted 100% on the canary"}, "traffic", "set", "100%", "--reason", "a look")
	s.await("the session is on the canary", func() bool { return answerOf(t, conn) == "new" })
	s.await("traffic show says so", func() bool {
		_, out, _ := s.run("traffic", "show")
		return strings.Contains(out, "wanted 100% on the canary, sessions 100.0%")
	})
	list := decode[[]admin.Status](t, s.want(exitDone, nil, "traffic", "show", "--output", "json"))
	if len(list) != 1 || list[0].Weight != 10000 || list[0].Reason != "a look" || !list[0].Hand {
		t.Errorf("as JSON: %+v", list)
	}
	s.want(exitRace, []string{"opened by hand"}, "rollout", "start")
	s.want(exitDone, []string{"shop: wanted 60% on the canary"}, "traffic", "set", "60%")
	s.want(exitDone, []string{"shop: ramping. The canary was opened by hand at 60% and stays there"}, "rollout", "status")
	s.want(exitDone, []string{"wanted 0%"}, "traffic", "set", "0%")
	s.await("the session is back", func() bool { return answerOf(t, conn) == "old" })
	s.want(exitUsage, []string{`no deployment "shoes"`}, "traffic", "set", "5%", "-d", "shoes")
	s.want(exitUsage, []string{`no deployment "shoes"`}, "traffic", "show", "-d", "shoes")
}

func answerOf(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var v string
	if err := conn.QueryRow(t.Context(), "SELECT version FROM answer WHERE k = 1").Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTrafficWithoutCanary(t *testing.T) {
	s := newSite(t, sim.Options{}, oldVersion)
	s.want(exitRefused, []string{"P01", "prod_deploy", "next: mzcanary check"}, "traffic", "set", "5%")
	told := s.refused(managed + " -c mzcanary.arm=canary")
	if told.Severity != "FATAL" || told.Code != "08004" || told.Message != "mzcanary: there is no canary to connect to" || told.Hint == "" {
		t.Errorf("who insists on the canary is told %+v", told)
	}
}

func TestTrafficNotReady(t *testing.T) {
	s := newSite(t, sim.Options{HydrationTime: time.Hour}, twoVersions)
	s.want(exitNotReady, []string{"not ready", "hydrat"}, "traffic", "set", "5%")
}

func TestVerbsWhenIdle(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	for _, verb := range []string{"pause", "resume", "approve", "promote", "rollback", "retry", "cleanup"} {
		s.want(exitUsage, []string{verb + " cannot be done to shop", "no rollout is running"}, "rollout", verb)
	}
	s.want(exitUsage, []string{"no rollout of shop is running"}, "rollout", "abort")
	s.want(exitUsage, []string{"rollout r000000 of shop is not the current one; there is none"}, "rollout", "rollback", "--rollout", "r000000")
	s.want(exitUsage, []string{`there is no deployment "shoes"; configured: shop`}, "rollout", "rollback", "-d", "shoes")
	s.want(exitUsage, []string{`there is no deployment "shoes"`}, "rollout", "status", "-d", "shoes")
	s.want(exitUsage, []string{`there is no deployment "shoes"`}, "rollout", "history", "-d", "shoes")
	s.want(exitUsage, []string{"no-such-plan"}, "rollout", "start", "--plan", "no-such-plan")
	s.want(exitDone, []string{"shop: idle"}, "rollout", "status")
	if r := decode[admin.Refusal](t, s.want(exitUsage, nil, "rollout", "rollback", "--output", "json")); r.Exit != exitUsage || r.Sentence == "" {
		t.Errorf("as JSON: %+v", r)
	}
	if out := s.want(exitDone, nil, "rollout", "history"); out != "" {
		t.Errorf("history of nothing: %q", out)
	}
	if out := strings.TrimSpace(s.want(exitDone, nil, "rollout", "history", "--output", "json")); out != "[]" {
		t.Errorf("history of nothing as JSON: %q", out)
	}
}

// TestVerbs goes through a rollout by hand, with every refusal on the way.
func TestVerbs(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	conn := s.connect(managed)
	answerOf(t, conn)
	s.want(exitDone, []string{"shop: "}, "rollout", "start", "--reason", "release 7")
	s.want(exitRace, []string{"is running"}, "rollout", "start")
	s.asking()
	s.want(exitHuman, []string{"no safe verdict", "next: mzcanary rollout promote --force --reason"}, "rollout", "promote")
	s.want(exitHuman, []string{"no safe verdict"}, "rollout", "promote", "--force")
	s.want(exitUsage, []string{"not the current one; that is r"}, "rollout", "approve", "--rollout", "r000000")
	s.want(exitUsage, []string{"is not paused"}, "rollout", "resume")
	s.want(exitUsage, []string{"nothing was swapped yet"}, "rollout", "cleanup")
	s.want(exitDone, []string{"paused in ramping"}, "rollout", "pause", "--reason", "lunch")
	s.want(exitUsage, []string{"paused already"}, "rollout", "pause")
	s.want(exitDone, []string{"ramping"}, "rollout", "resume")

	canary := s.connect(managed + " -c mzcanary.arm=canary")
	if v := answerOf(t, canary); v != "new" {
		t.Errorf("a test that insists on the canary reads %q", v)
	}
	seated(t, s)
	s.want(exitDone, nil, "rollout", "approve")
	s.await("step 2", func() bool { st := s.status(); return st.Step != nil && st.Step.I == 2 && st.Weight == 5000 })
	s.want(exitUsage, []string{"nothing in shop waits"}, "rollout", "approve")
	s.want(exitDone, []string{"step 2 of 3: weight 50% for 1h", "rollout r", "plan steps", "judge: "}, "rollout", "status")

	s.want(exitDone, []string{"rolling_back"}, "rollout", "rollback", "--reason", "wrong totals")
	s.await("rolled back", func() bool { st := s.status(); return st.Phase == "rolled_back" && !st.Marked })
	s.want(exitUsage, []string{"the rollout is over (rolled_back)"}, "rollout", "rollback")
	records := decode[[]admin.Record](t, s.want(exitDone, []string{"wrong totals"}, "rollout", "history", "--output", "json"))
	if len(records) != 1 || records[0].Phase != "rolled_back" || records[0].Exit != exitRolledBack || records[0].Reason != "release 7" {
		t.Errorf("history: %+v", records)
	}
	s.want(exitDone, []string{records[0].Rollout, "rolled_back", "wrong totals"}, "rollout", "history")
}

// seated: one session on each arm, one of them pinned by its own wish.
func seated(t *testing.T, s *site) {
	t.Helper()
	s.want(exitDone, []string{"app", "checkout", "127.0.0.1:", "shop", "stable", "canary", "at boundary", "live names of shop"}, "sessions", "--why")
	list := decode[[]admin.SessionInfo](t, s.want(exitDone, nil, "sessions", "--arm", "canary", "--output", "json"))
	if len(list) != 1 || list[0].Application != "checkout" || list[0].Fixed == "" || list[0].Exchanges == 0 {
		t.Errorf("canary sessions: %+v", list)
	}
	if out := s.want(exitDone, nil, "sessions", "--why"); strings.Contains(out, "; \n") {
		t.Errorf("half a reason: %s", out)
	}
	if out := s.want(exitDone, []string{"ID"}, "sessions", "--arm", "stable"); strings.Count(out, "\n") != 2 {
		t.Errorf("stable sessions: %s", out)
	}
	s.want(exitUsage, []string{"left"}, "sessions", "--arm", "left")
	s.want(exitUsage, []string{`no deployment "shoes"`}, "sessions", "-d", "shoes")
}

// promoteSQL is the transaction of the swap and what follows, as it is sent.
var promoteSQL = []string{
	`ALTER SCHEMA "materialize"."prod" SWAP WITH "prod_deploy";`,
	`ALTER CLUSTER "prod" SWAP WITH "prod_deploy";`,
	`ALTER SCHEMA "materialize"."prod_deploy" RENAME TO "prod_deploy_retired_<id>";`,
	`ALTER CLUSTER "prod_deploy" RENAME TO "prod_deploy_retired_<id>";`,
	`DROP CLUSTER "prod_deploy_retired_<id>" CASCADE;`,
	`DROP SCHEMA "materialize"."prod_deploy_retired_<id>" CASCADE;`,
}

func TestDryRun(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	before := s.sim.Revision()
	says := append([]string{"plan steps", "1. weight 0%, then a person approves within 1h", "3. promote", "promote:", "swap back:", "cleanup:"}, promoteSQL...)
	s.want(exitDone, says, "rollout", "start", "--dry-run")
	dry := decode[admin.DryRun](t, s.want(exitDone, nil, "rollout", "start", "--dry-run", "--plan", "canary-10-5m", "--output", "json"))
	if dry.Plan.Name != "canary-10-5m" || len(dry.Promote) == 0 || len(dry.SwapBack) == 0 || len(dry.Cleanup) != 2 {
		t.Errorf("as JSON: %+v", dry)
	}
	if dry.Plan.Ready.Consecutive != 2 {
		t.Errorf("a preset lost the deployment's policies: %+v", dry.Plan.Ready)
	}
	if s.sim.Revision() != before || s.status().Rollout != "" {
		t.Error("a dry run did something")
	}
}

// quickPlan is a file with a plan that promotes at once.
func quickPlan(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte("steps: [{weight: 50%, bake: 1s}, {promote: {}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestStartWait(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	before := s.sim.Revision()
	keepAsking(t, s)
	s.want(exitDone, []string{"hydrating", "ramping", "promoting", "shop: done"}, "rollout", "start", "--plan", quickPlan(t), "--wait=done")
	if s.sim.Revision() == before {
		t.Error("nothing was done")
	}
	var sent []string
	for _, e := range s.sim.AuditEvents() {
		sent = append(sent, e.EventType+" "+e.ObjectType)
	}
	for _, want := range []string{"alter schema", "alter cluster", "drop cluster", "drop schema"} {
		if !strings.Contains(strings.Join(sent, ","), want) {
			t.Errorf("no %q among %v", want, sent)
		}
	}
	s.want(exitDone, []string{"done"}, "rollout", "history")
	s.want(exitRefused, []string{"P01", "prod_deploy"}, "rollout", "start", "--wait")
	if r := s.status(); r.Phase != "refused" || r.Exit != exitRefused {
		t.Errorf("status after the refusal: %s, exit %d", r.Phase, r.Exit)
	}
}

// keepAsking keeps sessions on both arms busy until the test ends: so many that
// at 50 % no arm stays empty.
func keepAsking(t *testing.T, s *site) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{}, 20)
	for range cap(done) {
		conn := s.connect(managed)
		go func() {
			defer func() { done <- struct{}{} }()
			for ctx.Err() == nil {
				var v string
				if err := conn.QueryRow(context.WithoutCancel(ctx), "SELECT version FROM answer WHERE k = 1").Scan(&v); err != nil {
					t.Errorf("a client saw: %v", err)
					return
				}
			}
		}()
	}
	t.Cleanup(func() {
		end()
		for range cap(done) {
			<-done
		}
	})
}

// TestStartWaitEnds: the exit code tells how it ended.
func TestStartWaitEnds(t *testing.T) {
	t.Run("not ready in time", func(t *testing.T) {
		s := newSite(t, sim.Options{HydrationTime: time.Hour}, twoVersions, "--set", "deployments[0].rollout.ready.within=300ms")
		s.want(exitNotReady, []string{"not ready within 300ms", "expired"}, "rollout", "start", "--wait")
	})
	t.Run("rolled back", func(t *testing.T) {
		s := newSite(t, sim.Options{}, twoVersions)
		ended := background(t, &lockedBuffer{}, "rollout", "start", "--wait", "-c", s.config)
		s.asking()
		s.want(exitDone, nil, "rollout", "rollback")
		if code := <-ended; code != exitRolledBack {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		s := newSite(t, sim.Options{}, twoVersions)
		ctx, interrupt := context.WithCancel(t.Context())
		ended := make(chan int, 1)
		var out lockedBuffer
		go func() {
			ended <- run(ctx, []string{"rollout", "start", "--wait", "-c", s.config}, strings.NewReader(""), &out, &out)
		}()
		s.asking()
		interrupt()
		if code := <-ended; code != exitInterrupted || !strings.Contains(out.String(), "mzcanary: interrupted") {
			t.Errorf("exit %d: %s", code, &out)
		}
		if st := s.status(); st.Asked == nil {
			t.Errorf("the rollout went on or ended: %s", st.Phase)
		}
	})
	t.Run("needs a person", func(t *testing.T) {
		s := newSite(t, sim.Options{}, twoVersions, "--set", "deployments[0].rollout.plan={steps: [{weight: 0, approve: {within: 100ms}}, {promote: {}}]}")
		s.want(exitHuman, []string{"paused in ramping", "next: "}, "rollout", "start", "--wait")
	})
}

func TestStatusWatch(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var out lockedBuffer
	go func() {
		ended <- run(ctx, []string{"rollout", "status", "--watch", "-c", s.config}, strings.NewReader(""), &out, &out)
	}()
	s.await("the first status", func() bool { return strings.Contains(out.String(), "shop: idle") })
	s.want(exitDone, nil, "rollout", "start")
	s.await("the change is shown", func() bool { return strings.Contains(out.String(), "shop: ramping") })
	interrupt()
	if code := <-ended; code != exitInterrupted {
		t.Errorf("exit %d: %s", code, &out)
	}
}

func TestSimulate(t *testing.T) {
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	out := &lockedBuffer{}
	ended := background(t, out, "simulate", "--listen", addr)
	s := &site{t: t, proxy: addr}
	s.await("it says where it listens", func() bool { return strings.Contains(out.String(), "simulated Materialize on "+addr) })
	for options, want := range map[string]string{managed: "old", "-c search_path=prod_deploy -c cluster=prod_deploy": "new"} {
		if v := answerOf(t, s.connect(options)); v != want {
			t.Errorf("%s reads %q", options, v)
		}
	}
	if code, _, errOut := runProgram(t, patience, "simulate", "--listen", addr); code != exitUsage || !strings.Contains(errOut, "--listen") {
		t.Errorf("a second one: exit %d, %s", code, errOut)
	}
	select {
	case code := <-ended:
		t.Errorf("ended with %d", code)
	default:
	}
}

// TestServeTwice: the second is told who holds the state directory.
func TestServeTwice(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	s.want(exitUsage, []string{"state directory is in use", "is held by process"}, "serve")
}
