package mz

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/sim"
)

// resolved waits until the session of a lost transaction has left the server.
func (sh *shopOn) resolved(backend deploy.Backend) {
	sh.t.Helper()
	ctx := within(sh.t, time.Minute)
	for {
		gone, err := sh.w.BackendGone(ctx, backend)
		if err != nil {
			sh.t.Fatal(err)
		}
		if gone {
			return
		}
	}
}

func (sh *shopOn) committed(statements []string) {
	sh.t.Helper()
	p, err := sh.w.Prepare(within(sh.t, time.Minute), statements)
	if err != nil {
		sh.t.Fatal(err)
	}
	if got, err := p.Commit(within(sh.t, time.Minute)); got != deploy.Done {
		sh.t.Fatalf("%s, %v", got, err)
	}
}

func TestSwapFenceAndBack(t *testing.T) {
	sh := newShop(startServer(t))
	before := sh.ids() // schema live, deploy, cluster live, deploy
	if len(before) != 4 {
		t.Fatalf("names %v", before)
	}
	p := sh.prepared(true)
	if now := sh.ids(); !slices.Equal(now, before) {
		t.Errorf("visible before COMMIT: %v", now)
	}
	if gone, err := sh.w.BackendGone(within(t, time.Minute), p.Backend()); err != nil || gone {
		t.Errorf("the open transaction's session is gone: %v, %v", gone, err)
	}
	reused := deploy.Backend{Number: p.Backend().Number, Session: "of a lost session"}
	if gone, err := sh.w.BackendGone(within(t, time.Minute), reused); err != nil || !gone || p.Backend().Session == "" {
		t.Errorf("the session %v has the number of a lost one, which is gone: %v, %v", p.Backend(), gone, err)
	}
	if got, err := p.Commit(within(t, time.Minute)); got != deploy.Done {
		t.Fatalf("%s, %v", got, err)
	}
	retired := sh.next + "_retired_r1"
	names := append(refsOf(sh.spec), deploy.Ref{Kind: deploy.KindSchema, Name: retired}, deploy.Ref{Kind: deploy.KindCluster, Name: retired})
	after, err := sh.w.Identify(within(t, time.Minute), sh.spec.Database, names)
	if err != nil || len(after) != 4 {
		t.Fatalf("after the swap %v, %v", after, err)
	}
	wantIDs := []string{before[1].ID, before[3].ID, before[0].ID, before[2].ID} // live schema, live cluster, retired ones
	for i, ref := range after {
		if ref.ID != wantIDs[i] {
			t.Errorf("%s %s is %s, want %s", ref.Kind, ref.Name, ref.ID, wantIDs[i])
		}
	}
	if got := sh.value("SELECT version FROM " + sh.live + ".answer WHERE k = 1"); got != "new" {
		t.Errorf("production reads %q", got)
	}
	schema := sh.dialectSchema
	sh.committed([]string{
		"ALTER SCHEMA " + schema(sh.live) + " SWAP WITH " + quoteIdent(retired), "ALTER CLUSTER " + quoteIdent(sh.live) + " SWAP WITH " + quoteIdent(retired),
		"ALTER SCHEMA " + schema(retired) + " RENAME TO " + quoteIdent(sh.next), "ALTER CLUSTER " + quoteIdent(retired) + " RENAME TO " + quoteIdent(sh.next),
	})
	if now := sh.ids(); !slices.Equal(now, before) {
		t.Errorf("after swapping back %v, before %v", now, before)
	}
}

