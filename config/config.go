package config

import "time"

// Config is the whole configuration, in the words of deploy.yaml.
type Config struct {
	Listen      Listen       `mapstructure:"listen"`
	Upstream    Upstream     `mapstructure:"upstream"`
	Control     Control      `mapstructure:"control"`
	Deployments []Deployment `mapstructure:"deployments"`
	Limits      Limits       `mapstructure:"limits"`
	Admin       Admin        `mapstructure:"admin"`
	Observe     Observe      `mapstructure:"observe"`
	State       State        `mapstructure:"state"`
	Log         Log          `mapstructure:"log"`
	Shutdown    Shutdown     `mapstructure:"shutdown"`
}

// Deployment returns the deployment of that name, or nil. Names are case-sensitive.
func (c *Config) Deployment(name string) *Deployment {
	for i := range c.Deployments {
		if c.Deployments[i].Name == name {
			return &c.Deployments[i]
		}
	}
	return nil
}

// Listen is where clients connect.
type Listen struct {
	// Address is host:port; an empty host means all interfaces, port 0 a free port.
	Address string    `mapstructure:"address"`
	TLS     ListenTLS `mapstructure:"tls"`
}

// ListenTLS is TLS towards clients, offered when both files are named.
type ListenTLS struct {
	CertFile string `mapstructure:"cert_file"`
	KeyFile  string `mapstructure:"key_file"`
	// Required refuses clients that do not ask for TLS.
	Required bool `mapstructure:"required"`
	// ClientCAFile holds PEM certificates that clients' certificates must come from.
	ClientCAFile string `mapstructure:"client_ca_file"`
	// ClientAuth says whether clients are asked for a certificate.
	ClientAuth ClientAuth `mapstructure:"client_auth"`
}

// Offered reports whether clients can have TLS.
func (t ListenTLS) Offered() bool { return t.CertFile != "" }

// Upstream is the database server behind the proxy.
type Upstream struct {
	Address string      `mapstructure:"address"`
	Kind    Kind        `mapstructure:"kind"`
	TLS     UpstreamTLS `mapstructure:"tls"`
	// DialTimeout bounds one connection attempt, TLS handshake included.
	DialTimeout time.Duration `mapstructure:"dial_timeout"`
	// ForwardedFor tells the server the address of each session's client.
	ForwardedFor bool `mapstructure:"forwarded_for"`
}

// UpstreamTLS is TLS towards the server.
type UpstreamTLS struct {
	Mode TLSMode `mapstructure:"mode"`
	// CAFile holds PEM certificates to trust; empty means those of the system.
	CAFile string `mapstructure:"ca_file"`
	// ServerName is the name the certificate must carry; empty means the host of
	// Upstream.Address.
	ServerName string `mapstructure:"server_name"`
}

// Control is how the controller itself connects to the server: one connection
// reads the catalog, one runs DDL.
type Control struct {
	User string `mapstructure:"user"`
	// PasswordEnv names the environment variable that holds the password. The
	// default variable may be unset, which means no password.
	PasswordEnv string `mapstructure:"password_env"`
	// PasswordFile names a file that holds it; it is read again for every
	// connection.
	PasswordFile string `mapstructure:"password_file"`
	Database     string `mapstructure:"database"`

	// environ replaces the environment of the process when LoadOptions gave one.
	environ []string
}

// Limits protect the proxy and the server.
type Limits struct {
	MaxSessions int `mapstructure:"max_sessions"`
	// PerUser is the most sessions of one user, 0 for no limit of its own.
	PerUser int `mapstructure:"per_user"`
	// Startup is how long a client may take from connecting to being logged in.
	Startup time.Duration `mapstructure:"startup"`
}

// Admin is the address of the API, loopback only.
type Admin struct {
	Address string `mapstructure:"address"`
}

// Observe is the read-only address of /metrics, /healthz and /readyz.
type Observe struct {
	Address string `mapstructure:"address"`
}

// State is where journals are kept.
type State struct {
	Dir string `mapstructure:"dir"`
}

// Log says what the program writes to standard error.
type Log struct {
	Level  Level  `mapstructure:"level"`
	Format Format `mapstructure:"format"`
}

// Shutdown is what SIGTERM grants.
type Shutdown struct {
	// Drain is how long sessions may go on before they are closed.
	Drain time.Duration `mapstructure:"drain"`
}
