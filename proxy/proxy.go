package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/internal/wire"
	"mzcanary/router"
)

// ServerKind is what stands behind the proxy.
type ServerKind uint8

// The kinds of server.
const (
	Materialize ServerKind = iota // cluster and search_path, both reported by the server
	Postgres                      // search_path only, reported from version 18 on
)

func (k ServerKind) grammar() wire.Grammar {
	if k == Postgres {
		return wire.GrammarPostgres
	}
	return wire.GrammarMaterialize
}

// Limits bounds what clients can take. Zero values mean no limit where nothing
// else is said.
type Limits struct {
	MaxSessions int           // connections past their start-up packet
	PerUser     int           // logged in, per user name
	Startup     time.Duration // from accept to the first ReadyForQuery; 0 means 30 s
	// Starting bounds the connections that have not sent their start-up packet;
	// 0 means as many as MaxSessions, and 4096 at least.
	Starting int
	// Handshakes bounds the TLS handshakes of clients that compute at the same time;
	// who waits for its client takes no place. 0 means twice the processors.
	Handshakes int
	// Dials bounds the connections to the server that are being made at the same
	// time; who comes first is served first. 0 means 128.
	Dials int
}

// ClientSet says what happens to a managed session that sets cluster or
// search_path by itself.
type ClientSet uint8

// The rules.
const (
	// MapClientSet: live names of its own deployment become what the session asked
	// for and are mapped to its arm; other names release it.
	MapClientSet ClientSet = iota
	// ReleaseClientSet: any such statement makes the session unmanaged.
	ReleaseClientSet
)

// Unsafe switches the protection off, so that the demo can prove that its
// account turns red without it. Never set in production.
type Unsafe struct {
	NoHold     bool // Hold closes no gate and reports everybody as held
	NoRetarget bool // have is never moved to want
}

// Config is what a Proxy needs. Table and Dial are required.
type Config struct {
	Table *router.Table
	// Stats are fed at every ReadyForQuery; nil counts nothing.
	Stats *armstats.Set
	// Dial opens a connection to the server, TLS included. A *wire.Failure of it
	// is told to the client as it is, any other error as "cannot be reached".
	Dial func(ctx context.Context) (net.Conn, error)
	// DialCancel opens a connection for a CancelRequest; nil means Dial.
	DialCancel func(ctx context.Context) (net.Conn, error)
	Kind       ServerKind
	// ClientTLS offers TLS to clients; nil answers SSLRequest with N. What its
	// GetConfigForClient returns must come from wire.OfferTLS.
	ClientTLS         *tls.Config
	ClientTLSRequired bool
	// ClientCertRequired refuses sessions whose client showed no certificate;
	// ClientTLS must ask for one and verify what it is given.
	ClientCertRequired bool
	// ForwardedFor tells the server each client's address, as Materialize believes
	// it of a proxy.
	ForwardedFor bool
	Limits       Limits
	// ClientSet gives the rule of a deployment; nil means MapClientSet.
	ClientSet func(deployment string) ClientSet
	// QualifiedNames gives the rule of a deployment; nil means IgnoreQualified.
	QualifiedNames func(deployment string) QualifiedNames
	// KeepAlive probes both legs of plain and TLS connections over TCP after this
	// much silence; 0 means 60 s, negative switches it off.
	KeepAlive time.Duration
	// Sweep is how often idle sessions are looked at for closed sockets, and the
	// longest an idle session waits for its retarget when nobody nudges; 0 means 1 s.
	Sweep time.Duration
	// ReleaseSpread gives over how long a release wakes a deployment's sessions that
	// wait; nil means 10 ms.
	ReleaseSpread func(deployment string) time.Duration
	// RetargetLimit is the deadline of an injected unit's answer, after which the
	// session is given up; 0 means 10 s.
	RetargetLimit time.Duration
	Log           *slog.Logger
	// QuietSessions writes the lines of sessions that begin, and end by themselves,
	// at level debug instead of info.
	QuietSessions bool
	Unsafe        Unsafe
}

