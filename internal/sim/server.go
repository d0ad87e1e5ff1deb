package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated Materialize. Create it with New.
//
// Locks, in the order they may be taken: catalogMu, dataMu, faults' mu, mu, health.mu; a session's mu comes last.
// Nothing waits for a client or a timer while it holds one. Reading the catalog or the data takes none.
type Server struct {
	o       Options
	release atomic.Pointer[release] // Faults.Upgrade replaces it

	catalogMu sync.Mutex // writers of catalog
	catalog   atomic.Pointer[catalog]
	dataMu    sync.Mutex // writers of data
	data      atomic.Pointer[dataVersion]

	mu       sync.Mutex // everything up to the next blank line
	started  time.Time
	sessions map[uint32]*session
	live     map[*liveRead]bool
	conns    map[net.Conn]bool
	nextConn uint32
	nextSub  int
	rng      *rand.Rand

	memoMu sync.Mutex
	memo   map[string]memoRows // contents of views, by id

	parsed parseCache
	health health
	faults Faults
}

// New makes a server with the databases, clusters and roles of a fresh installation. It has no goroutine until
// something is served.
func New(o Options) *Server {
	o.Version = cmp.Or(o.Version, DefaultVersion)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Superusers == nil {
		o.Superusers = []string{"mz_system"}
	}
	s := &Server{
		o: o, started: o.Clock(),
		sessions: map[uint32]*session{}, live: map[*liveRead]bool{}, conns: map[net.Conn]bool{},
		rng:  rand.New(rand.NewPCG(o.Seed, o.Seed^0x6d7a63616e617279)),
		memo: map[string]memoRows{},
	}
	s.faults.s = s
	s.release.Store(newRelease(o.Version))
	s.health.init()
	s.data.Store(&dataVersion{ts: s.nowMillis(), tables: map[string]*tableData{}, moved: make(chan struct{})})
	s.bootstrap()
	return s
}

func (s *Server) version() string { return s.release.Load().version }

func (s *Server) behaves() behaviour { return s.release.Load().behaviour }

func (s *Server) now() time.Time { return s.o.Clock() }

// startTime is when the process began, as far as clients can see; Faults.Restart moves it.
func (s *Server) startTime() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

func (s *Server) nowMillis() uint64 { return uint64(s.now().UnixMilli()) }

func (s *Server) random() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Uint64()
}

// Serve accepts on ln until ctx ends, then closes every session and returns after all of them have ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, false)
}

// ServeInternal is Serve for the internal listener: no authentication, and mz_system may log in.
func (s *Server) ServeInternal(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, true)
}

func (s *Server) serve(ctx context.Context, ln net.Listener, internal bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept a connection on %s: %w", ln.Addr(), err)
		}
		sessions.Go(func() { s.serveConn(ctx, c, internal) })
	}
}

// ServeConn serves one connection until it ends or ctx does. It closes c.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) { s.serveConn(ctx, c, false) }

// ServeInternalConn is ServeConn as on the internal listener.
func (s *Server) ServeInternalConn(ctx context.Context, c net.Conn) { s.serveConn(ctx, c, true) }

// Exec runs statements separated by ; as mz_system, each on its own, and stops at the first error.
func (s *Server) Exec(ctx context.Context, text string) error {
	return s.execAs(ctx, "mz_system", text)
}

// ExecAs is Exec as another user, who comes into being like one that logs in.
func (s *Server) ExecAs(ctx context.Context, user, text string) error {
	return s.execAs(ctx, user, text)
}

// Faults of this server.
func (s *Server) Faults() *Faults { return &s.faults }

// Revision counts committed catalog changes.
func (s *Server) Revision() uint64 { return s.catalog.Load().revision }

// SessionInfo describes one open session.
type SessionInfo struct {
	ConnID            uint32
	User, Application string
	Cluster           string
	SearchPath        []string
	// Status is I, T or E as ReadyForQuery reported it last.
	Status byte
	// Statements answered so far, errors included.
	Statements uint64
}

// Sessions lists the open sessions, by connection id.
func (s *Server) Sessions() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SessionInfo, 0, len(s.sessions))
	for _, se := range s.sessions {
		out = append(out, *se.info.Load())
	}
	slices.SortFunc(out, func(a, b SessionInfo) int { return cmp.Compare(a.ConnID, b.ConnID) })
	return out
}

// AuditEvent is one row of mz_catalog.mz_audit_events.
type AuditEvent struct {
	ID                    uint64
	EventType, ObjectType string
	// Details is a JSON object.
	Details    string
	User       string
	OccurredAt time.Time
}

// AuditEvents lists all of them, oldest first.
func (s *Server) AuditEvents() []AuditEvent { return slices.Clone(s.catalog.Load().audit) }
