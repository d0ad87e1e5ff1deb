package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/armstats"
	"mzcanary/internal/mz"
	"mzcanary/proxy"
	"mzcanary/router"
)

// Unsafe switches protections of the data plane off; see proxy.Unsafe.
type Unsafe = proxy.Unsafe

// Options are what a program or a test may add to the configuration.
type Options struct {
	Log *slog.Logger
	// LogDropped, if set, counts lines that Log did not write.
	LogDropped func() uint64
	// Tick, Watch and Settle replace the controller's own pace where they are not
	// zero; the demo hurries.
	Tick, Watch, Settle time.Duration
	// Unsafe is passed to the proxy; see proxy.Unsafe.
	Unsafe Unsafe
	// DebugHolds lets the API hold sessions at will; see admin.WithDebugHolds.
	DebugHolds bool
	// Pprof serves profiles on the admin address; see admin.WithPprof.
	Pprof bool
}

// App is the whole program, built and not yet running.
type App struct {
	cfg   *config.Config
	opts  Options
	log   *slog.Logger
	certs *certificates
	up    *upstream
	proxy *proxy.Proxy
	mz    *mz.Warehouse
	store *deploy.DirStore
	ctl   *deploy.Controller
	reg   *prometheus.Registry

	stopping atomic.Bool
	bound    chan struct{} // closed when the listeners are open
	addrs    Addresses
}

// Addresses are where a running App listens.
type Addresses struct{ Proxy, Admin, Observe string }

// New builds the program from a checked configuration. It opens the state
// directory and nothing else; call Run, or Close when it is not run.
func New(cfg *config.Config, opts Options) (*App, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	a := &App{cfg: cfg, opts: opts, log: opts.Log, bound: make(chan struct{})}
	var err error
	if a.certs, err = newCertificates(cfg, a.log); err != nil {
		return nil, err
	}
	a.up = newUpstream(cfg.Upstream, a.certs)
	if a.store, err = deploy.OpenDir(cfg.State.Dir); err != nil {
		return nil, err
	}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Run opens the listeners and serves until the context ends, then stops in
// order. It returns nil after an orderly stop.
func (a *App) Run(ctx context.Context) error {
	listeners, err := a.listen()
	if err != nil {
		return errors.Join(err, a.Close())
	}
	serve, halt := context.WithCancel(context.WithoutCancel(ctx))
	defer halt()
	group, broken := errgroup.WithContext(serve)
	group.Go(func() error {
		a.ctl.Loaded(broken) // the port is open; whoever knocks waits these milliseconds
		return a.proxy.Serve(broken, listeners.proxy)
	})
	group.Go(func() error { return a.serveHTTP(broken, listeners.admin, a.api()) })
	group.Go(func() error { return a.serveHTTP(broken, listeners.observe, a.observer().handler()) })
	controlling, release := context.WithCancel(broken)
	controlled := make(chan error, 1)
	go func() { controlled <- a.ctl.Run(controlling) }()
	a.log.Info("serving", "clients", a.addrs.Proxy, "admin", a.addrs.Admin, "observe", a.addrs.Observe, "upstream", a.cfg.Upstream.Address)

	select {
	case <-ctx.Done():
	case <-broken.Done():
	}
	stopErr := a.stop(release, controlled)
	halt()
	return errors.Join(group.Wait(), stopErr, a.Close())
}

// stop leaves in the order in which nothing is lost: the controller finishes or
// undoes its attempt while sessions are still served, then the sessions drain.
func (a *App) stop(release context.CancelFunc, controlled <-chan error) error {
	a.stopping.Store(true)
	release()
	err := <-controlled
	drain, cancel := context.WithTimeout(context.Background(), a.cfg.Shutdown.Drain)
	defer cancel()
	if shutdown := a.proxy.Shutdown(drain); shutdown != nil && !errors.Is(shutdown, context.DeadlineExceeded) {
		err = errors.Join(err, shutdown)
	}
	return err
}

// Close gives back what New took. Run does it by itself.
func (a *App) Close() error {
	done, cancel := context.WithCancel(context.Background())
	cancel()
	a.proxy.Shutdown(done) //nolint:errcheck // the error only says that sessions were cut, which is meant
	a.mz.Close()
	return a.store.Close()
}

// Bound returns the addresses once the listeners are open.
func (a *App) Bound(ctx context.Context) (Addresses, error) {
	select {
	case <-a.bound:
		return a.addrs, nil
	case <-ctx.Done():
		return Addresses{}, ctx.Err()
	}
}

// ReloadCertificates reads the certificate files now, changed or not; it is what
// SIGHUP means. What cannot be used is logged, and leaves the old one in use.
func (a *App) ReloadCertificates() { a.certs.reload() }

// Control is the controller, for what runs in the same process.
func (a *App) Control() deploy.API { return a.ctl }

// bind leaves keep-alive to the proxy and to net/http, which set it anyway: set
// here as well, it would cost four calls for each connection.
var bind = net.ListenConfig{KeepAlive: -1}

type listeners struct{ proxy, admin, observe net.Listener }

func (a *App) listen() (listeners, error) {
	var l listeners
	for _, want := range []struct {
		key, address string
		into         *net.Listener
		bound        *string
	}{
		{"listen.address", a.cfg.Listen.Address, &l.proxy, &a.addrs.Proxy},
		{"admin.address", a.cfg.Admin.Address, &l.admin, &a.addrs.Admin},
		{"observe.address", a.cfg.Observe.Address, &l.observe, &a.addrs.Observe},
	} {
		ln, err := bind.Listen(context.Background(), "tcp", want.address)
		if err != nil {
			for _, open := range []net.Listener{l.proxy, l.admin, l.observe} {
				if open != nil {
					err = errors.Join(err, open.Close())
				}
			}
			return l, fmt.Errorf("%s: %w", want.key, err)
		}
		*want.into, *want.bound = ln, ln.Addr().String()
	}
	close(a.bound)
	return l, nil
}

// httpPatience bounds how long a caller may take to send its request. Answers
// are not bounded: waiting for a rollout is one request.
const httpPatience = 10 * time.Second

// httpGrace is how long answers that are under way may take to leave when the
// program stops: those who wait for a rollout are being told so.
const httpGrace = time.Second

func (a *App) serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: httpPatience}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpGrace)
		defer cancel()
		if s.Shutdown(grace) != nil {
			s.Close() // cuts off whoever is slower, and ends the contexts of its requests
		}
	})
	err := s.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
}

