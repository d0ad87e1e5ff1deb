package checker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Outcome is a run and its judgement.
type Outcome struct {
	Script  Script
	History *History
	Report  *Report
	Struck  map[Kind]int
	// Log holds the controller's events and what the director did.
	Log string
	// Took is the whole run.
	Took time.Duration
}

// Run plays a script on a simulated server of its own.
func Run(ctx context.Context, s Script) (*Outcome, error) {
	names := Names{Live: "prod", Wide: s.Config.Wide, Base: "public", Database: "materialize", Control: "materialize", Size: "bootstrap"}
	tl := newTimeline(names)
	server, err := simulate(s.Seed, tl.changed)
	if err != nil {
		return nil, err
	}
	out, err := play(ctx, s, names, server, "app", "", tl)
	return out, errors.Join(err, server.Close())
}

// RunOn plays a script without faults on a server that was there before.
func RunOn(ctx context.Context, s Script, dsn string) (*Outcome, error) {
	server, err := dial(ctx, dsn)
	if err != nil {
		return nil, err
	}
	names := Names{Live: fmt.Sprintf("mzchk_%d", os.Getpid()), Wide: s.Config.Wide, Database: server.cfg.Database, Control: server.cfg.User}
	names.Base = names.Live + "_base"
	if names.Database == "" {
		names.Database = "materialize"
	}
	if err := server.conn.QueryRow(ctx, "SELECT size FROM mz_catalog.mz_cluster_replicas WHERE size IS NOT NULL AND cluster_id LIKE 'u%' LIMIT 1").Scan(&names.Size); err != nil {
		return nil, errors.Join(fmt.Errorf("find a size for clusters: %w", err), server.Close())
	}
	tl := newTimeline(names)
	err = server.Exec(ctx, []string{"CREATE SCHEMA " + names.Base})
	var out *Outcome
	if err == nil {
		out, err = play(ctx, s, names, server, server.cfg.User, server.cfg.Password, tl)
	}
	clean := append(append(names.drop(names.Live), names.drop(names.Deploy())...), "DROP SCHEMA "+names.Base+" CASCADE")
	return out, errors.Join(err, server.Exec(context.WithoutCancel(ctx), clean), server.Close())
}

// play is a run as a procedure.
func play(ctx context.Context, s Script, names Names, target Target, app, password string, tl *timeline) (*Outcome, error) {
	began := time.Now()
	out := &Outcome{Script: s, Struck: map[Kind]int{}}
	log := &record{clock: tl.clock}
	defer func() { out.Log = log.String() }()
	dir, err := os.MkdirTemp("", "mzcanary-checker-")
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(dir)

	d := &director{script: s, names: names, target: target, tl: tl, log: log, struck: out.Struck, version: 1}
	live := []string{}
	if target.Faults() != nil {
		live = append(live, fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", names.Database, names.Control))
	}
	grantee := app
	if target.Faults() != nil {
		grantee = "PUBLIC"
	}
	if err := d.change(ctx, append(append(names.base(grantee), names.version(names.Live, 1)...), live...), 1, 0); err != nil {
		return out, fmt.Errorf("build the first version: %w", err)
	}
	if d.prog, err = newProgram(s, names, target.Address(), password, dir, log); err != nil {
		return out, err
	}
	if err := d.prog.start(ctx); err != nil {
		return out, fmt.Errorf("start the program: %w", err)
	}
	dsn := fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&search_path=%s", app, d.prog.proxy, names.Database, names.path(names.Live))
	if !names.Postgres {
		dsn += "&cluster=" + names.Live
	}
	d.crowd = newCrowd(dsn, names, password, s.Clients, s.Seed, s.Think, tl.clock)
	err = d.perform(ctx)
	err = errors.Join(err, d.prog.stop())
	if err != nil {
		log.note("the run failed: %v", err)
	}

	out.History = tl.history(d.crowd, Policy{TerminateStragglers: s.Config.TerminateStragglers, EndOldStreams: s.Config.Then == "terminate", EndCanary: true})
	stored, storedErr := target.Stored(ctx, names.Written())
	for i := range out.History.Writes {
		w := &out.History.Writes[i]
		w.Stored = stored[w.ID]
	}
	out.Report = Verify(out.History)
	out.Took = time.Since(began)
	return out, errors.Join(err, storedErr)
}

// perform lets the clients and the heartbeat run through all cycles.
func (d *director) perform(ctx context.Context) error {
	beating, still := context.WithCancel(ctx)
	group, beating := errgroup.WithContext(beating)
	group.Go(func() error { return heartbeat(beating, d.target, d.names, 20*time.Millisecond) })
	d.crowd.start()
	var err error
	for i, y := range d.script.Cycles {
		if err = d.cycle(ctx, y); err != nil {
			err = fmt.Errorf("cycle %d (%s): %w", i+1, y.Ending, err)
			break
		}
	}
	d.crowd.end()
	still()
	return errors.Join(err, group.Wait())
}

// Explain says everything about a run that failed.
func (o *Outcome) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", o.Script)
	if o.Report != nil {
		for i, v := range o.Report.Violations {
			if i == 20 {
				fmt.Fprintf(&b, "… and %d more\n", len(o.Report.Violations)-i)
				break
			}
			fmt.Fprintf(&b, "%s\n", v)
		}
	}
	if o.History != nil {
		for _, s := range o.History.States {
			fmt.Fprintf(&b, "state %s..%s live %d deploy %d open %t weight %d (%s)\n", clock(s.From), clock(s.To), s.Live, s.Deploy, s.Open, s.Weight, s.Why)
		}
		for _, s := range o.History.Doubts {
			fmt.Fprintf(&b, "doubt %s..%s\n", clock(s.From), clock(s.To))
		}
		for _, c := range o.History.Cuts {
			fmt.Fprintf(&b, "cut   %s..%s by %s\n", clock(c.From), clock(c.To), c.What)
		}
	}
	b.WriteString(o.Log)
	return b.String()
}
