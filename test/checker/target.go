package checker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/sim"
)

// Target is the server of a run.
type Target interface {
	// Exec runs statements, each on its own, as one who may do everything.
	Exec(ctx context.Context, statements []string) error
	// Stored counts the written rows by id.
	Stored(ctx context.Context, table string) (map[string]int, error)
	Address() string
	// Faults is nil where nothing can be told to misbehave.
	Faults() *sim.Faults
	// Tells says that the timeline hears from the target what names stand for.
	Tells() bool
	Close() error
}

// simulated is a server of the run's own.
type simulated struct {
	*sim.Server
	address string
	end     context.CancelFunc
	ended   chan error
}

func simulate(seed uint64, changed func(sim.Change)) (*simulated, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &simulated{Server: sim.New(sim.Options{Seed: seed, OnChange: changed}), address: ln.Addr().String(), ended: make(chan error, 1)}
	var ctx context.Context
	ctx, s.end = context.WithCancel(context.Background())
	go func() { s.ended <- s.Serve(ctx, ln) }()
	return s, nil
}

func (s *simulated) Address() string { return s.address }
func (s *simulated) Tells() bool     { return true }

func (s *simulated) Exec(ctx context.Context, statements []string) error {
	return s.Server.Exec(ctx, strings.Join(statements, ";"))
}

func (s *simulated) Close() error {
	s.end()
	return <-s.ended
}

func (s *simulated) Stored(ctx context.Context, table string) (map[string]int, error) {
	return stored(ctx, fmt.Sprintf("postgres://app@%s/materialize?sslmode=disable", s.address), table)
}

// stored reads the written rows past the proxy.
func stored(ctx context.Context, dsn, table string) (map[string]int, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT id FROM "+table, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	var id string
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { out[id]++; return nil })
	return out, err
}

// real is a server that was there before, by DSN.
type real struct {
	dsn     string
	cfg     *pgx.ConnConfig
	mu      sync.Mutex
	conn    *pgx.Conn
	address string
}

func dial(ctx context.Context, dsn string) (*real, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the DSN: %w", err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &real{dsn: dsn, cfg: cfg, conn: conn, address: net.JoinHostPort(cfg.Host, fmt.Sprint(cfg.Port))}, nil
}

func (r *real) Address() string     { return r.address }
func (r *real) Faults() *sim.Faults { return nil }
func (r *real) Tells() bool         { return false }

func (r *real) Exec(ctx context.Context, statements []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range statements {
		if _, err := r.conn.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

func (r *real) Stored(ctx context.Context, table string) (map[string]int, error) {
	return stored(ctx, r.dsn, table)
}

func (r *real) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return r.conn.Close(ctx)
}

// heartbeat keeps rows changing, so that subscriptions have something to say.
func heartbeat(ctx context.Context, t Target, n Names, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for k := 1000; ; k++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := t.Exec(ctx, []string{
			fmt.Sprintf("INSERT INTO %s.base VALUES (%d, 'beat')", n.Base, k),
			fmt.Sprintf("DELETE FROM %s.base WHERE k = %d", n.Base, k-1),
		})
		if err != nil && ctx.Err() == nil {
			return errors.Join(errors.New("change rows"), err)
		}
	}
}
