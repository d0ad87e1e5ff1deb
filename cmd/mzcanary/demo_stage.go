package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
	"time"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
	"mzcanary/internal/sim/crowd"
)

// stage is everything the demo plays on: the simulated server, the program
// itself, and the crowd. Everything listens on loopback, on free ports.
type stage struct {
	sim      *sim.Server
	timeline *crowd.Timeline
	host     host // the program: in this process, or as a child that can be killed
	crowd    *crowd.Crowd
	client   *admin.Client
	addrs    demoAddresses

	dir  string
	end  context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error // guarded by mu; what ended badly behind the scenes
}

type demoAddresses struct{ Server, Proxy, Admin, Observe string }

// host runs the program under demonstration.
type host interface {
	// start returns when the API answers.
	start(ctx context.Context) error
	// stop ends it in order.
	stop() error
}

// setStage builds and starts everything but the rollout.
func setStage(ctx context.Context, o *demoOptions, log io.Writer) (*stage, error) {
	st := &stage{timeline: &crowd.Timeline{}}
	ctx, st.end = context.WithCancel(ctx)
	if err := st.set(ctx, o, log); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

func (st *stage) set(ctx context.Context, o *demoOptions, log io.Writer) error {
	var err error
	if st.dir, err = os.MkdirTemp("", "mzcanary-demo-"); err != nil {
		return err
	}
	if err := st.startServer(ctx, o); err != nil {
		return fmt.Errorf("start the simulated server: %w", err)
	}
	file, err := st.writeConfig(o)
	if err != nil {
		return err
	}
	if o.breaking == "crash" {
		st.host = &childHost{config: file, options: o, log: log, client: st.client}
	} else {
		st.host = &inProcess{config: file, options: o, client: st.client}
	}
	if err := st.host.start(ctx); err != nil {
		return fmt.Errorf("start the program: %w", err)
	}
	st.crowd, err = crowd.Start(crowd.Options{
		DSN:        fmt.Sprintf("postgres://app@%s/materialize?sslmode=disable&search_path=prod&cluster=prod", st.addrs.Proxy),
		Clients:    o.clients,
		Seed:       o.seed,
		Timeline:   st.timeline,
		Fault:      demoFault,
		CanaryOpen: st.canaryOpen(ctx),
	})
	return err
}

// startServer runs the simulated Materialize with production in place.
func (st *stage) startServer(ctx context.Context, o *demoOptions) error {
	st.sim = sim.New(sim.Options{Seed: o.seed, HydrationTime: o.scaled(3 * time.Second),
		OnChange: (&witness{timeline: st.timeline, versions: map[string]crowd.Version{}}).changed})
	if err := oldVersion(ctx, st.sim); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	st.addrs.Server = ln.Addr().String()
	st.wg.Go(func() { st.note(st.sim.Serve(ctx, ln)) })
	st.wg.Go(func() { st.note(heartbeat(ctx, st.sim)) })
	return nil
}

func (st *stage) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.errs = append(st.errs, err)
}

// close ends everything in the reverse order and says what ended badly.
func (st *stage) close() error {
	var err error
	if st.host != nil {
		err = st.host.stop()
	}
	st.end()
	st.wg.Wait()
	if st.dir != "" {
		err = errors.Join(err, os.RemoveAll(st.dir))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return errors.Join(append(st.errs, err)...)
}

// demoWeights are the weights of the plan below that somebody follows, in basis points.
var demoWeights = []int{500, 2500, 10_000}

// demoConfig is a deploy.yaml like any other, only in a hurry.
var demoConfig = template.Must(template.New("deploy.yaml").Parse(`
listen:   {address: "{{.Addrs.Proxy}}"}
upstream: {address: "{{.Addrs.Server}}", tls: {mode: disable}}
control:  {user: materialize, database: materialize}
deployments:
  - name: demo
    database: materialize
    schemas:  [{live: prod, deploy: prod_deploy}]
    clusters: [{live: prod, deploy: prod_deploy}]
    rollout:
      plan:
        steps:
          - {weight: 0, approve: {within: 1m}}
          - {weight: 5%, bake: {{.D 10000}}}
          - {weight: 25%, bake: {{.D 10000}}}
          - {weight: 100%, bake: {{.D 10000}}}
          - {promote: {}}
      minimum: {units: 2, exchanges: 20}
      ready: {max_lag: 5s, within: 1m, poll: {{.D 500}}, consecutive: 3, probe: 2s}
      on_rollback: {cancel_after: 2s, end_streams_after: 5s}
    promote: {gather: 1s, max_stall: 5s, attempts: 5, patience: 20s}
    window:  {for: {{.D 8000}}}
    drain:   {for: {{.D 10000}}, then: terminate}
admin:    {address: "{{.Addrs.Admin}}"}
observe:  {address: "{{.Addrs.Observe}}"}
state:    {dir: "{{.State}}"}
log:      {level: warn}
shutdown: {drain: 2s}
`))

type demoConfigData struct {
	Addrs demoAddresses
	State string
	o     *demoOptions
}

// D writes a duration of so many milliseconds at the demo's speed.
func (d demoConfigData) D(milliseconds int) string {
	return d.o.scaled(time.Duration(milliseconds) * time.Millisecond).String()
}

func (st *stage) writeConfig(o *demoOptions) (string, error) {
	for _, addr := range []*string{&st.addrs.Proxy, &st.addrs.Admin, &st.addrs.Observe} {
		free, err := freeAddress()
		if err != nil {
			return "", err
		}
		*addr = free
	}
	st.client = admin.NewClient(st.addrs.Admin)
	var text strings.Builder
	if err := demoConfig.Execute(&text, demoConfigData{Addrs: st.addrs, State: filepath.Join(st.dir, "state"), o: o}); err != nil {
		return "", err
	}
	file := filepath.Join(st.dir, "deploy.yaml")
	return file, os.WriteFile(file, []byte(text.String()), 0o600)
}

// freeAddress finds a free port. A program that is killed and started again must
// come back on the same one, so it cannot choose by itself.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
