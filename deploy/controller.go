package deploy

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"mzcanary/router"
)

// Controller runs the rollouts of all deployments. Each deployment has one
// goroutine that owns its state (runner); promotions take turns, everything else
// goes on side by side. Make one with New, then call Run.
type Controller struct {
	opts      Options
	names     []string
	runners   map[string]*runner
	turn      chan struct{} // holds one token: the right to close gates
	calm      *calm
	recovered chan struct{}
	// onAction, when set by a test, hears of every action before it is performed.
	onAction func(Action)
}

var _ API = (*Controller)(nil)

// New checks the options and reads nothing yet.
func New(o Options) (*Controller, error) {
	if o.Warehouse == nil || o.Traffic == nil || o.Store == nil {
		return nil, errors.New("deploy: a controller needs a Warehouse, a Traffic and a Store")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tick <= 0 {
		o.Tick = 250 * time.Millisecond
	}
	if o.Watch <= 0 {
		o.Watch = 3 * time.Second
	}
	c := &Controller{opts: o, runners: make(map[string]*runner), turn: make(chan struct{}, 1), calm: newCalm(), recovered: make(chan struct{})}
	for _, d := range o.Deployments {
		if _, twice := c.runners[d.Spec.Name]; twice {
			return nil, fmt.Errorf("deploy: deployment %q is configured twice", d.Spec.Name)
		}
		c.names = append(c.names, d.Spec.Name)
		c.runners[d.Spec.Name] = newRunner(c, d)
	}
	return c, nil
}

// Run recovers every deployment and then drives the rollouts until the context
// ends. Before it returns, a running attempt to promote has been finished or
// undone and every goroutine has ended. It may be called once.
func (c *Controller) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, name := range c.names {
		all.Go(func() { c.runners[name].run(ctx) })
	}
	all.Go(func() {
		for _, name := range c.names {
			select {
			case <-c.runners[name].recovered:
			case <-ctx.Done():
				return
			}
		}
		close(c.recovered)
	})
	all.Wait()
	return nil
}

// Recovered is closed once every deployment has been recovered, or found to have
// a journal that must not be acted on.
func (c *Controller) Recovered() <-chan struct{} { return c.recovered }

// Loaded waits until every journal was read and what it says was published, or
// the context has ended. Nobody should be served before: a session that passes
// earlier is not held while a COMMIT of the process before may still land. It asks
// nothing of the server; Run must be running.
func (c *Controller) Loaded(ctx context.Context) {
	for _, name := range c.names {
		select {
		case <-c.runners[name].loaded:
		case <-ctx.Done():
			return
		}
	}
}

// Deployments lists the names in the order of the configuration.
func (c *Controller) Deployments() []string { return append([]string(nil), c.names...) }

// Ready reports whether a deployment is under control; while it is not, its
// sessions are served on live names and why says what is missing.
func (c *Controller) Ready(deployment string) (bool, string) {
	r, err := c.find(deployment)
	if err != nil {
		return false, err.Error()
	}
	return r.ready()
}

// Check runs preflight without starting anything.
func (c *Controller) Check(ctx context.Context, deployment string) ([]Finding, error) {
	r, err := c.find(deployment)
	if err != nil {
		return nil, err
	}
	findings, err := r.looker().findings(ctx, r.cfg.Spec, r.rollout())
	if err != nil {
		return nil, unavailable("preflight of "+deployment, err)
	}
	return findings, nil
}

// Start begins a rollout and returns as soon as that is in the journal.
func (c *Controller) Start(ctx context.Context, deployment string, req StartRequest) (Status, error) {
	r, err := c.find(deployment)
	if err != nil {
		return Status{}, err
	}
	plan := r.cfg.Plan
	if req.Plan != nil {
		plan = *req.Plan
	}
	if err := plan.Validate(r.cfg.Spec); err != nil {
		return Status{}, err
	}
	return r.ask(ctx, request{start: &startOrder{plan: plan, req: req, rollout: newRolloutID(), salt: newSalt()}})
}

// DryRun says what a rollout would do, without asking the server.
func (c *Controller) DryRun(deployment string, plan *Plan) (DryRun, error) {
	r, err := c.find(deployment)
	if err != nil {
		return DryRun{}, err
	}
	p := r.cfg.Plan
	if plan != nil {
		p = *plan
	}
	return dryRun(r.cfg.Spec, p, r.serverKind())
}

