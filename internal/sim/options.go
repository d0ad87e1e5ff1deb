package sim

import (
	"crypto/tls"
	"log/slog"
	"time"
)

// DefaultVersion is what the server calls itself when Options.Version is empty: the build whose recorded
// conversations this package replays in its tests.
const DefaultVersion = "v26.4.0-dev.0 (4c45b0938)"

// AuthKind says how clients prove who they are.
type AuthKind int

const (
	// AuthNone asks nothing.
	AuthNone AuthKind = iota
	// AuthCleartext asks for the password itself.
	AuthCleartext
	// AuthMD5 is PostgreSQL's md5 challenge. Materialize has none; it is here to exercise a relay.
	AuthMD5
	// AuthSCRAM is SCRAM-SHA-256 without channel binding.
	AuthSCRAM
)

// Auth is the authentication of the external listener.
type Auth struct {
	Kind AuthKind
	// Passwords by user name. A user who is not listed is refused as one with a wrong password.
	Passwords map[string]string
}

// Options configures a Server. The zero value is a usable server of DefaultVersion.
type Options struct {
	// Version as ParameterStatus mz_version prints it; behaviour that changed between versions follows it.
	Version string
	// Clock tells the time; nil means time.Now. Waits use timers of package time, so that both agree inside a
	// testing/synctest bubble.
	Clock func() time.Time
	// Seed makes ids that look random (swap names, secrets of cancel keys) and shares of failures repeatable.
	Seed uint64
	// Auth of the external listener; the internal one asks nothing.
	Auth Auth
	// TLS answers SSLRequest with S when set, with N when nil.
	TLS *tls.Config
	// Log receives one line per session end and one per fault applied; nil discards.
	Log *slog.Logger
	// HydrationTime is how long a new dataflow takes until it has hydrated. For the first tenth of it the catalog
	// has no row for it at all, as on the real server.
	HydrationTime time.Duration
	// Superusers may do everything; nil means mz_system alone.
	Superusers []string
	// AllowSystemLogin lets mz_system and mz_support log in on the external listener too.
	AllowSystemLogin bool
	// OnChange is told of every published catalog change, in order; it must not block.
	OnChange func(Change)
	// OnStatement is told of every statement before it is executed, with the application_name
	// of its session; it must not block.
	OnStatement func(application, text string)
}
