package proxy_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

func qualified(rule proxy.QualifiedNames) change {
	return func(c *proxy.Config) { c.QualifiedNames = func(string) proxy.QualifiedNames { return rule } }
}

// TestQualifiedNamesPinStable: the session goes back to stable before the
// statement goes through, and stays there for the rollout.
func TestQualifiedNamesPinStable(t *testing.T) {
	for name, ask := range map[string]pgproto3.FrontendMessage{
		"Query": query("SELECT secret FROM prod.t WHERE id = 7 AND name = 'Ann'"),
		"Parse": &pgproto3.Parse{Query: "SELECT secret FROM prod.t WHERE id = 7 AND name = 'Ann'"},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(r *rig) {
				c, s := r.onCanary()
				turn(c, s, "SELECT 'prod.t'")
				if i := r.session(); i.Arm != router.Canary || i.QualifiedNames != 0 {
					r.t.Fatalf("a literal is no name: %+v", i)
				}
				c.send(ask)
				s.expect(moveToStable)
				s.moved("prod")
				s.expect(show(ask))
				if name == "Parse" {
					c.send(&pgproto3.Sync{})
					s.expect("S")
					s.send(&pgproto3.ParseComplete{}, ready('I'))
					c.expect("*pgproto3.ParseComplete", "Z I")
				} else {
					s.send(complete("SELECT 1"), ready('I'))
					c.expect(`C "SELECT 1"`, "Z I")
				}
				i := r.session()
				if i.Arm != router.Stable || i.Wanted != router.Stable || !i.Moved || i.QualifiedNames != 1 ||
					i.Qualified != "SELECT secret FROM prod.t WHERE id = ? AND name = ?" || !strings.HasSuffix(i.Reason, "stays on stable for this rollout") {
					r.t.Errorf("session %+v", i)
				}
				before := evidence(r)
				r.route(func(d *router.Deployment) { d.Weight = 5000 })
				r.toCanary()
				turn(c, s, "SELECT 1") // not moved, not counted
				if after := evidence(r); after != before {
					r.t.Errorf("evidence went from %d to %d exchanges", before, after)
				}
				samples, total := r.p.QualifiedNames(shop)
				if total != 1 || len(samples) != 1 || samples[0].Text != i.Qualified || samples[0].Count != 1 {
					r.t.Errorf("samples %+v of %d", samples, total)
				}
				if name == "Parse" { // the statement that it could execute again is another
					prepare(c, s, "", "SELECT 1")
					turn(c, s, "SELECT 1")
				}
				r.route(func(d *router.Deployment) { d.Salt++ }) // the next rollout
				c.send(query("SELECT 2"))
				s.expect(moveToCanary)
			}, qualified(proxy.PinQualified))
		})
	}
}

// evidence is how many exchanges count for the judge.
func evidence(r *rig) (n uint64) {
	for _, a := range r.stats.Find(shop).Evidence().Arms {
		n += a.Exchanges
	}
	return n
}