func TestConflicts(t *testing.T) {
	sh := newShop(startServer(t))
	before := sh.ids()
	p := sh.prepared(false)
	sh.run("CREATE VIEW REPORTS.noise AS SELECT 1 AS a")
	got, err := p.Commit(within(t, time.Minute))
	if got != deploy.NotDone {
		t.Fatalf("%s, %v", got, err)
	}
	mustBe(t, err, deploy.ErrConflict)
	if now := sh.ids(); !slices.Equal(now, before) {
		t.Errorf("names moved: %v", now)
	}
	_, err = sh.w.Prepare(within(t, time.Minute), []string{sh.swap(false)[0], "ALTER SCHEMA " + sh.dialectSchema("nope") + " RENAME TO x"})
	if err == nil || !strings.Contains(err.Error(), "unknown schema") {
		t.Errorf("a missing schema: %v", err)
	}
	sh.committed(sh.swap(false)) // and the connection is good for the next
}

func TestConflictOrdered(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	sh.sim.Faults().FailDDLCommits(2)
	for range 2 {
		got, err := sh.prepared(false).Commit(within(t, time.Minute))
		if got != deploy.NotDone {
			t.Fatalf("%s, %v", got, err)
		}
		mustBe(t, err, deploy.ErrConflict)
	}
	sh.committed(sh.swap(false))
}

// A barrier of another session makes an open swap fail, and leaves the comment as it
// was.
func TestBarrier(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("COMMENT ON SCHEMA LIVE IS 'mine'")
	ids := sh.ids()
	for _, on := range []deploy.Ref{ids[0], ids[2], {Kind: deploy.KindSchema, Name: sh.live}} {
		p := sh.prepared(false)
		if err := sh.warehouse().Barrier(within(t, time.Minute), sh.spec.Database, on); err != nil {
			t.Fatal(err)
		}
		got, err := p.Commit(within(t, time.Minute))
		if got != deploy.NotDone {
			t.Fatalf("%s, %v", got, err)
		}
		mustBe(t, err, deploy.ErrConflict)
	}
	all, err := sh.w.comments(within(t, time.Minute), sh.spec.Database, false)
	if err != nil || !containsComment(all, sh.live, "mine") {
		t.Errorf("comments %v, %v", all, err)
	}
	moved := deploy.Ref{Kind: deploy.KindSchema, Name: sh.live, ID: ids[1].ID}
	mustBe(t, sh.w.Barrier(within(t, time.Minute), sh.spec.Database, moved), deploy.ErrChanged)
}

// The two ways a COMMIT's answer is lost look the same here, and the server knows.
func TestUnknownOutcomeIsResolvedByIds(t *testing.T) {
	for _, c := range []struct {
		name    string
		cut     sim.CommitCut
		swapped bool
	}{{"lost before it was applied", sim.CutBeforeApply, false}, {"only the answer lost", sim.CutAfterApply, true}} {
		t.Run(c.name, func(t *testing.T) {
			sh := newShop(needSimulator(t, sim.Options{}))
			before := sh.ids()
			sh.sim.Faults().CutAtCommit(1, c.cut)
			p := sh.prepared(false)
			got, err := p.Commit(within(t, time.Minute))
			if got != deploy.Unknown {
				t.Fatalf("%s, %v", got, err)
			}
			sh.resolved(p.Backend())
			on := before[0]
			if c.swapped {
				on.ID = before[1].ID
			}
			now := sh.ids()
			if swapped := now[0].ID == before[1].ID && now[2].ID == before[3].ID; swapped != c.swapped {
				t.Errorf("swapped %v, want %v", swapped, c.swapped)
			}
			if err := sh.w.Barrier(within(t, time.Minute), sh.spec.Database, now[0]); err != nil {
				t.Fatal(err)
			}
			if now[0] != on {
				t.Errorf("live schema is %v, want %v", now[0], on)
			}
			if again := sh.ids(); !slices.Equal(again, now) {
				t.Errorf("names moved after the barrier: %v, before %v", again, now)
			}
		})
	}
}

