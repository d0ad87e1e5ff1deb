package deploy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"mzcanary/router"
)

func TestStatements(t *testing.T) {
	spec := Spec{Name: "shop", Database: `my"db`,
		Schemas:  []router.Pair{{Live: "prod", Deploy: "prod_deploy"}},
		Clusters: []router.Pair{{Live: "Prod-1", Deploy: "Prod-1_deploy"}}}
	objects := Spec{Name: "fine", Database: "db", Objects: []ObjectPair{{Type: "materialized-view", Live: "prod.bids", Deploy: "prod.bids_next"}}}
	for _, c := range []struct {
		name          string
		spec          Spec
		kind          string
		method        string
		fence         bool
		promote, back []string
		cleanup       []string
	}{
		{"swap and fence", spec, KindMaterialize, MethodSwap, true, []string{
			`ALTER SCHEMA "my""db"."prod" SWAP WITH "prod_deploy"`,
			`ALTER CLUSTER "Prod-1" SWAP WITH "Prod-1_deploy"`,
			`ALTER SCHEMA "my""db"."prod_deploy" RENAME TO "prod_deploy_retired_r1"`,
			`ALTER CLUSTER "Prod-1_deploy" RENAME TO "Prod-1_deploy_retired_r1"`,
		}, []string{
			`ALTER SCHEMA "my""db"."prod" SWAP WITH "prod_deploy_retired_r1"`,
			`ALTER CLUSTER "Prod-1" SWAP WITH "Prod-1_deploy_retired_r1"`,
			`ALTER SCHEMA "my""db"."prod_deploy_retired_r1" RENAME TO "prod_deploy"`,
			`ALTER CLUSTER "Prod-1_deploy_retired_r1" RENAME TO "Prod-1_deploy"`,
		}, []string{
			`DROP CLUSTER "Prod-1_deploy_retired_r1" CASCADE`,
			`DROP SCHEMA "my""db"."prod_deploy_retired_r1" CASCADE`,
		}},
		{"swap without a fence", spec, KindMaterialize, MethodSwap, false, []string{
			`ALTER SCHEMA "my""db"."prod" SWAP WITH "prod_deploy"`,
			`ALTER CLUSTER "Prod-1" SWAP WITH "Prod-1_deploy"`,
		}, []string{
			`ALTER SCHEMA "my""db"."prod" SWAP WITH "prod_deploy"`,
			`ALTER CLUSTER "Prod-1" SWAP WITH "Prod-1_deploy"`,
		}, []string{
			`DROP CLUSTER "Prod-1_deploy" CASCADE`,
			`DROP SCHEMA "my""db"."prod_deploy" CASCADE`,
		}},
		{"renames into the fence: two per pair", spec, KindMaterialize, MethodRename, true, []string{
			`ALTER SCHEMA "my""db"."prod" RENAME TO "prod_deploy_retired_r1"`,
			`ALTER SCHEMA "my""db"."prod_deploy" RENAME TO "prod"`,
			`ALTER CLUSTER "Prod-1" RENAME TO "Prod-1_deploy_retired_r1"`,
			`ALTER CLUSTER "Prod-1_deploy" RENAME TO "Prod-1"`,
		}, []string{
			`ALTER SCHEMA "my""db"."prod" RENAME TO "prod_deploy"`,
			`ALTER SCHEMA "my""db"."prod_deploy_retired_r1" RENAME TO "prod"`,
			`ALTER CLUSTER "Prod-1" RENAME TO "Prod-1_deploy"`,
			`ALTER CLUSTER "Prod-1_deploy_retired_r1" RENAME TO "Prod-1"`,
		}, nil},
		{"postgres has no swap and no qualified schemas", Spec{Name: "pg", Database: "db", Schemas: spec.Schemas}, KindPostgres, MethodSwap, false, []string{
			`ALTER SCHEMA "prod" RENAME TO "prod_deploy_swap_r1"`,
			`ALTER SCHEMA "prod_deploy" RENAME TO "prod"`,
			`ALTER SCHEMA "prod_deploy_swap_r1" RENAME TO "prod_deploy"`,
		}, nil, []string{`DROP SCHEMA "prod_deploy" CASCADE`}},
		{"objects inside a schema", objects, KindMaterialize, MethodSwap, true, []string{
			`ALTER MATERIALIZED VIEW "db"."prod"."bids" RENAME TO "bids_next_retired_r1"`,
			`ALTER MATERIALIZED VIEW "db"."prod"."bids_next" RENAME TO "bids"`,
		}, []string{
			`ALTER MATERIALIZED VIEW "db"."prod"."bids" RENAME TO "bids_next"`,
			`ALTER MATERIALIZED VIEW "db"."prod"."bids_next_retired_r1" RENAME TO "bids"`,
		}, []string{`DROP MATERIALIZED VIEW "db"."prod"."bids_next_retired_r1"`}},
		{"objects without a fence: the whole chain", objects, KindMaterialize, MethodSwap, false, []string{
			`ALTER MATERIALIZED VIEW "db"."prod"."bids" RENAME TO "bids_next_swap_r1"`,
			`ALTER MATERIALIZED VIEW "db"."prod"."bids_next" RENAME TO "bids"`,
			`ALTER MATERIALIZED VIEW "db"."prod"."bids_next_swap_r1" RENAME TO "bids_next"`,
		}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := dialect{kind: c.kind, database: c.spec.Database}
			pairs := plainPairs(c.spec, c.fence, "r1")
			check := func(what string, got, want []string) {
				t.Helper()
				if want != nil && !slices.Equal(got, want) {
					t.Errorf("%s:\n %s\nwant\n %s", what, strings.Join(got, "\n "), strings.Join(want, "\n "))
				}
			}
			got, err := d.promote(pairs, c.method, "r1")
			if err != nil {
				t.Fatal(err)
			}
			check("promote", got, c.promote)
			got, err = d.swapBack(pairs, c.method, "r1")
			if err != nil {
				t.Fatal(err)
			}
			check("swap back", got, c.back)
			check("cleanup", d.drops(pairs), c.cleanup)
		})
	}
}

