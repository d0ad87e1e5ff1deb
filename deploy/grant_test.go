package deploy

import (
	"slices"
	"strings"
	"testing"
)

// lacksRights is a new version that two roles may not use.
func lacksRights(w *world) {
	w.missing = []Grant{
		{Privilege: "USAGE", On: Ref{Kind: KindSchema, Name: "prod_deploy", ID: newSchema}, To: "app", Text: "USAGE to app"},
		{Privilege: "USAGE", On: Ref{Kind: KindCluster, Name: "prod_deploy", ID: newCluster}, Text: "USAGE to PUBLIC"},
	}
}

func (p *program) startFixing() Status {
	p.t.Helper()
	<-p.c.Recovered()
	s, err := p.c.Start(p.t.Context(), shopName, StartRequest{Who: "ann", Fix: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func TestRightsAreGivenAndTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		at   func(Status) bool
		verb Verb
		want []string // of the rights, in order
	}{
		"done":              {want: []string{"grant USAGE to app", "grant USAGE to PUBLIC"}},
		"before the swap":   {func(s Status) bool { return s.Weight == 2500 }, VerbRollback, []string{"grant USAGE to app", "grant USAGE to PUBLIC", "revoke USAGE to PUBLIC", "revoke USAGE to app"}},
		"aborted":           {func(s Status) bool { return s.Weight == 500 }, VerbAbort, []string{"grant USAGE to app", "grant USAGE to PUBLIC", "revoke USAGE to PUBLIC", "revoke USAGE to app"}},
		"from the window":   {func(s Status) bool { return s.Phase == PhaseWindow }, VerbRollback, []string{"grant USAGE to app", "grant USAGE to PUBLIC", "revoke USAGE to PUBLIC", "revoke USAGE to app"}},
		"while giving them": {func(s Status) bool { return len(s.Granted) > 0 }, VerbRollback, []string{"grant USAGE to app", "grant USAGE to PUBLIC", "revoke USAGE to PUBLIC", "revoke USAGE to app"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				lacksRights(w)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				p.startFixing()
				if c.at != nil {
					p.await(name, c.at)
					p.do(c.verb)
				}
				s, _ := p.awaitOver()
				var got []string
				for _, e := range w.happened() {
					if strings.HasPrefix(e, "grant ") || strings.HasPrefix(e, "revoke ") {
						got = append(got, e)
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("%s: happened %q, want %q", s.Sentence, got, c.want)
				}
				if len(s.Granted) != 2 {
					t.Errorf("the status names %+v", s.Granted)
				}
			})
		})
	}
}

// Memberships are given first, whatever finding asks for them, and each right once.
func TestMembershipsComeFirst(t *testing.T) {
	create := Grant{Privilege: "CREATE", On: Ref{Kind: KindDatabase, Name: "shop"}, To: "mzcanary", Text: "CREATE"}
	member := Grant{On: Ref{Kind: KindRole, Name: "team"}, To: "mzcanary", Text: "member"}
	usage := Grant{Privilege: "USAGE", On: Ref{Kind: KindSchema, Name: "prod_deploy", ID: newSchema}, To: "app", Text: "USAGE"}
	got := texts(Remedies([]Finding{{Grant: &create}, {}, {Grant: &member}, {Grant: &usage}, {Grant: &member}}))
	if want := []string{"member", "CREATE", "USAGE"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Without being asked nothing is given; with a fault that no right would mend
// nothing is given either.
func TestRightsAreNotGiven(t *testing.T) {
	for name, c := range map[string]struct {
		fix   bool
		world func(*world)
	}{
		"not asked for":         {false, func(*world) {}},
		"would not suffice":     {true, func(w *world) { w.findings = []Finding{{Code: "P04", Severity: Refuse, Object: "view x"}} }},
		"refused by the server": {true, func(w *world) { w.refuses = "USAGE to app" }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				lacksRights(w)
				c.world(w)
				p := boot(t, w, testPlan(), 0)
				defer p.stop()
				<-p.c.Recovered()
				if _, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann", Fix: c.fix}); err != nil {
					t.Fatal(err)
				}
				s, _ := p.awaitOver()
				if s.Phase != PhaseRefused || s.Exit != ExitRefused || len(w.given) != 0 || len(s.Findings) < 2 {
					t.Errorf("%s: %s; given %v, findings %+v", s.Phase, s.Sentence, w.given, s.Findings)
				}
			})
		})
	}
}

// What the server refuses half way is taken back as far as it was given.
func TestHalfGivenRightsAreTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		lacksRights(w)
		w.refuses = "USAGE to PUBLIC"
		p := boot(t, w, testPlan(), 0)
		defer p.stop()
		p.startFixing()
		s, _ := p.awaitOver()
		if s.Phase != PhaseRefused || len(w.given) != 0 || !strings.Contains(s.End, "permission denied") {
			t.Errorf("%s: %s; left %v", s.Phase, s.End, w.given)
		}
		if got := w.happened(); count(got, "revoke USAGE to app") != 1 || count(got, "revoke USAGE to PUBLIC") != 0 {
			t.Errorf("happened %v", got)
		}
	})
}
