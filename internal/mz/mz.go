package mz

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"mzcanary/deploy"
)

// The kinds of server a Warehouse can speak to.
const (
	Materialize = "materialize"
	Postgres    = "postgres"
)

// Config says where the server is and who asks. The zero value of every optional
// field means something sensible.
type Config struct {
	// Kind is Materialize (also when empty) or Postgres.
	Kind string
	// Address is host:port. A host that starts with a slash is the directory of a
	// Unix socket.
	Address string
	User    string
	// Database the control connections log in to; empty means "materialize".
	Database string
	// Password is asked for at every connect; nil means there is none. What it
	// returns is never logged and never part of an error.
	Password func() (string, error)
	// PasswordFrom says in words where that comes from, for whoever has to correct it.
	PasswordFrom string
	// TLS encrypts, and refuses a server that does not; nil means plain text.
	TLS *tls.Config
	// DialTimeout bounds a connect with its login; zero means 5 seconds.
	DialTimeout time.Duration
	// Dial opens the network connection; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ReadTimeout bounds one reading call beside its context, DDLTimeout one that
	// changes something; zero means 30 seconds and 2 minutes. Catalog reads take
	// seconds on a busy server, and DDL waits in line behind other DDL.
	ReadTimeout, DDLTimeout time.Duration
	// Log gets a line per connect, loss and change; nil discards.
	Log *slog.Logger
}

// Warehouse asks and changes one server. Safe for concurrent use.
type Warehouse struct {
	cfg     Config
	dialect dialect
	log     *slog.Logger

	aliveLook time.Duration // aliveLook, but in tests

	reading, ddl *control

	readOnly      atomic.Bool // the server's last word on DDL was 25006
	inTransaction atomic.Bool // a Prepared holds the DDL connection

	closing context.Context // ends at Close
	stop    context.CancelFunc

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; every open socket, cancel requests included
	ended []chan struct{}       // guarded by mu; what pgconn still cleans up
}

var _ deploy.Warehouse = (*Warehouse)(nil)

// ErrClosed is returned by every call after Close.
var ErrClosed = fmt.Errorf("%w: the warehouse is closed", deploy.ErrUnavailable)

// ErrUnsupported is wrapped when the kind of server cannot do what was asked, as
// swapping clusters on PostgreSQL.
var ErrUnsupported = errors.New("not supported by this kind of server")

// New returns a Warehouse that has opened nothing yet.
func New(cfg Config) *Warehouse {
	if cfg.Kind == "" {
		cfg.Kind = Materialize
	}
	if cfg.Database == "" {
		cfg.Database = "materialize"
	}
	setDefault(&cfg.DialTimeout, 5*time.Second)
	setDefault(&cfg.ReadTimeout, 30*time.Second)
	setDefault(&cfg.DDLTimeout, 2*time.Minute)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Warehouse{cfg: cfg, log: cfg.Log, aliveLook: aliveLook, conns: map[net.Conn]struct{}{}}
	w.closing, w.stop = context.WithCancel(context.Background())
	w.dialect = newDialect(cfg.Kind)
	w.reading = newControl(w, "reading")
	w.ddl = newControl(w, "ddl")
	return w
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}
