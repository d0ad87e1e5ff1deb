package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/admin"
	"mzcanary/internal/app"
)

// ChildEnv holds the configuration file of a program that runs as a child: a test
// binary that finds it set calls Serve and nothing else.
const ChildEnv = "MZCANARY_CHECKER_CHILD"

// passwordEnv is where the configuration finds the control role's password.
const passwordEnv = "MZCANARY_PASSWORD"

// program is the whole of mzcanary, in this process or as a child, on addresses
// that stay the same when it is started again.
type program struct {
	script            Script
	file, state       string
	proxy, admin      string
	client            *admin.Client
	log               *record
	end               context.CancelFunc
	ended             chan error
	cmd               *exec.Cmd
	observe, password string
}

const configText = `
listen:   {address: "%s"}
upstream: {address: "%s", kind: %s, tls: {mode: disable}, dial_timeout: 2s}
control:  {user: "%s", database: "%s"}
deployments:
  - name: shop
    database: "%s"
    schemas:  [%s]
    clusters: [%s]
    routing: {key: application_name} # known to the client, so that its arm is
    rollout:
      plan:
        steps:
          - {weight: %d%%, bake: %s}
          - {weight: 100%%, bake: %s}
          - {promote: {}}
      minimum: {units: 1, exchanges: 5}
      ready: {max_lag: 5s, within: 1m, poll: 40ms, consecutive: 2, probe: 2s}
      on_rollback: {cancel_after: 1s, end_streams_after: 1s}
    promote: {method: %s, fence: %t, gather: %s, max_stall: %s, attempts: %d, patience: 20s, stragglers: %s}
    window:  {for: %s}
    drain:   {for: %s, then: %s}
admin:    {address: "%s"}
observe:  {address: "%s"}
state:    {dir: "%s"}
shutdown: {drain: 20ms}
`

// newProgram writes the configuration.
func newProgram(s Script, n Names, upstream, password, dir string, log *record) (*program, error) {
	p := &program{script: s, file: filepath.Join(dir, "deploy.yaml"), state: filepath.Join(dir, "state"), log: log, password: password}
	for _, at := range []*string{&p.proxy, &p.admin, &p.observe} {
		free, err := freeAddress()
		if err != nil {
			return nil, err
		}
		*at = free
	}
	p.client = admin.NewClient(p.admin)
	c, stragglers := s.Config, "wait"
	if c.TerminateStragglers {
		stragglers = "terminate"
	}
	text := fmt.Sprintf(configText, p.proxy, upstream, n.kind(), n.Control, n.Database, n.Database, n.pairs(), n.clusterPairs(),
		s.Share/100, c.Bake, c.Bake, c.Method, c.Fence, c.Gather, c.MaxStall, c.Attempts, stragglers, c.Window, c.Drain, c.Then, p.admin, p.observe, p.state)
	return p, os.WriteFile(p.file, []byte(text), 0o600)
}

// nextPort counts through ports that are not given to outgoing connections, for a
// program that is started again must find its own ones free.
var nextPort atomic.Uint32

const firstPort, ports = 15000, 15000

func freeAddress() (string, error) {
	nextPort.CompareAndSwap(0, uint32(os.Getpid()*97))
	for range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+nextPort.Add(1)%ports)
		ln, err := net.Listen("tcp", addr)
		if err == nil {
			return addr, ln.Close()
		}
	}
	return "", fmt.Errorf("no free port from %d on", firstPort)
}

func options(s Script, log slog.Handler) app.Options {
	return app.Options{Log: slog.New(log), Tick: 10 * time.Millisecond, Watch: 60 * time.Millisecond, Settle: 50 * time.Millisecond,
		Unsafe: app.Unsafe{NoHold: s.NoHold, NoRetarget: s.NoRetarget}}
}

// load reads the configuration and builds the program.
func load(file, password string, o app.Options) (*app.App, error) {
	environ := []string{} // and nothing of the suite's own
	if password != "" {
		environ = append(environ, passwordEnv+"="+password)
	}
	cfg, _, err := config.Load(config.LoadOptions{File: file, FileRequired: true, Environ: environ})
	if err != nil {
		return nil, err
	}
	return app.New(cfg, o)
}

// start returns when the program listens.
func (p *program) start(ctx context.Context) error {
	if p.script.Child {
		return p.startChild(ctx)
	}
	a, err := load(p.file, p.password, options(p.script, p.log.handler()))
	if err != nil {
		return err
	}
	var run context.Context
	run, p.end = context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(run) }()
	p.ended = ended
	bound, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err = a.Bound(bound); err != nil {
		select {
		case ran := <-p.ended:
			p.ended = nil
			return ran
		default:
		}
	}
	return err
}

func (p *program) startChild(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append(os.Environ(), ChildEnv+"="+p.file)
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if _, err := p.client.Statuses(ctx); err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the child does not answer: %w", ctx.Err())
		}
	}
}

// Serve runs the program of a child until the context ends.
func Serve(ctx context.Context, file string) error {
	a, err := load(file, "", options(Script{}, slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// stop ends the program as SIGTERM does.
func (p *program) stop() error {
	if p.cmd != nil {
		cmd := p.cmd
		p.cmd = nil
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			return fmt.Errorf("interrupt the child: %w", err)
		}
		return cmd.Wait()
	}
	if p.ended == nil {
		return nil
	}
	p.end()
	ended := p.ended
	p.ended = nil
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("the program did not stop within %s:\n%s", patience, stacks[:runtime.Stack(stacks, true)])
	}
}

// kill ends a child as a crash does: nothing is finished, nothing undone.
func (p *program) kill() error {
	cmd := p.cmd
	p.cmd = nil
	if err := cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the child: %w", err)
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return fmt.Errorf("wait for the killed child: %w", err)
	}
	return nil
}

// journal reads what the program wrote down last; it runs meanwhile, or is dead.
func (p *program) journal() (deploy.State, error) {
	var file struct{ Journal deploy.Journal }
	raw, err := os.ReadFile(filepath.Join(p.state, deployment+".json"))
	if err == nil {
		err = json.Unmarshal(raw, &file)
	}
	if err != nil {
		return deploy.State{}, fmt.Errorf("read the journal: %w", err)
	}
	return file.Journal.State, nil
}