// A COMMIT that is still executing when we give up is ended by the cut, or has
// happened: after the session's end the ids say which.
func TestCommitThatHangs(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	before := sh.ids()
	sh.sim.Faults().Delay(commitPattern(), time.Minute)
	p := sh.prepared(false)
	got, err := p.Commit(within(t, 100*time.Millisecond))
	if got != deploy.Unknown {
		t.Fatalf("%s, %v", got, err)
	}
	sh.sim.Faults().ClearDelays()
	sh.resolved(p.Backend())
	if err := sh.w.Barrier(within(t, time.Minute), sh.spec.Database, before[0]); err != nil {
		t.Fatal(err)
	}
	if now := sh.ids(); !slices.Equal(now, before) {
		t.Errorf("the swap happened although its session was canceled: %v", now)
	}
}

func TestDropIsGuardedByID(t *testing.T) {
	sh := newShop(startServer(t))
	before := sh.ids()
	sh.committed(sh.swap(false))
	// Without a fence the deploy names are the old version now: the recorded ids of
	// the new version must not be dropped under them.
	for _, wrong := range []deploy.Ref{before[1], before[3], {Kind: deploy.KindSchema, Name: sh.next}} {
		mustBe(t, sh.w.Drop(within(t, time.Minute), sh.spec.Database, wrong), deploy.ErrChanged)
	}
	old := []deploy.Ref{{Kind: deploy.KindCluster, Name: sh.next, ID: before[2].ID}, {Kind: deploy.KindSchema, Name: sh.next, ID: before[0].ID}}
	for range 2 {
		for _, ref := range old {
			if err := sh.w.Drop(within(t, time.Minute), sh.spec.Database, ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	now := sh.ids()
	if len(now) != 2 || now[0].ID != before[1].ID || now[1].ID != before[3].ID {
		t.Errorf("left are %v", now)
	}
	if got := sh.value("SELECT version FROM " + sh.live + ".answer WHERE k = 1"); got != "new" {
		t.Errorf("production reads %q", got)
	}
	if got := sh.value("SELECT count(*)::text FROM " + sh.data + ".base"); got != "2" {
		t.Errorf("the table beside has %s rows", got)
	}
}

func TestDependentsOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	ids := sh.ids()
	old := []deploy.Ref{ids[0], ids[2]}
	ask := func(refs []deploy.Ref) (got []string) {
		t.Helper()
		list, err := sh.w.Dependents(within(t, time.Minute), sh.spec.Database, refs)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			got = append(got, sh.plain(d.Kind+" "+d.Name+": "+d.Reason))
		}
		return got
	}
	want(t, ask(old))
	sh.run("CREATE VIEW REPORTS.daily AS SELECT version, n FROM LIVE.total", "CREATE INDEX daily_idx IN CLUSTER LIVE ON REPORTS.daily (n)",
		"CREATE VIEW REPORTS.deep AS SELECT n FROM REPORTS.daily", "CREATE VIEW REPORTS.fine AS SELECT k FROM DATA.base")
	want(t, ask(old),
		"view REPORTS.daily: it depends on materialized view LIVE.total",
		"index REPORTS.daily_idx: it runs on cluster LIVE",
		"view REPORTS.deep: it depends on materialized view LIVE.total")
	want(t, ask([]deploy.Ref{ids[1], ids[3]}))
}

func TestMarksOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("COMMENT ON SCHEMA LIVE IS 'the shop''s \"data\"'")
	ids := sh.ids()
	var marks []deploy.Mark
	for i, ref := range ids {
		marks = append(marks, deploy.Mark{Ref: ref, Rollout: "r1", Phase: "ramping", Spec: "shop", Side: []string{"old", "new"}[i%2]})
	}
	read := func() []deploy.Mark {
		t.Helper()
		found, err := sh.w.Marks(within(t, time.Minute), sh.spec)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(found, func(a, b deploy.Mark) int {
			return slices.IndexFunc(ids, func(r deploy.Ref) bool { return r.ID == a.Ref.ID && r.Kind == a.Ref.Kind }) -
				slices.IndexFunc(ids, func(r deploy.Ref) bool { return r.ID == b.Ref.ID && r.Kind == b.Ref.Kind })
		})
		return found
	}
	if err := sh.w.Mark(within(t, time.Minute), sh.spec.Database, marks); err != nil {
		t.Fatal(err)
	}
	if got := read(); !slices.Equal(got, marks) {
		t.Errorf("marks %v, want %v", got, marks)
	}
	want(t, sh.found(sh.w, sh.spec)) // our own rollout's
	other, err := sh.w.Preflight(within(t, time.Minute), sh.spec, "r2")
	if err != nil || len(other) != 4 || other[0].Code != "P14" {
		t.Errorf("another rollout finds %v, %v", shown(other), err)
	}

	// Marks stay with contents, through the swap and under the retired names.
	sh.committed(sh.swap(true))
	moved := read()
	if len(moved) != 4 || moved[0].Side != "old" || moved[0].Ref.Name != sh.next+"_retired_r1" || moved[1].Ref.Name != sh.live {
		t.Errorf("after the swap %v", moved)
	}
	mustBe(t, sh.w.Mark(within(t, time.Minute), sh.spec.Database, marks[:1]), deploy.ErrChanged)

	var refs []deploy.Ref
	for _, m := range moved {
		refs = append(refs, m.Ref)
	}
	refs = append(refs, deploy.Ref{Kind: deploy.KindSchema, Name: "gone_" + sh.suffix, ID: "u1"})
	if err := sh.w.Unmark(within(t, time.Minute), sh.spec.Database, refs); err != nil {
		t.Fatal(err)
	}
	all, err := sh.w.comments(within(t, time.Minute), sh.spec.Database, false)
	if err != nil || !containsComment(all, sh.next+"_retired_r1", `the shop's "data"`) {
		t.Errorf("comments %v, %v", all, err)
	}
	// Without marks the retired names still say whose they are.
	if got := read(); len(got) != 2 || got[0].Phase != "" || got[0].Rollout != "r1" || got[0].Side != "old" || got[0].Ref != moved[0].Ref && got[0].Ref != moved[2].Ref {
		t.Errorf("after the marks were removed: %v", got)
	}
	for _, c := range all {
		if strings.Contains(c.ref.Name, sh.suffix) && strings.Contains(c.text, "mzcanary") {
			t.Errorf("left in the comment of %s: %q", c.ref.Name, c.text)
		}
	}
}

