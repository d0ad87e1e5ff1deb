package main

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/app"
	"mzcanary/internal/sim"
)

// withoutRights is two versions of which reader may use only the old one.
func withoutRights(ctx context.Context, s *sim.Server) error {
	if err := twoVersions(ctx, s); err != nil {
		return err
	}
	return s.Exec(ctx, `CREATE ROLE reader;
REVOKE USAGE ON SCHEMA prod_deploy FROM PUBLIC;
GRANT USAGE ON SCHEMA prod TO reader;
REVOKE USAGE ON SCHEMA prod FROM PUBLIC;`)
}

const missingRight = `GRANT USAGE ON SCHEMA "materialize"."prod_deploy" TO "reader"`

func TestCheckFix(t *testing.T) {
	_, addr := serveSimulated(t, sim.Options{}, withoutRights)
	file, _, _ := writeConfig(t, addr)
	s := &site{t: t, config: file}
	s.want(exitRefused, []string{"P11", missingRight}, "check")
	s.want(exitUsage, nil, "check", "--fix", "--offline")
	code, out, errOut := s.run("check", "--fix", "--output", "json")
	checked := decode[app.Checked](t, out)
	if code != exitDone || len(checked.Deployments[0].Findings) != 0 || len(checked.Deployments[0].Fixed) != 1 || checked.Deployments[0].Fixed[0].Text != missingRight {
		t.Errorf("exit %d: %s", code, out)
	}
	if !strings.Contains(errOut, missingRight) || !strings.Contains(errOut, "outside of any rollout") {
		t.Errorf("said %s", errOut)
	}
	s.want(exitDone, []string{"0 findings"}, "check", "--fix")
}

func TestCheckPrintsConnectionFindings(t *testing.T) {
	var out strings.Builder
	p := &program{out: &out}
	if err := p.printChecked(&app.Checked{Connection: []app.ConnectionFinding{{
		Code: "C01", Severity: "warn", Object: "upstream.tls.mode", Sentence: "this is so", Remedies: []string{"do this", "do that"},
	}}}); err != nil {
		t.Fatal(err)
	}
	if want := "  C01 warn   upstream.tls.mode: this is so\n      or: do this\n      or: do that\n"; !strings.Contains(out.String(), want) {
		t.Errorf("printed %q, want %q", &out, want)
	}
}

// A right that a rollout gave goes away again with its rollback.
func TestStartFix(t *testing.T) {
	s := newSite(t, sim.Options{}, withoutRights)
	s.want(exitRefused, []string{"P11"}, "rollout", "start", "--wait")
	s.want(exitDone, []string{missingRight}, "rollout", "start", "--fix")
	s.asking()
	s.want(exitDone, []string{"right given by this rollout: " + missingRight}, "rollout", "status")
	s.want(exitDone, []string{"P14 info", "rollout status"}, "check", "--fix")
	if err := s.sim.Exec(t.Context(), "REVOKE USAGE ON SCHEMA prod_deploy FROM reader"); err != nil {
		t.Fatal(err)
	}
	s.want(exitRace, []string{"a rollout owns it"}, "check", "--fix")
	s.want(exitDone, nil, "rollout", "rollback")
	s.await("over", func() bool { now := s.status(); return now.Phase == "rolled_back" && !now.Marked })
	s.want(exitRefused, []string{"P11", missingRight}, "check")
}

// TestCheckBesideItsOwnRollout: marks that this deployment's rollout made are no
// reason to take over, whether the journal or the running serve says whose they are;
// those of anybody else are.
func TestCheckBesideItsOwnRollout(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions, "--set", "deployments.0.window.for=1h")
	s.want(exitDone, nil, "rollout", "start")
	s.asking()
	elsewhere := "state.dir=" + t.TempDir() // without the journal
	nobody, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	unreachable := "admin.address=" + nobody
	for _, from := range [][]string{{"--set", unreachable}, {"--set", elsewhere}} {
		out := s.want(exitDone, []string{"P14 info", "`mzcanary rollout status`"}, append([]string{"check"}, from...)...)
		if strings.Contains(out, "take-over") {
			t.Errorf("%v: %s", from, out)
		}
	}
	s.want(exitRefused, []string{"P14 refuse", "take over"}, "check", "--set", elsewhere, "--set", unreachable)
	s.want(exitDone, nil, "rollout", "promote", "--force", "--reason", "test")
	s.await("in the window", func() bool { return s.status().Phase == "window" })
	if out := s.want(exitRefused, []string{"P15 info", "keeps a version there"}, "check"); strings.Contains(out, "DROP") || strings.Contains(out, "take-over") {
		t.Errorf("%s", out)
	}
}

// TestCheckAsksWhoGoesPastTheProxy: check prints the list that a rollout's start looks
// at, and says when part of it could not be seen.
func TestCheckAsksWhoGoesPastTheProxy(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	past, err := pgx.Connect(t.Context(), "postgres://bi@"+s.server+"/materialize?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close(t.Context())
	s.want(exitDone, []string{"P19 warn", "role bi", "1 session did not come through this proxy"}, "check")
	nobody, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	if out := s.want(exitDone, []string{"not looked at: sessions that go past the proxy (P19)"}, "check", "--set", "admin.address="+nobody); strings.Contains(out, "role bi") {
		t.Errorf("%s", out)
	}
}
