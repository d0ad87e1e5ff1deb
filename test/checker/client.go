package checker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// patience bounds one unit of work; a client that waits longer notes an error.
const patience = 20 * time.Second

// crowd is the clients of a run and what they share.
type crowd struct {
	dsn      string // of the proxy, with the live names
	names    Names
	password string
	think    time.Duration
	clock    func() time.Duration
	seed     uint64

	// canaryOpen and namesOpen let in those who insist on the canary; longTx and
	// halfMessage make the held-up clients stand in the way for so long.
	canaryOpen, namesOpen atomic.Bool
	longTx, halfMessage   atomic.Int64

	stop    chan struct{}
	wg      sync.WaitGroup
	clients []*client
}

// client is one application. Its notes belong to its goroutine until the crowd
// has ended.
type client struct {
	*crowd
	id   int
	mode mode
	rng  *rand.Rand

	who      Who
	served   time.Duration // when the session's last unit that succeeded was asked
	answers  []Answer
	failures []Failure
	writes   []Write

	// busy is when the running unit was asked, 0 when none runs; the director waits
	// for those that began before a moment.
	busy atomic.Int64
	// named is 1 while a session with deploy names of its own is open.
	named atomic.Int32
}

func newCrowd(dsn string, names Names, password string, n int, seed uint64, think time.Duration, clock func() time.Duration) *crowd {
	c := &crowd{dsn: dsn, names: names, password: password, think: think, clock: clock, seed: seed, stop: make(chan struct{})}
	modes := names.modes()
	for i := range n {
		c.clients = append(c.clients, &client{crowd: c, id: i, mode: modes[i%len(modes)], rng: rand.New(rand.NewPCG(seed, uint64(i)))})
	}
	return c
}

func (c *crowd) start() {
	for _, cl := range c.clients {
		c.wg.Go(cl.run)
	}
}

// end lets every client finish what it is about and waits for all.
func (c *crowd) end() {
	close(c.stop)
	c.wg.Wait()
}

// settled reports whether no unit runs any more that began before a moment.
func (c *crowd) settled(since time.Duration) bool {
	for _, cl := range c.clients {
		if b := time.Duration(cl.busy.Load()); b != 0 && b <= since || cl.named.Load() != 0 {
			return false
		}
	}
	return true
}

func (c *client) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

// pause waits around d, less when the run ends.
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

func (c *client) run() {
	c.pause(20 * time.Millisecond)
	for !c.stopped() {
		if !c.mode.mayConnect(c.crowd) {
			c.pause(10 * time.Millisecond)
			continue
		}
		c.session()
	}
}

// session is one connection's life.
func (c *client) session() {
	n := c.who.Session + 1
	c.who = Who{Client: c.id, Session: n, Mode: c.mode.name, Pin: c.mode.pin, Key: fmt.Sprintf("checker-%d-%d", c.id, n)}
	if c.mode.pin == ByNames {
		c.named.Store(1)
		defer c.named.Store(0)
	}
	asked := c.begin()
	c.who.Knocked, c.served = asked, 0
	conn, err := c.connect()
	c.busy.Store(0)
	if err != nil {
		c.fail(Failure{Who: c.who, Asked: asked, Connecting: true}, err)
		c.pause(10 * time.Millisecond)
		return
	}
	c.who.Opened = c.clock()
	left := -1
	if c.mode.units > 0 {
		left = 1 + c.rng.IntN(c.mode.units)
	}
	for ; left != 0 && !c.stopped() && c.mode.mayGoOn(c.crowd); left-- {
		if !c.unit(conn) {
			break
		}
		c.pause(c.think)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = conn.Close(ctx) // a lost connection was noted by the unit that lost it
}

func (c *client) begin() time.Duration {
	asked := max(c.clock(), 1)
	c.busy.Store(int64(asked))
	return asked
}

func (c *client) connect() (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(c.dsn)
	if err != nil {
		return nil, fmt.Errorf("read the DSN: %w", err)
	}
	cfg.Password = c.password
	cfg.RuntimeParams["application_name"] = c.who.Key
	switch c.mode.pin {
	case ByCanary:
		cfg.RuntimeParams["options"] = "-c mzcanary.arm=canary"
	case ByStable:
		cfg.RuntimeParams["options"] = "-c mzcanary.arm=stable"
	case ByNames:
		cfg.RuntimeParams["search_path"] = c.names.path(c.names.Deploy())
		if !c.names.Postgres {
			cfg.RuntimeParams["cluster"] = c.names.Deploy()
		}
	}
	cfg.DefaultQueryExecMode = c.mode.exec
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// unit does one piece of the mode's work; false ends the session.
func (c *client) unit(conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	u := &unit{Answer: Answer{Who: c.who}}
	u.Asked = c.begin()
	err := c.mode.work(c, ctx, conn, u)
	c.busy.Store(0)
	u.Ended = c.clock()
	if u.Answered == 0 {
		u.Answered = u.Ended
	}
	if len(u.Versions) > 0 {
		c.answers = append(c.answers, u.Answer) // also what was answered before an error
	}
	if err == nil {
		c.served = u.Asked
		return true
	}
	if u.cancelFailed {
		err = fmt.Errorf("a cancel had no effect for %s on a stream that was running: %v", cancelLost, err)
	}
	c.fail(Failure{Who: c.who, Asked: u.Asked, Stream: u.Stream, Cancelled: u.cancelled}, err)
	return !conn.IsClosed()
}

// unit is an Answer in the making.
type unit struct {
	Answer
	// cancelled: a cancel was sent; cancelFailed: one had no effect on a running stream.
	cancelled, cancelFailed bool
	first                   chan struct{} // closed at a stream's first row
}

// running reports whether the first row has come.
func (u *unit) running() bool {
	select {
	case <-u.first:
		return true
	default:
		return false
	}
}

// row notes a row's version; the first row of a stream is its answer.
func (u *unit) row(version int, now time.Duration) {
	if u.Stream && u.Answered == 0 {
		u.Answered = now
		if u.first != nil {
			close(u.first)
		}
	}
	u.see(version)
}

func (c *client) fail(f Failure, err error) {
	f.At, f.Served = c.clock(), c.served
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		f.Code, f.Text = pg.Code, pg.Message
		if pg.Detail != "" {
			f.Text += ": " + pg.Detail
		}
	} else {
		f.Text = err.Error()
		var network net.Error
		timeout := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
		f.Lost = !timeout && (errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || closedBefore(err))
	}
	c.failures = append(c.failures, f)
}

// closedBefore: pgx found the connection closed when it was to be used.
func closedBefore(err error) bool {
	return err.Error() == "conn closed" || pgconn.SafeToRetry(err)
}
