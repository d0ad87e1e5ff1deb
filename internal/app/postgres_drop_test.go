package app_test

import (
	"testing"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/pgtest"
)

// dropDeploy is abort --drop-deploy.
var dropDeploy = admin.Request{Who: "test", Reason: "not this one", DropDeploy: true}

func (p *program) abortAndDrop() {
	p.t.Helper()
	if _, err := p.client.Do(within(p.t), "shop", deploy.VerbAbort, dropDeploy); err != nil {
		p.t.Fatal(err)
	}
}

// TestPostgresAbortDropsTheNewVersion: everybody goes back to production, what others
// still read is waited for, and then both deploy schemas are dropped and nothing else.
func TestPostgresAbortDropsTheNewVersion(t *testing.T) {
	e := newEstate(t, mayDoAll)
	p := e.run()
	clients := askersWith(t, e.dsn(p), crowd)
	rollout := p.begin("shop")
	p.asking()
	p.await("on the canary", func(s admin.Status) bool { return s.Sessions[1] > 0 })
	if r := p.refusedTo(deploy.VerbRollback, dropDeploy); r.Exit != deploy.ExitUsage {
		t.Errorf("rollback --drop-deploy: exit %d, %s", r.Exit, r.Sentence)
	}
	past := connect(t, pgtest.DSN(e.server.Addr(), "postgres", "dbname="+e.database)) // not through the proxy
	say(t, past, `BEGIN; SELECT FROM "shop-eu_next".orders`)
	p.abortAndDrop()
	s := p.blocked(deploy.CauseInUse)
	if s.Under != deploy.PhaseDropping || s.Sessions[1] != 0 {
		t.Errorf("stands in %s with %d sessions on the canary", s.Under, s.Sessions[1])
	}
	says(t, "the reason", s.Stop.Reason, "the new version is still used", "holds locks on shop-eu_next.orders")
	e.dropped()
	say(t, past, "ROLLBACK")
	s = p.ends("shop", rollout, deploy.ExitRolledBack)
	if s.Phase != deploy.PhaseAborted {
		t.Errorf("ended as %s", s.Phase)
	}
	says(t, "the end", s.End, "the new version was dropped")
	onVersion(t, clients(), "old")
	e.stands(onlyOld)
	e.dropped("home_next", "shop-eu_next")
	e.unmarked()

	// Once more there is nothing to abort, and nothing of production goes.
	if r := p.refusedTo(deploy.VerbAbort, dropDeploy); r.Exit != deploy.ExitUsage {
		t.Errorf("again: exit %d, %s", r.Exit, r.Sentence)
	}
	p.ends("shop", p.begin("shop"), deploy.ExitRefused) // and nothing to roll out
	e.stands(onlyOld)
	e.answers(p, "old")
}

// TestPostgresAbortedDropIsResumed: a drop of the new version that stopped half way goes
// on where it stood, also in a program started anew.
func TestPostgresAbortedDropIsResumed(t *testing.T) {
	e := newEstate(t, mayDoAll)
	p := e.run()
	rollout := p.begin("shop")
	p.asking()
	say(t, e.super, `ALTER SCHEMA "shop-eu_next" OWNER TO postgres`)
	p.abortAndDrop()
	p.ends("shop", rollout, deploy.ExitHuman)
	e.dropped("home_next")
	p = e.again(p)
	s := p.blocked(deploy.CauseError)
	if s.Under != deploy.PhaseDropping {
		t.Errorf("stands in %s", s.Under)
	}
	says(t, "the reason", s.Stop.Reason, "schema shop-eu_next could not be dropped", "SQLSTATE 42501")
	if r := p.refusedTo(deploy.VerbAbort, dropDeploy); r.Exit != deploy.ExitUsage {
		t.Errorf("again while it stands: exit %d, %s", r.Exit, r.Sentence)
	}
	e.answers(p, "old")
	say(t, e.super, e.named(`ALTER SCHEMA "shop-eu_next" OWNER TO BUILDER`))
	p.do(deploy.VerbRetry)
	if s := p.over(deploy.PhaseAborted); s.Exit != deploy.ExitRolledBack || s.Rollout != rollout {
		t.Errorf("rollout %s ended with exit code %d", s.Rollout, s.Exit)
	}
	e.stands(onlyOld)
	e.dropped("home_next", "shop-eu_next")
	e.unmarked()
}

// TestPostgresNewVersionIsNotDropped: not after the swap, where it is production, and
// not where somebody else moved the names, so that a deploy name may be production.
func TestPostgresNewVersionIsNotDropped(t *testing.T) {
	t.Run("in the window", func(t *testing.T) {
		e, p, rollout := afterTheSwap(t, "")
		r := p.refusedTo(deploy.VerbAbort, dropDeploy)
		if r.Exit != deploy.ExitUsage {
			t.Errorf("exit %d", r.Exit)
		}
		says(t, "the refusal", r.Sentence, "before the swap only")
		e.dropped()
		e.answers(p, "new")
		p.do(deploy.VerbCleanup)
		p.ends("shop", rollout, deploy.ExitDone)
		e.stands(onlyNew)
	})
	t.Run("after interference", func(t *testing.T) {
		e := newEstate(t, mayDoAll)
		p := e.run()
		rollout := p.begin("shop")
		p.asking()
		say(t, e.super, "BEGIN; ALTER SCHEMA home RENAME TO between; ALTER SCHEMA home_next RENAME TO home; ALTER SCHEMA between RENAME TO home_next; COMMIT")
		p.blocked(deploy.CauseInterference)
		r := p.refusedTo(deploy.VerbAbort, dropDeploy)
		if r.Exit != deploy.ExitRace {
			t.Errorf("exit %d", r.Exit)
		}
		says(t, "the refusal", r.Sentence, "nothing of shop is dropped", "schema home was "+e.ids["home"]+", is "+e.ids["home_next"])
		p.do(deploy.VerbAbort)
		if s := p.over(deploy.PhaseAborted); s.Rollout != rollout {
			t.Errorf("rollout %s ended", s.Rollout)
		}
		e.dropped()
		e.stands(map[string]string{"home": "home_next", "home_next": "home", "shop-eu": "shop-eu", "shop-eu_next": "shop-eu_next"})
	})
}
