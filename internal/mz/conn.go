package mz

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 3 * time.Second
	// closeGrace is how long Close waits for goodbyes before it cuts the sockets.
	closeGrace = 500 * time.Millisecond
)

// control is one of the two control connections. Whoever took the token of use
// owns everything below it until release.
type control struct {
	w    *Warehouse
	name string
	use  chan struct{} // holds one token while nobody talks

	conn      *connection // nil while there is none
	failures  int         // connects in a row that failed
	notBefore time.Time   // no connect earlier than this

	backend atomic.Uint32 // of the live connection, 0 while there is none; read by anybody
}

func newControl(w *Warehouse, name string) *control {
	c := &control{w: w, name: name, use: make(chan struct{}, 1)}
	c.use <- struct{}{}
	return c
}

// acquire waits for the connection to be free and returns it open. fresh says that
// it was opened by this call, so that it cannot be a stale one. After an error
// nothing is held.
func (c *control) acquire(ctx context.Context) (conn *connection, fresh bool, err error) {
	select {
	case <-c.use:
	case <-ctx.Done():
		return nil, false, c.w.unavailable(ctx, fmt.Errorf("the %s connection is in use: %w", c.name, ctx.Err()))
	case <-c.w.closing.Done():
		return nil, false, ErrClosed
	}
	return c.opened(ctx)
}

// tryAcquire is acquire for callers that would rather not know than wait for
// somebody else's use; held says whether they got it.
func (c *control) tryAcquire(ctx context.Context) (conn *connection, held bool, err error) {
	select {
	case <-c.use:
		conn, _, err = c.opened(ctx)
		return conn, err == nil, err
	default:
		return nil, false, nil
	}
}

// opened returns the live connection, or a new one. The caller holds the use and
// loses it on error.
func (c *control) opened(ctx context.Context) (conn *connection, fresh bool, err error) {
	if c.conn != nil && c.conn.pg.IsClosed() {
		c.drop()
	}
	if c.conn != nil {
		return c.conn, false, nil
	}
	if c.conn, err = c.connect(ctx); err != nil {
		c.release()
		return nil, false, err
	}
	return c.conn, true, nil
}

// release gives the connection back; a broken one is forgotten.
func (c *control) release() {
	if c.conn != nil && c.conn.pg.IsClosed() {
		c.drop()
	}
	c.use <- struct{}{}
}

// drop forgets a connection that is not to be used again. The caller holds the use.
func (c *control) drop() {
	c.w.log.Warn("control connection lost", "connection", c.name, "backend", c.conn.pg.PID())
	c.w.goodbye(c.conn.pg)
	c.conn = nil
	c.backend.Store(0)
}

// connect waits out the back-off and opens the connection. The caller holds the use.
func (c *control) connect(ctx context.Context) (*connection, error) {
	if wait := time.Until(c.notBefore); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, c.w.unavailable(ctx, fmt.Errorf("waiting to connect again: %w", ctx.Err()))
		case <-c.w.closing.Done():
			return nil, ErrClosed
		}
	}
	conn, err := c.w.open(ctx, c.w.dialect.settings())
	if err != nil {
		c.failures++
		pause := min(backoffFirst<<min(c.failures-1, 10), backoffMost)
		c.notBefore = time.Now().Add(pause/2 + rand.N(pause/2+1))
		return nil, err
	}
	c.failures = 0
	c.backend.Store(conn.pg.PID())
	c.w.log.Info("control connection open", "connection", c.name, "backend", conn.pg.PID())
	return conn, nil
}

// connection is one open session with the server.
type connection struct {
	pg *pgconn.PgConn
	// written counts writes the network took completely. A message that is not in
	// it has certainly not reached the server whole.
	written *atomic.Int64
	// asked says that the server was asked on this connection whether it takes DDL.
	asked bool
	// session tells this session from later ones with its number; "" while not known.
	session string
	// notices collects those of the current exchange.
	notices *notices
}

// open connects and logs in with the given start-up settings.
func (w *Warehouse) open(ctx context.Context, settings map[string]string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(w.closing, cancel)
	defer stop()

	cfg, err := w.pgConfig()
	if err != nil {
		return nil, err
	}
	if w.cfg.Password != nil {
		if cfg.Password, err = w.cfg.Password(); err != nil {
			return nil, &deploy.Mendable{Mend: "make " + cmp.Or(w.cfg.PasswordFrom, "the control password") + " readable",
				Err: fmt.Errorf("%w: reading the control password: %w", deploy.ErrUnavailable, err)}
		}
	}
	maps.Copy(cfg.RuntimeParams, settings)
	conn := &connection{written: new(atomic.Int64), notices: new(notices)}
	cfg.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, c net.Conn) (net.Conn, error) {
		return &countedConn{Conn: c, written: conn.written}, nil
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { *conn.notices = append(*conn.notices, n) }
	if conn.pg, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
		return nil, w.mended(w.unavailable(ctx, fmt.Errorf("connecting to %s as %s: %w", w.cfg.Address, w.cfg.User, err)))
	}
	return conn, nil
}

