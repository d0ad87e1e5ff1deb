package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// TestPasswordIsRotatedWithAnUpgrade: the server comes back as another version and
// wants another password. The program says what to correct, reads the file again by
// itself, and goes on when the new server has proven itself.
func TestPasswordIsRotatedWithAnUpgrade(t *testing.T) {
	server := simulated(t, sim.Options{Version: "v26.4.0", Auth: sim.Auth{Kind: sim.AuthSCRAM, Passwords: map[string]string{"materialize": "first"}}})
	addr := serveSim(t, server, "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	p := start(t, configure(t, addr, "control.password_file="+file,
		"deployments[0].rollout.plan={steps: [{weight: 0, approve: {within: 1h}}, {promote: {}}]}"))
	p.controlled()
	s, err := p.client.Start(within(t), "shop", admin.StartRequest{Who: "test"})
	if err != nil {
		t.Fatal(err)
	}
	p.await("asking", func(s admin.Status) bool { return s.Asked != nil })

	server.Faults().SetPassword("materialize", "second")
	server.Faults().Upgrade("v26.33.0")
	told := p.await("told", func(s admin.Status) bool { return strings.Contains(s.DownWhy, "invalid password") })
	if !strings.Contains(told.Sentence, "The server cannot be asked since") || !strings.Contains(told.Sentence, "28P01") {
		t.Errorf("the status says %s", told.Sentence)
	}
	write("second")
	p.await("upgraded", func(s admin.Status) bool { return s.Server.Version == "v26.33.0" && s.Down.IsZero() })
	now := p.await("well again", func(s admin.Status) bool { return s.Phase == deploy.PhaseRamping && s.Stop == nil && s.Ready.Good >= 2 })
	var heard []string
	for _, e := range now.Events {
		heard = append(heard, e.What)
	}
	if all := strings.Join(heard, ", "); !strings.Contains(all, "paused: upstream") || !strings.Contains(all, "goes on: ramping") {
		t.Errorf("what happened: %s", all)
	}
	if _, err := p.client.Do(within(t), "shop", deploy.VerbApprove, admin.Request{Who: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, exit, err := p.client.Wait(within(t), "shop", s.Rollout, deploy.UntilDone); exit != deploy.ExitDone || err != nil {
		t.Errorf("ended with exit %d, %v", exit, err)
	}
}
