package sim

import (
	"context"
	"net"
	"time"
)

// Server is a simulated Materialize. Create it with New.
type Server struct{ faults Faults }

// New makes a server with the databases, clusters and roles of a fresh installation. It has no goroutine until
// something is served.
func New(o Options) *Server { s := &Server{}; s.faults.s = s; return s }

// Serve accepts on ln until ctx ends, then closes every session and returns after all of them have ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { panic("not yet") }

// ServeInternal is Serve for the internal listener: no authentication, and mz_system may log in.
func (s *Server) ServeInternal(ctx context.Context, ln net.Listener) error { panic("not yet") }

// ServeConn serves one connection until it ends or ctx does. It closes c.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) { panic("not yet") }

// ServeInternalConn is ServeConn as on the internal listener.
func (s *Server) ServeInternalConn(ctx context.Context, c net.Conn) { panic("not yet") }

// Exec runs statements separated by ; as mz_system, each on its own, and stops at the first error.
func (s *Server) Exec(ctx context.Context, text string) error { panic("not yet") }

// Faults of this server.
func (s *Server) Faults() *Faults { return &s.faults }

// Revision counts committed catalog changes.
func (s *Server) Revision() uint64 { return 0 }

// SessionInfo describes one open session.
type SessionInfo struct {
	ConnID            uint32
	User, Application string
	Cluster           string
	SearchPath        []string
	// Status is I, T or E as ReadyForQuery reports it.
	Status byte
	// Statements answered so far, errors included.
	Statements uint64
}

// Sessions lists the open sessions, by connection id.
func (s *Server) Sessions() []SessionInfo { return nil }

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
func (s *Server) AuditEvents() []AuditEvent { return nil }
