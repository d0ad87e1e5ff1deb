//go:build linux

package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sync/errgroup"
)

//go:embed configs
var configFiles embed.FS

var configs = template.Must(template.ParseFS(configFiles, "configs/*"))

// peer is a proxy that is measured, or the server itself.
type peer struct {
	name string
	// run starts the process; nil for the server itself.
	run func() (*process, error)
	*process

	plain     string // where clients connect to
	tls       string // TLS behind an SSLRequest; empty: cannot be had
	directTLS string // TLS from the first byte; empty: cannot be had
	simulator string // to the simulated Materialize; empty: cannot be had
	admin     string // of mzcanary: has profiles
}

// restart gives the proxy a new process: what it kept is gone.
func (p *peer) restart(ctx context.Context) error {
	if p.process != nil {
		if err := p.process.stop(); err != nil {
			return err
		}
	}
	var err error
	if p.process, err = p.run(); err != nil {
		return err
	}
	return p.awaitListening(ctx, p.plain)
}

// cpuOf is the CPU that the proxy spends on what do does.
func (p *peer) cpuOf(do func() error) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, fmt.Errorf("through %s: %w", p.name, err)
	}
	time.Sleep(50 * time.Millisecond) // what the end of the last session takes is part of it
	after, err := p.cpu()
	return after - before, err
}

// profiled does do while the CPU profile of mzcanary is written to a file.
func (p *peer) profiled(dir, what string, length time.Duration, do func() error) error {
	if dir == "" || p.admin == "" {
		return do()
	}
	var both errgroup.Group
	both.Go(func() error {
		r, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.admin, max(1, int(length.Seconds()))))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		out, err := os.Create(filepath.Join(dir, p.name+"-"+strings.ReplaceAll(what, "/", "-")+".pprof"))
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r.Body)
		return errors.Join(err, out.Close())
	})
	both.Go(do)
	return both.Wait()
}

// writeConfig fills in a file of configs/.
func (st *stage) writeConfig(as, name string, values any) (string, error) {
	path := filepath.Join(st.o.work, as)
	out, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(configs.ExecuteTemplate(out, name, values), out.Close())
}

// canary is a peer that runs a build of mzcanary before a server of a kind.
func (st *stage) canary(name, program, kind, upstream, user string) (*peer, error) {
	addrs, err := freeAddrs(3)
	if err != nil {
		return nil, err
	}
	file, err := st.writeConfig(name+".yaml", "deploy.yaml", map[string]string{
		"Listen": addrs[0], "Admin": addrs[1], "Observe": addrs[2], "Upstream": upstream, "Kind": kind, "User": user,
		"Cert": st.certFile, "Key": st.keyFile, "State": filepath.Join(st.o.work, name+"-state"),
	})
	return &peer{
		name: name, plain: addrs[0], tls: addrs[0], directTLS: addrs[0], admin: addrs[1],
		run: func() (*process, error) {
			return start(st.o.work, name, nil, program, "serve", "-c", file, "--pprof")
		},
	}, err
}

// pgbouncer is a peer; once: it uses a connection to the server for one client.
func (st *stage) pgbouncer(name string, once bool) (*peer, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	as, err := nobody()
	if err != nil {
		return nil, err
	}
	host := func(addr string) string { h, _, _ := strings.Cut(addr, ":"); return h }
	port := func(addr string) string { _, p, _ := strings.Cut(addr, ":"); return p }
	file, err := st.writeConfig(name+".ini", "pgbouncer.ini", map[string]any{
		"Port": port(addrs[0]), "PostgresHost": host(st.postgres), "PostgresPort": port(st.postgres),
		"SimulatorHost": host(st.simulator), "SimulatorPort": port(st.simulator),
		"Cert": st.certFile, "Key": st.keyFile, "Log": os.DevNull, "Once": once,
	})
	return &peer{
		name: name, plain: addrs[0], tls: addrs[0], simulator: addrs[0],
		run: func() (*process, error) { return start(st.o.work, name, as, "pgbouncer", "-q", file) },
	}, err
}

func (st *stage) haproxy() (*peer, error) {
	addrs, err := freeAddrs(3)
	if err != nil {
		return nil, err
	}
	file, err := st.writeConfig("haproxy.cfg", "haproxy.cfg", map[string]string{
		"Listen": addrs[0], "ListenTLS": addrs[1], "ListenSimulator": addrs[2],
		"Postgres": st.postgres, "Simulator": st.simulator, "Pem": st.pemFile,
	})
	return &peer{
		name: "haproxy", plain: addrs[0], directTLS: addrs[1], simulator: addrs[2],
		run: func() (*process, error) { return start(st.o.work, "haproxy", nil, "haproxy", "-db", "-f", file) },
	}, err
}

func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}
