package deploy

import (
	"context"
	"fmt"
	"slices"
)

// load reads the journal and begins the recovery. Its error means that nothing
// may be done to this deployment.
func (r *runner) load(ctx context.Context) error {
	j, err := r.c.opts.Store.Load(ctx, r.s.Deployment)
	if err != nil {
		return err
	}
	if j == nil {
		r.lookForMarks(ctx)
		return nil
	}
	if err := samePairs(j, r.cfg.Spec); err != nil {
		return err
	}
	r.s, r.revision = j.State, j.Revision
	if r.s.Running() {
		// The rollout keeps the plan and the pairs it was started with, whatever the
		// configuration says now.
		r.plan, r.spec = j.Plan, j.Spec
	}
	r.s.Database = r.spec.Database
	r.holdForLostCommit(ctx)
	r.handle(ctx, Restarted{At{r.c.opts.Clock()}})
	return nil
}

// samePairs refuses to go on with a rollout whose pairs the configuration has
// changed: the router would send its canary to other names than it looks after.
func samePairs(j *Journal, now Spec) error {
	was := j.Spec
	same := was.Database == now.Database && slices.Equal(was.Schemas, now.Schemas) && slices.Equal(was.Clusters, now.Clusters) && slices.Equal(was.Objects, now.Objects)
	if same || !j.State.Running() {
		return nil
	}
	return &JournalError{File: "of " + now.Name, Why: "rollout " + j.State.Rollout + " was started with other pairs than the configuration names now",
		Next: "put the pairs back into the configuration until that rollout is over"}
}

// lookForMarks asks the catalog whether it remembers a rollout that the journal
// does not. It is repeated by the tick until there was an answer.
func (r *runner) lookForMarks(ctx context.Context) {
	spec, look := r.spec, r.looker()
	r.start(ctx, "marks", func(ctx context.Context) Event {
		var marks []Mark
		err := r.bounded(ctx, func(ctx context.Context) (err error) {
			marks, err = look.w.Marks(ctx, spec)
			return err
		})
		if err != nil {
			r.log.Warn("the catalog could not be asked for marks of earlier rollouts; trying again", "err", err)
			return nil
		}
		return StrayFound{At{look.clock()}, marks}
	})
}

// save writes the state with the next revision.
func (r *runner) save(ctx context.Context) error {
	j := Journal{Version: JournalVersion, Revision: r.revision + 1, Saved: r.c.opts.Clock(), Spec: r.spec, Plan: r.plan, State: r.s}
	if err := r.c.opts.Store.Save(ctx, j); err != nil {
		return fmt.Errorf("saving the journal of %s: %w", r.s.Deployment, err)
	}
	r.revision, r.saved = j.Revision, j.Saved
	return nil
}

// cannotSave makes acts wait. The data plane goes on at its last weight.
func (r *runner) cannotSave(err error) {
	if r.unsaved == nil {
		r.log.Error("journal cannot be written; nothing is begun until it can", "err", err)
	}
	r.unsaved = err
	r.view.setProblem(err.Error())
}

// keepJournal writes progress now and then, and what could not be written before.
func (r *runner) keepJournal(ctx context.Context) {
	due := r.s.Running() && !r.s.Recovering && r.c.opts.Clock().Sub(r.saved) >= journalEvery
	if r.unsaved == nil && !due {
		return
	}
	if err := r.save(ctx); err != nil {
		r.cannotSave(err)
		return
	}
	if r.unsaved == nil {
		return
	}
	r.log.Info("journal can be written again")
	r.unsaved = nil
	r.view.setProblem("")
	r.performHeld(ctx)
}

func (r *runner) archive(ctx context.Context) error {
	return r.c.opts.Store.Archive(ctx, Record{
		Deployment: r.s.Deployment, Rollout: r.s.Rollout, Phase: r.s.Phase, Exit: r.s.Exit, End: r.s.End,
		Who: r.s.Who, Reason: r.s.Reason, Started: r.s.Started, Ended: r.s.Entered, Plan: r.plan, Spec: r.spec, State: r.s,
	})
}
