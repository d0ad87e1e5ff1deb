package mz

import (
	"slices"
	"strings"
	"testing"

	"mzcanary/deploy"
	"mzcanary/internal/sim"
)

// TestPreflightOnServer creates each fault, finds it, removes it, and finds nothing.
func TestPreflightOnServer(t *testing.T) {
	sh := newShop(startServer(t))
	want(t, sh.found(sh.w, sh.spec))
	cases := []struct {
		name     string
		do, undo []string
		spec     func(*deploy.Spec)
		want     []string
		mayAlso  string // what some versions of the server find besides
	}{
		{name: "P01", spec: func(s *deploy.Spec) {
			s.Schemas = addPair(s.Schemas, "nope_"+sh.suffix, "nope_"+sh.suffix+"_next")
			s.Clusters = addPair(s.Clusters, "nope_"+sh.suffix, "nope_"+sh.suffix+"_next")
		}, want: []string{"P01 refuse cluster nope_SUFFIX", "P01 refuse cluster nope_SUFFIX_next", "P01 refuse schema nope_SUFFIX", "P01 refuse schema nope_SUFFIX_next"}},
		{name: "P01 database", spec: func(s *deploy.Spec) { s.Database = "nope_" + sh.suffix }, want: []string{"P01 refuse database nope_SUFFIX"}},
		{name: "P02", spec: func(s *deploy.Spec) { s.Schemas = addPair(s.Schemas, sh.reports, sh.next) }, want: []string{"P02 refuse schema NEXT"}},
		{name: "P04", do: []string{"CREATE VIEW NEXT.bad AS SELECT version FROM LIVE.total"}, undo: []string{"DROP VIEW NEXT.bad"},
			want: []string{"P04 refuse view NEXT.bad", "P08 warn view NEXT.bad"}},
		{name: "P04 through a third", do: []string{"CREATE VIEW REPORTS.middle AS SELECT version FROM LIVE.total", "CREATE VIEW NEXT.bad AS SELECT version FROM REPORTS.middle"},
			undo: []string{"DROP VIEW NEXT.bad", "DROP VIEW REPORTS.middle"},
			want: []string{"P04 refuse view NEXT.bad", "P05 refuse view REPORTS.middle", "P08 warn view NEXT.bad"}},
		{name: "P05", do: []string{"CREATE VIEW REPORTS.daily AS SELECT version, n FROM LIVE.total", "CREATE VIEW REPORTS.deep AS SELECT n FROM REPORTS.daily"},
			undo: []string{"DROP VIEW REPORTS.deep", "DROP VIEW REPORTS.daily"}, want: []string{"P05 refuse view REPORTS.daily", "P05 refuse view REPORTS.deep"}},
		{name: "P05 accepted", do: []string{"CREATE VIEW REPORTS.daily AS SELECT version, n FROM LIVE.total"}, undo: []string{"DROP VIEW REPORTS.daily"},
			spec: func(s *deploy.Spec) { s.Accept = []string{"dependent:" + sh.reports + ".daily"} }},
		{name: "P07", do: []string{"CREATE TABLE NEXT.orders (k int)"}, undo: []string{"DROP TABLE NEXT.orders"},
			want: []string{"P07 refuse table NEXT.orders", "P08 warn table NEXT.orders"}},
		{name: "P07 secret", do: []string{"CREATE SECRET NEXT.key AS 'hush'"}, undo: []string{"DROP SECRET NEXT.key"}, want: []string{"P07 refuse secret NEXT.key"}},
		{name: "P07 connection", do: []string{"CREATE CONNECTION NEXT.broker TO KAFKA (BROKER 'localhost:9092', SECURITY PROTOCOL PLAINTEXT) WITH (VALIDATE = false)"},
			undo: []string{"DROP CONNECTION NEXT.broker"}, want: []string{"P07 refuse connection NEXT.broker"}},
		{name: "P07 source", do: []string{"CREATE SOURCE NEXT.counter IN CLUSTER NEXT FROM LOAD GENERATOR COUNTER"}, undo: []string{"DROP SOURCE NEXT.counter CASCADE"},
			want: []string{"P07 refuse source NEXT.counter", "P08 warn source NEXT.counter"}, mayAlso: "P07 refuse subsource NEXT.counter_progress"},
		{name: "P05 another database", do: []string{"CREATE DATABASE other_SUFFIX", "CREATE VIEW other_SUFFIX.public.daily AS SELECT version, n FROM " + sh.database + ".LIVE.total"},
			undo: []string{"DROP DATABASE other_SUFFIX CASCADE"}, want: []string{"P05 refuse view other_SUFFIX.public.daily"}},
		{name: "P08", do: []string{"CREATE VIEW LIVE.gone AS SELECT 1 AS a"}, undo: []string{"DROP VIEW LIVE.gone"}, want: []string{"P08 refuse view LIVE.gone"}},
		{name: "P09", do: []string{"CREATE VIEW LIVE.shape AS SELECT k FROM DATA.base", "CREATE VIEW NEXT.shape AS SELECT k, v FROM DATA.base"},
			undo: []string{"DROP VIEW LIVE.shape", "DROP VIEW NEXT.shape"}, want: []string{"P09 refuse view NEXT.shape"}},
		{name: "P09 nullability", do: []string{"CREATE VIEW LIVE.shape AS SELECT k FROM DATA.base", "CREATE VIEW NEXT.shape AS SELECT 1 AS k"},
			undo: []string{"DROP VIEW LIVE.shape", "DROP VIEW NEXT.shape"}, want: []string{"P09 refuse view NEXT.shape"}},
		{name: "P10", do: []string{"CREATE INDEX total_idx IN CLUSTER LIVE ON LIVE.total (n)"}, undo: []string{"DROP INDEX LIVE.total_idx"}, want: []string{"P10 warn index LIVE.total_idx"}},
		{name: "P11", do: []string{"CREATE ROLE app_SUFFIX", "GRANT USAGE ON SCHEMA LIVE TO app_SUFFIX", "GRANT USAGE ON CLUSTER LIVE TO app_SUFFIX", "GRANT SELECT ON LIVE.total TO app_SUFFIX"},
			undo: []string{"GRANT USAGE ON SCHEMA NEXT TO app_SUFFIX", "GRANT USAGE ON CLUSTER NEXT TO app_SUFFIX", "GRANT SELECT ON NEXT.total TO app_SUFFIX"},
			want: []string{"P11 refuse cluster NEXT", "P11 refuse materialized view NEXT.total", "P11 refuse schema NEXT"}},
		{name: "P11 PUBLIC", do: []string{"GRANT USAGE ON SCHEMA LIVE TO PUBLIC"}, undo: []string{"GRANT USAGE ON SCHEMA NEXT TO PUBLIC"}, want: []string{"P11 refuse schema NEXT"}},
		{name: "P12", do: []string{"ALTER CLUSTER NEXT SET (REPLICATION FACTOR 0)"}, undo: []string{"ALTER CLUSTER NEXT SET (REPLICATION FACTOR 1)"}, want: []string{"P12 refuse cluster NEXT"}},
		{name: "P12 fewer", do: []string{"ALTER CLUSTER LIVE SET (REPLICATION FACTOR 2)"}, undo: []string{"ALTER CLUSTER LIVE SET (REPLICATION FACTOR 1)"}, want: []string{"P12 warn cluster NEXT"}},
		{name: "P13 live cluster", do: []string{"CREATE MATERIALIZED VIEW NEXT.lost IN CLUSTER LIVE AS SELECT k FROM DATA.base"}, undo: []string{"DROP MATERIALIZED VIEW NEXT.lost"},
			want: []string{"P08 warn materialized view NEXT.lost", "P13 refuse materialized view NEXT.lost"}},
		{name: "P13 cluster in no pair", do: []string{"CREATE CLUSTER side_SUFFIX (SIZE = 'SIZE')", "CREATE MATERIALIZED VIEW NEXT.lost IN CLUSTER side_SUFFIX AS SELECT k FROM DATA.base"},
			undo: []string{"DROP MATERIALIZED VIEW NEXT.lost", "DROP CLUSTER side_SUFFIX"}, want: []string{"P08 warn materialized view NEXT.lost", "P13 refuse materialized view NEXT.lost"}},
		{name: "P15", do: []string{"CREATE SCHEMA NEXT_retired_r0"}, undo: []string{"DROP SCHEMA NEXT_retired_r0"}, want: []string{"P15 warn schema NEXT_retired_r0"}},
		{name: "P16", do: []string{"ALTER ROLE app_SUFFIX SET cluster = NEXT"}, undo: []string{"ALTER ROLE app_SUFFIX RESET cluster"}, want: []string{"P16 warn role app_SUFFIX"}},
		{name: "P16 search_path", do: []string{"ALTER ROLE app_SUFFIX SET search_path = NEXT"}, undo: []string{"ALTER ROLE app_SUFFIX RESET search_path"}, want: []string{"P16 warn role app_SUFFIX"}},
		{name: "P18", do: []string{"CREATE VIEW REPORTS.own AS SELECT k FROM DATA.base", "CREATE INDEX own_idx IN CLUSTER LIVE ON REPORTS.own (k)"}, undo: []string{"DROP VIEW REPORTS.own CASCADE"},
			want: []string{"P18 refuse index REPORTS.own_idx"}},
		{name: "P18 deploy cluster", do: []string{"CREATE MATERIALIZED VIEW REPORTS.own IN CLUSTER NEXT AS SELECT k FROM DATA.base"}, undo: []string{"DROP MATERIALIZED VIEW REPORTS.own"},
			want: []string{"P18 refuse materialized view REPORTS.own"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			sh := *sh
			sh.t = t
			sh.run(c.do...)
			spec := sh.spec
			spec.Schemas, spec.Clusters = slices.Clone(spec.Schemas), slices.Clone(spec.Clusters)
			if c.spec != nil {
				c.spec(&spec)
			}
			found := slices.DeleteFunc(sh.found(sh.w, spec), func(f string) bool { return f == c.mayAlso })
			want(t, found, c.want...)
			sh.run(c.undo...)
			want(t, sh.found(sh.w, sh.spec))
		})
	}
	sh.run("REVOKE USAGE ON SCHEMA LIVE, NEXT FROM app_SUFFIX", "REVOKE USAGE ON CLUSTER LIVE, NEXT FROM app_SUFFIX",
		"REVOKE SELECT ON LIVE.total, NEXT.total FROM app_SUFFIX", "DROP ROLE app_SUFFIX")
}