// pgConfig builds the connection's configuration from ours alone: what the
// environment says to libpq's clients must not move a control connection.
func (w *Warehouse) pgConfig() (*pgconn.Config, error) {
	host, portText, err := net.SplitHostPort(w.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("upstream address %q: %w", w.cfg.Address, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("upstream address %q: the port is not a number", w.cfg.Address)
	}
	cfg, err := pgconn.ParseConfig("host=placeholder port=1 user=placeholder database=placeholder sslmode=disable sslnegotiation=postgres " +
		"passfile=/dev/null connect_timeout=0 target_session_attrs=any min_protocol_version=3.0 max_protocol_version=3.0 channel_binding=prefer")
	if err != nil {
		return nil, fmt.Errorf("preparing the control connection: %w", err)
	}
	cfg.Host, cfg.Port = host, uint16(port)
	cfg.User, cfg.Database, cfg.Password = w.cfg.User, w.cfg.Database, ""
	cfg.TLSConfig, cfg.Fallbacks = w.tlsFor(host), nil
	cfg.ConnectTimeout = w.cfg.DialTimeout
	cfg.DialFunc = w.dial
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // Dial resolves
	cfg.RuntimeParams = map[string]string{"application_name": "mzcanary"}
	cfg.RequireAuth, cfg.SSLCertMode, cfg.KerberosSpn, cfg.KerberosSrvName = "", "allow", "", ""
	return cfg, nil
}

// tlsFor verifies the server under the name we dial, unless another is configured.
func (w *Warehouse) tlsFor(host string) *tls.Config {
	if w.cfg.TLS == nil || w.cfg.TLS.ServerName != "" {
		return w.cfg.TLS
	}
	named := w.cfg.TLS.Clone()
	named.ServerName = host
	return named
}

// dial opens a socket and remembers it until it is closed, so that Close can cut it.
func (w *Warehouse) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := w.cfg.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: c, w: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing.Err() != nil {
		c.Close()
		return nil, ErrClosed
	}
	w.conns[tracked] = struct{}{}
	return tracked, nil
}

type trackedConn struct {
	net.Conn
	w *Warehouse
}

func (t *trackedConn) Close() error {
	t.w.mu.Lock()
	delete(t.w.conns, t)
	t.w.mu.Unlock()
	return t.Conn.Close()
}

type countedConn struct {
	net.Conn
	written *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil && n == len(p) {
		c.written.Add(1)
	}
	return n, err
}

// goodbye closes a connection and remembers what of it is still being cleaned up
// in the background (pgconn cancels a statement that was cut short).
func (w *Warehouse) goodbye(pg *pgconn.PgConn) {
	if !pg.IsClosed() {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		_ = pg.Close(ctx) // the socket is closed either way
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.ended[:0]
	for _, done := range w.ended {
		select {
		case <-done:
		default:
			kept = append(kept, done)
		}
	}
	w.ended = append(kept, pg.CleanupDone())
}

// Close ends both control connections and waits for the calls still talking, which
// fail with errors that wrap deploy.ErrUnavailable. A prepared transaction that
// nobody ended is cut off, which undoes it.
func (w *Warehouse) Close() error {
	w.stop()
	for _, c := range []*control{w.reading, w.ddl} {
		if !c.takeForClose() {
			continue // a Prepared has it, and its socket is cut
		}
		if c.conn != nil {
			w.goodbye(c.conn.pg)
			c.conn = nil
			c.backend.Store(0)
		}
		c.use <- struct{}{}
	}
	w.mu.Lock()
	ended := w.ended
	w.mu.Unlock()
	grace := time.After(closeGrace)
	for _, done := range ended {
		select {
		case <-done:
		case <-grace:
			w.cut()
			<-done
		}
	}
	w.cut()
	return nil
}

// takeForClose takes the use within a grace period, and cuts the sockets when it is
// over so that whoever talks comes back.
func (c *control) takeForClose() bool {
	for range 2 {
		select {
		case <-c.use:
			return true
		case <-time.After(closeGrace):
			c.w.cut()
		}
	}
	return false
}

// cut closes every socket.
func (w *Warehouse) cut() {
	w.mu.Lock()
	conns := make([]net.Conn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // it is being abandoned
	}
}

// unavailable marks an error that means "could not ask".
func (w *Warehouse) unavailable(ctx context.Context, err error) error {
	switch {
	case w.closing.Err() != nil:
		return ErrClosed
	case errors.Is(err, deploy.ErrUnavailable):
		return err
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w (%w)", deploy.ErrUnavailable, err, ctx.Err())
	}
	return fmt.Errorf("%w: %w", deploy.ErrUnavailable, err)
}
