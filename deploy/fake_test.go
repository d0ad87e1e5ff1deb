package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// world is a server, a data plane and a disk that outlive the program. The
// program reaches them through a life, which can end at any moment; what it did
// until then stays, what it held in its own process is gone.
type world struct {
	t  testing.TB
	mu sync.Mutex

	// The server.
	spec     Spec                       // of the deployment
	names    map[Kind]map[string]string // name -> id
	news     map[string]bool            // ids of the new version
	marks    map[string]Mark            // by id
	server   ServerInfo
	revision *atomic.Int64 // of the catalog, which deployments on one server share
	backend  uint32        // of the DDL transaction
	down     bool
	findings []Finding
	ready    func() Readiness
	prepares []error       // answers of the next Prepares
	commits  []commitFault // what happens to the next COMMITs
	rollback time.Duration // what a ROLLBACK takes
	drops    []error       // answers of the next Drops
	subs     []Dependent
	// refusesClusters is the server's refusal to say how large clusters are.
	refusesClusters error
	deps            []Dependent
	lingers         int // looks for which a lost session is still there
	foreign         map[string]int
	// takes is part of names that somebody else always has.
	takes string
	// missing are rights that preflight misses until they are given; given are those
	// that were. refuses is the text of a grant that the server does not allow.
	missing []Grant
	given   []string
	refuses string
	// dropsNew: it is the new version that may be dropped.
	dropsNew bool

	// The data plane, lost when the process ends.
	routing    Routing
	epoch      uint64
	held       bool
	lapses     int // holds whose lease runs out before they are pinned
	stragglers []SessionInfo
	streaming  []SessionInfo
	old        []SessionInfo
	notices    []string
	hanging    int // canary sessions that do not reach a boundary by themselves
	evidence   armstats.Evidence
	bad        func(rollout string, w router.Weight) []armstats.Cohort

	surveyError error
	blocks      map[string]bool // calls of the data plane that return at their context's end only
	heldSince   time.Time
	longest     time.Duration // that gates were closed

	// The disk.
	journal   []byte
	records   map[string]Record
	saveError error
	// fullAfter names the act after which the disk is full.
	fullAfter string

	// Statements that were sent by a process that died before the answer. They reach the
	// server after so many further calls, or never.
	inFlight []func()
	lands    int // 0: what was sent is lost

	clings bool // those that hang are back as soon as the process is
	// did is what a scenario does once in all lives.
	did map[string]bool

	// What happened, in order.
	events []string
	life   *life
	// These, when set, block until they are closed.
	waitsForCommit, waitsForPrepare, waitsForPreflight, waitsForMark chan struct{}
	// gates counts the holds of all deployments on one server: nobody reads meanwhile.
	gates *atomic.Int64
}

type commitFault struct {
	outcome Outcome
	err     error
	applied bool
	silent  bool // no answer before the context ends
}

// life is one run of the program.
type life struct {
	w       *world
	points  int
	crashAt int // 0: never
	died    chan struct{}
	dead    bool
	actions map[ActionKind]int
	at      string // the point of the crash
	trail   []string
}

var errDead = fmt.Errorf("this process is dead: %w", ErrUnavailable)

const (
	oldSchema, newSchema   = "u1", "u2"
	oldCluster, newCluster = "c1", "c2"
)

func newWorld(t testing.TB) *world {
	return &world{t: t, revision: new(atomic.Int64), gates: new(atomic.Int64), backend: 77, spec: testSpec(), news: map[string]bool{newSchema: true, newCluster: true},
		names: map[Kind]map[string]string{
			KindSchema:  {"prod": oldSchema, "prod_deploy": newSchema},
			KindCluster: {"prod": oldCluster, "prod_deploy": newCluster},
		},
		marks:   map[string]Mark{},
		server:  ServerInfo{Kind: KindMaterialize, Version: "v26.4", Started: time.Unix(1000, 0)},
		records: map[string]Record{},
		ready:   func() Readiness { return Readiness{Ready: true, Hydrated: 3, Total: 3, Why: "ready"} },
	}
}

// restart begins a new life. The process's memory is lost with the last one.
func (w *world) restart(crashAt int) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened()
	w.routing, w.evidence = Routing{}, armstats.Evidence{}
	w.life = &life{w: w, crashAt: crashAt, died: make(chan struct{}), actions: map[ActionKind]int{}}
	return w.life
}

