package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/admin"
)

func TestOldVersionInWords(t *testing.T) {
	swapped := time.Date(2026, 7, 1, 9, 30, 0, 0, time.Local)
	after := &admin.AfterStatus{Swapped: swapped, Notified: 12, Standby: &admin.Standby{
		Clusters: []admin.StandbyCluster{
			{ID: "u3", Name: "prod_deploy_retired_r1", Size: "25cc", Replicas: 2, Since: swapped},
			{ID: "u4", Name: "serve_deploy_retired_r1", Since: swapped}},
		Dependents: []admin.Dependent{{Kind: "view", Name: "reports.daily", Reason: "it depends on view prod.answer"}},
		Unseen:     "something: permission denied",
	}}
	for i := range 12 {
		after.Old = append(after.Old, admin.Straggler{ID: fmt.Sprintf("s%d", i), User: "app", Application: "dash", Client: "10.0.0.7:5000", Statement: "SUBSCRIBE",
			Age: 90 * time.Second, Why: "a SUBSCRIBE that was planned already runs on"})
	}
	after.Others = []admin.Dependent{{Kind: "subscription", Name: "bob", Reason: "role bob subscribes"}}
	var out bytes.Buffer
	if err := (&program{out: &out, output: "text"}).printStatus(admin.Status{Deployment: "shop", Phase: "blocked", Under: "draining", After: after}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  after the swap: window 0s of 0s, drained 0s of 0s, 12 sessions still on the old version, 12 told so, 0 of 0 dropped",
		"  still on the old version: s9 of app (dash) at 10.0.0.7:5000: SUBSCRIBE for 1m30s: a SUBSCRIBE that was planned already runs on",
		"  still on the old version: and 2 more",
		"  not through this proxy, on the old version: subscription bob: role bob subscribes",
		"  in the way of the drop: view reports.daily: it depends on view prod.answer",
		"  still running: cluster prod_deploy_retired_r1, 2 replicas of size 25cc, only standing by since 2026-07-01 09:30:00",
		"  still running: cluster serve_deploy_retired_r1, 0 replicas, only standing by since 2026-07-01 09:30:00",
		"  could not be read: something: permission denied",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
	if strings.Contains(out.String(), "s10 of") {
		t.Errorf("more than %d by name:\n%s", maxNamed, out.String())
	}
}
