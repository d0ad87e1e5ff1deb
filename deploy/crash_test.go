package deploy

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mzcanary/router"
)

// try asks for a verb; a crash on the way, or a race with the rollout itself, is
// part of the game.
func (p *program) try(v Verb) {
	_, _ = p.c.Do(p.t.Context(), shopName, v, Request{Who: "bob", Reason: "because", Force: true})
}

// ending is what must not depend on a crash: the names and what they stand for, the
// marks, where sessions are sent, and the meaning of the journal and of the record.
type ending struct {
	Names   map[Kind]map[string]string
	Marks   int
	Routing Routing
	Targets string // of twenty sessions, by arm: what they have and should have
	Phase   Phase
	Exit    int
	Records int
	Record  string
	Held    bool
	Given   []string
}

// crashes are the points at which one life after the other ends.
type crashes []int

func (sc scenario) play(t *testing.T, at crashes, lands bool) (ending, *world, []*life) {
	w := newWorld(t)
	if sc.world != nil {
		sc.world(w)
	}
	if lands {
		w.lands = 3
	}
	plan := testPlan()
	// Short, so that a life has few points that are only the passing of time.
	for i := range plan.Steps[:2] {
		plan.Steps[i].Bake = time.Second
	}
	plan.Window.For, plan.Drain.For, plan.Drain.Settle = time.Second, time.Second, time.Second
	if sc.plan != nil {
		sc.plan(&plan)
	}
	var lives []*life
	rollout, targets := "", ""
	for n := 0; ; n++ {
		crashAt := 0
		if n < len(at) {
			crashAt = at[n]
		}
		p := boot(t, w, plan, crashAt)
		lives = append(lives, p.l)
		id, over := sc.live(t, p, rollout)
		if id != "" {
			rollout = id
		}
		if over {
			survey, _ := fakeTraffic{p.l}.Survey(t.Context(), shopName)
			targets = fmt.Sprint(survey.Sessions, survey.Wanted)
		}
		p.stop()
		if over {
			break
		}
		if n >= len(at) {
			t.Fatalf("the life after the last crash did not come to an end")
		}
	}
	return sc.ending(t, w, rollout, targets), w, lives
}

// live plays one life to the rollout's end, or to the life's.
func (sc scenario) live(t *testing.T, p *program, rollout string) (string, bool) {
	select {
	case <-p.c.Recovered():
	case <-p.l.died:
		return rollout, false
	}
	if s, _ := p.c.Status(shopName); s.Rollout == "" {
		begin := sc.begin
		if begin == nil {
			begin = func(p *program) error {
				_, err := p.c.Start(t.Context(), shopName, StartRequest{Who: "ann", Fix: sc.fix})
				return err
			}
		}
		if err := begin(p); err != nil && !p.crashed() {
			t.Fatalf("start: %v", err)
		}
	}
	s, over := p.await("the end", func(s Status) bool {
		if sc.drive != nil {
			sc.drive(p, s)
		}
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		_, kept := p.w.records[s.Rollout]
		return kept && s.Phase.Final() && s.Recovering == ""
	})
	return s.Rollout, over && !p.crashed()
}

func (sc scenario) ending(t *testing.T, w *world, rollout, targets string) ending {
	var j Journal
	if err := json.Unmarshal(w.journal, &j); err != nil {
		t.Fatalf("journal: %v", err)
	}
	out := ending{Names: map[Kind]map[string]string{}, Marks: len(w.marks), Routing: w.routing, Targets: targets, Phase: j.State.Phase, Exit: j.State.Exit,
		Records: len(w.records), Record: meaning(w.records[rollout]), Held: w.held, Given: slices.Sorted(slices.Values(w.given))}
	out.Routing.Salt = 0
	for k, names := range w.names {
		out.Names[k] = map[string]string{}
		for n, id := range names {
			out.Names[k][strings.ReplaceAll(n, rollout, "<id>")] = id
		}
	}
	return out
}

// meaning is what a record says, but for times and the number of attempts.
func meaning(r Record) string {
	s := r.State
	m := fmt.Sprintf("%s exit %d, names %s, swaps %d, weight %s, dropped %d, stop %t, given %d", r.Phase, r.Exit, s.Names, s.Swaps, s.Weight, s.After.Dropped, s.Stop != nil, len(s.Granted))
	if s.Names == NamesAfter && s.Hand {
		m += ", by hand"
	}
	if rec := s.Swap.Record; rec != nil {
		m += fmt.Sprintf(", %s back %t", rec.Outcome, rec.Back)
	}
	forward, back := 0, 0 // swaps that are on the record as done
	for _, a := range s.Swap.History {
		switch {
		case a.Outcome == string(EndUnderWay), a.Outcome == string(EndUnknown):
			m += ", an attempt without an end"
		case a.Outcome == string(EndDone) && a.Back:
			back++
		case a.Outcome == string(EndDone):
			forward++
		}
	}
	return m + fmt.Sprintf(", swapped %d, back %d", forward, back)
}

