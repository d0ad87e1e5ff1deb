package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const deployment = "compat"

// proxyServer is a running `mzcanary serve` in front of one of the servers.
type proxyServer struct {
	listen, admin, observe int
	cmd                    *exec.Cmd
	exited                 chan error
	log                    string
	http                   http.Client
}

// proxyConfig is what differs between the servers.
type proxyConfig struct {
	kind              string
	upstream          int // port
	control, password string
	database          string
	clusters          bool // move clusters with the schemas
	tls               certificate
}

const serveConfig = `listen: {address: "127.0.0.1:%d", tls: {cert_file: %s, key_file: %s}}
upstream: {address: "127.0.0.1:%d", kind: %s, tls: {mode: disable}}
control: {user: %s, database: %s}
deployments:
  - {name: %s, database: %s, schemas: [{live: prod, deploy: prod_deploy}], clusters: %s}
admin: {address: "127.0.0.1:%d"}
observe: {address: "127.0.0.1:%d"}
state: {dir: %s}
shutdown: {drain: 1s}
`

// startProxy starts the program as anybody would run it, and opens a canary.
func startProxy(ctx context.Context, b *builder, work string, c proxyConfig) (*proxyServer, error) {
	var err error
	p := &proxyServer{log: filepath.Join(work, "mzcanary.log"), exited: make(chan error, 1), http: http.Client{Timeout: 10 * time.Second}}
	for _, port := range []*int{&p.listen, &p.admin, &p.observe} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	file := func(name string) string { return filepath.Join(work, name) }
	clusters := "[]"
	if c.clusters {
		clusters = "[{live: prod, deploy: prod_deploy}]"
	}
	config := fmt.Sprintf(serveConfig, p.listen, strconv.Quote(file("proxy.crt")), strconv.Quote(file("proxy.key")), c.upstream, c.kind,
		c.control, c.database, deployment, c.database, clusters, p.admin, p.observe, strconv.Quote(file("state")))
	if err := os.RemoveAll(file("state")); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"proxy.crt": c.tls.cert, "proxy.key": c.tls.key, "deploy.yaml": config} {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	logFile, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	p.cmd = exec.Command(b.proxy, append([]string{"serve", "-c", file("deploy.yaml")}, b.serveFlags()...)...)
	p.cmd.Env = append(plainEnv(), "MZCANARY_PASSWORD="+c.password)
	p.cmd.Stdout, p.cmd.Stderr = logFile, logFile
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start mzcanary: %w", err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	if err := p.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// awaitReady waits until the server is reached through the proxy's own probe and
// the controller takes a weight.
func (p *proxyServer) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startUp)
	defer cancel()
	var last error
	for {
		if last = p.setWeight(ctx, nobody); last == nil {
			return nil
		}
		if err := p.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mzcanary takes no weight: %w\n%s", last, tail(p.log))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// alive fails when the program has ended, with the end of its log.
func (p *proxyServer) alive() error {
	select {
	case exit := <-p.exited:
		p.exited <- exit
		return fmt.Errorf("mzcanary ended (%v):\n%s", exit, tail(p.log))
	default:
		return nil
	}
}

func (p *proxyServer) stop() error { return stopProcess(p.cmd, p.exited, syscall.SIGTERM, "mzcanary") }

type order struct {
	Weight string `json:"weight,omitempty"`
	Who    string `json:"who"`
	Reason string `json:"reason"`
	Force  bool   `json:"force"`
}

// setWeight opens a canary by hand when there is none. The checks before that are
// skipped: they would cost more than the 50 ms between two flips.
//
// Without a canary 0 % is refused, because everybody is on production already:
// that is what was asked for.
func (p *proxyServer) setWeight(ctx context.Context, weight string) error {
	err := p.post(ctx, "/v1/deployments/"+deployment+"/weight", order{Weight: weight, Who: "compat", Reason: "compatibility suite", Force: true})
	if status, ok := errors.AsType[*statusError](err); ok && weight == "0%" && strings.Contains(status.body, "has no canary") {
		return nil
	}
	return err
}

func (p *proxyServer) rollback(ctx context.Context) error {
	return p.post(ctx, "/v1/deployments/"+deployment+"/rollback", order{Who: "compat", Reason: "compatibility suite", Force: true})
}

// errNoHolds: the program was built without the hook for holds.
var errNoHolds = errors.New("this mzcanary has no debug hook for holds")

// hold closes the gates of all sessions for a while; it answers after it.
func (p *proxyServer) hold(ctx context.Context, lease time.Duration) error {
	err := p.post(ctx, "/v1/debug/deployments/"+deployment+"/hold", map[string]string{"lease": lease.String()})
	if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusNotFound {
		return errNoHolds
	}
	return err
}

type statusError struct {
	code int
	body string
}

func (e *statusError) Error() string { return fmt.Sprintf("the API answered %d: %s", e.code, e.body) }

func (p *proxyServer) post(ctx context.Context, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", p.admin, path), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the API's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return &statusError{res.StatusCode, strings.TrimSpace(string(answer))}
	}
	return nil
}

// moves reads the counters of injected units by outcome.
func (p *proxyServer) moves(ctx context.Context) (map[string]int, error) {
	text, err := p.get(ctx, p.observe, "/metrics")
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "mzcanary_injected_total{") {
			continue
		}
		_, outcome, _ := strings.Cut(line, `outcome="`)
		outcome, _, _ = strings.Cut(outcome, `"`)
		n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
		if err != nil {
			return nil, fmt.Errorf("read the metrics: %w", err)
		}
		counts[outcome] += int(n)
	}
	return counts, nil
}

// session is what the suite wants to know of one.
type session struct {
	ID, Deployment, Place, Why string
	Retargets, Exchanges       uint64
}

func (p *proxyServer) sessions(ctx context.Context) ([]session, error) {
	text, err := p.get(ctx, p.admin, "/v1/sessions")
	if err != nil {
		return nil, err
	}
	var list []session
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	return list, nil
}

func (p *proxyServer) get(ctx context.Context, port int, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
	if err != nil {
		return nil, err
	}
	res, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
