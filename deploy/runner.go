package deploy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// runner owns one deployment. One goroutine (run) holds the state, feeds events
// to Step, saves, and performs; slow things are jobs, one goroutine each, whose
// ends come back as events. Nobody else touches the fields of the first group.
//
//	event ─▶ Step ─▶ save (if decided) ─▶ perform ─▶ publish
//	  ▲                                      │
//	  └───────────── results ◀── jobs ◀──────┘
type runner struct {
	c   *Controller
	cfg DeploymentConfig
	log *slog.Logger

	// Owned by run.
	s        State
	plan     Plan
	spec     Spec
	revision uint64    // of the journal on disk
	saved    time.Time // when it was last written
	unsaved  error     // why the journal cannot be written; acts wait in held
	held     []heldAction
	reroute  *Routing // could not be published yet
	// published is what was published last, promotions aside: they only move what the
	// canary means.
	published Routing
	jobs      map[string]*job
	working   sync.WaitGroup
	next      pace
	last      time.Time // of the last tick
	stopping  bool
	lost      *lostHold    // sessions held after a restart, for a COMMIT of the process before
	swapSave  chan swapAck // prepared promotions asking for the journal

	inbox     chan *request
	results   chan jobResult
	loaded    chan struct{} // closed when the journal was read and its routing published
	recovered chan struct{}
	once      sync.Once
	ended     chan struct{}

	view view
}

// pace is when each standing observer looks next.
type pace struct{ ready, watch, census, survey time.Time }

// job is something slow that runs beside the loop.
type job struct {
	cancel context.CancelFunc
	began  time.Time
	done   chan struct{} // closed when the job has ended
}

type jobResult struct {
	kind    string
	rollout string
	event   Event // nil when there is nothing to say
}

// request is a question from outside, answered exactly once.
type request struct {
	start *startOrder
	hand  *handOrder
	adopt *adoptOrder
	event *VerbAsked
	reply chan answer
}

type answer struct {
	status Status
	err    error
}

type startOrder struct {
	plan    Plan
	req     StartRequest
	rollout string
	salt    uint64
}

type handOrder struct {
	opened  HandOpened
	rollout string
	salt    uint64
}

// swapAck asks the loop to journal that a COMMIT may be sent.
type swapAck struct {
	backend Backend
	ok      chan error
}

func newRunner(c *Controller, cfg DeploymentConfig) *runner {
	r := &runner{
		c: c, cfg: cfg, log: c.opts.Log.With("deployment", cfg.Spec.Name),
		s:    State{Deployment: cfg.Spec.Name, Database: cfg.Spec.Database, Phase: PhaseIdle, Recovering: true},
		plan: cfg.Plan, spec: cfg.Spec,
		jobs: make(map[string]*job), swapSave: make(chan swapAck),
		inbox: make(chan *request), results: make(chan jobResult),
		loaded: make(chan struct{}), recovered: make(chan struct{}), ended: make(chan struct{}),
	}
	r.view.notify = make(chan struct{})
	r.publish(true)
	return r
}

// run is the deployment's life. It returns when the context has ended, a running
// attempt to promote was finished or undone, and every job has ended.
func (r *runner) run(ctx context.Context) {
	defer close(r.ended)
	defer r.isRecovered()
	err := r.load(ctx)
	close(r.loaded)
	if err != nil {
		r.standAside(ctx, err)
		return
	}
	tick := time.NewTicker(r.c.opts.Tick)
	defer tick.Stop()
	r.last = r.c.opts.Clock()
	for {
		select {
		case <-ctx.Done():
			r.shutdown(ctx)
			return
		case q := <-r.inbox:
			r.serve(ctx, q)
		case res := <-r.results:
			r.finished(ctx, res)
		case ack := <-r.swapSave:
			r.acknowledge(ctx, ack)
		case <-tick.C:
			r.tick(ctx)
		}
	}
}