func TestObjectPairs(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("CREATE VIEW REPORTS.bids AS SELECT k FROM DATA.base", "CREATE VIEW REPORTS.bids_next AS SELECT k FROM DATA.base")
	spec := sh.spec
	spec.Objects = []deploy.ObjectPair{{Type: "view", Live: sh.reports + ".bids", Deploy: sh.reports + ".bids_next"}}
	want(t, sh.found(sh.w, spec))
	missing := spec
	missing.Objects = []deploy.ObjectPair{{Type: "view", Live: sh.reports + ".bids", Deploy: sh.reports + ".nope"}}
	want(t, sh.found(sh.w, missing), "P01 refuse object REPORTS.nope")

	refs, err := sh.w.Identify(within(t, time.Minute), spec.Database, []deploy.Ref{
		{Kind: deploy.KindObject, Type: "view", Name: sh.reports + ".bids"}, {Kind: deploy.KindObject, Name: sh.reports + ".bids_next"}})
	if err != nil || len(refs) != 2 || refs[0].Type != "view" {
		t.Fatalf("%v, %v", refs, err)
	}
	mark := deploy.Mark{Ref: refs[1], Rollout: "r1", Phase: "ramping", Spec: "shop", Side: "new"}
	if err := sh.w.Mark(within(t, time.Minute), spec.Database, []deploy.Mark{mark}); err != nil {
		t.Fatal(err)
	}
	if got, err := sh.w.Marks(within(t, time.Minute), spec); err != nil || len(got) != 1 || got[0].Ref.ID != refs[1].ID {
		t.Errorf("%v, %v", got, err)
	}
	if err := sh.w.Unmark(within(t, time.Minute), spec.Database, refs); err != nil {
		t.Fatal(err)
	}
	wrong := refs[0]
	wrong.ID = refs[1].ID
	mustBe(t, sh.w.Drop(within(t, time.Minute), spec.Database, wrong), deploy.ErrChanged)
	for range 2 {
		if err := sh.w.Drop(within(t, time.Minute), spec.Database, refs[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionsOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	ids := sh.ids()
	other := sh.connect(sh.user, "cluster", sh.live, "search_path", quoteIdent(sh.live))
	before, err := sh.w.Foreign(within(t, time.Minute), nil)
	if err != nil || before[sh.user] == 0 {
		t.Fatalf("foreign sessions %v, %v", before, err)
	}
	after, err := sh.w.Foreign(within(t, time.Minute), []uint32{other.PID()})
	if err != nil || after[sh.user] != before[sh.user]-1 {
		t.Errorf("without ours %v, with it %v, %v", after, before, err)
	}
	ask := func(ours ...uint32) int {
		t.Helper()
		list, err := sh.w.Subscriptions(within(t, time.Minute), []deploy.Ref{ids[2]}, ours)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if ask() != 0 {
		t.Error("a subscription before there is one")
	}
	sh.on(other, "BEGIN")
	sh.on(other, "DECLARE c CURSOR FOR SUBSCRIBE total")
	sh.on(other, "FETCH 1 c")
	if ask() != 1 || ask(other.PID()) != 0 {
		t.Errorf("%d subscriptions, %d without ours", ask(), ask(other.PID()))
	}
	list, err := sh.w.Subscriptions(within(t, time.Minute), []deploy.Ref{ids[3]}, nil)
	if err != nil || len(list) != 0 {
		t.Errorf("on the other cluster %v, %v", list, err)
	}
}

func TestServerRestart(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	first, err := sh.w.Server(within(t, time.Minute))
	if err != nil || first.Version != sim.DefaultVersion || first.Started.IsZero() {
		t.Fatalf("%+v, %v", first, err)
	}
	ids := sh.ids()
	p := sh.prepared(false)
	sh.sim.Faults().Restart()
	got, err := p.Commit(within(t, time.Minute))
	if got != deploy.NotDone || err == nil {
		t.Errorf("a COMMIT on a connection cut before: %s, %v", got, err)
	}
	again, err := sh.w.Server(within(t, time.Minute))
	if err != nil || !again.Started.After(first.Started) {
		t.Errorf("started %s, before %s, %v", again.Started, first.Started, err)
	}
	if now := sh.ids(); !slices.Equal(now, ids) {
		t.Errorf("names moved: %v", now)
	}
	sh.committed(sh.swap(false))
}

func TestClustersOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	ids := sh.ids()
	ask := func(refs ...deploy.Ref) []deploy.StandbyCluster {
		t.Helper()
		list, err := sh.w.Clusters(within(t, time.Minute), refs)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	one := deploy.StandbyCluster{ID: ids[2].ID, Name: ids[2].Name, Size: sh.size, Replicas: 1}
	if got := ask(ids[0], ids[2]); !slices.Equal(got, []deploy.StandbyCluster{one}) {
		t.Errorf("%+v, want %+v", got, one)
	}
	sh.run("ALTER CLUSTER LIVE SET (REPLICATION FACTOR 2)")
	if got := ask(ids[2]); len(got) != 1 || got[0].Replicas != 2 || got[0].Size != sh.size {
		t.Errorf("with two replicas %+v", got)
	}
	sh.run("ALTER CLUSTER LIVE SET (REPLICATION FACTOR 0)")
	if got := ask(ids[2]); len(got) != 1 || got[0].Replicas != 0 || got[0].Size != "" {
		t.Errorf("without replicas %+v", got)
	}
	if got := ask(ids[0], deploy.Ref{Kind: deploy.KindCluster, Name: ids[2].Name, ID: "u999999"}); got != nil {
		t.Errorf("of a schema and a cluster that is gone: %+v", got)
	}
}
