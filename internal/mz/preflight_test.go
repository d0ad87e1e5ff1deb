package mz

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
)

// shop is a catalog in which nothing speaks against the rollout of deployment shop.
func shop() *snapshot {
	s := &snapshot{
		spec: deploy.Spec{
			Name: "shop", Database: "materialize",
			Schemas:  addPair(deploy.Spec{}.Schemas, "prod", "prod_deploy"),
			Clusters: addPair(deploy.Spec{}.Schemas, "prod", "prod_deploy"),
		},
		rollout:        "r1",
		databaseExists: true,
		ids: map[nameKey]string{
			{deploy.KindSchema, "prod"}: "s1", {deploy.KindSchema, "prod_deploy"}: "s2", {deploy.KindSchema, "public"}: "s3", {deploy.KindSchema, "reports"}: "s4",
			{deploy.KindCluster, "prod"}: "c1", {deploy.KindCluster, "prod_deploy"}: "c2", {deploy.KindCluster, "other"}: "c3",
		},
		role: controlRole{name: "mzcanary", canCreate: true},
		owners: map[nameKey]owner{
			{deploy.KindSchema, "s1"}: {"team", "u7", true}, {deploy.KindSchema, "s2"}: {"team", "u7", true},
			{deploy.KindCluster, "c1"}: {"team", "u7", true}, {deploy.KindCluster, "c2"}: {"team", "u7", true},
		},
		graph:     &graph{objects: map[string]*object{}, uses: map[string][]string{}, usedBy: map[string][]string{}},
		replicas:  map[string][]replica{"c1": {{id: "r1", name: "r1", size: "100cc"}}, "c2": {{id: "r2", name: "r1", size: "100cc"}}},
		columns:   map[string][]column{},
		indexKeys: map[string][]string{},
		grants:    map[nameKey][]grant{},
		memberOf:  map[string][]string{"u8": {"u7"}},
		roleNames: map[string]string{"u7": "team", "u8": "mzcanary", "u9": "app", "u10": "readers"},
	}
	for _, key := range []nameKey{{deploy.KindSchema, "s1"}, {deploy.KindSchema, "s2"}, {deploy.KindCluster, "c1"}, {deploy.KindCluster, "c2"}} {
		s.grants[key] = []grant{{"u7", "USAGE"}, {"u9", "USAGE"}, {"s2", "USAGE"}}
	}
	base := s.add("base", "table", "s3", "")
	for i, side := range []string{"s1", "s2"} {
		cluster := []string{"c1", "c2"}[i]
		answer := s.add("answer", "view", side, "")
		s.graph.link(answer.id, base.id)
		index := s.add("answer_idx", "index", side, cluster)
		index.on = answer.id
		s.graph.link(index.id, answer.id)
		total := s.add("total", "materialized-view", side, cluster)
		s.graph.link(total.id, base.id)
		s.indexKeys[index.id] = []string{"k"}
		for _, o := range []*object{answer, total} {
			s.columns[o.id] = []column{{"version", "text", "-1", "f"}, {"k", "integer", "-1", "t"}}
			s.grants[nameKey{deploy.KindObject, o.id}] = []grant{{"u7", "SELECT"}, {"u9", "SELECT"}}
		}
	}
	return s
}

// add puts an object into the catalog.
func (s *snapshot) add(name, kind, schema, cluster string) *object {
	o := &object{id: schema + "." + name, name: name, kind: kind, schemaID: schema, database: "materialize", clusterID: cluster, ownerID: "u7"}
	for key, id := range s.ids {
		switch {
		case key.kind == deploy.KindSchema && id == schema:
			o.schema = key.name
		case key.kind == deploy.KindCluster && id == cluster:
			o.cluster = key.name
		}
	}
	s.graph.add(o)
	return o
}

func (s *snapshot) reads(from, to string) { s.graph.link(from, to) }

// shown prints findings as code, severity and object.
func shown(findings []deploy.Finding) []string {
	list := make([]string, len(findings))
	for i, f := range findings {
		list[i] = f.Code + " " + string(f.Severity) + " " + f.Object
	}
	return list
}

func refusedWith(code, message string) *refusal {
	return &refusal{&pgconn.PgError{Severity: "ERROR", Code: code, Message: message}}
}

