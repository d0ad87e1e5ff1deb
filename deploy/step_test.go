package deploy

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

var update = flag.Bool("update", false, "write what Step does into the scripts")

// TestStepScripts plays the scripts of testdata/step against the pure machine: a
// command per block, the whole outcome below it. `go test -run StepScripts
// -update` rewrites the outcomes; the diff is what to read.
func TestStepScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/step/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, raw)
			if *update {
				if err := os.WriteFile(name, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, raw) {
				t.Errorf("%s differs; the machine says\n%s", name, got)
			}
		})
	}
}

// playScript answers a script with the same commands and the outcomes of today.
func playScript(t *testing.T, raw []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	sm := &scripted{t: t, at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), plan: testPlan()}
	sm.plan.Ready.Probe = time.Hour // most scripts let time pass without sampling
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"), line == "":
			if !strings.HasPrefix(line, "#") && bytes.HasSuffix(out.Bytes(), []byte("\n\n")) {
				continue
			}
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "    "):
			// an outcome of before
		default:
			fmt.Fprintln(&out, line)
			for _, l := range sm.command(line) {
				fmt.Fprintln(&out, "    "+l)
			}
		}
	}
	return out.Bytes()
}

// scripted is a machine under a script.
type scripted struct {
	t    *testing.T
	at   time.Time
	plan Plan
	s    State
	// looks counts events, for checks that are too costly to make every time.
	looks int
}

// command feeds one event and says what came of it.
func (m *scripted) command(line string) []string {
	m.t.Helper()
	words := strings.Fields(line)
	if words[0] == "plan" {
		for _, w := range words[1:] {
			m.set(w)
		}
		return nil
	}
	ev := m.event(words)
	next, acts := Step(m.s, ev, m.plan)
	saved := next.Seq != m.s.Seq
	m.s = next
	return m.describe(saved, acts)
}

func (m *scripted) set(word string) {
	k, v, _ := strings.Cut(word, "=")
	d, _ := time.ParseDuration(v)
	switch k {
	case "on_regress":
		m.plan.OnRegress = Policy(v)
	case "on_unready":
		m.plan.OnUnready = Policy(v)
	case "on_undecided":
		m.plan.OnUndecided = Policy(v)
	case "on_insufficient":
		m.plan.OnInsufficient = Policy(v)
	case "stragglers":
		m.plan.Promote.Stragglers = v
	case "attempts":
		m.plan.Promote.Attempts, _ = strconv.Atoi(v)
	case "fence":
		m.plan.Promote.Fence = v == "true"
	case "probe":
		m.plan.Ready.Probe = d
	case "then":
		m.plan.Drain.Then = v
	case "until":
		m.plan.Steps = []PlanStep{{Weight: 1000, Until: "safe", Within: d}, {Promote: true}}
	case "approve":
		m.plan.Steps = []PlanStep{{Weight: 0, Approve: &Approve{Within: d}}, {Promote: true}}
	default:
		m.t.Fatalf("plan %q?", word)
	}
}