// TestPreflightAsAPlainRole owns through membership only, and lacks one thing after
// the other.
func TestPreflightAsAPlainRole(t *testing.T) {
	sh := newShop(startServer(t))
	sh.run("CREATE ROLE team_SUFFIX", "CREATE ROLE plain_SUFFIX")
	t.Cleanup(func() {
		for _, what := range []string{"SCHEMA LIVE", "SCHEMA NEXT", "CLUSTER LIVE", "CLUSTER NEXT"} {
			sh.run("ALTER " + what + " OWNER TO " + quoteIdent(sh.user))
		}
		sh.run("REVOKE CREATE ON DATABASE db FROM team_SUFFIX", "REVOKE team_SUFFIX FROM plain_SUFFIX",
			"REVOKE team_SUFFIX FROM "+quoteIdent(sh.user), "DROP ROLE plain_SUFFIX", "DROP ROLE team_SUFFIX")
	})
	plain := sh.warehouse(sh.text("plain_SUFFIX"))
	only := func(code string) []string {
		return slices.DeleteFunc(sh.found(plain, sh.spec), func(f string) bool { return !strings.HasPrefix(f, code) })
	}
	want(t, only("P03"), "P03 refuse cluster LIVE", "P03 refuse cluster NEXT", "P03 refuse database DB", "P03 refuse schema LIVE", "P03 refuse schema NEXT")

	sh.run("GRANT team_SUFFIX TO "+quoteIdent(sh.user), "GRANT team_SUFFIX TO plain_SUFFIX", "GRANT CREATE ON DATABASE db TO team_SUFFIX")
	for _, what := range []string{"SCHEMA LIVE", "SCHEMA NEXT", "CLUSTER LIVE", "CLUSTER NEXT"} {
		sh.run("ALTER " + what + " OWNER TO team_SUFFIX")
	}
	want(t, only("P03"))
	want(t, only("P17"))
	sh.run("ALTER CLUSTER NEXT OWNER TO " + quoteIdent(sh.user)) // the cluster's owner may be another than the schema's
	want(t, only("P03"), "P03 refuse cluster NEXT")
	sh.run("ALTER CLUSTER NEXT OWNER TO team_SUFFIX", "REVOKE CREATE ON DATABASE db FROM team_SUFFIX")
	want(t, only("P03"), "P03 refuse database DB")
	sh.run("GRANT CREATE ON DATABASE db TO team_SUFFIX")
	want(t, only("P03"))
}