// standAside serves a deployment whose journal must not be acted on: live names,
// and one sentence to everybody who asks.
func (r *runner) standAside(ctx context.Context, err error) {
	r.log.Error("deployment is not controlled", "err", err)
	r.s.Recovering = false
	r.s.Stop = &Stop{Kind: PhaseBlocked, Cause: CauseJournal, Reason: err.Error(), Owner: "operator", Live: true,
		Since: r.c.opts.Clock(), Deadline: r.c.opts.Clock().Add(attention), Exit: ExitHuman, Next: "see the sentence"}
	if je, ok := errors.AsType[*JournalError](err); ok {
		r.s.Stop.Next = je.Next
	}
	r.view.setProblem(err.Error())
	r.publish(true)
	r.isRecovered()
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-r.inbox:
			q.reply <- answer{r.status(), refusal(ExitHuman, r.s.Stop.Next, "%s is not controlled: %v", r.s.Deployment, err)}
		}
	}
}

func (r *runner) isRecovered() { r.once.Do(func() { close(r.recovered) }) }

// handle is the machine's heartbeat. It returns the refusal of a verb, if any.
func (r *runner) handle(ctx context.Context, ev Event) *Refusal {
	before := r.s
	next, acts := Step(r.s, ev, r.plan)
	r.s = next
	decided := next.Seq != before.Seq
	r.tellAttempts(&before)
	if decided {
		r.tell(&before)
		if err := r.save(ctx); err != nil {
			r.cannotSave(err)
		}
	}
	refused := r.performAll(ctx, acts)
	r.publish(decided || before.Recovering && !next.Recovering)
	if !r.s.Recovering {
		r.isRecovered() // after publishing: who waited for it sees what was recovered
	}
	return refused
}

// tell lets log and metrics know what the decision changed.
func (r *runner) tell(before *State) {
	for _, e := range r.s.Log[min(len(before.Log), max(len(r.s.Log)-1, 0)):] {
		r.log.Info(e.What, "rollout", r.s.Rollout, "phase", string(r.s.Shown()), "who", e.Who, "why", e.Why)
	}
	o := r.c.opts.Observer
	if o == nil {
		return
	}
	if from, to := before.Shown(), r.s.Shown(); from != to {
		o.PhaseChanged(r.s.Deployment, from, to)
	}
	if (before.Stop == nil) != (r.s.Stop == nil) || r.s.Stop != nil && before.Stop.Cause != r.s.Stop.Cause {
		o.Stopped(r.s.Deployment, r.s.Stop)
	}
}

// tellAttempts lets metrics know of attempts that have ended or were resolved. The
// single waits of a stall are for them only and are not kept.
func (r *runner) tellAttempts(before *State) {
	for i := range r.s.Swap.History {
		now, was := &r.s.Swap.History[i], string(EndUnderWay)
		if j := before.Swap.find(now.Try); j >= 0 && before.Rollout == r.s.Rollout {
			was = before.Swap.History[j].Outcome
		}
		if o := r.c.opts.Observer; o != nil && now.Outcome != was {
			switch was {
			case string(EndUnderWay):
				o.AttemptEnded(r.s.Deployment, *now)
			case string(EndUnknown):
				o.AttemptResolved(r.s.Deployment, *now)
			}
		}
		if now.Outcome != string(EndUnknown) {
			now.Stall.Waits = nil
		}
	}
	if rec := r.s.Swap.Record; rec != nil && rec.Stall.Waits != nil {
		rec.Stall.Waits = nil
	}
}

// serve answers one request.
func (r *runner) serve(ctx context.Context, q *request) {
	var err error
	switch {
	case r.unsaved != nil && !lowers(q):
		err = refusal(ExitHuman, "mzcanary rollout status", "the journal of %s cannot be written, so nothing new is begun: %v", r.s.Deployment, r.unsaved)
	case q.start != nil:
		err = r.begin(ctx, q.start)
	case q.hand != nil:
		err = r.open(ctx, q.hand)
	case q.adopt != nil:
		err = r.takeOverMarks(ctx, q.adopt)
	default:
		q.event.At = At{r.c.opts.Clock()}
		if no := r.handle(ctx, *q.event); no != nil {
			err = no
		}
	}
	q.reply <- answer{r.status(), err}
}

