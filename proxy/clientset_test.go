package proxy_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
	"mzcanary/router"
)

// set plays a client's own SET: the statement reaches the server as it is, and
// told are the values that the server reports with it.
func set(c *player, s *scripted, text, tag string, told ...string) {
	c.t.Helper()
	c.send(query(text))
	s.expect("Q " + quote(text))
	var seen []string
	for i := 0; i+1 < len(told); i += 2 {
		s.back.Send(&pgproto3.ParameterStatus{Name: told[i], Value: told[i+1]})
		seen = append(seen, "S "+told[i]+"="+told[i+1])
	}
	s.send(complete(tag), ready('I'))
	c.expect(append(seen, "C "+quote(tag), "Z I")...)
}

func quote(text string) string { return show(query(text))[2:] }

func releases(c *proxy.Config) {
	c.ClientSet = func(string) proxy.ClientSet { return proxy.ReleaseClientSet }
}

func unmanaged(i proxy.SessionInfo) bool { return i.Deployment == "" && i.Place == proxy.PlaceBoundary }
func managed(i proxy.SessionInfo) bool   { return i.Deployment == shop }

// onCanary is a login of a session that is moved to the canary at once.
func (r *rig) onCanary() (*player, *scripted) {
	r.t.Helper()
	r.toCanary()
	c, s := r.begin()
	s.accept()
	s.expect(moveToCanary)
	s.moved("prod_deploy")
	c.awaitReady()
	return c, s
}

// TestReleasedSessionTakesNothingAlong: what the proxy has set is set back before
// the next statement of a session that becomes unmanaged.
func TestReleasedSessionTakesNothingAlong(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		set(c, s, "SET search_path = other", "SET", "search_path", "other")
		c.send(query("SELECT 1"))
		s.expect(`Q "SET cluster = \"prod\"; SET search_path = \"other\""`)
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod"}, complete("SET"),
			&pgproto3.ParameterStatus{Name: "search_path", Value: "other"}, complete("SET"), ready('I'))
		s.expect(`Q "SELECT 1"`)
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		if i := r.session(); i.Deployment != "" || i.ClientSet != "released" || i.ClientSets != 1 ||
			i.Reason != "the client set cluster or search_path itself (client_set: release)" {
			r.t.Errorf("session %+v", i)
		}
		r.toStable()
		r.toCanary()
		turn(c, s, "SELECT 2") // weights are nothing to it
		set(c, s, "SET search_path = prod", "SET", "search_path", "prod")
		turn(c, s, "SELECT 3") // its own hand again
		if i := r.session(); i.Deployment != "" {
			r.t.Errorf("managed again by its own SET: %+v", i)
		}
	}, releases)
}

// TestReleasedSessionComesBackByReset: a pool gives the session to somebody else.
func TestReleasedSessionComesBackByReset(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		set(c, s, "SET search_path = other", "SET", "search_path", "other")
		r.becomes("unmanaged", unmanaged)
		r.toCanary()
		c.send(query("DISCARD ALL"))
		s.expect(`Q "DISCARD ALL"`)
		s.send(complete("DISCARD ALL"), ready('I'))
		c.expect(`C "DISCARD ALL"`, "Z I")
		s.expect(`Q "SHOW cluster; SHOW search_path"`)
		row := func(v string) *pgproto3.DataRow { return &pgproto3.DataRow{Values: [][]byte{[]byte(v)}} }
		s.send(&pgproto3.RowDescription{}, row("prod"), complete("SHOW"), &pgproto3.RowDescription{}, row("prod"), complete("SHOW"), ready('I'))
		c.send(query("SELECT 1"))
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 1"`)
		if i := r.session(); i.Deployment != shop || i.ClientSet != "returned" {
			r.t.Errorf("session %+v", i)
		}
	}, releases)
}

// TestResetIsNoSteering: under release a reset of a session that set nothing is
// followed by its move, as under map.
func TestResetIsNoSteering(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		set(c, s, "DISCARD ALL", "DISCARD ALL")
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		turn(c, s, "SELECT 1")
		if i := r.session(); i.Deployment != shop || i.ClientSet != "reset" {
			r.t.Errorf("session %+v", i)
		}
	}, releases)
}