func (m *scripted) event(words []string) Event {
	at := At{m.at}
	has := func(w string) bool { return slices.Contains(words[1:], w) }
	val := func(k string) string {
		for _, w := range words[1:] {
			if v, ok := strings.CutPrefix(w, k+"="); ok {
				return v
			}
		}
		return ""
	}
	switch words[0] {
	case "start":
		m.s = State{Deployment: "shop", Database: "materialize", Rollout: "r1", Phase: PhaseIdle, Who: "ann", Salt: 7,
			Pairs: plainPairs(testSpec(), m.plan.Promote.Fence, "r1")}
		return Began{at}
	case "restart":
		return Restarted{at}
	case "clock":
		return m.clock(words[1])
	case "preflighted":
		ev := Preflighted{At: at, Refs: m.names("before"), Server: m.server(val("version")), Err: m.err(words)}
		for kind := range strings.SplitSeq(val("taken"), ",") {
			switch p := m.s.Pairs[0]; kind {
			case "retired":
				ev.Refs = append(ev.Refs, p.ref(p.Retired, "u8"))
			case "temporary":
				ev.Refs = append(ev.Refs, p.ref(temporary(p, m.s.Rollout), "u9"))
			}
		}
		ev.Server.ReadOnly = has("waiting")
		if code := val("refuse"); code != "" {
			ev.Findings = append(ev.Findings, Finding{Code: code, Severity: Refuse, Object: "schema prod", Sentence: "a fault"})
		}
		return ev
	case "marked":
		return Marked{at, m.err(words)}
	case "unmarked":
		return Unmarked{at, m.err(words)}
	case "sampled":
		return Sampled{At: at, Sample: sampleOf(words[1]), Server: m.server(val("version")), Err: m.err(words)}
	case "tick":
		return m.tick(words, val, has)
	case "looked":
		return Looked{At: at, For: LookFor(words[1]), Epoch: m.s.Epoch, Refs: m.names(val("names")), Server: m.server(val("version")),
			Evidence: &armstats.Evidence{Rollout: "r1"}, Err: m.err(words)}
	case "prepared":
		return SwapPrepared{at, Backend{Number: 77}}
	case "ended":
		ev := SwapEnded{At: at, End: Ended(words[1]), Record: AttemptRecord{Held: has("held")}, Err: m.err(words)}
		if ev.End == EndChanged {
			ev.Diff = []Change{{Kind: KindSchema, Name: "prod", Was: "u1", Is: "u9"}}
		}
		return ev
	case "resolved":
		return Resolved{At: at, Refs: m.names(val("names")), Err: m.err(words)}
	case "census":
		return CensusTaken{At: at, Old: sessions(val("old")), Others: dependents(val("others")), Err: m.err(words)}
	case "notified":
		n, _ := strconv.Atoi(val("n"))
		return Notified{At: at, Sessions: n, Err: m.err(words)}
	case "dropped":
		ev := Dropped{At: at, Ref: m.s.drops()[m.s.After.Dropped], Users: dependents(val("users")), Err: m.err(words)}
		return ev
	case "weight":
		w, err := router.ParseWeight(words[1])
		if err != nil {
			m.t.Fatal(err)
		}
		return VerbAsked{At: at, Verb: VerbWeight, Weight: w, Request: Request{Who: "bob", Force: has("force")}}
	case "verb":
		return VerbAsked{At: at, Verb: Verb(words[1]), Request: Request{Who: "bob", Force: has("force"), Reason: val("reason"), Rollout: val("rollout"), DropDeploy: has("drop")}}
	}
	m.t.Fatalf("no event for %q", words)
	return nil
}

// clock sets the wall clock.
func (m *scripted) clock(by string) Event {
	d, err := time.ParseDuration(by)
	if err != nil {
		m.t.Fatal(err)
	}
	m.at = m.at.Add(d)
	return ClockStepped{At{m.at}, d}
}

func (m *scripted) tick(words []string, val func(string) string, has func(string) bool) Event {
	d, err := time.ParseDuration(words[1])
	if err != nil {
		m.t.Fatal(err)
	}
	m.at = m.at.Add(d)
	ev := Ticked{At: At{m.at}, Elapsed: d, Minimum: has("minimum"), Stuck: sessions(val("stuck"))}
	ev.Silent, _ = time.ParseDuration(val("silent"))
	ev.Left, _ = strconv.Atoi(val("left"))
	if v := val("verdict"); v != "" {
		ev.Judgement = &Judgement{Verdict: Verdict(v), Sentence: "so it is"}
	}
	return ev
}

func (m *scripted) server(version string) ServerInfo {
	if version == "" {
		version = "v1"
	}
	return ServerInfo{Kind: KindMaterialize, Version: version, Started: time.Unix(int64(len(version)), 0)}
}

func (m *scripted) err(words []string) error {
	for _, w := range words {
		switch {
		case w == "down":
			return fmt.Errorf("connection refused: %w", ErrUnavailable)
		case w == "readonly":
			return fmt.Errorf("cannot write in read-only mode: %w", ErrReadOnly)
		case w == "gone":
			return fmt.Errorf("no schema prod: %w", ErrChanged)
		case strings.HasPrefix(w, "err="):
			return fmt.Errorf("%s", w[4:])
		}
	}
	return nil
}

