package proxy_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

// turn plays one exchange on the live names' or the canary's answer.
func turn(c *player, s *scripted, text string) {
	c.t.Helper()
	c.send(query(text))
	s.expect("Q \"" + text + "\"")
	s.send(complete("SELECT 0"), ready('I'))
	c.expect("C \"SELECT 0\"", "Z I")
}

func TestCanarySessionIsMovedBeforeItsFirstStatement(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin()
		s.accept()
		s.expect(moveToCanary)
		c.awaitReady()
		c.send(query("SELECT 1"))
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 1"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I") // and nothing of the unit before it
		i := r.session()
		if i.Arm != router.Canary || !i.Moved || i.Retargets != 1 || i.Exchanges != 1 {
			r.t.Errorf("session %+v", i)
		}
	})
}

func TestI1I8MoveComesBeforeTheNextMessageOnly(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("BEGIN"))
		s.expect(`Q "BEGIN"`)
		s.send(complete("BEGIN"), ready('T'))
		c.expect(`C "BEGIN"`, "Z T")
		r.toCanary() // nothing happens inside the transaction
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		s.send(complete("SELECT 1"), ready('T'))
		c.expect(`C "SELECT 1"`, "Z T")
		c.send(query("COMMIT"))
		s.expect(`Q "COMMIT"`)
		s.send(complete("COMMIT"), ready('I'))
		c.expect(`C "COMMIT"`, "Z I")
		c.send(query("SELECT 2"))
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 2"`)
	})
}

func TestIdleSessionIsSwept(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		turn(c, s, "SELECT 1")
		r.toStable()
		r.p.Nudge()
		s.expect(moveToStable)
		s.moved("prod")
		turn(c, s, "SELECT 2")
	})
}

func TestPipelinerComesToRest(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		r.toCanary()
		c.send(query("SELECT 2"), query("SELECT 3")) // always one ahead of the answers
		s.send(complete("SELECT 1"), ready('I'))
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 2"`, `Q "SELECT 3"`)
		s.send(complete("SELECT 2"), ready('I'), complete("SELECT 3"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I", `C "SELECT 2"`, "Z I", `C "SELECT 3"`, "Z I")
	})
}

func TestI7RefusedMoveLeavesTheSessionWhereItIs(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod_deploy"}, complete("SET"),
			&pgproto3.ErrorResponse{Severity: "ERROR", Code: "22023", Message: "no"}, ready('I'))
		s.expect(`Q "SELECT 1"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		turn(c, s, "SELECT 2") // not tried again before the next epoch
		i := r.session()
		if i.Moved || i.FailedMoves != 1 || i.Have.Cluster != "prod" || i.Why == "" {
			r.t.Errorf("session %+v", i)
		}
		r.toCanary() // a new epoch
		c.send(query("SELECT 3"))
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 3"`)
	})
}

