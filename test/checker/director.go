package checker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/router"
)

const (
	deployment = "shop"
	// look is the pause between two looks at the status.
	look = 8 * time.Millisecond
	// rolloutLimit is how long one rollout may take, faults and restarts included.
	rolloutLimit = 3 * time.Minute
)

// director plays the operator: it builds versions, starts rollouts, looks at the
// status, strikes, and notes what the controller published.
type director struct {
	script Script
	names  Names
	target Target
	prog   *program
	tl     *timeline
	crowd  *crowd
	log    *record
	struck map[Kind]int

	version int    // the newest that was built
	rollout string // the running one
	// asked is when the last look was made; calm the last one at which no swap was
	// being tried.
	asked, calm time.Duration
	newest      deploy.Entry // the last line of the rollout's log, as read at the last look
	before      int          // the version that the last swap replaced
	unknown     int          // outcomes of the running rollout that were unknown
	resolving   bool
	shown       string
	pending     []pending
	undo        []undo
	done        map[string]bool
}

// pending is a fault whose moment has come.
type pending struct {
	f  Fault
	at time.Duration
}

// undo ends a fault.
type undo struct {
	at time.Duration
	do func()
}

// cycle releases one version.
func (d *director) cycle(ctx context.Context, y Cycle) error {
	ctx, cancel := context.WithTimeout(ctx, rolloutLimit)
	defer cancel()
	d.pending, d.undo, d.done, d.rollout, d.unknown, d.resolving = nil, nil, map[string]bool{}, "", 0, false
	defer d.calmDown()
	if err := d.build(ctx); err != nil {
		return fmt.Errorf("build version %d: %w", d.version, err)
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	for {
		s, err := d.look(ctx)
		if err != nil {
			return err
		}
		if over(s) {
			d.log.note("rollout of version %d ended: %s: %s", d.version, s.Phase, s.End)
			return nil
		}
		if err := errors.Join(d.strike(ctx, y, s), d.operate(ctx, y, s)); err != nil {
			return err
		}
		if err := wait(ctx, look); err != nil {
			return fmt.Errorf("the rollout of version %d did not end within %s; it is %s (%s): %s", d.version, rolloutLimit, s.Phase, s.Under, s.Sentence)
		}
	}
}

// build makes the next version under the deploy names. What a rolled back rollout
// left there goes first, once nobody reads it any more.
func (d *director) build(ctx context.Context) error {
	if d.tl.last().Deploy != 0 {
		since := d.tl.clock()
		d.crowd.namesOpen.Store(false)
		for !d.crowd.settled(since) {
			if err := wait(ctx, look); err != nil {
				return errors.New("clients did not leave what was rolled back")
			}
		}
		if err := d.change(ctx, d.names.drop(d.names.Deploy()), d.tl.last().Live, 0); err != nil {
			return err
		}
	}
	d.version++
	d.tl.builds(d.version)
	return d.change(ctx, d.names.version(d.names.Deploy(), d.version), d.tl.last().Live, d.version)
}

// change runs DDL of the director's own.
func (d *director) change(ctx context.Context, statements []string, live, deploy int) error {
	from := d.tl.clock()
	err := d.target.Exec(ctx, statements)
	if !d.target.Tells() && err == nil {
		d.tl.named(Span{from, d.tl.clock()}, live, deploy)
	}
	return err
}

// begin starts the rollout; the one before may still be removing its marks.
func (d *director) begin(ctx context.Context) error {
	for {
		s, err := d.prog.client.Start(ctx, deployment, deploy.StartRequest{Who: "checker"})
		var no *deploy.Refusal
		switch {
		case err == nil:
			d.rollout = s.Rollout
			j, err := d.prog.journal()
			d.tl.salted(j.Salt)
			return err
		case !errors.As(err, &no) || no.Exit != deploy.ExitRace && no.Exit != deploy.ExitConnect:
			return fmt.Errorf("start the rollout of version %d: %w", d.version, err)
		}
		if waited := wait(ctx, look); waited != nil {
			return fmt.Errorf("start the rollout of version %d: %w", d.version, err)
		}
	}
}

func over(s admin.Status) bool { return s.Rollout != "" && s.Info.Final && s.Stop == nil && !s.Marked }

// look reads the status and notes what it says about routing.
func (d *director) look(ctx context.Context) (admin.Status, error) {
	asked := d.tl.clock()
	s, err := d.prog.client.Status(ctx, deployment)
	if err != nil {
		return s, fmt.Errorf("look at the rollout of version %d: %w", d.version, err)
	}
	d.note(asked, d.tl.clock(), s)
	return s, nil
}

func (d *director) note(asked, answered time.Duration, s admin.Status) {
	if shown := fmt.Sprintf("%s %s, weight %s, canary %s", s.Phase, stage(s), s.Weight, s.Canary); shown != d.shown {
		d.shown = shown
		d.log.note("%s", shown)
	}
	if !d.target.Tells() {
		d.noteNames(answered, s)
	}
	d.noteUnknown(answered, s)
	d.noteRouting(answered, s.Events)
	open := s.Canary == router.CanaryDeploy.String()
	d.crowd.canaryOpen.Store(open)
	d.crowd.namesOpen.Store(open && (s.Phase == deploy.PhaseRamping || s.Phase == deploy.PhasePromoting))
	d.asked = asked
	if st := stage(s); st != deploy.StagePreparing && st != deploy.StagePrepared && st != deploy.StageResolving {
		d.calm = asked
	}
}

// noteRouting notes what was published after the last look, each of it: between two
// looks a weight may be raised and taken back.
func (d *director) noteRouting(seen time.Duration, events []deploy.Entry) {
	from := d.asked
	for _, e := range d.unseen(events) {
		from = max(from, d.tl.since(e.At))
		open := e.Canary == router.CanaryDeploy.String()
		switch {
		case e.Canary == router.CanaryLive.String(): // the outcome is unknown, which noteUnknown says
		case open && d.tl.last().Live == d.version: // older than the swap, whose moment is known better
		default:
			d.tl.route(Span{from, seen}, open, int(e.Weight), e.What)
		}
	}
}

// unseen are the lines of the log after the one that was the last at the last look.
// The log of a long rollout loses lines, but never its newest ones.
func (d *director) unseen(events []deploy.Entry) []deploy.Entry {
	for i := len(events) - 1; i >= 0; i-- {
		if e := events[i]; e.At.Equal(d.newest.At) && e.What == d.newest.What && e.Why == d.newest.Why {
			events = events[i+1:]
			break
		}
	}
	if n := len(events); n > 0 {
		d.newest = events[n-1]
	}
	return events
}

func stage(s admin.Status) deploy.Stage {
	if s.Swap == nil {
		return ""
	}
	return s.Swap.Stage
}

// noteNames notes a swap that only the status tells of.
func (d *director) noteNames(answered time.Duration, s admin.Status) {
	last := d.tl.last()
	switch swapped := s.Phase == deploy.PhaseWindow || s.Under == deploy.PhaseWindow || s.Phase == deploy.PhaseDraining ||
		s.Phase == deploy.PhaseCleaning || s.Phase == deploy.PhaseDone; {
	case swapped && last.Live != d.version:
		d.before = last.Live
		d.tl.named(Span{d.calm, answered}, d.version, 0)
	case s.Phase == deploy.PhaseRolledBack && last.Live == d.version:
		d.tl.named(Span{d.calm, answered}, d.before, d.version)
	}
}

// noteUnknown notes that an attempt's outcome was unknown for a while: everybody
// was on live names, and those had not changed yet, or had.
func (d *director) noteUnknown(answered time.Duration, s admin.Status) {
	if s.Swap == nil {
		d.resolving = false
		return
	}
	n := 0
	for _, a := range s.Swap.History {
		if strings.HasPrefix(a.Outcome, string(deploy.EndUnknown)) || a.Resolve > 0 {
			n++
		}
	}
	if s.Swap.Stage == deploy.StageResolving || n > d.unknown || d.resolving {
		d.tl.doubt(Span{d.calm, answered})
	}
	d.unknown, d.resolving = n, s.Swap.Stage == deploy.StageResolving
}

// operate does what a person would.
func (d *director) operate(ctx context.Context, y Cycle, s admin.Status) error {
	if s.Stop != nil {
		return d.unblock(ctx, y, s)
	}
	full := int(s.Weight) == 10_000
	switch {
	case s.Phase == deploy.PhaseRamping && s.Step != nil && s.Step.Observed > 2*time.Second && d.once("force"):
		// Injected errors are held against the canary for long.
		d.log.note("promote by force: %s", s.Step.Lacks)
		_, err := d.prog.client.Do(ctx, deployment, deploy.VerbPromote, admin.Request{Who: "checker", Reason: "script", Force: true})
		return d.mind(err)
	case y.Ending == EndSwapBack && s.Phase == deploy.PhaseWindow && d.once("ending"):
		return d.do(ctx, deploy.VerbRollback)
	case y.Ending == EndHurried && s.Phase == deploy.PhaseWindow && d.once("ending"):
		return d.do(ctx, deploy.VerbCleanup)
	case y.Ending == EndInRamp && s.Phase == deploy.PhaseRamping && full && d.once("ending"):
		return d.do(ctx, deploy.VerbRollback)
	case y.Ending == EndWhileSwap && s.Phase == deploy.PhasePromoting && stage(s) != deploy.StagePatience && d.once("ending"):
		return d.do(ctx, deploy.VerbRollback)
	case y.Ending == EndLowerFirst && s.Phase == deploy.PhaseRamping && full && d.once("ending"):
		_, err := d.prog.client.SetWeight(ctx, deployment, admin.Weight(d.script.Share/2), admin.Request{Who: "checker", Reason: "lowered by hand"})
		d.done["resume"] = true
		return d.mind(err)
	}
	return nil
}

// unblock answers what a rollout that stands still asks for. What no fault can
// explain ends the run.
func (d *director) unblock(ctx context.Context, y Cycle, s admin.Status) error {
	switch s.Stop.Cause {
	case deploy.CauseUpstream, deploy.CauseInUse:
		return nil // ends by itself
	case deploy.CauseHand:
		if d.done["resume"] && s.Recovering == "" && s.Stop.Since.Add(50*time.Millisecond).Before(time.Now()) {
			return d.do(ctx, deploy.VerbResume)
		}
		return nil
	case deploy.CauseInsufficient, deploy.CauseUndecided:
		return d.do(ctx, deploy.VerbApprove)
	case deploy.CauseStragglers, deploy.CauseConflict:
		d.crowd.longTx.Store(0)
		d.crowd.halfMessage.Store(0)
		return d.do(ctx, deploy.VerbRetry)
	case deploy.CauseCleanup:
		return d.do(ctx, deploy.VerbCleanup)
	}
	return fmt.Errorf("the rollout of version %d is %s (%s): %s", d.version, s.Phase, s.Stop.Cause, s.Stop.Reason)
}

func (d *director) once(what string) bool {
	if d.done[what] {
		return false
	}
	d.done[what] = true
	return true
}

func (d *director) do(ctx context.Context, verb deploy.Verb) error {
	d.log.note("%s", verb)
	_, err := d.prog.client.Do(ctx, deployment, verb, admin.Request{Who: "checker", Reason: "script"})
	return d.mind(err)
}

// mind lets refusals pass: the rollout has moved on meanwhile.
func (d *director) mind(err error) error {
	var no *deploy.Refusal
	if errors.As(err, &no) {
		d.log.note("refused: %s", no.Sentence)
		return nil
	}
	return err
}

func wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
