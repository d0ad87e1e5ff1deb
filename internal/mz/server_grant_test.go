package mz

import (
	"slices"
	"testing"
	"time"

	"mzcanary/deploy"
)

// TestGrantOnServer finds missing rights, gives them, finds nothing, moves the names
// by a swap, and takes the rights back from the contents that had got them.
func TestGrantOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("CREATE ROLE app_SUFFIX", "GRANT USAGE ON SCHEMA LIVE TO app_SUFFIX", "GRANT USAGE ON CLUSTER LIVE TO PUBLIC", "GRANT SELECT ON LIVE.total TO app_SUFFIX")
	missing := func() []deploy.Grant {
		findings, err := sh.w.Preflight(within(t, time.Minute), sh.spec, "r1")
		if err != nil {
			t.Fatal(err)
		}
		return deploy.Remedies(findings)
	}
	grants := missing()
	var texts []string
	for _, g := range grants {
		texts = append(texts, sh.plain(g.Text))
	}
	want(t, texts, `GRANT USAGE ON CLUSTER "NEXT" TO PUBLIC`, `GRANT SELECT ON TABLE "DB"."NEXT"."total" TO "app_SUFFIX"`, `GRANT USAGE ON SCHEMA "DB"."NEXT" TO "app_SUFFIX"`)
	done, err := sh.w.Grant(within(t, time.Minute), sh.database, grants)
	if err != nil || done != len(grants) {
		t.Fatalf("%d given, %v", done, err)
	}
	if left := missing(); len(left) != 0 {
		t.Fatalf("still missing: %+v", left)
	}

	p := sh.prepared(true)
	if outcome, err := p.Commit(within(t, time.Minute)); outcome != deploy.Done {
		t.Fatal(outcome, err)
	}
	if _, err := sh.w.Grant(within(t, time.Minute), sh.database, grants); err == nil {
		t.Error("rights were given on names that stand for something else")
	}
	slices.Reverse(grants)
	if err := sh.w.Revoke(within(t, time.Minute), sh.database, grants); err != nil {
		t.Fatal(err)
	}
	// The new version, now live, has lost them; the old one, retired, kept its own.
	back := sh.spec
	back.Schemas = addPair(back.Schemas[:0:0], sh.next+"_retired_r1", sh.live)
	back.Clusters = addPair(back.Clusters[:0:0], sh.next+"_retired_r1", sh.live)
	findings, err := sh.w.Preflight(within(t, time.Minute), back, "r2")
	if err != nil {
		t.Fatal(err)
	}
	if left := deploy.Remedies(findings); len(left) != 3 {
		t.Errorf("%d rights are missing on the new version, want the three that were taken back: %+v", len(left), left)
	}
	// Taking them back twice, or from what is gone, changes nothing.
	grants[0].On.ID = "u999999"
	if err := sh.w.Revoke(within(t, time.Minute), sh.database, grants); err != nil {
		t.Error(err)
	}
}