// Nothing of preflight stays: no transaction, no name moved, no comment.
func TestPreflightLeavesNoTrace(t *testing.T) {
	sh := newShop(startServer(t))
	before := sh.ids()
	want(t, sh.found(sh.w, sh.spec))
	if after := sh.ids(); !slices.Equal(before, after) {
		t.Errorf("names moved: %v, before %v", after, before)
	}
	marks, err := sh.w.Marks(within(t, 1e10), sh.spec)
	if err != nil || len(marks) != 0 {
		t.Errorf("marks %v, %v", marks, err)
	}
	sh.prepared(false).Rollback(t.Context())
}

func TestPreflightSinks(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{})) // a real sink needs a broker
	sh.run("CREATE SINK REPORTS.events IN CLUSTER quickstart FROM LIVE.total INTO KAFKA CONNECTION kafka (TOPIC 'events')")
	want(t, sh.found(sh.w, sh.spec), "P06 refuse sink REPORTS.events")
	sh.run("DROP SINK REPORTS.events", "CREATE SINK REPORTS.base IN CLUSTER quickstart FROM DATA.base INTO KAFKA CONNECTION kafka (TOPIC 'base')")
	want(t, sh.found(sh.w, sh.spec))
	sh.run("DROP SINK REPORTS.base", "CREATE SINK NEXT.inside IN CLUSTER NEXT FROM NEXT.total INTO KAFKA CONNECTION kafka (TOPIC 'inside')")
	want(t, sh.found(sh.w, sh.spec), "P07 refuse sink NEXT.inside")
	sh.run("DROP SINK NEXT.inside")
}

