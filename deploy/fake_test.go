package deploy

import (
	"errors"
	"fmt"
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

	// did is what a scenario does once in all lives.
	did map[string]bool

	// What happened, in order.
	events []string
	life   *life
	// waitsForCommit, when set, blocks COMMIT until it is closed.
	waitsForCommit chan struct{}
	waitsForMark   chan struct{}
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
	return &world{t: t, revision: new(atomic.Int64), backend: 77, spec: testSpec(), news: map[string]bool{newSchema: true, newCluster: true},
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
	w.routing, w.held, w.evidence = Routing{}, false, armstats.Evidence{}
	if w.life != nil { // sessions end with the process that carries them
		w.hanging, w.old = 0, nil
	}
	w.life = &life{w: w, crashAt: crashAt, died: make(chan struct{}), actions: map[ActionKind]int{}}
	return w.life
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
		l.w.routing, l.w.held = Routing{}, false
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
		if l.w.held && what != "backend gone" {
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
