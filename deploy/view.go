package deploy

import (
	"context"
	"sync"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

// view is what others may see of a runner: copies, published after every event.
// It is the only part of a runner that is shared between goroutines.
type view struct {
	mu       sync.Mutex
	state    State
	plan     Plan
	spec     Spec
	survey   Survey
	evidence armstats.Evidence
	problem  string // why the journal cannot be written, or must not be acted on
	revision uint64
	bumped   time.Time
	notify   chan struct{} // closed and replaced when revision moves
}

// refresh is how often a revision moves while only clocks and counters do.
const refresh = time.Second

// publish makes the loop's state visible. A decision moves the revision at once.
func (r *runner) publish(decided bool) {
	v, now := &r.view, r.c.opts.Clock()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state, v.plan, v.spec = r.s, r.plan, r.spec
	if since := now.Sub(v.bumped); !decided && since >= 0 && since < refresh {
		return
	}
	v.revision++
	v.bumped = now
	close(v.notify)
	v.notify = make(chan struct{})
}

func (v *view) setSurvey(s Survey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.survey = s
}

func (v *view) setEvidence(e armstats.Evidence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.evidence = e
}

func (v *view) setProblem(why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problem = why
}

func (r *runner) rollout() string {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	return r.view.state.Rollout
}

func (r *runner) serverKind() string {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	return r.view.state.Server.Kind
}

func (r *runner) ready() (bool, string) {
	r.view.mu.Lock()
	defer r.view.mu.Unlock()
	v := &r.view
	switch {
	case v.state.Recovering && v.state.Swap.Stage == StageResolving:
		return false, "what became of the COMMIT before the restart is being found out; sessions are on live names"
	case v.state.Recovering:
		return false, "the catalog was not read yet after the start; sessions are on live names"
	case v.problem != "":
		return false, v.problem
	}
	return true, ""
}

// changed waits for a revision beyond since.
func (r *runner) changed(ctx context.Context, since uint64) (Status, error) {
	for {
		r.view.mu.Lock()
		revision, notify := r.view.revision, r.view.notify
		r.view.mu.Unlock()
		if revision > since {
			return r.status(), nil
		}
		select {
		case <-notify:
		case <-r.ended:
			return r.status(), refusal(ExitInterrupted, "", "the program is stopping")
		case <-ctx.Done():
			return r.status(), ctx.Err()
		}
	}
}

// ask hands a request to the loop and waits for its answer.
func (r *runner) ask(ctx context.Context, q request) (Status, error) {
	q.reply = make(chan answer, 1)
	select {
	case r.inbox <- &q:
	case <-r.ended:
		return r.status(), refusal(ExitInterrupted, "", "the program is stopping")
	case <-ctx.Done():
		return r.status(), ctx.Err()
	}
	select {
	case a := <-q.reply:
		return a.status, a.err
	case <-ctx.Done():
		return r.status(), ctx.Err()
	}
}

// setWeight sets the weight of a running ramp, or opens a canary by hand. What
// asks the server is done here, on the caller's time.
func (r *runner) setWeight(ctx context.Context, w router.Weight, req Request) (Status, error) {
	r.view.mu.Lock()
	state := r.view.state
	r.view.mu.Unlock()
	if w > router.Full {
		return r.status(), refusal(ExitUsage, "mzcanary traffic set 20%", "weight %s is above 100%%", w)
	}
	if state.Running() {
		return r.ask(ctx, request{event: &VerbAsked{Verb: VerbWeight, Weight: w, Request: req}})
	}
	if w == 0 {
		return r.status(), refusal(ExitUsage, "", "%s has no canary; everybody is on production already", state.Deployment)
	}
	if len(r.cfg.Spec.Schemas)+len(r.cfg.Spec.Clusters) == 0 {
		return r.status(), refusal(ExitUsage, "mzcanary rollout start", "%s has only pairs of objects inside one schema; they cannot be told apart by search_path", state.Deployment)
	}
	rollout := newRolloutID()
	opened, err := r.askServer(ctx, req, rollout)
	if err != nil {
		return r.status(), err
	}
	opened.Weight, opened.Request = w, req
	return r.ask(ctx, request{hand: &handOrder{opened: opened, rollout: rollout, salt: newSalt()}})
}

// askServer is preflight and one readiness sample, or, forced, whatever the
// server can be asked.
func (r *runner) askServer(ctx context.Context, req Request, rollout string) (HandOpened, error) {
	spec, plan, look := r.cfg.Spec, r.cfg.Plan, r.looker()
	probe := State{Deployment: spec.Name, Database: spec.Database, Rollout: rollout, Pairs: plainPairs(spec, plan.Promote.Fence, rollout)}
	if req.Force {
		refs, server, err := look.read(ctx, probe)
		if err != nil {
			r.log.Warn("a canary is opened by force without asking the server", "err", err)
		}
		return HandOpened{Refs: refs, Server: server}, nil
	}
	pre := look.preflight(ctx, spec, probe)
	if pre.Err != nil {
		return HandOpened{}, unavailable("preflight of "+spec.Name, pre.Err)
	}
	pre.Findings = append(pre.Findings, taken(probe.Pairs, rollout, pre.Refs, pre.Findings)...)
	if n, first := refusals(pre.Findings); n > 0 {
		no := refusal(ExitRefused, "mzcanary check", "preflight of %s refused: %d findings, the first is %s %s: %s", spec.Name, n, first.Code, first.Object, first.Sentence)
		no.Findings = pre.Findings
		return HandOpened{}, no
	}
	sample := look.sample(ctx, spec, plan.Ready)
	if sample.Err != nil {
		return HandOpened{}, unavailable("readiness of "+spec.Name, sample.Err)
	}
	if !sample.Sample.Ready {
		return HandOpened{}, refusal(ExitNotReady, "mzcanary rollout start, which waits for it", "the new version of %s is not ready: %s", spec.Name, sample.Sample.Why)
	}
	return HandOpened{Findings: pre.Findings, Refs: pre.Refs, Server: pre.Server, Sample: &sample.Sample}, nil
}
