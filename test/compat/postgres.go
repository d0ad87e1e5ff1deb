package main

import (
	"bytes"
	"context"
	_ "embed"
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
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var schemaSQL string

// The roles of the suites, one per kind of authentication, all with one password.
const (
	database = "compat"
	password = "compat-password"
	mainUser = "compat_scram"
)

var authRoles = [...]struct{ name, method, encryption string }{
	{"compat_trust", "trust", "scram-sha-256"},
	{"compat_password", "password", "scram-sha-256"},
	{"compat_md5", "md5", "md5"},
	{"compat_scram", "scram-sha-256", "scram-sha-256"},
}

// target is where a suite connects to.
type target struct {
	host string
	port int
	env  []string // what programs must know of the server
}

// via says in the environment which way a target is reached. Through the proxy a
// RESET always restores what the session started with.
func (t target) via(way string) target {
	t.env = append(slices.Clip(t.env), "COMPAT_WAY="+way)
	if way == "proxied" {
		t.env = append(t.env, "COMPAT_RESETS=startup")
	}
	return t
}

// postgres is a private server in a directory of its own.
type postgres struct {
	port    int
	version string
	cmd     *exec.Cmd
	exited  chan error
	log     string
	tls     certificate
}

// startPostgres makes and starts a server with both schemas.
func startPostgres(ctx context.Context, work string) (*postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(work, "data")
	if err := os.RemoveAll(data); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	if as != nil {
		if err := os.Chown(data, int(as.Uid), int(as.Gid)); err != nil {
			return nil, err
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		cmd.Env = append(plainEnv(), "LC_ALL=C.UTF-8")
		cmd.Dir = data
		return cmd
	}
	if out, err := command("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	p := &postgres{log: filepath.Join(work, "postgres.log"), exited: make(chan error, 1)}
	if err := p.configure(data, as); err != nil {
		return nil, err
	}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	logFile, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	p.cmd = command("postgres", "-D", data, "-p", strconv.Itoa(p.port))
	p.cmd.Stdout, p.cmd.Stderr = logFile, logFile
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	if err := p.seed(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// configure writes what differs from a new cluster: authentication by role, TLS,
// and no waiting for a disk that nobody will read again.
func (p *postgres) configure(data string, as *syscall.Credential) error {
	var err error
	if p.tls, err = selfSigned(); err != nil {
		return err
	}
	hba := "host all postgres 127.0.0.1/32 trust\n"
	for _, r := range authRoles {
		hba += fmt.Sprintf("host all %s 127.0.0.1/32 %s\n", r.name, r.method)
	}
	files := map[string]string{
		"pg_hba.conf": hba,
		"server.crt":  p.tls.cert,
		"server.key":  p.tls.key,
		"postgresql.auto.conf": strings.Join([]string{
			"listen_addresses = '127.0.0.1'", "unix_socket_directories = ''", "max_connections = 300", "fsync = off",
			"synchronous_commit = off", "full_page_writes = off", "ssl = on", "ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'",
			"max_prepared_transactions = 10", "log_min_messages = warning", "log_min_error_statement = panic", "jit = off", "timezone = 'UTC'", "",
		}, "\n"),
	}
	for name, content := range files {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if as != nil {
			if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// seed waits for the server and makes roles, database and both versions.
func (p *postgres) seed(ctx context.Context) error {
	admin, err := p.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer admin.Close(context.WithoutCancel(ctx))
	if err := admin.QueryRow(ctx, "SELECT 'PostgreSQL ' || current_setting('server_version')").Scan(&p.version); err != nil {
		return fmt.Errorf("ask the version: %w", err)
	}
	p.version = strings.TrimSpace(strings.Split(p.version, "(")[0])
	var roles strings.Builder
	for _, r := range authRoles {
		fmt.Fprintf(&roles, "SET password_encryption = '%s'; CREATE ROLE %s LOGIN PASSWORD '%s';", r.encryption, r.name, password)
	}
	if _, err := admin.Exec(ctx, roles.String()); err != nil {
		return fmt.Errorf("make the roles: %w", err)
	}
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	conn, err := p.connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for schema, version := range map[string]string{"prod": "old", "prod_deploy": "new"} {
		sql := strings.NewReplacer("{schema}", schema, "{version}", version).Replace(schemaSQL)
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make schema %s: %w", schema, err)
		}
	}
	if _, err := conn.Exec(ctx, "ANALYZE"); err != nil {
		return fmt.Errorf("analyze: %w", err)
	}
	return nil
}

// startUp is how long a server gets to answer for the first time.
const startUp = 30 * time.Second

func (p *postgres) connect(ctx context.Context, db string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, startUp)
	defer cancel()
	dsn := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable default_query_exec_mode=simple_protocol", p.port, db)
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return conn, nil
		}
		select {
		case exit := <-p.exited:
			p.exited <- exit
			return nil, fmt.Errorf("postgres ended (%v):\n%s", exit, tail(p.log))
		case <-ctx.Done():
			return nil, fmt.Errorf("postgres does not answer: %w\n%s", err, tail(p.log))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *postgres) target() target {
	return target{"127.0.0.1", p.port, []string{"COMPAT_SERVER=postgres", "COMPAT_DATABASE=" + database, "COMPAT_USER=" + mainUser, "COMPAT_PASSWORD=" + password}}
}

func (p *postgres) proxyConfig() proxyConfig {
	return proxyConfig{kind: onPostgres, upstream: p.port, control: "postgres", database: database, tls: p.tls}
}

// stop is a fast shutdown; the server gets five seconds for it.
func (p *postgres) stop() error { return stopProcess(p.cmd, p.exited, syscall.SIGINT, "postgres") }

// stopProcess asks a child to end and makes it end when it does not.
func stopProcess(cmd *exec.Cmd, exited chan error, sig syscall.Signal, name string) error {
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(5 * time.Second):
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-exited
	return fmt.Errorf("%s did not stop by itself within five seconds", name)
}

// postgresBin finds the newest server installed the Debian way, or on the path.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		slices.Sort(found)
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("no PostgreSQL server is installed (Debian package postgresql)")
	}
	return filepath.Dir(path), nil
}

// serverUser is nil unless this is root, whom the server refuses to run as.
func serverUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is no user postgres: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// plainEnv is the environment without what would steer clients and servers.
func plainEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "MZCANARY_") || strings.HasPrefix(kv, "COMPAT_")
	})
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// tail is the end of a log, for a message about its writer.
func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 3000
	if len(content) > most {
		content = content[len(content)-most:]
	}
	return string(bytes.TrimSpace(content))
}