// Do performs a verb. What is not possible is a *Refusal and changes nothing.
func (c *Controller) Do(ctx context.Context, deployment string, verb Verb, req Request) (Status, error) {
	r, err := c.find(deployment)
	if err != nil {
		return Status{}, err
	}
	if verb == VerbWeight {
		return Status{}, refusal(ExitUsage, "mzcanary traffic set 20%", "setting the weight needs a weight")
	}
	if verb == VerbAdopt {
		return r.adopt(ctx, req)
	}
	return r.ask(ctx, request{event: &VerbAsked{Verb: verb, Request: req}})
}

// SetWeight sets the weight by hand. With a rollout its plan pauses; without one
// preflight and one readiness sample are asked first (Force skips them), and a
// canary is opened by hand, journaled like any rollout.
func (c *Controller) SetWeight(ctx context.Context, deployment string, weight router.Weight, req Request) (Status, error) {
	r, err := c.find(deployment)
	if err != nil {
		return Status{}, err
	}
	return r.setWeight(ctx, weight, req)
}

// Status returns one deployment's status; it asks nobody.
func (c *Controller) Status(deployment string) (Status, error) {
	r, err := c.find(deployment)
	if err != nil {
		return Status{}, err
	}
	return r.status(), nil
}

// Statuses returns all of them, in the order of the configuration.
func (c *Controller) Statuses() []Status {
	out := make([]Status, 0, len(c.names))
	for _, name := range c.names {
		out = append(out, c.runners[name].status())
	}
	return out
}

// History lists the rollouts that are over, newest first.
func (c *Controller) History(ctx context.Context, deployment string) ([]Record, error) {
	if _, err := c.find(deployment); err != nil {
		return nil, err
	}
	return c.opts.Store.History(ctx, deployment)
}

// Changed returns the status as soon as its revision is beyond since, or the
// context's error. Zero returns at once; feed back Status.Revision to follow.
func (c *Controller) Changed(ctx context.Context, deployment string, since uint64) (Status, error) {
	r, err := c.find(deployment)
	if err != nil {
		return Status{}, err
	}
	return r.changed(ctx, since)
}

// Wait waits until a rollout is promoted or over, or needs a person, and returns
// the exit code a command should end with. An empty rollout means the one that
// is running, or was the last.
func (c *Controller) Wait(ctx context.Context, deployment, rollout string, until Until) (Status, int) {
	var since uint64
	for {
		s, err := c.Changed(ctx, deployment, since)
		if err != nil {
			if r, ok := errors.AsType[*Refusal](err); ok {
				return s, r.Exit
			}
			return s, ExitInterrupted
		}
		if rollout == "" {
			rollout = s.Rollout
		}
		if code, over := waitOver(s, rollout, until); over {
			return s, code
		}
		since = s.Revision
	}
}

// waitOver decides whether a wait has its answer.
func waitOver(s Status, rollout string, until Until) (int, bool) {
	switch {
	case s.Rollout != rollout:
		return ExitRace, true
	case s.Phase.Final():
		return s.Exit, !s.Marked // then it is in the history, and the next one may start
	case s.Phase == PhaseWindow && until != UntilDone, s.Phase == PhaseDraining && until != UntilDone, s.Phase == PhaseCleaning && until != UntilDone:
		return ExitDone, true
	case s.Stop != nil && !s.Stop.Auto && s.Stop.Cause != CauseHand:
		return s.Stop.Exit, true
	}
	return 0, false
}

func (c *Controller) find(deployment string) (*runner, error) {
	if r, ok := c.runners[deployment]; ok {
		return r, nil
	}
	return nil, refusal(ExitUsage, "", "there is no deployment %q; configured: %s", deployment, strings.Join(c.names, ", "))
}

// unavailable turns an error of the server into the refusal a command prints.
func unavailable(what string, err error) error {
	if errors.Is(err, ErrUnavailable) {
		return refusal(ExitConnect, "mzcanary check", "%s: %v", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// newRolloutID is short, easy to read aloud, and does not repeat in practice:
// an r and 30 random bits in lower-case base32.
func newRolloutID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return "r" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))[:6]
}

func newSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}