// A server that does not take the statement of the swap is found before anybody waits.
func TestPreflightServerWithoutSwap(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	for how, sentence := range map[sim.SwapSupport]string{
		sim.SwapOff:     "switched off on this server (enable_alter_swap)",
		sim.SwapUnknown: "does not know SWAP; it is older than supported",
	} {
		sh.sim.Faults().SetSwap(how)
		found, err := sh.w.Preflight(within(t, 1e10), sh.spec, "")
		if err != nil || len(found) != 1 || found[0].Code != "P17" || found[0].Severity != deploy.Refuse || !strings.Contains(found[0].Sentence, sentence) {
			t.Errorf("%+v, %v; want a P17 with %q", found, err, sentence)
		}
		renames := sh.spec
		renames.Method = "rename"
		want(t, sh.found(sh.w, renames)) // which needs no SWAP
		sh.sim.Faults().SetSwap(sim.SwapOn)
		want(t, sh.found(sh.w, sh.spec))
	}
}

func TestPreflightSmallerCluster(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{})) // sizes are the server's own
	sh.run("ALTER CLUSTER NEXT SET (SIZE = '25cc')")
	want(t, sh.found(sh.w, sh.spec), "P12 warn cluster NEXT")
	sh.run("ALTER CLUSTER NEXT SET (SIZE = 'bootstrap')")
	want(t, sh.found(sh.w, sh.spec))
}

func TestPreflightReadOnlyServer(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	sh.sim.Faults().SetReadOnly(true)
	want(t, sh.found(sh.w, sh.spec), "P17 refuse server")
	info, err := sh.w.Server(within(t, 1e10))
	if err != nil || !info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
	sh.sim.Faults().SetReadOnly(false)
	want(t, sh.found(sh.w, sh.spec))
	if info, err = sh.w.Server(within(t, 1e10)); err != nil || info.ReadOnly {
		t.Errorf("%+v, %v", info, err)
	}
}
