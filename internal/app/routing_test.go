package app_test

import (
	"testing"

	"mzcanary/internal/admin"
)

// TestRoutingRulesReachTheProxy: client_set and qualified_names of the
// configuration are those that sessions meet.
func TestRoutingRulesReachTheProxy(t *testing.T) {
	for _, c := range []struct {
		set        string
		qualified  string // version read unqualified after SELECT … FROM prod.answer on the canary
		deployment string // after SET of its own
	}{
		{"deployments[0].routing.client_set=map", "old", "shop"},
		{"deployments[0].routing.client_set=release", "old", ""},
		{"deployments[0].routing.qualified_names=count", "new", "shop"},
	} {
		t.Run(c.set, func(t *testing.T) {
			_, addr := onSim(t)
			p := start(t, configure(t, addr, c.set))
			p.controlled()
			p.weigh(100)
			conn := connect(t, dsn(p.Proxy, onProd))
			if v := mustVersion(t, conn); v != "new" {
				t.Fatalf("at 100%% version %q", v)
			}
			if _, err := conn.Exec(t.Context(), "SELECT version FROM prod.answer"); err != nil {
				t.Fatal(err)
			}
			if v := mustVersion(t, conn); v != c.qualified {
				t.Errorf("after a qualified name: version %q, want %q", v, c.qualified)
			}
			scrape(t, p).want(t, "mzcanary_qualified_names_total", 1, "deployment=shop")
			if _, err := conn.Exec(t.Context(), "SET search_path = prod, public"); err != nil {
				t.Fatal(err)
			}
			mustVersion(t, conn)
			list, err := p.client.Sessions(within(t), "", "")
			if err != nil || len(list) != 1 || list[0].Deployment != c.deployment || list[0].ClientSets != 1 {
				t.Errorf("sessions %+v, %v", list, err)
			}
		})
	}
}

// TestSharesAreOfWhatFollowsTheWeight: sessions whose arm is fixed are counted, and
// counted apart; the share beside the wanted one is without them.
func TestSharesAreOfWhatFollowsTheWeight(t *testing.T) {
	_, addr := onSim(t)
	p := start(t, configure(t, addr, "deployments[0].routing.key=application_name"))
	p.controlled()
	const byKey = " application_name=one"
	p.weigh(1)
	connect(t, dsn(p.Proxy, onProd+byKey))
	connect(t, dsn(p.Proxy, onProd))                                                                       // no key: stable whatever the weight
	connect(t, dsn(p.Proxy, "options='-c search_path=prod_deploy -c cluster=prod_deploy'"+byKey))          // own deploy names
	connect(t, dsn(p.Proxy, "options='-c search_path=prod -c cluster=prod -c mzcanary.arm=canary'"+byKey)) // asked for
	offCanary := connect(t, dsn(p.Proxy, onProd+" application_name=two"))                                  // goes back by itself
	for _, step := range []struct {
		sessions [2]int
		fixed    [2]int
	}{
		{[2]int{1, 4}, [2]int{1, 2}},
		{[2]int{2, 3}, [2]int{2, 2}}, // after a qualified name
	} {
		p.weigh(100)
		s := p.await("settled", func(s admin.Status) bool { return s.Sessions == step.sessions && s.Wanted == step.sessions })
		if s.SessionShare != 1 || s.Fixed != step.fixed {
			t.Errorf("at 100%%: share %g, fixed %v; want 1 and %v", s.SessionShare, s.Fixed, step.fixed)
		}
		m := scrape(t, p)
		m.want(t, "mzcanary_session_share_ratio", 1)
		m.want(t, "mzcanary_sessions_fixed", float64(step.fixed[0]), "arm=stable")
		m.want(t, "mzcanary_sessions_fixed", float64(step.fixed[1]), "arm=canary")
		m.want(t, "mzcanary_sessions", float64(step.sessions[1]), "arm=canary")
		if step.fixed[0] == 1 {
			if _, err := offCanary.Exec(t.Context(), "SELECT version FROM prod.answer"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
