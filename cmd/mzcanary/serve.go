package main

import (
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mzcanary/config"
	"mzcanary/internal/app"
)

func (p *program) serve() *cobra.Command {
	var opts app.Options
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run proxy, controller, API and metrics",
		Long: `Runs until SIGTERM or an interrupt: then the attempt that is under way is finished or undone, sessions get
shutdown.drain to end, and the journal resumes the rollout at the next start. The server may be down at start: clients are
told so (08001) and /readyz says why. SIGHUP reads the certificate files again, which also happens by itself when they
change; everything else in the configuration needs a restart.`,
		Example: "  mzcanary serve -c deploy.yaml\n  mzcanary serve --set listen.address=0.0.0.0:6865",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.load()
			if err != nil {
				return err
			}
			// Written to a pipe whose reader has gone, the log would end the program.
			signal.Ignore(syscall.SIGPIPE)
			queue, log := newLogQueue(p.err, func(w io.Writer) *slog.Logger { return newLog(cfg.Log, w) })
			defer queue.close()
			opts.Log, opts.LogDropped = log, queue.lost.Load
			a, err := app.New(cfg, opts)
			if err != nil {
				return err
			}
			defer onHangUp(func() {
				opts.Log.Info("SIGHUP: reading the certificate files again; other changes of the configuration need a restart")
				a.ReloadCertificates()
			})()
			return a.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&opts.Tick, "tick", 0, "how often sessions and evidence are looked at")
	f.DurationVar(&opts.Watch, "watch", 0, "shortest time between two looks at the ids")
	f.DurationVar(&opts.Settle, "settle", 0, "healthy time after a restart before anything is dropped")
	f.BoolVar(&opts.DebugHolds, "debug-holds", false, "let the API hold sessions at will")
	f.BoolVar(&opts.Pprof, "pprof", false, "serve profiles under /debug/pprof/ on the admin address")
	for _, hidden := range []string{"tick", "watch", "settle", "debug-holds", "pprof"} {
		hide(cmd, hidden)
	}
	return cmd
}

// onHangUp calls act at every SIGHUP, until stop, which waits for the last one.
func onHangUp(act func()) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range signals {
			act()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// hide keeps a flag out of the help: it serves the demo, which has no hour, and
// suites that try what an operator never should.
func hide(cmd *cobra.Command, name string) {
	if err := cmd.Flags().MarkHidden(name); err != nil {
		panic(err) // the flag was defined a line above
	}
}

func newLog(c config.Log, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level.Slog(), ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
		}
		return a
	}}
	if c.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
