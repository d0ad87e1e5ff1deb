//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotInstalled is returned by Start where there is no PostgreSQL.
var ErrNotInstalled = errors.New("PostgreSQL is not installed (looked for initdb and postgres under /usr/lib/postgresql and in PATH)")

// Roles that log in with each kind of authentication, besides postgres, which is
// trusted. Their password is Password.
const (
	RoleCleartext = "by_cleartext"
	RoleMD5       = "by_md5"
	RoleSCRAM     = "by_scram"
	Password      = "correct horse"
)

// Server is a running PostgreSQL.
type Server struct {
	Host string // 127.0.0.1
	Port int
	PID  int

	dir  string
	cmd  *exec.Cmd
	done chan error
	log  *os.File
}

// Addr is the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// DSN is a connection string for a role over the given address: the server's
// own or that of a proxy.
func DSN(addr, role string, options ...string) string {
	host, port, _ := net.SplitHostPort(addr)
	dsn := fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", host, port, role)
	if role != "postgres" {
		dsn += " password='" + Password + "'"
	}
	return strings.Join(append([]string{dsn}, options...), " ")
}

// Need gives the server that start starts, which is typically a
// sync.OnceValues of Start. Without PostgreSQL the test is skipped, or fails
// when MZCANARY_TEST_REQUIRE_POSTGRES=1.
func Need(tb testing.TB, start func() (*Server, error)) *Server {
	tb.Helper()
	s, err := start()
	switch {
	case err == nil:
		return s
	case errors.Is(err, ErrNotInstalled):
		Missing(tb, "%v; install it to run this test", err)
	default:
		tb.Fatalf("no PostgreSQL to test against: %v", err)
	}
	return nil
}

// Missing ends a test for want of a program that it needs: skips it with the
// sentence, or fails it when MZCANARY_TEST_REQUIRE_POSTGRES=1.
func Missing(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("MZCANARY_TEST_REQUIRE_POSTGRES") == "1" {
		tb.Fatalf("cannot be skipped here (MZCANARY_TEST_REQUIRE_POSTGRES=1): "+format, args...)
	}
	tb.Skipf("skipped: "+format, args...)
}

const startTime = 60 * time.Second

// Options are how a server may differ from the one Start gives.
type Options struct {
	// Cert and Key are PEM; with them the server offers TLS.
	Cert, Key []byte
	// Settings are lines of postgresql.conf, which count more than ours.
	Settings []string
}

// Start starts a server and waits until it answers. Stop must be called.
func Start() (*Server, error) { return StartWith(Options{}) }

// StartWith is Start with options.
func StartWith(o Options) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	cred, err := owner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mzcanary-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{Host: "127.0.0.1", dir: dir, done: make(chan error, 1)}
	if err := s.start(bin, cred, o); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(bin string, cred *syscall.Credential, o Options) error {
	ctx, done := context.WithTimeout(context.Background(), startTime)
	defer done()
	if cred != nil {
		if err := os.Chown(s.dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir, initdb.SysProcAttr = s.dir, attributes(cred)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := s.configure(data, cred, o); err != nil {
		return err
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data)
	s.cmd.Dir, s.cmd.SysProcAttr = s.dir, attributes(cred)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	s.PID = s.cmd.Process.Pid
	go func() { s.done <- s.cmd.Wait() }()
	return s.awaitReady(ctx)
}

func (s *Server) configure(data string, cred *syscall.Credential, o Options) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.Port = port
	conf := fmt.Sprintf("listen_addresses = '127.0.0.1'\nport = %d\nunix_socket_directories = ''\nmax_connections = 400\nfsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 32MB\nlog_min_messages = fatal\n", port) +
		strings.Join(o.Settings, "\n") + "\n"
	hba := "host all " + RoleCleartext + " 127.0.0.1/32 password\nhost all " + RoleMD5 + " 127.0.0.1/32 md5\nhost all " + RoleSCRAM + " 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
	files := map[string]string{"postgresql.conf": conf, "pg_hba.conf": hba}
	if o.Cert != nil {
		files["postgresql.conf"] += "ssl = on\n"
		files["server.crt"], files["server.key"] = string(o.Cert), string(o.Key)
	}
	for name, text := range files {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if cred != nil {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitReady connects until the server answers, and makes the roles.
func (s *Server) awaitReady(ctx context.Context) error {
	for {
		conn, err := pgconn.Connect(ctx, DSN(s.Addr(), "postgres"))
		if err == nil {
			defer conn.Close(ctx)
			return conn.Exec(ctx, "CREATE ROLE "+RoleCleartext+" LOGIN PASSWORD '"+Password+"'; CREATE ROLE "+RoleSCRAM+" LOGIN PASSWORD '"+Password+
				"'; SET password_encryption = 'md5'; CREATE ROLE "+RoleMD5+" LOGIN PASSWORD '"+Password+"'").Close()
		}
		select {
		case werr := <-s.done:
			s.done <- werr
			text, _ := os.ReadFile(s.log.Name())
			return fmt.Errorf("postgres ended at once: %w: %s", errors.Join(werr), text)
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer on %s: %w", s.Addr(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server and removes its directory.
func (s *Server) Stop() error {
	var err error
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // immediate: nothing is worth keeping
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			err = errors.Join(fmt.Errorf("postgres (process %d) did not end; killed", s.PID), s.cmd.Process.Kill())
			<-s.done
		}
	}
	if s.log != nil {
		s.log.Close()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// programs finds the newest installation.
func programs() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(dirs)
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", ErrNotInstalled
}

// owner is who the server runs as: the user postgres for root, else ourselves.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the server refuses to run as root, and there is no user postgres: %w", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
