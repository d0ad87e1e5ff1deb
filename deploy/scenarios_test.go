package deploy

import (
	"time"

	"mzcanary/router"
)

// A scenario is one way through the state machine, written so that it can be
// played on after a crash: drive looks at the status and does what is still to
// be done.
type scenario struct {
	name  string
	plan  func(*Plan)
	world func(*world)
	// begin is what a person does first; nil starts a rollout.
	begin func(p *program) error
	// drive acts on a status, at most once per condition; it is called again after
	// every change.
	drive func(p *program, s Status)
	fix   bool // start --fix
	end   Phase
	exit  int
}

func scenarios() []scenario {
	return []scenario{
		{name: "undisturbed", end: PhaseDone, exit: ExitDone},
		{name: "without a fence", end: PhaseDone, exit: ExitDone,
			plan: func(p *Plan) { p.Promote.Fence = false },
			drive: func(p *program, s Status) {
				if s.Stop != nil && s.Stop.Cause == CauseCleanup {
					p.try(VerbCleanup)
				}
			}},
		{name: "by renames", end: PhaseDone, exit: ExitDone, plan: func(p *Plan) { p.Promote.Method = MethodRename }},
		{name: "regress", end: PhaseRolledBack, exit: ExitRegress,
			world: func(w *world) {
				w.hanging = 3
				w.bad = sick
			}},
		{name: "rollback in the window", end: PhaseRolledBack, exit: ExitRolledBack,
			plan: func(p *Plan) { p.Window.For = time.Hour },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.try(VerbRollback)
				}
			}},
		{name: "aborted, the new version dropped", end: PhaseAborted, exit: ExitRolledBack,
			world: func(w *world) { w.dropsNew = true },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseRamping {
					_, _ = p.c.Do(p.t.Context(), shopName, VerbAbort, Request{Who: "bob", DropDeploy: true})
				}
			}},
		{name: "old sessions are ended", end: PhaseDone, exit: ExitDone,
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.w.with(func() { p.w.old = []SessionInfo{{ID: "s7", OldVersion: true}} })
				}
			}},
		{name: "refused", end: PhaseRefused, exit: ExitRefused,
			world: func(w *world) { w.findings = []Finding{{Code: "P04", Severity: Refuse, Object: "view x"}} }},
		{name: "rights given", end: PhaseDone, exit: ExitDone, fix: true, world: lacksRights},
		{name: "rights given and taken back", end: PhaseRolledBack, exit: ExitRolledBack, fix: true, world: lacksRights,
			plan: func(p *Plan) { p.Window.For = time.Hour },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.try(VerbRollback)
				}
			}},
		{name: "expired", end: PhaseExpired, exit: ExitNotReady,
			plan:  func(p *Plan) { p.Ready.Within = 5 * time.Second },
			world: func(w *world) { w.ready = func() Readiness { return Readiness{Why: "hydrating"} } }},
		{name: "unknown outcome, done", end: PhaseDone, exit: ExitDone,
			world: func(w *world) { w.commits = []commitFault{{outcome: Unknown, err: errDead, applied: true}} }},
		{name: "unknown outcome, not done", end: PhaseDone, exit: ExitDone,
			world: func(w *world) { w.commits = []commitFault{{outcome: Unknown, err: errDead}} }},
		{name: "promoted by hand out of patience", end: PhaseDone, exit: ExitDone,
			world: func(w *world) {
				w.stragglers = []SessionInfo{{ID: "s3", Place: Busy, Why: "in a statement"}}
			},
			drive: func(p *program, s Status) {
				// A pause while the gates are closed calls the attempt off.
				if s.Phase == PhasePromoting && s.Swap != nil && s.Swap.Stage == StagePrepared {
					p.try(VerbPause)
				}
				if s.Phase == PhasePaused {
					p.w.with(func() { p.w.stragglers = nil })
					p.try(VerbResume)
				}
			}},
		{name: "several pairs", end: PhaseDone, exit: ExitDone, world: severalPairs},
		{name: "several pairs, swapped back", end: PhaseRolledBack, exit: ExitRolledBack, world: severalPairs,
			plan: func(p *Plan) { p.Window.For = time.Hour }, drive: rollbackInTheWindow},
		{name: "with single objects", end: PhaseDone, exit: ExitDone, world: withObjects},
		{name: "deploy names taken at the swap back", end: PhaseRolledBack, exit: ExitRolledBack,
			plan: func(p *Plan) { p.Window.For = time.Hour },
			drive: func(p *program, s Status) {
				if s.Phase == PhaseWindow {
					p.w.with(func() { p.w.names[KindSchema]["prod_deploy"], p.w.names[KindCluster]["prod_deploy"] = "u30", "c30" })
				}
				rollbackInTheWindow(p, s)
			}},
		{name: "a canary by hand", end: PhaseRolledBack, exit: ExitRolledBack,
			begin: func(p *program) error {
				_, err := p.c.SetWeight(p.t.Context(), shopName, 2000, Request{Who: "ann"})
				return err
			},
			drive: func(p *program, s Status) {
				if s.Phase == PhaseRamping && s.Hand {
					_, _ = p.c.SetWeight(p.t.Context(), shopName, 0, Request{Who: "ann"})
				}
			}},
		{name: "adopted without a journal", end: PhaseDone, exit: ExitDone, world: journalLost,
			begin: func(p *program) error {
				p.await("found", stopped(CauseJournal))
				_, err := p.c.Do(p.t.Context(), shopName, VerbAdopt, Request{Who: "ann", Rollout: "rlost"})
				return err
			}},
		{name: "stragglers are ended", end: PhaseDone, exit: ExitDone,
			plan: func(p *Plan) { p.Promote.Stragglers, p.Promote.Attempts = ThenTerminate, 1 },
			world: func(w *world) {
				w.stragglers = []SessionInfo{{ID: "s3", Place: Busy, Why: "in a statement"}}
			}},
		{name: "interference, mended", end: PhaseDone, exit: ExitDone,
			drive: func(p *program, s Status) {
				switch {
				case s.Weight == 2500 && p.w.once("renamed"):
					p.w.with(func() { p.w.names[KindSchema]["prod_deploy"] = "u66" })
				case s.Phase == PhaseBlocked && s.Stop.Cause == CauseInterference:
					p.w.with(func() { p.w.names[KindSchema]["prod_deploy"] = newSchema })
					p.try(VerbRetry)
				}
			}},
		{name: "the server restarts in the ramp", end: PhaseDone, exit: ExitDone,
			drive: func(p *program, s Status) {
				if s.Weight == 2500 && p.w.once("restarted") {
					p.w.with(func() { p.w.server.Started = p.w.server.Started.Add(time.Hour) })
				}
			}},
	}
}