func TestI6MissingClusterIsSetBack(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		s.send(&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "MZ007", Message: `cluster "prod_deploy" does not exist`},
			&pgproto3.ParameterStatus{Name: "cluster", Value: "prod_deploy"}, complete("SET"),
			&pgproto3.ParameterStatus{Name: "search_path", Value: "prod_deploy"}, complete("SET"), ready('I'))
		s.expect(moveToStable)
		s.moved("prod")
		s.expect(`Q "SELECT 1"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		if i := r.session(); i.FailedMoves != 1 || i.Have.Cluster != "prod" || i.HaveState != "known" {
			r.t.Errorf("session %+v", i)
		}
	})
}

func TestI6ForeignMessagesWithinAUnitAreRelayed(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod_deploy"},
			&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "a replica changed"},
			complete("SET"),
			&pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"},
			&pgproto3.ParameterStatus{Name: "search_path", Value: "prod_deploy"}, complete("SET"), ready('I'))
		s.expect(`Q "SELECT 1"`)
		c.expect("N 00000", "S TimeZone=UTC")
	})
}

func TestFatalWithinAUnitIsRelayedOnce(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		s.send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "going down"})
		s.conn.Close()
		c.expect("E FATAL 57P01")
		if rest := c.expectEnd(); len(rest) != 0 {
			r.t.Errorf("behind the server's FATAL came %q", rest)
		}
	})
}

func TestI14UnansweredUnitEndsTheSession(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		begin := time.Now()
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		c.expect("E FATAL 57P01")
		if took := time.Since(begin); took < 2*time.Second || took > 3*time.Second {
			r.t.Errorf("ended after %v, want the limit of 2 s", took)
		}
	}, func(c *proxy.Config) { c.RetargetLimit = 2 * time.Second })
}

func TestSessionThatCannotGoBackIsEnded(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin()
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		r.toStable()
		c.send(query("SELECT 1"))
		for range 3 {
			s.expect(moveToStable)
			s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: "no"}, ready('I'))
		}
		c.expect("E FATAL 57P01")
		c.expectEnd()
	})
}

func TestM15UnknownServerMessageMakesUnmovable(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		unknown := []byte{'~', 0, 0, 0, 7, 'a', 'b', 'c'}
		if _, err := s.conn.Write(unknown); err != nil {
			r.t.Fatal(err)
		}
		got := make([]byte, len(unknown))
		readFull(r.t, c.conn, got)
		if string(got) != string(unknown) {
			r.t.Errorf("relayed %q", got)
		}
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		r.toCanary()
		r.p.Nudge()
		turn(c, s, "SELECT 2") // not moved
		if i := r.session(); i.Place != proxy.PlaceUnknown || i.Why != "cannot be tracked: unknown_server_message" {
			r.t.Errorf("session %+v", i)
		}
		hold, err := r.p.Hold(shop, time.Minute)
		if err != nil {
			r.t.Fatal(err)
		}
		defer hold.Release()
		if report := hold.Gather(cancelled()); report.Complete() || report.Stragglers[0].Place != proxy.PlaceUnknown {
			r.t.Errorf("report %+v", report)
		}
	})
}

func TestClientSetsLiveNames(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin("search_path", "prod")
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		c.send(query("SET search_path = prod, reports"))
		s.expect(`Q "SET search_path = prod, reports"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "prod, reports"}, complete("SET"), ready('I'))
		c.expect("S search_path=prod, reports", `C "SET"`, "Z I")
		c.send(query("SELECT 1"))
		s.expect(`Q "SET cluster = \"prod_deploy\"; SET search_path = \"prod_deploy\", \"reports\""`)
	})
}

func TestClientSetsForeignNames(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin()
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		c.send(query("SET search_path = other"))
		s.expect(`Q "SET search_path = other"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "other"}, complete("SET"), ready('I'))
		c.expect("S search_path=other", `C "SET"`, "Z I")
		r.becomes("cluster only", func(i proxy.SessionInfo) bool { return i.Fixed == "cluster only" })
		c.send(query("SELECT 1"))
		s.expect(`Q "SET cluster = \"prod\"; SET search_path = \"other\""`) // its cluster goes home
	})
}

func TestClientSetReleases(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SET search_path = prod"))
		s.expect(`Q "SET search_path = prod"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, complete("SET"), ready('I'))
		c.expect("S search_path=prod", `C "SET"`, "Z I")
		r.becomes("unmanaged", func(i proxy.SessionInfo) bool { return i.Deployment == "" })
		r.toCanary()
		r.p.Nudge()
		turn(c, s, "SELECT 1")
		if v := r.p.Survey(shop); v.Unmanaged != 1 || v.Sessions != [2]int{} {
			r.t.Errorf("survey %+v", v)
		}
	}, func(c *proxy.Config) {
		c.ClientSet = func(string) proxy.ClientSet { return proxy.ReleaseClientSet }
	})
}

func TestI9ResetIsFollowedByAMove(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin()
		s.accept()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		c.awaitReady()
		// A pool's reset with the next statement pipelined behind it.
		c.send(query("DISCARD ALL"), query("SELECT 1"))
		s.expect(`Q "DISCARD ALL"`)
		s.send(complete("DISCARD ALL"), ready('I'))
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 1"`)
		c.expect(`C "DISCARD ALL"`, "Z I")
	})
}

func TestNoRetargetSwitch(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.login()
		r.p.Nudge()
		turn(c, s, "SELECT 1")
		if i := r.session(); i.Moved || i.Wanted != router.Canary || i.Arm != router.Stable {
			r.t.Errorf("session %+v", i)
		}
	}, func(c *proxy.Config) { c.Unsafe.NoRetarget = true })
}

// TestWantMovesBackWhileAMessageWaits: the reason for which a pipelined message
// was kept back goes away while it waits.
func TestWantMovesBackWhileAMessageWaits(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		r.toCanary()
		c.send(query("SELECT 2"))
		r.becomes("told of the new want", func(i proxy.SessionInfo) bool { return i.Wanted == router.Canary && i.BytesIn > 0 })
		r.toStable()
		r.becomes("told of the old want", func(i proxy.SessionInfo) bool { return i.Wanted == router.Stable })
		s.expect(`Q "SELECT 2"`) // pipelined as before
	})
}
