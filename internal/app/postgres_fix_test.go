package app_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
)

// mayGrant lets the control role give itself what it lacks: it may make anybody a member
// of the builder, who owns the schemas and the database.
const mayGrant = "ALTER ROLE CONTROL CREATEROLE"

// rights are what the control role has by the server's own account.
type rights struct{ member, create bool }

func (e *estate) rights() rights {
	e.t.Helper()
	return rights{
		member: ask[bool](e, "SELECT pg_has_role($1::name, $2::name, 'USAGE')", e.control, e.builder),
		create: ask[bool](e, "SELECT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = $1::regrole AND a.privilege_type = 'CREATE')", e.control),
	}
}

// missing are the statements that give an estate's control role what it lacks.
func (e *estate) missing() []string {
	return []string{`GRANT "` + e.builder + `" TO "` + e.control + `"`, `GRANT CREATE ON DATABASE "` + e.database + `" TO "` + e.control + `"`}
}

func given(grants []admin.Grant) (texts []string) {
	for _, g := range grants {
		texts = append(texts, g.Text)
	}
	return texts
}

// TestPostgresFixGivesAndTakesBack: what a rollout gave the control role goes away again
// when it is rolled back, from the window too, and stays when the new version is
// production.
func TestPostgresFixGivesAndTakesBack(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(*estate, *program)
		left  rights
		after map[string]string
	}{
		"rolled back before the swap": {func(_ *estate, p *program) {
			p.do(deploy.VerbRollback)
			p.over(deploy.PhaseRolledBack)
		}, rights{}, map[string]string{"home": "home", "shop-eu": "shop-eu", "home_next": "home_next", "shop-eu_next": "shop-eu_next"}},
		"rolled back from the window": {func(e *estate, p *program) {
			p.swapped()
			e.answers(p, "new")
			p.do(deploy.VerbRollback)
			p.over(deploy.PhaseRolledBack)
		}, rights{}, map[string]string{"home": "home", "shop-eu": "shop-eu", "home_next": "home_next", "shop-eu_next": "shop-eu_next"}},
		"done": {func(_ *estate, p *program) {
			p.swapped()
			p.do(deploy.VerbCleanup)
			p.over(deploy.PhaseDone)
		}, rights{member: true, create: true}, onlyNew},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate(t, mayGrant)
			p := e.run()
			p.ends("shop", p.begin("shop"), deploy.ExitRefused) // without being asked to, nothing is given
			if got := e.rights(); got != (rights{}) {
				t.Fatalf("before anything was given: %+v", got)
			}
			rollout := p.beginFixing()
			s := p.asking()
			if got := given(s.Granted); !slices.Equal(got, e.missing()) {
				t.Errorf("status shows %q as given, want %q", got, e.missing())
			}
			if got := e.rights(); got != (rights{member: true, create: true}) {
				t.Errorf("during the rollout: %+v", got)
			}
			c.end(e, p)
			if got := e.rights(); got != c.left {
				t.Errorf("afterwards: %+v, want %+v", got, c.left)
			}
			e.stands(c.after)
			e.unmarked()
			records, err := p.client.History(within(t), "shop")
			if err != nil || len(records) != 2 || records[0].Rollout != rollout {
				t.Fatalf("history: %d records, %v", len(records), err)
			}
			if got := given(records[0].State.Granted); !slices.Equal(got, e.missing()) {
				t.Errorf("the record has %q as given, want %q", got, e.missing())
			}
		})
	}
}

// TestPostgresFixIsRefused: what the control role cannot give itself is said with the
// server's words, nothing counts as given, and what was given before it is taken back.
// The server answers the GRANT of a right that it does not give with a warning only.
func TestPostgresFixIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		more    string
		missing func(*estate) []string // what is asked for
		refused func(*estate) string   // the statement that the server refuses
		says    string
	}{
		"a membership": {"", (*estate).missing, func(e *estate) string { return e.missing()[0] }, "must have admin option"},
		"CREATE on the database": {"GRANT BUILDER TO CONTROL; ALTER DATABASE DATABASE OWNER TO postgres",
			func(e *estate) []string { return e.missing()[1:] }, func(e *estate) string { return e.missing()[1] }, "SQLSTATE 01007"},
		"the second of two": {"ALTER ROLE CONTROL CREATEROLE; ALTER DATABASE DATABASE OWNER TO postgres",
			(*estate).missing, func(e *estate) string { return e.missing()[1] }, "SQLSTATE 01007"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate(t, c.more)
			before := e.rights()
			p := e.run()
			findings, err := p.client.Check(within(t), "shop")
			if got := given(admin.Remedies(findings)); err != nil || !slices.Equal(got, c.missing(e)) {
				t.Errorf("check asks for %q (%v), want %q", got, err, c.missing(e))
			}
			p.ends("shop", p.beginFixing(), deploy.ExitRefused)
			s := p.over(deploy.PhaseRefused)
			says(t, "the end", s.End, "a missing right could not be given", c.refused(e), c.says)
			if slices.Contains(given(s.Granted), c.refused(e)) {
				t.Errorf("what was refused counts as given: %q", given(s.Granted))
			}
			if got := e.rights(); got != before {
				t.Errorf("afterwards: %+v, before: %+v", got, before)
			}
			e.unmarked()
			// The same without a rollout, where nobody takes anything back.
			_, err = app.Fix(within(t), e.cfg, "shop", slog.New(slog.DiscardHandler), func(string, []deploy.Grant) {})
			var r *deploy.Refusal
			if !errors.As(err, &r) || r.Exit != deploy.ExitRefused || !strings.Contains(r.Sentence, c.refused(e)) || r.Next != "run the statement as a role that may" {
				t.Errorf("check --fix: %+v", err)
			}
		})
	}
}

// TestPostgresFixSparesMemberships: a control role that is a member of the owner and does
// not inherit lacks no membership. None is given to it, so the end takes away none that it
// had.
func TestPostgresFixSparesMemberships(t *testing.T) {
	e := newEstate(t, "ALTER ROLE CONTROL CREATEROLE NOINHERIT; GRANT BUILDER TO CONTROL; GRANT CREATE ON DATABASE DATABASE TO CONTROL")
	p := e.run()
	p.ends("shop", p.beginFixing(), deploy.ExitRefused)
	s := p.over(deploy.PhaseRefused)
	if len(s.Granted) != 0 || len(s.Findings) != 4 {
		t.Errorf("given %q, findings %+v", given(s.Granted), s.Findings)
	}
	says(t, "the finding", s.Findings[0].Sentence+strings.Join(s.Findings[0].Remedy, "\n"), "NOINHERIT", `ALTER ROLE "`+e.control+`" INHERIT`)
	if !ask[bool](e, "SELECT pg_has_role($1::name, $2::name, 'MEMBER')", e.control, e.builder) {
		t.Error("the control role is no member of the builder any more")
	}
}