// lowers: the verbs that only take traffic off the canary are never refused for
// want of a disk.
func lowers(q *request) bool {
	return q.event != nil && (q.event.Verb == VerbRollback || q.event.Verb == VerbAbort)
}

// begin starts a rollout on a deployment that has none.
func (r *runner) begin(ctx context.Context, o *startOrder) error {
	if err := r.free(o.req.TakeOver); err != nil {
		return err
	}
	r.reset(o.rollout, o.salt, o.req.Who, o.req.Reason, r.cfg.Spec, o.plan)
	r.s.TakeOver, r.s.Fix = o.req.TakeOver, o.req.Fix
	r.handle(ctx, Began{At{r.c.opts.Clock()}})
	return nil
}

func (r *runner) open(ctx context.Context, o *handOrder) error {
	if err := r.free(o.opened.Request.Force); err != nil {
		return err
	}
	plan := r.cfg.Plan
	plan.Name, plan.Steps = "by hand", []PlanStep{{Weight: o.opened.Weight}}
	r.reset(o.rollout, o.salt, o.opened.Request.Who, o.opened.Request.Reason, r.cfg.Spec, plan)
	o.opened.At = At{r.c.opts.Clock()}
	r.handle(ctx, o.opened)
	return nil
}

// free refuses what cannot begin now.
func (r *runner) free(takeOver bool) error {
	switch {
	case r.s.Recovering:
		return refusal(ExitConnect, "mzcanary rollout status", "%s is being recovered: the catalog was not read yet", r.s.Deployment)
	case r.s.Running() && r.s.Hand && r.s.Phase == PhaseRamping:
		return refusal(ExitRace, "mzcanary traffic set 0%", "%s has a canary that was opened by hand at %s", r.s.Deployment, r.s.Weight)
	case r.s.Running() && r.s.Phase == PhaseWindow:
		return refusal(ExitRace, "mzcanary rollout cleanup, or rollback", "the rollback window of rollout %s of %s is open", r.s.Rollout, r.s.Deployment)
	case r.s.Running():
		return refusal(ExitRace, "mzcanary rollout status", "rollout %s of %s is running (%s)", r.s.Rollout, r.s.Deployment, r.s.Shown())
	case r.s.closing():
		return refusal(ExitRace, "mzcanary rollout status", "rollout %s of %s is over and still putting its marks away; try again in a moment", r.s.Rollout, r.s.Deployment)
	case r.s.Stop != nil && r.s.Stop.Cause == CauseJournal && !takeOver:
		return refusal(ExitHuman, r.s.Stop.Next, "%s: %s", r.s.Deployment, r.s.Stop.Reason)
	}
	return nil
}

// reset lays the state of a new rollout over the old one. Swaps counts on: it
// belongs to the deployment.
func (r *runner) reset(rollout string, salt uint64, who, why string, spec Spec, plan Plan) {
	now := r.c.opts.Clock()
	r.plan, r.spec = plan, spec
	r.s = State{
		Deployment: spec.Name, Database: spec.Database, Rollout: rollout, Phase: PhaseIdle,
		Who: who, Reason: why, Started: now, Entered: now, Seq: r.s.Seq + 1, Epoch: r.s.Epoch + 1,
		Salt: salt, Swaps: r.s.Swaps, Pairs: plainPairs(spec, plan.Promote.Fence, rollout),
	}
	r.next = pace{}
}

// shutdown finishes or undoes a running attempt, and waits for every job.
func (r *runner) shutdown(ctx context.Context) {
	r.stopping = true
	for _, j := range r.jobs {
		j.cancel()
	}
	after := context.WithoutCancel(ctx)
	for len(r.jobs) > 0 {
		select {
		case res := <-r.results:
			r.finished(after, res)
		case ack := <-r.swapSave:
			ack.ok <- errors.New("the program is stopping")
		}
	}
	r.working.Wait()
	if r.s.Running() {
		if err := r.save(after); err != nil {
			r.log.Error("journal could not be written while stopping", "err", err)
		}
	}
}