// crashesEnv asks for every second crash instead of a few.
const crashesEnv = "MZCANARY_TEST_CRASHES"

// TestCrashAnywhere kills the program at every journal write, before every action,
// between the sending of a statement and its arrival (which may come after the
// restart, or never), between that and its answer, and after every other call to the
// server and the data plane; starts it again, and compares the end with that of an
// undisturbed run. From every second of those points the second life is killed too, at
// a point that wanders over it (at all of them with MZCANARY_TEST_CRASHES=all). The points are
// counted, not listed: a new action is covered the moment it exists, and one that no
// scenario meets fails the test. With -v the matrix is printed; with -update it is
// written to docs/crash-matrix.md.
func TestCrashAnywhere(t *testing.T) {
	m := newMatrix()
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) { sc.crashAnywhere(t, m) })
	}
	for _, kind := range declaredKinds(t) {
		if !slices.Contains(ActionKinds(), kind) {
			t.Errorf("ActionKinds does not list %q", kind)
		}
		if kind != ActRefuse && m.actions[kind] == 0 { // a refusal is an answer and does nothing
			t.Errorf("no scenario performs %q", kind)
		}
	}
	t.Logf("%s", m)
	if *update {
		if err := os.WriteFile("../docs/crash-matrix.md", []byte(m.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (sc scenario) crashAnywhere(t *testing.T, m *matrix) {
	var want ending
	points := 0
	bubble(t, func(t *testing.T) {
		end, _, lives := sc.play(t, nil, false)
		want, points = end, lives[0].points
		m.met(lives)
	})
	if want.Phase != sc.end || want.Exit != sc.exit || want.Marks != 0 || want.Routing.Canary != router.CanaryClosed || want.Held {
		t.Fatalf("undisturbed it ends as %+v", want)
	}
	row := m.row(sc, points)
	again := func(at crashes, lands bool) (lives []*life) {
		bubble(t, func(t *testing.T) {
			var got ending
			var w *world
			got, w, lives = sc.play(t, at, lands)
			m.met(lives)
			same := equal(got, want)
			m.count(row, lives, len(at), lands, same)
			if !same {
				t.Errorf("crashes %v of %d, at %q, sent statements arrive later %t: ends as\n %+v\nwant\n %+v\nevents %v", at, points, lives[0].at, lands, got, want, w.happened())
			}
		})
		return lives
	}
	for at := 1; at <= points; at++ {
		lives := again(crashes{at}, false)
		if strings.HasPrefix(lives[0].at, "sending ") {
			again(crashes{at}, true)
		}
		if at%2 == 0 || len(lives) < 2 {
			continue
		}
		for _, second := range spread(lives[1].points, at) {
			again(crashes{at, second}, false)
		}
	}
}

// spread picks points of a second life: one, at another place for every first crash,
// or all of them.
func spread(points, first int) []int {
	step := max(points, 1)
	if os.Getenv(crashesEnv) == "all" {
		step = 1
	}
	var out []int
	for at := 1 + first*7%step; at <= points; at += step { // 7: not the same rhythm
		out = append(out, at)
	}
	return out
}

// declaredKinds reads them from the source, so that a new one cannot be forgotten.
func declaredKinds(t *testing.T) []ActionKind {
	t.Helper()
	src, err := parser.ParseFile(token.NewFileSet(), "action.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []ActionKind
	ast.Inspect(src, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "ActionKind" {
			return true
		}
		for _, v := range spec.Values {
			word, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, ActionKind(word))
		}
		return true
	})
	if len(out) < len(ActionKinds()) {
		t.Fatalf("only %d kinds of actions found in the source: %v", len(out), out)
	}
	return out
}

// Nobody may ask for an act that nobody performs.
func TestUnknownActionsAreNotPassedOver(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an action that nobody knows was passed over")
		}
	}()
	c := &Controller{opts: Options{}}
	(&runner{c: c}).perform(t.Context(), Action{Kind: "dance"})
}

func equal(a, b ending) bool {
	return fmt.Sprint(slices.Sorted(maps.Keys(a.Names)), a) == fmt.Sprint(slices.Sorted(maps.Keys(b.Names)), b)
}
