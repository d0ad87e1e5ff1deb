package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// two is two deployments of one Controller on one server: shop in database
// materialize, mart in database mart. What goes wrong with one is its own world's.
type two struct {
	shop, mart *world
	lives      map[string]*life
	held       chan string // holds the name of whose gates are closed
}

const martName = "mart"

func newTwo(t *testing.T) *two {
	shop, mart := newWorld(t), newWorld(t)
	mart.revision, mart.gates, mart.backend = shop.revision, shop.gates, 78 // one catalog
	return &two{shop: shop, mart: mart, held: make(chan string, 1),
		lives: map[string]*life{shopName: shop.restart(0), martName: mart.restart(0)}}
}

// boot runs both deployments in one Controller.
func (w *two) boot(t *testing.T, plan Plan) (*Controller, func()) {
	t.Helper()
	return w.bootPlans(t, map[string]Plan{shopName: plan, martName: plan})
}

// crash ends both lives, for they are one process.
func (w *two) crash() {
	for name, world := range map[string]*world{shopName: w.shop, martName: w.mart} {
		world.with(func() {
			l := w.lives[name]
			l.crashAt = l.points + 1
			_ = l.point("crash", nil)
		})
	}
}

func (w *two) bootPlans(t *testing.T, plans map[string]Plan) (*Controller, func()) {
	t.Helper()
	for name, world := range map[string]*world{shopName: w.shop, martName: w.mart} {
		if w.lives[name].dead {
			w.lives[name] = world.restart(0)
		}
	}
	select {
	case <-w.held: // the holder has died
	default:
	}
	mart := testSpec()
	mart.Name, mart.Database = martName, martName
	c, err := New(Options{Warehouse: twoWarehouse{fakeWarehouse{w.lives[shopName]}, w}, Traffic: twoTraffic{fakeTraffic{w.lives[shopName]}, w}, Store: twoStore{w},
		Deployments: []DeploymentConfig{{Spec: testSpec(), Plan: plans[shopName]}, {Spec: mart, Plan: plans[martName]}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	<-c.Recovered()
	return c, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func (w *two) of(deployment string) *life { return w.lives[deployment] }

func (w *two) at(database string) fakeWarehouse {
	if database == martName {
		return fakeWarehouse{w.of(martName)}
	}
	return fakeWarehouse{w.of(shopName)}
}

// twoWarehouse sends every question to the world that it is about.
type twoWarehouse struct {
	fakeWarehouse
	w *two
}

// Server and Foreign are about no deployment; while sessions wait nobody may ask.
func (f twoWarehouse) Server(context.Context) (info ServerInfo, err error) {
	err = f.l.peek(func() {
		if f.l.w.gates.Load() > 0 {
			f.l.w.errorf("the server is asked who it is while sessions are held")
		}
		info = f.l.w.server
	})
	return info, err
}

func (f twoWarehouse) Foreign(context.Context, []uint32) (map[string]int, error) { return nil, nil }

func (f twoWarehouse) Identify(ctx context.Context, database string, names []Ref) ([]Ref, error) {
	return f.w.at(database).Identify(ctx, database, names)
}

func (f twoWarehouse) Preflight(ctx context.Context, spec Spec, rollout string) ([]Finding, error) {
	return f.w.at(spec.Database).Preflight(ctx, spec, rollout)
}

func (f twoWarehouse) Readiness(ctx context.Context, spec Spec, o ReadyOptions) (Readiness, error) {
	return f.w.at(spec.Database).Readiness(ctx, spec, o)
}

func (f twoWarehouse) Mark(ctx context.Context, database string, marks []Mark) error {
	return f.w.at(database).Mark(ctx, database, marks)
}

func (f twoWarehouse) Unmark(ctx context.Context, database string, refs []Ref) error {
	return f.w.at(database).Unmark(ctx, database, refs)
}

func (f twoWarehouse) Grant(ctx context.Context, database string, grants []Grant) (int, error) {
	return f.w.at(database).Grant(ctx, database, grants)
}

func (f twoWarehouse) Revoke(ctx context.Context, database string, grants []Grant) error {
	return f.w.at(database).Revoke(ctx, database, grants)
}

func (f twoWarehouse) Marks(ctx context.Context, spec Spec) ([]Mark, error) {
	return f.w.at(spec.Database).Marks(ctx, spec)
}

func (f twoWarehouse) Prepare(ctx context.Context, statements []string) (Prepared, error) {
	if strings.Contains(statements[0], `"mart".`) {
		return f.w.at(martName).Prepare(ctx, statements)
	}
	return f.w.at("").Prepare(ctx, statements)
}

func (f twoWarehouse) BackendGone(ctx context.Context, backend Backend) (bool, error) {
	if backend.Number == f.w.mart.backend {
		return f.w.at(martName).BackendGone(ctx, backend)
	}
	return f.w.at("").BackendGone(ctx, backend)
}

func (f twoWarehouse) Barrier(ctx context.Context, database string, on Ref) error {
	return f.w.at(database).Barrier(ctx, database, on)
}

func (f twoWarehouse) Dependents(ctx context.Context, database string, refs []Ref) ([]Dependent, error) {
	return f.w.at(database).Dependents(ctx, database, refs)
}

// Subscriptions are asked for by retired names, which are one rollout's alone.
func (f twoWarehouse) Subscriptions(ctx context.Context, refs []Ref, ours []uint32) ([]Dependent, error) {
	return f.asked(refs).Subscriptions(ctx, refs, ours)
}

func (f twoWarehouse) Clusters(ctx context.Context, refs []Ref) ([]StandbyCluster, error) {
	return f.asked(refs).Clusters(ctx, refs)
}

func (f twoWarehouse) asked(refs []Ref) fakeWarehouse {
	if f.w.mart.name(refs[0].Kind, refs[0].Name) != "" {
		return f.w.at(martName)
	}
	return f.w.at("")
}

func (f twoWarehouse) Drop(ctx context.Context, database string, ref Ref) error {
	return f.w.at(database).Drop(ctx, database, ref)
}

type twoTraffic struct {
	fakeTraffic
	w *two
}

func (f twoTraffic) to(deployment string) fakeTraffic { return fakeTraffic{f.w.of(deployment)} }

func (f twoTraffic) Route(ctx context.Context, d string, r Routing) (uint64, error) {
	return f.to(d).Route(ctx, d, r)
}

func (f twoTraffic) Survey(ctx context.Context, d string) (Survey, error) {
	return f.to(d).Survey(ctx, d)
}

func (f twoTraffic) End(ctx context.Context, d string, which Which, why string) (int, error) {
	return f.to(d).End(ctx, d, which, why)
}

func (f twoTraffic) Notify(ctx context.Context, d string, which Which, sentence string) (int, error) {
	return f.to(d).Notify(ctx, d, which, sentence)
}

func (f twoTraffic) Cancel(ctx context.Context, d string, which Which) (int, error) {
	return f.to(d).Cancel(ctx, d, which)
}

func (f twoTraffic) BeginEvidence(ctx context.Context, d, rollout string) error {
	return f.to(d).BeginEvidence(ctx, d, rollout)
}

func (f twoTraffic) RestoreEvidence(ctx context.Context, d string, e armstats.Evidence) error {
	return f.to(d).RestoreEvidence(ctx, d, e)
}

func (f twoTraffic) Evidence(ctx context.Context, d string) (armstats.Evidence, error) {
	return f.to(d).Evidence(ctx, d)
}

// Hold insists that the gates of one deployment at a time are closed.
func (f twoTraffic) Hold(ctx context.Context, d string, lease time.Duration) (Hold, error) {
	select {
	case f.w.held <- d:
	default:
		f.w.shop.errorf("the gates of %s close while others are closed", d)
	}
	h, err := f.to(d).Hold(ctx, d, lease)
	return &turnHold{Hold: h, w: f.w}, err
}

type turnHold struct {
	Hold
	w    *two
	over bool
}

func (h *turnHold) Release() Stall {
	s := h.Hold.Release()
	if !h.over {
		h.over = true
		<-h.w.held
	}
	return s
}

type twoStore struct{ w *two }

func (f twoStore) Load(ctx context.Context, d string) (*Journal, error) {
	return fakeStore{f.w.of(d)}.Load(ctx, d)
}

func (f twoStore) Save(ctx context.Context, j Journal) error {
	return fakeStore{f.w.of(j.State.Deployment)}.Save(ctx, j)
}

func (f twoStore) Archive(ctx context.Context, r Record) error {
	return fakeStore{f.w.of(r.Deployment)}.Archive(ctx, r)
}

func (f twoStore) History(ctx context.Context, d string) ([]Record, error) {
	return fakeStore{f.w.of(d)}.History(ctx, d)
}

// until follows one deployment.
func until(t *testing.T, c *Controller, deployment string, ok func(Status) bool) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var since uint64
	for {
		s, err := c.Changed(ctx, deployment, since)
		if err != nil {
			t.Fatalf("%s is in %s: %s", deployment, s.Phase, s.Sentence)
		}
		if ok(s) {
			return s
		}
		since = s.Revision
	}
}

func startThe(t *testing.T, c *Controller, deployment string) {
	t.Helper()
	if _, err := c.Start(t.Context(), deployment, StartRequest{Who: "ann"}); err != nil {
		t.Fatal(err)
	}
}

func stopped(cause Cause) func(Status) bool {
	return func(s Status) bool { return s.Stop != nil && s.Stop.Cause == cause }
}

func ended(p Phase) func(Status) bool {
	return func(s Status) bool { return s.Phase == p && !s.Marked }
}

// Whatever goes wrong with one deployment, at whichever step, the other goes its
// way to the end, and their gates are never closed together.
func TestOneFailsTheOtherGoesOn(t *testing.T) {
	cut := fmt.Errorf("cut: %w", ErrUnavailable)
	for name, c := range map[string]struct {
		shop func(*world)
		ends func(Status) bool
	}{
		"rights refused":     {func(w *world) { lacksRights(w); w.refuses = "USAGE to PUBLIC" }, ended(PhaseRefused)},
		"a drop is refused":  {func(w *world) { w.drops = slices.Repeat([]error{errors.New("permission denied")}, 3) }, stopped(CauseError)},
		"a drop has to wait": {func(w *world) { w.drops = []error{cut, cut} }, ended(PhaseDone)},
		"nothing":            {func(*world) {}, ended(PhaseDone)},
		"preflight refuses":  {func(w *world) { w.findings = []Finding{{Code: "P04", Severity: Refuse}} }, ended(PhaseRefused)},
		"never ready":        {func(w *world) { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } }, ended(PhaseExpired)},
		"regress":            {func(w *world) { w.bad = sick }, ended(PhaseRolledBack)},
		"statements refused": {func(w *world) { w.prepares = []error{errors.New("permission denied")} }, stopped(CauseError)},
		"always in the way":  {func(w *world) { w.stragglers = []SessionInfo{{ID: "s1", Place: Busy, Age: time.Hour}} }, stopped(CauseStragglers)},
		"never gathers":      {func(w *world) { w.stragglers = []SessionInfo{{ID: "s1", Place: Busy}} }, stopped(CauseStragglers)},
		"COMMIT refused":     {func(w *world) { w.commits = []commitFault{{outcome: NotDone, err: errors.New("no")}} }, stopped(CauseError)},
		"COMMIT conflicts": {func(w *world) {
			w.commits = []commitFault{{outcome: NotDone, err: ErrConflict}, {outcome: NotDone, err: ErrConflict}}
		}, ended(PhaseDone)},
		"COMMIT silent, done":   {func(w *world) { w.commits = []commitFault{{outcome: Unknown, silent: true, applied: true}} }, ended(PhaseDone)},
		"COMMIT lost, not done": {func(w *world) { w.commits = []commitFault{{outcome: Unknown, err: cut}} }, ended(PhaseDone)},
		"session never ends": {func(w *world) { w.commits, w.lingers = []commitFault{{outcome: Unknown, err: cut}}, 1<<20 },
			func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StageResolving }},
		"old version in use":    {func(w *world) { w.subs = []Dependent{{Kind: "subscription", Name: "bi"}} }, stopped(CauseInUse)},
		"drop endangers others": {func(w *world) { w.deps = []Dependent{{Kind: "view", Name: "reports.daily"}} }, stopped(CauseInUse)},
		"disk full":             {func(w *world) { w.saveError = errors.New("no space") }, func(s Status) bool { return s.JournalProblem != "" }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newTwo(t)
				ctl, stop := w.boot(t, testPlan())
				defer stop()
				w.shop.with(func() { c.shop(w.shop) })
				if _, err := ctl.Start(t.Context(), shopName, StartRequest{Who: "ann", Fix: true}); err != nil && name != "disk full" {
					t.Fatal(err)
				}
				startThe(t, ctl, martName)
				mart := until(t, ctl, martName, ended(PhaseDone))
				if mart.Exit != ExitDone || w.mart.name(KindSchema, "prod") != newSchema || len(w.mart.names[KindSchema]) != 1 {
					t.Errorf("the other ended with %d: %s; names %v", mart.Exit, mart.Sentence, w.mart.names)
				}
				s := until(t, ctl, shopName, c.ends)
				for _, e := range s.Events {
					if strings.Contains(e.Why, mart.Rollout) {
						t.Errorf("shop speaks of the other's rollout: %+v", e)
					}
				}
			})
		})
	}
}