func (c *Config) setDefaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Limits.Startup, 30*time.Second)
	if c.Limits.Starting == 0 && c.Limits.MaxSessions > 0 {
		c.Limits.Starting = max(c.Limits.MaxSessions, 4096)
	}
	c.Limits.Dials = cmp.Or(c.Limits.Dials, 128)
	c.Limits.Handshakes = cmp.Or(c.Limits.Handshakes, 2*runtime.GOMAXPROCS(0))
	def(&c.KeepAlive, 60*time.Second)
	def(&c.Sweep, time.Second)
	def(&c.RetargetLimit, 10*time.Second)
	if c.DialCancel == nil {
		c.DialCancel = c.Dial
	}
	if c.ClientTLS != nil {
		c.ClientTLS = wire.OfferTLS(c.ClientTLS)
	}
	if c.ClientSet == nil {
		c.ClientSet = func(string) ClientSet { return MapClientSet }
	}
	if c.ReleaseSpread == nil {
		c.ReleaseSpread = func(string) time.Duration { return 10 * time.Millisecond }
	}
	if c.QualifiedNames == nil {
		c.QualifiedNames = func(string) QualifiedNames { return IgnoreQualified }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Proxy relays sessions. Make one with New; Shutdown ends everything it
// started, also when Serve was never called.
type Proxy struct {
	cfg   Config
	table *router.Table
	log   *slog.Logger
	start time.Time // origin of the monotonic times kept in sessions

	reg     registry
	cancels *canceller
	sweep   *sweeper
	loops   loops
	dials   chan struct{} // places of those that dial the server
	turns   chan struct{} // places of the handshakes that compute
	count   counters

	buffers, largeBuffers sync.Pool // of *[]byte

	ctx  context.Context // ends when the last session must be gone
	stop context.CancelCauseFunc
	wg   sync.WaitGroup // connections, cancels, sweeper

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	draining  bool
}

// New makes a proxy and starts its sweeper.
func New(cfg Config) *Proxy {
	cfg.setDefaults()
	p := &Proxy{
		cfg: cfg, table: cfg.Table, log: cfg.Log, start: time.Now(),
		listeners: make(map[net.Listener]struct{}),
	}
	p.ctx, p.stop = context.WithCancelCause(context.Background())
	p.reg.init()
	p.buffers.New = func() any { b := make([]byte, smallBuffer); return &b }
	p.largeBuffers.New = func() any { b := make([]byte, largeBuffer); return &b }
	p.dials = make(chan struct{}, cfg.Limits.Dials)
	p.turns = make(chan struct{}, cfg.Limits.Handshakes)
	p.cancels = newCanceller()
	p.sweep = newSweeper(p)
	p.wg.Go(p.sweep.run)
	return p
}

// now is the monotonic time since the proxy was made, in nanoseconds; never 0.
func (p *Proxy) now() int64 { return int64(time.Since(p.start)) + 1 }

// Serve accepts connections until ctx ends or Shutdown is called, and returns
// nil then. Sessions go on after it. Call it once per listener, which it closes.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	if !p.listen(ln) {
		return errors.Join(errors.New("the proxy is shutting down"), ln.Close())
	}
	defer p.unlisten(ln)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var complained time.Time
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			late := p.isDraining()
			guest, only := p.reg.connected(p.cfg.Limits.Starting, late)
			p.wg.Go(func() {
				growStack(0)
				p.serveConn(&opener{p: p, base: conn, conn: conn, guest: guest, only: only}, late)
			})
		case ctx.Err() != nil || p.isDraining():
			return nil
		case !mayPass(err):
			return err
		default:
			// Too many open files, and the like: it passes when connections end.
			if time.Since(complained) > 5*time.Second {
				complained = time.Now()
				p.log.Warn("cannot accept connections for now", "error", err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// growStack makes the room at once that dialling and a login need on the stack of
// a new goroutine. Grown step by step, it would be copied with many frames on it.
//
//go:noinline
func growStack(at uint8) byte {
	var room [6 << 10]byte
	return room[at] // an index that the compiler does not know: it must make the room
}

// logsDebug tells whether lines that only describe are wanted; their arguments
// cost more than the rest of the line.
func (p *Proxy) logsDebug() bool { return p.log.Enabled(context.Background(), slog.LevelDebug) }

// mayPass tells errors of Accept that end by themselves.
func mayPass(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (p *Proxy) listen(ln net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining {
		return false
	}
	p.listeners[ln] = struct{}{}
	p.wg.Add(1) // Shutdown waits for whoever may still accept
	return true
}

func (p *Proxy) unlisten(ln net.Listener) {
	ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, ln)
	p.wg.Done()
}

func (p *Proxy) isDraining() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining
}

// endGrace is how long a session in an exchange is given, after the drain time
// is over, to reach a boundary.
const endGrace = time.Second

// Shutdown takes no new sessions and keeps relaying until none is left or ctx
// ends; cancels are taken until then. Then sessions end with 57P01 at their boundary; those that reach none
// within a second are cut. When it returns nothing of the proxy is running. The
// error is ctx's when sessions had to be ended.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.draining = true
	p.mu.Unlock()

	empty := p.reg.whenEmpty()
	var err error
	select {
	case <-empty:
	case <-ctx.Done():
		select {
		case <-empty: // both at once: nobody had to be ended
		default:
			err = ctx.Err()
		}
		p.endAll(wire.Fail(wire.KindShuttingDown, "", nil))
		select {
		case <-empty:
		case <-time.After(endGrace + lastWordTime + endCancel): // the cut ones' statements are cancelled
		}
	}
	p.closeListeners()
	p.stop(errShutdown)
	p.reg.refuse(wire.Fail(wire.KindShuttingDown, "", nil))
	for _, s := range p.reg.sessions("") {
		s.abort(nil)
	}
	p.reg.releaseHolds()
	p.wg.Wait()
	p.loops.stop()
	return err
}

func (p *Proxy) closeListeners() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ln := range p.listeners {
		ln.Close()
	}
}

var errShutdown = errors.New("the proxy is shutting down")

// Nudge tells the sweeper that the epoch has moved: idle sessions are
// retargeted now.
func (p *Proxy) Nudge() { p.sweep.nudge() }

// Reads use a small buffer until one fills it: then there is more, and larger
// reads are cheaper. Both sizes in bytes.
const (
	smallBuffer = 8 << 10
	largeBuffer = 64 << 10
)

func (p *Proxy) getBuffer(large bool) *[]byte {
	if large {
		return p.largeBuffers.Get().(*[]byte)
	}
	return p.buffers.Get().(*[]byte)
}

func (p *Proxy) putBuffer(b *[]byte) {
	if len(*b) == largeBuffer {
		p.largeBuffers.Put(b)
		return
	}
	p.buffers.Put(b)
}
