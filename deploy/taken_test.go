package deploy

import (
	"slices"
	"strings"
	"testing"
)

// A name that the swap needs and somebody else has is refused beforehand, to a plan
// and to a canary by hand alike.
func TestTakenNamesAreRefusedBeforehand(t *testing.T) {
	for _, part := range []string{"_retired_", "_swap_"} {
		t.Run(part, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.takes = part
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				<-p.c.Recovered()
				names := func(found []Finding) bool {
					return len(found) == 2 && !slices.ContainsFunc(found, func(f Finding) bool {
						return f.Code != "P15" || f.Severity != Refuse || !strings.Contains(f.Object, "prod_deploy"+part)
					})
				}
				_, err := p.c.SetWeight(t.Context(), shopName, 1000, Request{Who: "bob"})
				if no := refusedWith(t, ExitRefused, err); !names(no.Findings) {
					t.Errorf("by hand: %+v", no.Findings)
				}
				if s, _ := p.c.Status(shopName); s.Rollout != "" || s.Weight != 0 {
					t.Errorf("a refused canary left %s at %s", s.Rollout, s.Weight)
				}
				p.start()
				if s, _ := p.awaitOver(); s.Phase != PhaseRefused || s.Exit != ExitRefused || !names(s.Findings) || count(w.happened(), "mark") != 0 {
					t.Errorf("a plan: %s, %+v", s.Phase, s.Findings)
				}
			})
		})
	}
}

// Forced open all the same, the canary shows what stands in the way of its promotion.
func TestAForcedCanaryShowsTakenNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.takes = "_swap_"
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		s, err := p.c.SetWeight(t.Context(), shopName, 1000, Request{Who: "bob", Force: true, Reason: "to look at it"})
		if err != nil || s.Phase != PhaseRamping || len(s.Findings) != 2 {
			t.Fatalf("%s, %+v, %v", s.Phase, s.Findings, err)
		}
	})
}