// TestQualifiedNamesCount: counted, not moved.
func TestQualifiedNamesCount(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		for range 3 {
			turn(c, s, "SELECT * FROM prod.t")
		}
		turn(c, s, "SELECT * FROM t")
		if i := r.session(); i.Arm != router.Canary || i.QualifiedNames != 3 {
			r.t.Errorf("session %+v", i)
		}
		r.toStable()
		c.send(query("SELECT * FROM prod.u"))
		s.expect(moveToStable)
		s.moved("prod")
		s.expect(`Q "SELECT * FROM prod.u"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		if _, total := r.p.QualifiedNames(shop); total != 3 {
			r.t.Errorf("%d statements: one on stable was counted", total)
		}
	}, qualified(proxy.CountQualified))
}

// TestQualifiedNamesInTransaction: a session that cannot be moved now is counted
// and goes back at its next boundary.
func TestQualifiedNamesInTransaction(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		c.send(query("BEGIN"))
		s.expect(`Q "BEGIN"`)
		s.send(complete("BEGIN"), ready('T'))
		c.expect(`C "BEGIN"`, "Z T")
		c.send(query("SELECT * FROM prod.t"))
		s.expect(`Q "SELECT * FROM prod.t"`)
		s.send(complete("SELECT 1"), ready('T'))
		c.expect(`C "SELECT 1"`, "Z T")
		c.send(query("COMMIT"))
		s.expect(`Q "COMMIT"`)
		s.send(complete("COMMIT"), ready('I'))
		c.expect(`C "COMMIT"`, "Z I")
		c.send(query("SELECT 1"))
		s.expect(moveToStable)
	}, qualified(proxy.PinQualified))
}

// TestQualifiedNamesOfFixedSession: who is put on the canary to test it stays.
func TestQualifiedNamesOfFixedSession(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin("mzcanary.arm", "canary")
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		turn(c, s, "SELECT * FROM prod.t")
		if i := r.session(); i.Arm != router.Canary || i.QualifiedNames != 1 {
			r.t.Errorf("session %+v", i)
		}
	}, qualified(proxy.PinQualified))
}

// TestQualifiedNamesPinTheUnit: all sessions of a user who is the unit, those
// that log in later too.
func TestQualifiedNamesPinTheUnit(t *testing.T) {
	s := onPostgres(t, qualified(proxy.PinQualified))
	s.route(func(d *router.Deployment) { d.Key, d.Weight = router.KeyUser, router.Full })
	first, second := s.connect(onProd), s.connect(onProd)
	readsVersion(t, first, "at first", "new")
	readsVersion(t, second, "at first", "new")
	run(t, first, "SELECT version FROM prod.answer WHERE k = 1")
	readsVersion(t, first, "after a qualified name", "old")
	eventually(t, "the unit's other session is back", func() bool {
		for _, i := range s.p.Sessions(shop) {
			if i.Arm != router.Stable || !i.Moved {
				return false
			}
		}
		return true
	})
	readsVersion(t, s.connect(onProd), "logged in later", "old")
}

// prepare sends Parse and Sync.
func prepare(c *player, s *scripted, name, text string) {
	c.t.Helper()
	p := &pgproto3.Parse{Name: name, Query: text}
	c.send(p, &pgproto3.Sync{})
	s.expect(show(p), "S")
	s.send(&pgproto3.ParseComplete{}, ready('I'))
	c.expect("*pgproto3.ParseComplete", "Z I")
}

// TestQualifiedNamesPreparedBeforeTheMove: a session that has prepared such a
// statement on stable is not moved to where it would execute it.
func TestQualifiedNamesPreparedBeforeTheMove(t *testing.T) {
	const text = "SELECT v FROM prod.answer WHERE id = 7"
	ways := map[string]func(c *player, s *scripted){
		"Parse":   func(c *player, s *scripted) { prepare(c, s, "s1", text); prepare(c, s, "s2", "SELECT 1") },
		"unnamed": func(c *player, s *scripted) { prepare(c, s, "", text) },
		"PREPARE": func(c *player, s *scripted) {
			c.send(query("SELECT 1; PREPARE s1 AS " + text))
			s.expect(show(query("SELECT 1; PREPARE s1 AS " + text)))
			s.send(complete("SELECT 1"), complete("PREPARE"), ready('I'))
			c.expect(`C "SELECT 1"`, `C "PREPARE"`, "Z I")
		},
		"in pieces": func(c *player, s *scripted) {
			p, _ := (&pgproto3.Parse{Name: "s1", Query: text}).Encode(nil)
			c.conn.Write(p[:10])
			synctest.Wait()
			c.conn.Write(p[10:])
			s.expect(`P "s1" "` + text + `"`)
			c.send(&pgproto3.Sync{})
			s.expect("S")
			s.send(&pgproto3.ParseComplete{}, ready('I'))
			c.expect("*pgproto3.ParseComplete", "Z I")
		},
	}
	for name, prepares := range ways {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.login()
				prepares(c, s)
				if _, total := r.p.QualifiedNames(shop); total != 0 {
					r.t.Errorf("%d statements were counted on stable", total)
				}
				r.toCanary()
				r.p.Nudge()
				time.Sleep(2 * describedWait)
				s.hearsNothing("to move it")
				c.send(&pgproto3.Bind{PreparedStatement: "s1"}, &pgproto3.Execute{}, &pgproto3.Sync{})
				s.expect("B", "E", "S")
				i := r.session()
				if i.Arm != router.Stable || i.Wanted != router.Stable || i.QualifiedNames != 1 || !strings.Contains(i.Qualified, "FROM prod.answer WHERE id = ?") ||
					!strings.HasSuffix(i.Reason, "stays on stable for this rollout") {
					r.t.Errorf("session %+v", i)
				}
			}, qualified(proxy.PinQualified))
		})
	}
}

const describedWait = time.Second

// TestQualifiedNamesForgotten: what a pool's reset deallocates is no reason any more.
func TestQualifiedNamesForgotten(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		prepare(c, s, "s1", "SELECT v FROM prod.answer")
		c.send(query("DISCARD ALL"))
		s.expect(`Q "DISCARD ALL"`)
		s.send(complete("DISCARD ALL"), ready('I'))
		c.expect(`C "DISCARD ALL"`, "Z I")
		s.expect(moveToStable) // what it has is unknown behind a reset
		s.moved("prod")
		synctest.Wait()
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
	}, qualified(proxy.PinQualified))
}

// TestQualifiedNamesPreparedBeforeCount: counted once when it is moved.
func TestQualifiedNamesPreparedBeforeCount(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		prepare(c, s, "s1", "SELECT v FROM prod.answer")
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		synctest.Wait()
		if samples, total := r.p.QualifiedNames(shop); total != 1 || len(samples) != 1 {
			r.t.Errorf("samples %+v of %d", samples, total)
		}
	}, qualified(proxy.CountQualified))
}

// TestQualifiedNamesInPieces: a text that came in several reads has begun to go on
// when it is seen whole; the session goes back behind it.
func TestQualifiedNamesInPieces(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.onCanary()
		q, _ := query("SELECT * FROM prod.t").Encode(nil)
		c.conn.Write(q[:20])
		synctest.Wait()
		c.conn.Write(q[20:])
		s.expect(`Q "SELECT * FROM prod.t"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		c.send(query("SELECT 1"))
		s.expect(moveToStable)
		if i := r.session(); i.QualifiedNames != 1 {
			r.t.Errorf("session %+v", i)
		}
	}, qualified(proxy.PinQualified))
}