func TestPreflight(t *testing.T) {
	cases := []struct {
		name   string
		change func(*snapshot)
		want   []string
		remedy string // of the first finding
	}{
		{name: "nothing to find"},
		{name: "P01 deploy schema missing", change: func(s *snapshot) {
			delete(s.ids, nameKey{deploy.KindSchema, "prod_deploy"})
			s.graph.order = slices.DeleteFunc(s.graph.order, func(id string) bool { return strings.HasPrefix(id, "s2.") })
		}, want: []string{"P01 refuse schema prod_deploy"}},
		{name: "P01 live cluster missing", change: func(s *snapshot) { delete(s.ids, nameKey{deploy.KindCluster, "prod"}) }, want: []string{"P01 refuse cluster prod"}},
		{name: "P01 no such database", change: func(s *snapshot) { s.databaseExists = false; s.ids = nil }, want: []string{"P01 refuse database materialize"}},
		{name: "P01 object missing", change: func(s *snapshot) {
			s.spec.Objects = []deploy.ObjectPair{{Type: "view", Live: "public.bids", Deploy: "public.bids_next"}}
		}, want: []string{"P01 refuse object public.bids", "P01 refuse object public.bids_next"}},
		{name: "P02 one object twice", change: func(s *snapshot) { s.spec.Schemas[0].Deploy = "prod" }, want: []string{"P02 refuse schema prod"}},
		{name: "P02 name in two pairs", change: func(s *snapshot) {
			s.spec.Clusters = addPair(s.spec.Clusters, "other", "prod_deploy")
		}, want: []string{"P02 refuse cluster prod_deploy"}},
		{name: "P03 not the owner", change: func(s *snapshot) { s.owners[nameKey{deploy.KindSchema, "s1"}] = owner{"team", "u7", false} },
			want: []string{"P03 refuse schema prod"}, remedy: `GRANT "team" TO "mzcanary"`},
		{name: "P03 not the owner of the cluster", change: func(s *snapshot) { s.owners[nameKey{deploy.KindCluster, "c2"}] = owner{"team", "u7", false} },
			want: []string{"P03 refuse cluster prod_deploy"}, remedy: `GRANT "team" TO "mzcanary"`},
		{name: "P03 no CREATE", change: func(s *snapshot) { s.role.canCreate = false }, want: []string{"P03 refuse database materialize"},
			remedy: `GRANT CREATE ON DATABASE "materialize" TO "mzcanary"`},
		{name: "P03 superuser", change: func(s *snapshot) {
			s.role = controlRole{name: "root", superuser: true}
			s.owners[nameKey{deploy.KindSchema, "s1"}] = owner{"team", "u7", false}
		}},
		{name: "P03 clusters need no CREATE", change: func(s *snapshot) {
			s.role.canCreate = false
			s.spec.Schemas = nil
			s.graph = &graph{}
		}},
		{name: "P03 the server says no", change: func(s *snapshot) { s.swap = refusedWith("42501", "must be owner of SCHEMA") }, want: []string{"P03 refuse deployment shop"}},
		{name: "P04 new reads old", change: func(s *snapshot) { s.reads("s2.total", "s1.answer") }, want: []string{"P04 refuse materialized view prod_deploy.total"}},
		{name: "P04 through others", change: func(s *snapshot) {
			s.add("daily", "view", "s4", "")
			s.reads("s4.daily", "s1.total")
			s.reads("s2.answer", "s4.daily")
			s.spec.Accept = []string{"dependent:reports.daily"}
		}, want: []string{"P04 refuse index prod_deploy.answer_idx", "P04 refuse view prod_deploy.answer"}},
		{name: "P05 somebody reads the old version", change: func(s *snapshot) {
			s.add("daily", "view", "s4", "")
			s.reads("s4.daily", "s1.total")
			s.add("deep", "view", "s4", "")
			s.reads("s4.deep", "s4.daily")
			s.add("daily_idx", "index", "s4", "c3").on = "s4.daily"
			s.reads("s4.daily_idx", "s4.daily")
		}, want: []string{"P05 refuse view reports.daily", "P05 refuse view reports.deep"}},
		{name: "P05 accepted by name", change: func(s *snapshot) {
			s.add("daily", "view", "s4", "")
			s.reads("s4.daily", "s1.total")
			s.spec.Accept = []string{"dependent:reports.daily"}
		}},
		{name: "P05 another database", change: func(s *snapshot) {
			o := s.add("daily", "view", "s9", "")
			o.database, o.schema = "other", "public"
			s.reads("s9.daily", "s1.total")
		}, want: []string{"P05 refuse view other.public.daily"}},
		{name: "P06 sink", change: func(s *snapshot) {
			s.add("kafka", "sink", "s4", "c3")
			s.reads("s4.kafka", "s1.total")
		}, want: []string{"P06 refuse sink reports.kafka"}},
		{name: "P06 sink of something else", change: func(s *snapshot) {
			s.add("kafka", "sink", "s4", "c3")
			s.reads("s4.kafka", "s3.base")
		}},
		{name: "P07 table inside", change: func(s *snapshot) { s.add("orders", "table", "s1", "") },
			want: []string{"P07 refuse table prod.orders", "P08 refuse table prod.orders"}},
		{name: "P07 source on the cluster", change: func(s *snapshot) { s.add("feed", "source", "s4", "c2") },
			want: []string{"P07 refuse source reports.feed", "P18 refuse source reports.feed"}},
		{name: "P08 only old", change: func(s *snapshot) { s.add("gone", "view", "s1", "") }, want: []string{"P08 refuse view prod.gone"}},
		{name: "P08 only old, accepted", change: func(s *snapshot) { s.add("gone", "view", "s1", ""); s.spec.Accept = []string{"missing:prod.gone"} }},
		{name: "P08 only new", change: func(s *snapshot) { s.add("fresh", "view", "s2", "") }, want: []string{"P08 warn view prod_deploy.fresh"}},
		{name: "P09 type", change: func(s *snapshot) { s.columns["s2.answer"][1].kind = "bigint" }, want: []string{"P09 refuse view prod_deploy.answer"}},
		{name: "P09 nullability", change: func(s *snapshot) { s.columns["s2.answer"][0].nullable = "t" }, want: []string{"P09 refuse view prod_deploy.answer"}},
		{name: "P09 order", change: func(s *snapshot) { slices.Reverse(s.columns["s2.answer"]) }, want: []string{"P09 refuse view prod_deploy.answer"}},
		{name: "P09 more columns, accepted", change: func(s *snapshot) {
			s.columns["s2.answer"] = append(s.columns["s2.answer"], column{"v", "text", "-1", "t"})
			s.spec.Accept = []string{deploy.AcceptShapeChange}
		}, want: []string{"P09 warn view prod_deploy.answer"}},
		{name: "P10 index missing", change: func(s *snapshot) { s.indexKeys["s2.answer_idx"] = []string{"version"} }, want: []string{"P10 warn index prod.answer_idx"}},
		{name: "P11 schema", change: func(s *snapshot) { s.grants[nameKey{deploy.KindSchema, "s2"}] = []grant{{"u7", "USAGE"}} },
			want: []string{"P11 refuse schema prod_deploy"}, remedy: `GRANT USAGE ON SCHEMA "materialize"."prod_deploy" TO "app"`},
		{name: "P11 cluster", change: func(s *snapshot) { s.grants[nameKey{deploy.KindCluster, "c2"}] = nil },
			want: []string{"P11 refuse cluster prod_deploy"}, remedy: `GRANT USAGE ON CLUSTER "prod_deploy" TO "app"`},
		{name: "P11 object", change: func(s *snapshot) { s.grants[nameKey{deploy.KindObject, "s2.total"}] = nil },
			want: []string{"P11 refuse materialized view prod_deploy.total"}, remedy: `GRANT SELECT ON TABLE "materialize"."prod_deploy"."total" TO "app"`},
		{name: "P11 PUBLIC", change: func(s *snapshot) {
			s.grants[nameKey{deploy.KindSchema, "s1"}] = append(s.grants[nameKey{deploy.KindSchema, "s1"}], grant{public, "USAGE"})
		}, want: []string{"P11 refuse schema prod_deploy"}, remedy: `GRANT USAGE ON SCHEMA "materialize"."prod_deploy" TO PUBLIC`},
		{name: "P11 PUBLIC covers everybody", change: func(s *snapshot) { s.grants[nameKey{deploy.KindSchema, "s2"}] = []grant{{public, "USAGE"}} }},
		{name: "P11 membership covers", change: func(s *snapshot) {
			s.memberOf["u9"] = []string{"u10"}
			s.grants[nameKey{deploy.KindSchema, "s2"}] = []grant{{"u10", "USAGE"}}
		}},
		{name: "P12 no replica", change: func(s *snapshot) { s.replicas["c2"] = nil }, want: []string{"P12 refuse cluster prod_deploy"},
			remedy: `ALTER CLUSTER "prod_deploy" SET (REPLICATION FACTOR 1)`},
		{name: "P12 fewer", change: func(s *snapshot) { s.replicas["c1"] = append(s.replicas["c1"], replica{id: "r9", size: "100cc"}) },
			want: []string{"P12 warn cluster prod_deploy"}},
		{name: "P12 smaller", change: func(s *snapshot) { s.replicas["c2"][0].size = "25cc" }, want: []string{"P12 warn cluster prod_deploy"}},
		{name: "P13 on the live cluster", change: func(s *snapshot) { o := s.graph.objects["s2.total"]; o.clusterID, o.cluster = "c1", "prod" },
			want: []string{"P13 refuse materialized view prod_deploy.total"}},
		{name: "P13 on a cluster in no pair", change: func(s *snapshot) { o := s.graph.objects["s2.total"]; o.clusterID, o.cluster = "c3", "other" },
			want: []string{"P13 refuse materialized view prod_deploy.total"}},
		{name: "P13 no cluster pairs", change: func(s *snapshot) { s.spec.Clusters = nil }},
		{name: "P14 another rollout", change: func(s *snapshot) {
			s.comments = []comment{{deploy.Ref{Kind: deploy.KindCluster, Name: "prod", ID: "c1"}, "x [mzcanary rollout=r0 phase=window deployment=shop side=new]"}}
		}, want: []string{"P14 refuse cluster prod"}},
		{name: "P14 our own", change: func(s *snapshot) {
			s.comments = []comment{{deploy.Ref{Kind: deploy.KindCluster, Name: "prod", ID: "c1"}, "x [mzcanary rollout=r1 phase=preflight deployment=shop side=old]"}}
		}},
		{name: "P14 somewhere else", change: func(s *snapshot) {
			s.comments = []comment{{deploy.Ref{Kind: deploy.KindCluster, Name: "other", ID: "c3"}, "[mzcanary rollout=r0 phase=window deployment=x side=new]"}}
		}},
		{name: "P15 left over", change: func(s *snapshot) { s.ids[nameKey{deploy.KindCluster, "prod_deploy_retired_r0"}] = "c8" },
			want: []string{"P15 warn cluster prod_deploy_retired_r0"}, remedy: `DROP CLUSTER "prod_deploy_retired_r0" CASCADE`},
		{name: "P15 our own retired name is taken", change: func(s *snapshot) { s.ids[nameKey{deploy.KindSchema, "prod_deploy_retired_r1"}] = "s8" },
			want: []string{"P15 refuse schema prod_deploy_retired_r1"}},
		{name: "P16 cluster of a role", change: func(s *snapshot) { s.roleSettings = []roleSetting{{"app", "cluster", "prod_deploy"}} }, want: []string{"P16 warn role app"}},
		{name: "P16 search_path of a role", change: func(s *snapshot) { s.roleSettings = []roleSetting{{"app", "search_path", `public, "prod_deploy"`}} }, want: []string{"P16 warn role app"}},
		{name: "P16 live names are fine", change: func(s *snapshot) {
			s.roleSettings = []roleSetting{{"app", "cluster", "prod"}, {"app", "search_path", "prod"}}
		}},
		{name: "P17 switched off", change: func(s *snapshot) {
			s.swap = refusedWith("XX000", "the ALTER SWAP feature for objects is not available")
		}, want: []string{"P17 refuse server"}},
		{name: "P17 read-only", change: func(s *snapshot) { s.swap = refusedWith("25006", "cannot write in read-only mode") }, want: []string{"P17 refuse server"}},
		{name: "P18 index elsewhere on the live cluster", change: func(s *snapshot) { s.add("daily_idx", "index", "s4", "c1") }, want: []string{"P18 refuse index reports.daily_idx"}},
		{name: "P18 on the deploy cluster", change: func(s *snapshot) { s.add("mv", "materialized-view", "s4", "c2") }, want: []string{"P18 refuse materialized view reports.mv"}},
		{name: "P18 accepted", change: func(s *snapshot) {
			s.add("daily_idx", "index", "s4", "c1")
			s.spec.Accept = []string{"dependent:reports.daily_idx"}
		}},
		{name: "P18 object of a pair of objects", change: func(s *snapshot) {
			s.add("bids", "materialized-view", "s4", "c1")
			s.add("bids_next", "materialized-view", "s4", "c2")
			s.spec.Objects = []deploy.ObjectPair{{Type: "materialized-view", Live: "reports.bids", Deploy: "reports.bids_next"}}
		}},
		{name: "several at once, in order", change: func(s *snapshot) {
			s.role.canCreate = false
			s.replicas["c2"] = nil
			s.add("gone", "view", "s1", "")
		}, want: []string{"P03 refuse database materialize", "P08 refuse view prod.gone", "P12 refuse cluster prod_deploy"}},
	}
	seen := map[string]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := shop()
			if c.change != nil {
				c.change(s)
			}
			found := s.findings(newDialect(Materialize).checks())
			if got := shown(found); !slices.Equal(got, c.want) {
				t.Fatalf("found %q, want %q", got, c.want)
			}
			for _, f := range found {
				seen[f.Code] = true
				if !strings.HasSuffix(f.Sentence, ".") || len(f.Sentence) < 30 {
					t.Errorf("%s says %q", f.Code, f.Sentence)
				}
			}
			if c.remedy != "" && !slices.Contains(found[0].Remedy, c.remedy) {
				t.Errorf("remedy %q, want %q", found[0].Remedy, c.remedy)
			}
		})
	}
	for _, c := range newDialect(Materialize).checks() {
		if !seen[c.code] {
			t.Errorf("%s is never found", c.code)
		}
	}
	if codes := slices.Sorted(maps.Keys(seen)); len(codes) != 18 {
		t.Errorf("found %q", codes)
	}
}