// names is the catalog as a reading would find it.
func (m *scripted) names(how string) []Ref {
	retired := "prod_deploy"
	if m.plan.Promote.Fence {
		retired = "prod_deploy_retired_r1"
	}
	ref := func(k Kind, name, id string) Ref { return Ref{Kind: k, Name: name, ID: id} }
	switch how {
	case "after":
		return []Ref{ref(KindSchema, "prod", "u2"), ref(KindSchema, retired, "u1"), ref(KindCluster, "prod", "c2"), ref(KindCluster, retired, "c1")}
	case "mixed":
		return []Ref{ref(KindSchema, "prod", "u2"), ref(KindSchema, retired, "u1"), ref(KindCluster, "prod", "c1"), ref(KindCluster, "prod_deploy", "c2")}
	case "foreign":
		return []Ref{ref(KindSchema, "prod", "u9"), ref(KindSchema, "prod_deploy", "u2"), ref(KindCluster, "prod", "c1"), ref(KindCluster, "prod_deploy", "c2")}
	}
	return []Ref{ref(KindSchema, "prod", "u1"), ref(KindSchema, "prod_deploy", "u2"), ref(KindCluster, "prod", "c1"), ref(KindCluster, "prod_deploy", "c2")}
}

func sampleOf(how string) Readiness {
	switch how {
	case "ready":
		return Readiness{Ready: true, Hydrated: 1, Total: 1, Why: "ready"}
	case "failing":
		return Readiness{Why: "replica r1 runs out of memory", Failing: "out-of-memory loop"}
	}
	return Readiness{Total: 1, Why: "answer is " + how, Objects: []ObjectReadiness{{Name: "answer", State: how}}}
}

func sessions(list string) []SessionInfo {
	if list == "" {
		return nil
	}
	var out []SessionInfo
	for id := range strings.SplitSeq(list, ",") {
		out = append(out, SessionInfo{ID: id, User: "app", Place: Busy, Why: "transaction open", Age: time.Minute})
	}
	return out
}

func dependents(list string) []Dependent {
	if list == "" {
		return nil
	}
	var out []Dependent
	for name := range strings.SplitSeq(list, ",") {
		out = append(out, Dependent{Kind: "view", Name: name, Reason: "reads it"})
	}
	return out
}

// describe is the whole outcome of one event.
func (m *scripted) describe(saved bool, acts []Action) []string {
	s := m.s
	line := string(s.Phase)
	if s.Stop != nil {
		line = fmt.Sprintf("%s (%s in %s)", s.Stop.Kind, s.Stop.Cause, s.Phase)
	}
	line += " weight " + s.Weight.String()
	if s.Swap.Stage != StageNone {
		line += " stage " + string(s.Swap.Stage)
	}
	if s.Swap.Wish != "" {
		line += " wish " + string(s.Swap.Wish)
	}
	if s.Pending != "" {
		line += fmt.Sprintf(" again %s in %s", s.Pending, s.RetryIn)
	}
	if s.Recovering {
		line += " recovering"
	}
	if saved {
		line += " [saved]"
	}
	out := []string{line}
	if saved && s.Stop != nil {
		out = append(out, "because "+s.Stop.Reason, "next "+s.Stop.Next)
	}
	for _, a := range acts {
		out = append(out, "do "+a.words())
	}
	return out
}

func (a Action) words() string {
	switch a.Kind {
	case ActRoute:
		return fmt.Sprintf("route %s %s swaps %d", a.Routing.Weight, a.Routing.Canary, a.Routing.Swaps)
	case ActMark:
		parts := make([]string, len(a.Marks))
		for i, mark := range a.Marks {
			parts[i] = fmt.Sprintf("%s %s %s", mark.Ref.Kind, mark.Ref.Name, mark.Side)
		}
		return "mark " + strings.Join(parts, ", ") + " phase " + a.Marks[0].Phase
	case ActUnmark:
		parts := make([]string, len(a.Refs))
		for i, r := range a.Refs {
			parts[i] = fmt.Sprintf("%s %s", r.Kind, r.Name)
		}
		return "unmark " + strings.Join(parts, ", ")
	case ActLook:
		return "look " + string(a.For)
	case ActSwap:
		return fmt.Sprintf("swap back=%t terminate=%t: %s", a.Swap.Back, a.Swap.Terminate, strings.Join(a.Swap.Statements, "; "))
	case ActDrop:
		return fmt.Sprintf("drop %s %s %s", a.Ref.Kind, a.Ref.Name, a.Ref.ID)
	case ActRefuse:
		return fmt.Sprintf("refuse exit %d: %s", a.Refusal.Exit, a.Refusal.Error())
	}
	return string(a.Kind)
}