// opened and closed keep count of the gates.
func (w *world) opened() {
	if w.held {
		w.longest = max(w.longest, time.Since(w.heldSince))
		w.held = false
		w.gates.Add(-1)
	}
}

func (w *world) closed() {
	if !w.held {
		w.held, w.heldSince = true, time.Now()
		w.gates.Add(1)
	}
}

// act performs an effect and counts a crash point after it.
func (l *life) act(what string, effect func() error) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.dead {
		return errDead
	}
	err := effect()
	l.w.events = append(l.w.events, what)
	if what == l.w.fullAfter {
		l.w.saveError = errors.New("no space left on device")
	}
	return l.point(what, err)
}

// sent is a statement on its way to the server: the process may die before it has
// arrived, or after that and before its answer.
func (l *life) sent(what string, effect func() error) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.dead {
		return errDead
	}
	if err := l.point("sending "+what, nil); err != nil {
		if l.w.lands > 0 {
			l.w.inFlight = append(l.w.inFlight, func() { _ = effect() })
		}
		return err
	}
	err := effect()
	l.w.events = append(l.w.events, what)
	if what == l.w.fullAfter {
		l.w.saveError = errors.New("no space left on device")
	}
	return l.point(what, err)
}

// land lets statements of a dead process arrive. Under mu.
func (w *world) land() {
	if len(w.inFlight) == 0 {
		return
	}
	if w.lands--; w.lands > 0 {
		return
	}
	for _, effect := range w.inFlight {
		effect()
	}
	w.inFlight = nil
}

func (l *life) point(what string, err error) error {
	l.points++
	l.trail = append(l.trail, what)
	if l.points == l.crashAt {
		l.dead, l.at = true, what
		if !l.w.clings { // sessions end with the process that carries them
			l.w.hanging, l.w.old = 0, nil
		}
		l.w.routing = Routing{}
		l.w.opened()
		close(l.died)
		return errDead
	}
	return err
}

// peek is a look without a crash point.
func (l *life) peek(effect func()) error {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.dead {
		return errDead
	}
	effect()
	return nil
}

// onAction is the runner about to perform: a crash point of its own.
func (l *life) onAction(a Action) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if l.dead {
		return
	}
	l.actions[a.Kind]++
	_ = l.point("before "+string(a.Kind), nil)
}

func (w *world) errorf(format string, args ...any) { w.t.Helper(); w.t.Errorf(format, args...) }

// read is a catalog read: it fails while the server is down, and must not happen
// while sessions wait at their gates; unless they wait for exactly its answer.
func (l *life) read(what string, effect func()) error {
	return l.act(what, func() error {
		l.w.land()
		if l.w.gates.Load() > 0 && (!l.w.held || what != "backend gone") {
			l.w.errorf("%s while sessions are held (point %d, crash at %d): %v", what, l.points, l.crashAt, l.w.events)
		}
		if l.w.down {
			return fmt.Errorf("connection refused: %w", ErrUnavailable)
		}
		effect()
		return nil
	})
}

func (l *life) ddl(what string, effect func() error) error {
	return l.sent(what, func() error {
		if l.w.gates.Load() > 0 && !l.dead {
			l.w.errorf("%s while sessions are held: %v", what, l.w.events)
		}
		if l.w.down {
			return fmt.Errorf("connection refused: %w", ErrUnavailable)
		}
		if err := effect(); err != nil {
			return err
		}
		l.w.revision.Add(1)
		return nil
	})
}

// Warehouse.

type fakeWarehouse struct{ l *life }

func (f fakeWarehouse) Server(context.Context) (info ServerInfo, err error) {
	err = f.l.read("server", func() { info = f.l.w.server })
	return info, err
}