// Promote and swap back, in every form, lead the names where they must lead, and
// back: played on a fake catalog.
func TestStatementsMoveTheNames(t *testing.T) {
	for _, method := range []string{MethodSwap, MethodRename} {
		for _, fence := range []bool{true, false} {
			w := newWorld(t)
			before := maps.Clone(w.names[KindSchema])
			d := dialect{kind: KindMaterialize, database: "materialize"}
			pairs := plainPairs(testSpec(), fence, "r1")
			play := func(write func([]PairState, string, string) ([]string, error)) {
				t.Helper()
				list, err := write(pairs, method, "r1")
				if err != nil {
					t.Fatal(err)
				}
				if w.names, err = w.moved(list); err != nil {
					t.Fatalf("%s, fence %t: %v", method, fence, err)
				}
			}
			play(d.promote)
			for _, p := range pairs {
				if w.names[p.Kind][p.Live] == before[p.Live] || w.names[p.Kind][p.Retired] == "" || len(w.names[p.Kind]) != 2 {
					t.Errorf("%s, fence %t: after promote %v", method, fence, w.names)
				}
			}
			play(d.swapBack)
			if !maps.Equal(w.names[KindSchema], before) {
				t.Errorf("%s, fence %t: back is %v, was %v", method, fence, w.names[KindSchema], before)
			}
		}
	}
}

func TestPlansThatCannotWork(t *testing.T) {
	objects := Spec{Name: "fine", Objects: []ObjectPair{{Type: "view", Live: "prod.a", Deploy: "prod.b"}}}
	for name, c := range map[string]struct {
		spec   Spec
		change func(*Plan)
		says   string
	}{
		"no steps":            {testSpec(), func(p *Plan) { p.Steps = nil }, "no steps"},
		"promote in between":  {testSpec(), func(p *Plan) { p.Steps = []PlanStep{{Promote: true}, {Weight: 100}} }, "not the last"},
		"approval for ever":   {testSpec(), func(p *Plan) { p.Steps[0].Approve = &Approve{} }, "deadline"},
		"verdict at nothing":  {testSpec(), func(p *Plan) { p.Steps[0] = PlanStep{Until: "safe"} }, "weight 0"},
		"unknown policy":      {testSpec(), func(p *Plan) { p.OnRegress = "hope" }, "on_regress"},
		"stall below gather":  {testSpec(), func(p *Plan) { p.Promote.MaxStall = 1 }, "max_stall"},
		"weights for objects": {objects, func(*Plan) {}, "promote only"},
		"rename over schemas": {Spec{Name: "x", Objects: []ObjectPair{{Type: "view", Live: "a.v", Deploy: "b.v"}}}, func(p *Plan) { p.Steps = []PlanStep{{Promote: true}} }, "stays inside its schema"},
	} {
		p := testPlan()
		c.change(&p)
		err := p.Validate(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
			continue
		}
		refusedWith(t, ExitUsage, err)
	}
	if err := testPlan().Validate(testSpec()); err != nil {
		t.Error(err)
	}
}

// The published table is the law: what it forbids Step refuses, and what it
// allows is known to Step.
func TestVerbTableIsTheLaw(t *testing.T) {
	rows := VerbTable()
	if want := len(Verbs()) * (len(Phases()) - 2); len(rows) != want {
		t.Fatalf("%d rows, want %d", len(rows), want)
	}
	for _, row := range rows {
		if row.Does == "" {
			t.Errorf("%s in %s says nothing", row.Verb, row.Phase)
		}
		s := State{Deployment: "shop", Rollout: "r1", Phase: row.Phase, Pairs: plainPairs(testSpec(), true, "r1")}
		next, acts := Step(s, VerbAsked{Verb: row.Verb, Request: Request{Who: "bob", Force: true, Reason: "x"}}, testPlan())
		refused := len(acts) > 0 && acts[0].Kind == ActRefuse
		if !row.Allowed && !(row.Verb == VerbWeight && row.Phase.Final()) && (!refused || next.Seq != s.Seq) {
			t.Errorf("%s in %s is forbidden, yet Step did %+v", row.Verb, row.Phase, acts)
		}
		if refused && next.Phase != s.Phase {
			t.Errorf("%s in %s was refused and changed the phase to %s", row.Verb, row.Phase, next.Phase)
		}
	}
}
