package crowd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// patience bounds one exchange; a client that waits longer counts it as an error.
const patience = 15 * time.Second

// client is one application. Its notes belong to its goroutine until Close.
type client struct {
	id     int
	mode   mode
	opts   *Options
	counts *counts
	start  time.Time
	stop   <-chan struct{}
	rng    *rand.Rand

	sessions int32
	last     Version
	answers  []answer
	empty    int
	failures []failure
}

func (c *client) since(t time.Time) time.Duration { return t.Sub(c.start).Round(time.Millisecond) }

func (c *client) run() {
	c.pause(time.Duration(c.rng.Int64N(int64(500 * time.Millisecond))))
	for !c.stopped() {
		if c.mode == modePinnedCanary && !c.opts.CanaryOpen() {
			c.pause(100 * time.Millisecond)
			continue
		}
		c.session()
	}
}

func (c *client) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// pause waits around d, less when the crowd ends.
func (c *client) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d/2 + time.Duration(c.rng.Int64N(int64(d))))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.stop:
	}
}

// session is one connection's life.
func (c *client) session() {
	asked := time.Now()
	conn, err := c.connect()
	if err != nil {
		var pg *pgconn.PgError
		if c.mode == modePinnedCanary && errors.As(err, &pg) && !c.opts.CanaryOpen() {
			return // the canary was closed while it knocked: the refusal is the promise
		}
		c.fail(asked, err)
		c.pause(200 * time.Millisecond)
		return
	}
	c.sessions++
	c.counts.connected.Add(1)
	defer c.counts.connected.Add(-1)
	exchanges := -1
	switch c.mode {
	case modeReconnect:
		exchanges = 1 + c.rng.IntN(8)
	case modePinnedCanary:
		exchanges = 40
	}
	for i := 0; i != exchanges && !c.stopped(); i++ {
		if err := c.exchange(conn); err != nil {
			break
		}
		c.pause(c.opts.Think)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = conn.Close(ctx) // a lost connection was noted by the exchange that lost it
}

func (c *client) connect() (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(c.opts.DSN)
	if err != nil {
		return nil, fmt.Errorf("read the DSN: %w", err)
	}
	cfg.RuntimeParams["application_name"] = fmt.Sprintf("crowd-%s-%d", c.mode, c.id)
	switch c.mode {
	case modePinnedCanary:
		cfg.RuntimeParams["options"] = "-c mzcanary.arm=canary"
	case modePinnedStable:
		cfg.RuntimeParams["options"] = "-c mzcanary.arm=stable"
	}
	switch c.mode {
	case modeSimple, modeCopy:
		cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	case modeExtended:
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	case modeReconnect:
		cfg.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	default:
		cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // named prepared statements
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// exchange does one piece of the mode's work. An error ends the session.
func (c *client) exchange(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	asked := time.Now()
	seen, err := c.work(ctx, conn)
	if err != nil {
		c.fail(asked, err)
		if conn.IsClosed() {
			return err
		}
		return nil
	}
	if seen == NoVersion {
		c.empty++ // nothing was answered, nothing to judge
		return nil
	}
	n := answer{asked: asked, answered: time.Now(), version: seen, session: c.sessions, mixed: seen == both}
	c.answers = append(c.answers, n)
	c.last = seen
	c.counts.exchanges.Add(1)
	return nil
}

func (c *client) work(ctx context.Context, conn *pgx.Conn) (Version, error) {
	switch c.mode {
	case modeTransaction:
		return c.transaction(ctx, conn)
	case modeBatch:
		return c.batch(ctx, conn)
	case modeCopy:
		return c.copyOut(ctx, conn)
	case modeStream:
		return c.subscribe(ctx, conn)
	case modeCursor:
		return c.cursor(ctx, conn)
	}
	return c.ask(ctx, conn)
}

func (c *client) fail(asked time.Time, err error) {
	now := time.Now()
	var network net.Error
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	lost := errors.As(err, &connect) || errors.As(err, &network) || !errors.As(err, &pg)
	c.failures = append(c.failures, failure{at: now, asked: asked, version: c.last, connection: lost,
		injected: pg != nil && c.opts.Fault != "" && pg.Message == c.opts.Fault,
		what:     fmt.Sprintf("%s after the start: %v", c.since(now), err)})
	c.counts.errors.Add(1)
}
