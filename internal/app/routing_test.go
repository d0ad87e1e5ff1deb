package app_test

import "testing"

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
