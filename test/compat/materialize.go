package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"

	"mzcanary/internal/sim"
)

//go:embed materialize.sql
var materializeSQL string

// The simulated servers: the version whose RESET and DISCARD ALL restore public and
// quickstart and whose DISCARD ALL tells nothing, and one that restores what a session
// started with. Materialize has one kind of authentication per listener.
var simulatedVersions = [...]struct {
	version  string
	auth     sim.AuthKind
	resets   string // what RESET gives back to a client that is connected directly
	told     string // ParameterStatus of search_path at a RESET
	division string // SQLSTATE of a division by zero
}{
	{"v26.4.0-dev.0 (4c45b0938)", sim.AuthSCRAM, "default", "public", "XX000"},
	{"v26.39.0 (30e4b1d24)", sim.AuthCleartext, "startup", "prod", "22012"},
}

// The users of the simulated servers; all have the one password.
const (
	simulatedUser    = "compat"
	simulatedControl = "materialize"
)

// simulated is a Materialize of one version, inside this process.
type simulated struct {
	version string // without its commit
	port    int
	tls     certificate
	env     []string // what programs must know of it

	sim    *sim.Server
	stop   context.CancelFunc
	served chan error
	beaten chan error
}

// startSimulated starts the i-th version with both versions of the objects.
func startSimulated(ctx context.Context, i int) (*simulated, error) {
	v := simulatedVersions[i]
	s := &simulated{served: make(chan error, 1), beaten: make(chan error, 1)}
	s.version, _, _ = strings.Cut(v.version, " ")
	s.env = []string{"COMPAT_SERVER=materialize", "COMPAT_DATABASE=materialize", "COMPAT_USER=" + simulatedUser,
		"COMPAT_PASSWORD=" + password, "COMPAT_DIVISION=" + v.division, "COMPAT_RESETS=" + v.resets, "COMPAT_TOLD=" + v.told}
	var err error
	if s.tls, err = selfSigned(); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(s.tls.cert), []byte(s.tls.key))
	if err != nil {
		return nil, fmt.Errorf("load the certificate: %w", err)
	}
	s.sim = sim.New(sim.Options{
		Version: v.version, TLS: &tls.Config{Certificates: []tls.Certificate{pair}},
		Auth: sim.Auth{Kind: v.auth, Passwords: map[string]string{simulatedUser: password, simulatedControl: password}},
	})
	if err := s.seed(ctx); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.port = ln.Addr().(*net.TCPAddr).Port
	var running context.Context
	running, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() { s.served <- s.sim.Serve(running, ln) }()
	go func() { s.beaten <- s.heartbeat(running) }()
	return s, nil
}

// seed makes both versions, and statements that take their time: a read of slow
// stands for one of something that is not hydrated, a read of pause for a slow one.
func (s *simulated) seed(ctx context.Context) error {
	for schema, version := range map[string]string{"prod": "old", "prod_deploy": "new"} {
		text := strings.NewReplacer("{schema}", schema, "{version}", version, "{rows}", stockRows()).Replace(materializeSQL)
		if err := s.sim.Exec(ctx, text); err != nil {
			return fmt.Errorf("make schema %s of the simulated server: %w", schema, err)
		}
	}
	s.sim.Faults().Delay(regexp.MustCompile(`FROM slow\b`), 8*time.Second)
	s.sim.Faults().Delay(regexp.MustCompile(`FROM pause\b`), 30*time.Millisecond)
	return nil
}

// stockRows are the same rows that schema.sql makes, as VALUES.
func stockRows() string {
	var rows []string
	start := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for i := 1; i <= 200; i++ {
		note, flag := "NULL", "NULL"
		if i%2 == 1 {
			note = fmt.Sprintf("'note %d'", i)
		}
		if i%3 > 0 {
			flag = fmt.Sprint(i%2 == 0)
		}
		rows = append(rows, fmt.Sprintf(`(%d, 'item %d', %.2f, %s, ARRAY['a%d', 'b,"%d'], '{"id": %d, "n": null}'::jsonb, '\x%08x'::bytea, '%s'::timestamptz, %s::boolean, %d::float8 / 7)`,
			i, i, float64(i)*1.25, note, i, i, i, i, start.Add(time.Duration(i)*time.Minute).Format("2006-01-02 15:04:05+00"), flag, i))
	}
	return strings.Join(rows, ",\n    ")
}

// heartbeat keeps one row of both versions changing, so that a SUBSCRIBE has
// something to say.
func (s *simulated) heartbeat(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, schema := range []string{"prod", "prod_deploy"} {
			if err := s.sim.Exec(ctx, fmt.Sprintf("UPDATE %s.ticks SET n = %d", schema, n)); err != nil && ctx.Err() == nil {
				return fmt.Errorf("the heartbeat: %w", err)
			}
		}
	}
}

func (s *simulated) target() target { return target{"127.0.0.1", s.port, s.env} }

func (s *simulated) proxyConfig() proxyConfig {
	return proxyConfig{kind: onMaterialize, upstream: s.port, control: simulatedControl, password: password, database: "materialize", clusters: true, tls: s.tls}
}

// close stops the server; its sessions end with it.
func (s *simulated) close() error {
	s.stop()
	return errors.Join(<-s.served, <-s.beaten)
}
