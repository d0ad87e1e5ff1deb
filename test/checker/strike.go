package checker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
)

// Texts of errors made on purpose.
const (
	injectedCode = "XX000"
	injectedText = "Evaluation error: division by zero (made by the checker)"
)

var (
	// The controller's COMMIT; the clients spell theirs in small letters.
	commitText = regexp.MustCompile(`^COMMIT$`)
	alterText  = regexp.MustCompile(`^ALTER (SCHEMA|CLUSTER)`)
	setText    = regexp.MustCompile(`^SET (cluster|search_path)`)
)

// is reports whether a status shows the moment.
func (m Moment) is(s admin.Status) bool {
	switch m {
	case AtStart:
		return true
	case AtRamp:
		return s.Phase == deploy.PhaseRamping && s.Weight > 0
	case AtFull:
		return s.Phase == deploy.PhaseRamping && s.Weight == 10_000
	case AtPromote:
		return s.Phase == deploy.PhasePromoting
	case AtPrepared:
		return stage(s) == deploy.StagePreparing || stage(s) == deploy.StagePrepared
	case AtWindow:
		return s.Phase == deploy.PhaseWindow || s.Phase == deploy.PhaseSwappingBack
	case AtDrain:
		return s.Phase == deploy.PhaseDraining || s.Phase == deploy.PhaseCleaning
	}
	return false
}

// strike begins the faults whose moment has come and ends those whose time is over.
func (d *director) strike(ctx context.Context, y Cycle, s admin.Status) error {
	now := d.tl.clock()
	for i, f := range y.Faults {
		if f.When.is(s) && d.once(fmt.Sprint("fault ", i)) {
			d.pending = append(d.pending, pending{f, now + f.After})
		}
	}
	d.undo = slices.DeleteFunc(d.undo, func(u undo) bool {
		if u.at <= now {
			u.do()
		}
		return u.at <= now
	})
	due := d.pending
	d.pending = nil
	var err error
	for _, p := range due {
		if p.at > now {
			d.pending = append(d.pending, p)
			continue
		}
		d.log.note("strikes: %s", p.f)
		d.struck[p.f.Kind]++
		err = errors.Join(err, d.apply(ctx, p.f))
	}
	return err
}

// later ends a fault after its time.
func (d *director) later(f Fault, do func()) {
	d.undo = append(d.undo, undo{d.tl.clock() + f.For, func() {
		d.log.note("over: %s", f)
		do()
	}})
}

// calmDown ends whatever still strikes.
func (d *director) calmDown() {
	for _, u := range d.undo {
		u.do()
	}
	d.undo, d.pending = nil, nil
	d.crowd.longTx.Store(0)
	d.crowd.halfMessage.Store(0)
	if f := d.target.Faults(); f != nil {
		f.ClearDelays()
		f.FailDDLCommits(0)
		f.CutAtCommit(0, sim.CutBeforeApply)
	}
}

func (d *director) apply(ctx context.Context, f Fault) error {
	faults := d.target.Faults()
	switch f.Kind {
	case SlowCommit, SilentCommit:
		faults.Delay(commitText, f.For)
		if f.Kind == SilentCommit { // once is enough: every attempt would be silent
			d.undo = append(d.undo, undo{d.tl.clock() + 2500*time.Millisecond, faults.ClearDelays})
		}
	case SlowAlter:
		faults.Delay(alterText, f.For)
	case SlowSet:
		faults.Delay(setText, f.For)
	case SlowReads:
		return faults.SetLatency(d.names.Deploy(), f.For)
	case RaceCommit:
		faults.FailDDLCommits(f.N)
	case CutBefore:
		faults.CutAtCommit(f.N, sim.CutBeforeApply)
	case CutAfter:
		faults.CutAtCommit(f.N, sim.CutAfterApply)
	case OtherDDL:
		d.othersChange(ctx, f)
	case ServerRestart:
		from := d.tl.clock()
		faults.Restart()
		d.tl.cut(Span{from, d.tl.clock()}, CutServer)
	case LostHydration:
		if err := faults.LoseHydration(d.names.Deploy(), false); err != nil {
			return nil // swapped meanwhile
		}
		d.later(f, func() {
			for _, name := range []string{d.names.Deploy(), d.names.Live} {
				_ = faults.RestoreHydration(name) // it has one of these names
			}
		})
	case FailingReads:
		return d.failReads(f)
	case LongTx:
		d.crowd.longTx.Store(int64(f.For))
		d.later(Fault{Kind: f.Kind, When: f.When, For: time.Second}, func() { d.crowd.longTx.Store(0) })
	case HalfMessage:
		d.crowd.halfMessage.Store(int64(f.For))
		d.later(Fault{Kind: f.Kind, When: f.When, For: time.Second}, func() { d.crowd.halfMessage.Store(0) })
	case CutControl:
		if p, ok := d.target.(*postgresTarget); ok {
			return p.cutControl(ctx)
		}
		return fmt.Errorf("the control connection of %T cannot be cut", d.target)
	case StopStart, KillStart:
		return d.restart(ctx, f.Kind)
	case PauseResume:
		d.later(f, func() { d.done["resume"] = true })
		return d.do(ctx, deploy.VerbPause)
	default:
		return fmt.Errorf("no rule for fault %q", f.Kind)
	}
	return nil
}

func (d *director) failReads(f Fault) error {
	faults := d.target.Faults()
	from := d.tl.clock()
	if err := faults.FailSelects(sim.SelectFault{Schema: d.names.Deploy(), Every: f.N, Code: injectedCode, Message: injectedText}); err != nil {
		return nil // swapped meanwhile
	}
	d.later(f, func() {
		faults.ClearSelectFaults()
		d.tl.inject(Injected{Span{from, d.tl.clock()}, injectedCode, injectedText})
	})
	return nil
}

// othersChange lets another session do DDL for a while, as fast as it can without
// pushing everybody else aside.
func (d *director) othersChange(ctx context.Context, f Fault) {
	ctx, cancel := context.WithTimeout(ctx, f.For)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; wait(ctx, 15*time.Millisecond) == nil; n++ {
			name := fmt.Sprintf("%s.other_%d", d.names.Base, n)
			if d.target.Exec(ctx, []string{"CREATE TABLE " + name + " (a int)", "DROP TABLE " + name}) != nil {
				return
			}
		}
	}()
	d.later(f, func() { cancel(); <-ended })
}

// restart ends the program and starts it again from its journal.
func (d *director) restart(ctx context.Context, kind Kind) error {
	from := d.tl.clock()
	d.crowd.canaryOpen.Store(false)
	var err error
	if kind == KillStart {
		err = d.prog.kill()
	} else {
		err = d.prog.stop()
	}
	if err != nil {
		return fmt.Errorf("end the program: %w", err)
	}
	again := d.tl.clock()
	// What it published after the last look, it had written down before.
	j, err := d.prog.journal()
	if err != nil {
		return err
	}
	d.noteRouting(again, j.Log)
	if err := d.prog.start(ctx); err != nil {
		return fmt.Errorf("start the program again: %w", err)
	}
	bound := d.tl.clock()
	d.log.note("ended at %s, started again at %s", clock(from), clock(bound))
	d.tl.cut(Span{from, bound}, CutProgram)
	d.tl.doubt(Span{d.calm, bound})
	d.tl.route(Span{from, bound}, false, 0, "the program is not running")
	d.asked, d.calm = again, again
	return nil
}
