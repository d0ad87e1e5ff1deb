package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Sessions that did not come through the proxy are a finding of check and of a
// rollout's preflight, and are counted again when the swap is tried.
func TestForeignSessionsAreNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		w.foreign = map[string]int{"bi": 3, "app": 1}
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		<-p.c.Recovered()
		checked, err := p.c.Check(t.Context(), shopName)
		if err != nil || len(checked) != 2 || checked[0].Object != "role app" || checked[1].Object != "role bi" {
			t.Fatalf("%+v, %v", checked, err)
		}
		if f := checked[1]; f.Code != "P19" || f.Severity != Warn || !strings.Contains(f.Sentence, "3 sessions did not come through this proxy") {
			t.Errorf("%+v", f)
		}
		p.start()
		p.await("25%", func(s Status) bool { return s.Weight == 2500 })
		w.with(func() { w.foreign = map[string]int{"bi": 2} })
		s, _ := p.awaitOver()
		if s.Phase != PhaseDone || len(s.Findings) != 2 || s.Findings[0].Code != "P19" {
			t.Errorf("%s with findings %+v", s.Phase, s.Findings)
		}
		if got := s.Swap.Foreign; len(got) != 1 || got["bi"] != 2 {
			t.Errorf("at the swap there were %v", got)
		}
	})
}

// Nobody elsewhere, no finding; not knowing is none either.
func TestNoForeignSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := boot(t, w, testPlan(), 0, func(o *Options) { o.Warehouse = blindToSessions{o.Warehouse} })
		defer p.stop()
		<-p.c.Recovered()
		if found, err := p.c.Check(t.Context(), shopName); err != nil || len(found) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
	})
	if foreignFindings(map[string]int{}) != nil {
		t.Error("a finding about nobody")
	}
}

type blindToSessions struct{ Warehouse }

func (blindToSessions) Foreign(context.Context, []uint32) (map[string]int, error) {
	return nil, errors.New("permission denied for mz_sessions")
}

type sessionsOnly struct {
	Traffic
	list []SessionInfo
	err  error
}

func (s sessionsOnly) Sessions(context.Context, string) ([]SessionInfo, error) { return s.list, s.err }

// Where shapes differ and that is accepted, the finding says how many live sessions
// stay where they are.
func TestAcceptedShapeChangeCountsWhoStays(t *testing.T) {
	two := []SessionInfo{{Prepared: true}, {}, {Prepared: true}}
	for name, c := range map[string]struct {
		traffic sessionsOnly
		want    string
	}{
		"two":     {sessionsOnly{list: two}, "2 live sessions have named statements and stay"},
		"one":     {sessionsOnly{list: two[:1]}, "1 live session has named statements and stays"},
		"nobody":  {sessionsOnly{list: two[1:2]}, "No live session"},
		"unknown": {sessionsOnly{err: errors.New("no")}, "How many live sessions"},
	} {
		found := []Finding{{Code: "P08", Severity: Warn, Sentence: "x"}, {Code: "P09", Severity: Warn, Accept: AcceptShapeChange, Sentence: "It differs."},
			{Code: "P09", Severity: Refuse, Accept: AcceptShapeChange, Sentence: "It differs."}}
		looker{t: c.traffic}.countPrepared(t.Context(), shopName, found)
		if !strings.HasPrefix(found[1].Sentence, "It differs. Accepted: "+c.want) || found[0].Sentence != "x" || found[2].Sentence != "It differs." {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
