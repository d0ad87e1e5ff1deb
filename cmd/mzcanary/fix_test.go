package main

import (
	"context"
	"strings"
	"testing"

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
