package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// TestStatusOfAnUnusableJournal: the versions have names all the same, and what to do
// is not called a command when it is none.
func TestStatusOfAnUnusableJournal(t *testing.T) {
	_, addr := serveSimulated(t, sim.Options{}, twoVersions)
	file, _, adminAddr := writeConfig(t, addr)
	state := filepath.Join(filepath.Dir(file), "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "shop.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, config: file, errOut: &lockedBuffer{}}
	background(t, s.errOut, "serve", "-c", file)
	c := admin.NewClient(adminAddr)
	s.await("standing aside", func() bool {
		status, err := c.Status(t.Context(), "shop")
		return err == nil && status.Phase == "blocked"
	})
	out := s.want(exitDone, []string{"shop.json", "stable (prod) has 0 sessions, canary (prod_deploy) has 0 sessions", "what to do: put back a good copy"}, "rollout", "status")
	if strings.Contains(out, "next: ") || strings.Contains(out, ";  has") {
		t.Errorf("%s", out)
	}
}

func TestReadinessInWords(t *testing.T) {
	for _, c := range []struct {
		good int
		want string
	}{{1, "readiness: 2/2 hydrated, 1 good sample in a row of 2 needed: lag is 3s"}, {12, "readiness: 2/2 hydrated, 12 good samples in a row, 2 were needed"}} {
		var out bytes.Buffer
		s := admin.Status{Deployment: "shop", Phase: "ramping", Ready: &admin.ReadyStatus{Good: c.good, Of: 2}}
		s.Ready.Hydrated, s.Ready.Total = 2, 2
		if c.good == 1 {
			s.Ready.Why = "lag is 3s"
		}
		if err := (&program{out: &out, output: "text"}).printStatus(s); err != nil || !strings.Contains(out.String(), c.want+"\n") {
			t.Errorf("%v: no %q in %s", err, c.want, out.String())
		}
	}
}