func (a *App) observer() *observer {
	return &observer{registry: a.reg, dial: a.up.probe, control: a.ctl, stopping: a.stopping.Load}
}

func (a *App) api() http.Handler {
	api := admin.NewHandler(a.ctl, a.proxy)
	if a.opts.DebugHolds {
		api = admin.WithDebugHolds(api, a.proxy)
	}
	if a.opts.Pprof {
		api = admin.WithPprof(api)
	}
	return api
}

// names lists the deployments in the order of the configuration.
func (a *App) names() []string {
	var names []string
	for i := range a.cfg.Deployments {
		names = append(names, a.cfg.Deployments[i].Name)
	}
	return names
}

func (a *App) metrics(stats *armstats.Set) *rolloutMetrics {
	a.reg = prometheus.NewRegistry()
	a.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		armstats.NewCollector(stats), a.proxy.Collector(), a.certs)
	if dropped := a.opts.LogDropped; dropped != nil {
		a.reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "mzcanary_log_lines_dropped_total",
			Help: "Log lines that were not written because the log was not read fast enough."}, func() float64 { return float64(dropped()) }))
	}
	return newRolloutMetrics(a.reg, func() deploy.API { return a.ctl }, a.names())
}

func (a *App) table() *router.Table {
	var list []router.Deployment
	for i := range a.cfg.Deployments {
		d := routerDeployment(&a.cfg.Deployments[i])
		d.Swaps = a.swaps(d.Name)
		list = append(list, d)
	}
	return router.NewTable(list)
}

// swaps is the count the journal was left with. Sessions that log in before the
// controller has spoken must carry it: what was there before the last swap is told
// by it from what came later. A journal that cannot be read is the controller's to
// complain about.
func (a *App) swaps(deployment string) uint64 {
	j, err := a.store.Load(context.Background(), deployment)
	if err != nil || j == nil {
		return 0
	}
	return j.State.Swaps
}