func TestDependents(t *testing.T) {
	s := shop()
	s.add("daily", "view", "s4", "")
	s.reads("s4.daily", "s1.total")
	s.add("daily_idx", "index", "s4", "c1").on = "s4.daily"
	s.reads("s4.daily_idx", "s4.daily")
	s.add("other", "view", "s4", "")
	s.reads("s4.other", "s3.base")
	refs := []deploy.Ref{{Kind: deploy.KindSchema, Name: "prod", ID: "s1"}, {Kind: deploy.KindCluster, Name: "prod", ID: "c1"}}
	var got []string
	for _, d := range s.graph.dependents("materialize", refs) {
		got = append(got, d.Kind+" "+d.Name+": "+d.Reason)
	}
	want := []string{
		"view reports.daily: it depends on materialized view prod.total",
		"index reports.daily_idx: it runs on cluster prod",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := s.graph.dependents("materialize", []deploy.Ref{{Kind: deploy.KindSchema, ID: "s2"}, {Kind: deploy.KindCluster, ID: "c2"}}); len(got) != 0 {
		t.Errorf("the new version has dependents: %v", got)
	}
	// Single objects: who reads them, but not they themselves.
	got = nil
	for _, d := range s.graph.dependents("materialize", []deploy.Ref{{Kind: deploy.KindObject, Name: "prod.total", ID: "s1.total"}}) {
		got = append(got, d.Name)
	}
	if want := []string{"reports.daily", "reports.daily_idx"}; !slices.Equal(got, want) {
		t.Errorf("dropping one object takes %q, want %q", got, want)
	}
	// A cluster alone: everything that runs on it goes.
	if got := s.graph.dependents("materialize", []deploy.Ref{{Kind: deploy.KindCluster, ID: "c1"}}); len(got) != 4 {
		t.Errorf("dropping only the cluster takes %v", got)
	}
}