// TestForeignNamesAndBack: names of nobody make it unmanaged, live names managed
// again, in two statements as clients set them.
func TestForeignNamesAndBack(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		set(c, s, "SET search_path = other", "SET", "search_path", "other")
		r.becomes("fixed by its cluster", func(i proxy.SessionInfo) bool { return i.Fixed == "cluster only" })
		set(c, s, "SET cluster = quickstart", "SET", "cluster", "quickstart")
		r.becomes("unmanaged", unmanaged)
		if v := r.p.Survey(shop); v.Unmanaged != 1 {
			r.t.Errorf("survey %+v", v)
		}
		r.toCanary()
		turn(c, s, "SELECT 1")
		c.send(query("SET search_path = prod"))
		s.expect(`Q "SET search_path = prod"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, complete("SET"), ready('I'))
		c.expect("S search_path=prod", `C "SET"`, "Z I")
		r.becomes("managed", managed)
		c.send(query("SET cluster = prod"))
		s.expect(`Q "SET cluster = \"quickstart\"; SET search_path = \"prod_deploy\""`)
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "quickstart"}, complete("SET"),
			&pgproto3.ParameterStatus{Name: "search_path", Value: "prod_deploy"}, complete("SET"), ready('I'))
		s.expect(`Q "SET cluster = prod"`)
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod"}, complete("SET"), ready('I'))
		c.expect("S cluster=prod", `C "SET"`, "Z I")
		c.send(query("SELECT 2"))
		s.expect(moveToCanary)
	})
}

// TestUnmanagedSessionSaysLiveNames: it becomes managed, and what is pipelined
// behind waits for the move.
func TestUnmanagedSessionSaysLiveNames(t *testing.T) {
	onBoth(t, func(r *rig) {
		r.toCanary()
		c, s := r.begin()
		s.send(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "cluster", Value: "quickstart"},
			&pgproto3.ParameterStatus{Name: "search_path", Value: "public"}, &pgproto3.ParameterStatus{Name: "mz_version", Value: "v26.39.0"},
			&pgproto3.BackendKeyData{ProcessID: serverPID, SecretKey: []byte(serverSecret)}, ready('I'))
		c.awaitReady()
		set(c, s, "SET cluster = quickstart", "SET", "cluster", "quickstart")
		turn(c, s, "SELECT 1") // still nothing to us
		set(c, s, "SET search_path = prod; SET cluster = prod", "SET", "search_path", "prod", "cluster", "prod")
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		turn(c, s, "SELECT 2")
		if i := r.session(); i.Arm != router.Canary || i.ClientSet != "returned" {
			r.t.Errorf("session %+v", i)
		}
		// A reset gives it up again: it began unmanaged. It is asked, not guessed.
		set(c, s, "DISCARD ALL", "DISCARD ALL")
		s.expect(`Q "SHOW cluster; SHOW search_path"`)
		row := func(v string) *pgproto3.DataRow { return &pgproto3.DataRow{Values: [][]byte{[]byte(v)}} }
		s.send(row("quickstart"), complete("SHOW"), row("public"), complete("SHOW"), ready('I'))
		turn(c, s, "SELECT 3")
		if i := r.session(); i.Deployment != "" {
			r.t.Errorf("session %+v", i)
		}
	})
}

// TestOwnDeployNames: the client's own deploy names fix it to the canary.
func TestOwnDeployNames(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		set(c, s, "SET search_path = prod_deploy; SET cluster = prod_deploy", "SET", "search_path", "prod_deploy", "cluster", "prod_deploy")
		turn(c, s, "SELECT 1")
		if i := r.session(); i.Arm != router.Canary || i.Fixed != "own deploy names" || i.ClientSet != "mapped" {
			r.t.Errorf("session %+v", i)
		}
		set(c, s, "SET search_path = prod; SET cluster = prod", "SET", "search_path", "prod", "cluster", "prod")
		turn(c, s, "SELECT 2")
		if i := r.session(); i.Arm != router.Stable || i.Fixed != "" || i.Deployment != shop {
			r.t.Errorf("back on live names %+v", i)
		}
	})
}

// TestSetLocalGoesByItself: it ends with its transaction, and the session is
// moved as before.
func TestSetLocalGoesByItself(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.onCanary()
		c.send(query("BEGIN"))
		s.expect(`Q "BEGIN"`)
		s.send(complete("BEGIN"), ready('T'))
		c.expect(`C "BEGIN"`, "Z T")
		c.send(query("SET LOCAL search_path = other"))
		s.expect(`Q "SET LOCAL search_path = other"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "other"}, complete("SET"), ready('T'))
		c.expect("S search_path=other", `C "SET"`, "Z T")
		c.send(query("COMMIT"))
		s.expect(`Q "COMMIT"`)
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "prod_deploy"}, complete("COMMIT"), ready('I'))
		c.expect("S search_path=prod_deploy", `C "COMMIT"`, "Z I")
		turn(c, s, "SELECT 1")
		if i := r.session(); i.Arm != router.Canary || !i.Moved || i.ClientSets != 0 {
			r.t.Errorf("session %+v", i)
		}
	})
}