// While one holds its sessions behind a COMMIT that does not answer, the other's
// promotion waits for its turn; everything else of it goes on.
func TestAPromotionWaitsForItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newTwo(t)
		w.shop.waitsForPrepare, w.shop.waitsForCommit = make(chan struct{}), make(chan struct{})
		ctl, stop := w.boot(t, testPlan())
		defer stop()
		startThe(t, ctl, shopName)
		until(t, ctl, shopName, func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StagePreparing })
		startThe(t, ctl, martName)
		mart := until(t, ctl, martName, func(s Status) bool { return s.Swap != nil && s.Swap.Stage == StagePreparing })
		close(w.shop.waitsForPrepare)
		until(t, ctl, shopName, func(s Status) bool { return s.Swap.Stage == StagePrepared })
		time.Sleep(time.Second)
		if n := count(w.mart.happened(), "prepare"); n != 0 || mart.Weight != 2500 {
			t.Errorf("the other prepared %d times at %s", n, mart.Weight)
		}
		w.mart.with(func() {
			if w.mart.routing.Canary != router.CanaryDeploy || w.mart.held {
				t.Errorf("the other's sessions: canary %s, held %t", w.mart.routing.Canary, w.mart.held)
			}
		})
		// What waits for its turn can be called off.
		if _, err := ctl.Do(t.Context(), martName, VerbPause, Request{Who: "bob"}); err != nil {
			t.Fatal(err)
		}
		until(t, ctl, martName, stopped(CauseHand))
		if _, err := ctl.Do(t.Context(), martName, VerbResume, Request{Who: "bob"}); err != nil {
			t.Fatal(err)
		}
		close(w.shop.waitsForCommit)
		until(t, ctl, shopName, ended(PhaseDone))
		until(t, ctl, martName, ended(PhaseDone))
	})
}
