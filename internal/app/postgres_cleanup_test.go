package app_test

import (
	"testing"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
)

// afterTheSwap is an estate whose new version is production, in the window.
func afterTheSwap(t *testing.T, more string) (e *estate, p *program, rollout string) {
	t.Helper()
	e = newEstate(t, mayDoAll+more)
	p = e.run()
	rollout = p.begin("shop")
	p.asking()
	p.swapped()
	return e, p, rollout
}

// TestPostgresCleanupIsResumed: the server refuses the second of two drops, because
// somebody took the schema over. What is gone stays gone, the program may be started
// anew, and once the schema is given back only what is left is dropped.
func TestPostgresCleanupIsResumed(t *testing.T) {
	e, p, rollout := afterTheSwap(t, "")
	home, shop := e.nameOf("home"), e.nameOf("shop-eu")
	say(t, e.super, `ALTER SCHEMA "`+shop+`" OWNER TO postgres`)
	p.do(deploy.VerbCleanup)
	p.ends("shop", rollout, deploy.ExitHuman)
	stuck := func() {
		t.Helper()
		s := p.blocked(deploy.CauseError)
		if s.Under != deploy.PhaseCleaning || s.After.Dropped != 1 {
			t.Errorf("stands in %s, %d dropped", s.Under, s.After.Dropped)
		}
		says(t, "the reason", s.Stop.Reason, "schema "+shop+" could not be dropped", "must be owner of schema "+shop, "SQLSTATE 42501")
		says(t, "what goes on", s.Stop.Next, "GRANT", shop, `TO "`+e.control+`"`, "mzcanary rollout retry")
		for _, verb := range []deploy.Verb{deploy.VerbCleanup, deploy.VerbResume} {
			if r := p.refusedTo(verb, admin.Request{}); r.Exit != deploy.ExitHuman || r.Next != s.Stop.Next {
				t.Errorf("%s: exit %d, %s; next %s", verb, r.Exit, r.Sentence, r.Next)
			}
		}
		e.stands(map[string]string{"home": "home_next", "shop-eu": "shop-eu_next", shop: "shop-eu"})
		e.answers(p, "new")
		e.dropped(home)
	}
	stuck()
	p = e.again(p)
	stuck()
	say(t, e.super, e.named(`ALTER SCHEMA "`+shop+`" OWNER TO BUILDER`))
	p.do(deploy.VerbRetry)
	p.over(deploy.PhaseDone)
	e.stands(onlyNew)
	e.dropped(home, shop)
	e.answers(p, "new")
	e.unmarked()
}

// somebodyBuilds makes a view on the second schema in the moment in which the first one
// is dropped.
const somebodyBuilds = `
CREATE SCHEMA reports;
CREATE FUNCTION witness.build() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_type = 'schema' AND object_name LIKE 'home_next_retired_%') THEN
    EXECUTE format('CREATE VIEW reports.daily AS SELECT id FROM %I.orders', (SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop-eu_next_retired_%'));
  END IF;
END $$;
CREATE EVENT TRIGGER build ON sql_drop EXECUTE FUNCTION witness.build();
`

// TestPostgresCleanupWaitsForDependents: what somebody built on a schema that is left
// is not taken along. The cleanup names it, stands, also in a program started anew, and
// goes on by itself with what is left.
func TestPostgresCleanupWaitsForDependents(t *testing.T) {
	e, p, rollout := afterTheSwap(t, somebodyBuilds)
	home, shop := e.nameOf("home"), e.nameOf("shop-eu")
	p.do(deploy.VerbCleanup)
	stuck := func() {
		t.Helper()
		s := p.blocked(deploy.CauseInUse)
		if s.Under != deploy.PhaseCleaning || s.After.Dropped != 1 || s.Stop.Exit != deploy.ExitHuman || !s.Stop.Auto {
			t.Errorf("stands in %s, %d dropped: %+v", s.Under, s.After.Dropped, s.Stop)
		}
		says(t, "the reason", s.Stop.Reason, "the old version is still used", "view reports.daily", "depends on an object of schema "+shop)
		says(t, "what goes on", s.Stop.Next, "drop view reports.daily, or build it anew", "goes on by itself")
		if others := s.After.Others; len(others) != 1 || others[0].Name != "reports.daily" {
			t.Errorf("status lists %+v", others)
		}
		if r := p.refusedTo(deploy.VerbCleanup, admin.Request{}); r.Exit != deploy.ExitHuman || r.Next != s.Stop.Next {
			t.Errorf("cleanup: exit %d, %s; next %s", r.Exit, r.Sentence, r.Next)
		}
		e.dropped(home)
		if !ask[bool](e, "SELECT to_regclass('reports.daily') IS NOT NULL") {
			t.Error("reports.daily was dropped")
		}
	}
	stuck()
	p = e.again(p)
	stuck()
	say(t, e.super, "DROP VIEW reports.daily")
	p.ends("shop", rollout, deploy.ExitDone)
	e.stands(onlyNew)
	e.dropped(home, shop)
	e.unmarked()
}

// TestPostgresCleanupSparesProduction: a new version that still reads the old one is
// found before anything is dropped, whatever part of it reads it.
func TestPostgresCleanupSparesProduction(t *testing.T) {
	e, p, rollout := afterTheSwap(t, `SET ROLE BUILDER; ALTER TABLE "shop-eu_next".orders ALTER id SET DEFAULT nextval('home.ids'); CREATE VIEW home_next.before AS SELECT k FROM home.answer; RESET ROLE`)
	p.do(deploy.VerbCleanup)
	s := p.blocked(deploy.CauseInUse)
	says(t, "the reason", s.Stop.Reason, "view home.before", `default value for "shop-eu".orders.id`)
	if len(s.After.Others) != 2 || s.After.Dropped != 0 {
		t.Errorf("%d dropped, in the way are %+v", s.After.Dropped, s.After.Others)
	}
	e.dropped()
	say(t, e.super, `DROP VIEW home.before; ALTER TABLE "shop-eu".orders ALTER id SET DEFAULT nextval('home.ids')`)
	p.ends("shop", rollout, deploy.ExitDone)
	e.stands(onlyNew)
	e.answers(p, "new")
}