func rollbackInTheWindow(p *program, s Status) {
	if s.Phase == PhaseWindow {
		p.try(VerbRollback)
	}
}

// once is true the first time, in whatever life.
func (w *world) once(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.did[what] {
		return false
	}
	if w.did == nil {
		w.did = map[string]bool{}
	}
	w.did[what] = true
	return true
}

// severalPairs is a deployment of two schemas and two clusters.
func severalPairs(w *world) {
	w.spec.Schemas = append(w.spec.Schemas, router.Pair{Live: "serve", Deploy: "serve_next"})
	w.spec.Clusters = append(w.spec.Clusters, router.Pair{Live: "prod_serve", Deploy: "prod_serve_next"})
	w.names[KindSchema]["serve"], w.names[KindSchema]["serve_next"] = "u11", "u12"
	w.names[KindCluster]["prod_serve"], w.names[KindCluster]["prod_serve_next"] = "c11", "c12"
	w.news["u12"], w.news["c12"] = true, true
}

// withObjects is a deployment that also exchanges two views beside its schema.
func withObjects(w *world) {
	w.spec.Objects = []ObjectPair{{Type: "view", Live: "reports.bids", Deploy: "reports.bids_next"}, {Type: "view", Live: "reports.asks", Deploy: "reports.asks_next"}}
	w.names[KindObject] = map[string]string{"reports.bids": "o1", "reports.bids_next": "o2", "reports.asks": "o3", "reports.asks_next": "o4"}
	w.news["o2"], w.news["o4"] = true, true
}

// journalLost is a world in the window of a rollout whose journal is gone.
func journalLost(w *world) {
	for kind, names := range w.names {
		names["prod"], names[RetiredName("prod_deploy", "rlost")] = names["prod_deploy"], names["prod"]
		delete(names, "prod_deploy")
		for name, id := range names {
			side := "old"
			if w.news[id] {
				side = "new"
			}
			w.marks[id] = Mark{Ref: Ref{Kind: kind, Name: name, ID: id}, Rollout: "rlost", Phase: "window", Side: side}
		}
	}
}