func (f fakeWarehouse) Identify(_ context.Context, _ string, names []Ref) (out []Ref, err error) {
	err = f.l.read("identify", func() {
		for _, n := range names {
			id := f.l.w.names[n.Kind][n.Name]
			if f.l.w.takes != "" && strings.Contains(n.Name, f.l.w.takes) {
				id = "u99"
			}
			if id != "" {
				out = append(out, Ref{Kind: n.Kind, Name: n.Name, ID: id})
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Preflight(ctx context.Context, _ Spec, _ string) (out []Finding, err error) {
	if f.l.w.waitsForPreflight != nil {
		select {
		case <-f.l.w.waitsForPreflight:
		case <-ctx.Done():
			return nil, fmt.Errorf("preflight: %w: %w", ErrUnavailable, ctx.Err())
		}
	}
	err = f.l.read("preflight", func() {
		out = slices.Clone(f.l.w.findings)
		for _, g := range f.l.w.missing {
			if !slices.Contains(f.l.w.given, g.Text) {
				out = append(out, Finding{Code: "P11", Severity: Refuse, Object: "schema prod_deploy", Sentence: "a right is missing", Remedy: []string{g.Text}, Grant: &g})
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Readiness(context.Context, Spec, ReadyOptions) (out Readiness, err error) {
	err = f.l.read("readiness", func() { out = f.l.w.ready() })
	return out, err
}

func (f fakeWarehouse) Mark(_ context.Context, _ string, marks []Mark) error {
	if f.l.w.waitsForMark != nil {
		<-f.l.w.waitsForMark
	}
	return f.l.ddl("mark", func() error {
		for _, m := range marks {
			f.l.w.marks[m.Ref.ID] = m
		}
		return nil
	})
}

func (f fakeWarehouse) Unmark(_ context.Context, _ string, refs []Ref) error {
	return f.l.ddl("unmark", func() error {
		for _, r := range refs {
			delete(f.l.w.marks, r.ID)
		}
		return nil
	})
}

func (f fakeWarehouse) Marks(context.Context, Spec) (out []Mark, err error) {
	err = f.l.read("marks", func() {
		for kind, names := range f.l.w.names {
			for name, id := range names {
				m, marked := f.l.w.marks[id]
				if rollout, retired := strings.CutPrefix(name, "prod_deploy_retired_"); !marked && retired {
					m, marked = Mark{Rollout: rollout, Side: "old"}, true
				}
				if marked {
					m.Ref = Ref{Kind: kind, Name: name, ID: id}
					out = append(out, m)
				}
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Grant(_ context.Context, _ string, grants []Grant) (n int, err error) {
	for _, g := range grants {
		err := f.l.ddl("grant "+g.Text, func() error {
			if g.Text == f.l.w.refuses {
				return errors.New("permission denied")
			}
			if !slices.Contains(f.l.w.given, g.Text) {
				f.l.w.given = append(f.l.w.given, g.Text)
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (f fakeWarehouse) Revoke(_ context.Context, _ string, grants []Grant) error {
	for _, g := range grants {
		err := f.l.ddl("revoke "+g.Text, func() error {
			f.l.w.given = slices.DeleteFunc(f.l.w.given, func(text string) bool { return text == g.Text })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f fakeWarehouse) Prepare(_ context.Context, statements []string) (Prepared, error) {
	tx := &fakePrepared{l: f.l, statements: statements}
	if f.l.w.waitsForPrepare != nil {
		<-f.l.w.waitsForPrepare
	}
	err := f.l.act("prepare", func() error {
		w := f.l.w
		if w.down {
			return fmt.Errorf("connection refused: %w", ErrUnavailable)
		}
		if len(w.prepares) > 0 {
			err := w.prepares[0]
			w.prepares = w.prepares[1:]
			if err != nil {
				return err
			}
		}
		tx.revision = w.revision.Load()
		_, err := w.moved(statements)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tx, nil
}

func (f fakeWarehouse) BackendGone(context.Context, Backend) (gone bool, err error) {
	err = f.l.read("backend gone", func() {
		f.l.w.lingers--
		gone = f.l.w.lingers < 0 && len(f.l.w.inFlight) == 0
	})
	return gone, err
}

func (f fakeWarehouse) Barrier(_ context.Context, _ string, on Ref) error {
	<-time.After(time.Millisecond)
	return f.l.ddl("barrier", func() error {
		if f.l.w.names[on.Kind][on.Name] == "" {
			f.l.w.errorf("barrier on %s %s, which does not exist", on.Kind, on.Name)
		}
		return nil
	})
}

func (f fakeWarehouse) Dependents(context.Context, string, []Ref) (out []Dependent, err error) {
	err = f.l.read("dependents", func() { out = slices.Clone(f.l.w.deps) })
	return out, err
}

func (f fakeWarehouse) Subscriptions(context.Context, []Ref, []uint32) (out []Dependent, err error) {
	err = f.l.read("subscriptions", func() { out = slices.Clone(f.l.w.subs) })
	return out, err
}

func (f fakeWarehouse) Clusters(_ context.Context, refs []Ref) (out []StandbyCluster, err error) {
	err = f.l.read("clusters", func() {
		for _, r := range refs {
			if r.Kind == KindCluster && f.l.w.names[KindCluster][r.Name] == r.ID {
				out = append(out, StandbyCluster{ID: r.ID, Name: r.Name, Size: "25cc", Replicas: 2})
			}
		}
	})
	return out, errors.Join(err, f.l.w.refusesClusters)
}

func (f fakeWarehouse) Drop(_ context.Context, _ string, ref Ref) error {
	return f.l.ddl("drop "+string(ref.Kind)+" "+ref.Name, func() error {
		w := f.l.w
		if len(w.drops) > 0 {
			err := w.drops[0]
			if w.drops = w.drops[1:]; err != nil {
				return err
			}
		}
		switch is := w.names[ref.Kind][ref.Name]; is {
		case "":
			return nil
		case ref.ID:
		default:
			return ErrChanged
		}
		if w.news[ref.ID] != w.dropsNew {
			w.errorf("dropped %s %s (%s), which is not the version to go", ref.Kind, ref.Name, ref.ID)
		}
		delete(w.names[ref.Kind], ref.Name)
		delete(w.marks, ref.ID)
		return nil
	})
}

func (f fakeWarehouse) Foreign(context.Context, []uint32) (out map[string]int, err error) {
	err = f.l.read("foreign", func() { out = f.l.w.foreign })
	return out, err
}

type fakePrepared struct {
	l          *life
	statements []string
	revision   int64
}

func (p *fakePrepared) Backend() Backend { return Backend{Number: p.l.w.backend} }

func (p *fakePrepared) Rollback(context.Context) error {
	<-time.After(p.l.w.rollback)
	return p.l.act("rollback", func() error { return nil })
}

func (p *fakePrepared) Commit(ctx context.Context) (Outcome, error) {
	if p.l.w.waitsForCommit != nil {
		<-p.l.w.waitsForCommit
	}
	outcome, silent := Done, false
	p.l.w.mu.Lock()
	dead := p.l.dead
	if !dead && !p.l.w.held {
		p.l.w.errorf("COMMIT while the gates are open")
	}
	if !dead && p.l.w.routing.Canary != router.CanaryLive {
		p.l.w.errorf("COMMIT while the canary means %s", p.l.w.routing.Canary)
	}
	p.l.w.mu.Unlock()
	err := p.l.sent("commit", func() error {
		w := p.l.w
		fault := commitFault{outcome: Done, applied: true}
		if p.revision != w.revision.Load() {
			fault = commitFault{outcome: NotDone, err: ErrConflict}
		} else if len(w.commits) > 0 {
			fault, w.commits = w.commits[0], w.commits[1:]
		}
		if fault.applied {
			names, err := w.moved(p.statements)
			if err != nil {
				w.errorf("statements of the swap: %v", err)
			}
			w.names = names
			w.revision.Add(1)
		}
		outcome, silent = fault.outcome, fault.silent
		return fault.err
	})
	if silent {
		<-ctx.Done()
		return Unknown, ctx.Err()
	}
	if errors.Is(err, errDead) {
		return Unknown, err
	}
	return outcome, err
}

var alter = regexp.MustCompile(`^ALTER (SCHEMA|CLUSTER|VIEW) (?:"materialize"\.)?((?:"[^"]+"\.)?"[^"]+") (SWAP WITH|RENAME TO) "([^"]+)"$`)

// moved applies the statements to a copy of the names, as the server would.
func (w *world) moved(statements []string) (map[Kind]map[string]string, error) {
	out := map[Kind]map[string]string{}
	for k, names := range w.names {
		out[k] = maps.Clone(names)
	}
	for _, text := range statements {
		m := alter.FindStringSubmatch(strings.Replace(text, `"mart".`, "", 1))
		if m == nil {
			return nil, fmt.Errorf("the fake server cannot read %s", text)
		}
		kind, a, b := Kind(strings.ToLower(m[1])), strings.ReplaceAll(m[2], `"`, ""), m[4]
		if kind == "view" {
			schema, _ := splitQualified(a)
			kind, b = KindObject, schema+"."+b
		}
		names := out[kind]
		switch {
		case names[a] == "":
			return nil, fmt.Errorf("unknown %s %s", m[1], a)
		case m[3] == "SWAP WITH" && names[b] == "":
			return nil, fmt.Errorf("unknown %s %s", m[1], b)
		case m[3] == "SWAP WITH":
			names[a], names[b] = names[b], names[a]
		case names[b] != "":
			return nil, fmt.Errorf("%s %s already exists", m[1], b)
		default:
			names[b] = names[a]
			delete(names, a)
		}
	}
	return out, nil
}
