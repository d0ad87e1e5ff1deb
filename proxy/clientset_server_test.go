package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/pgtest"
	"mzcanary/proxy"
	"mzcanary/router"
)

// run sends a simple Query, as pools do, and wants no error.
func run(t *testing.T, conn *pgx.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := conn.PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func readsVersion(t *testing.T, conn *pgx.Conn, when, want string) {
	t.Helper()
	var v string
	err := conn.QueryRow(t.Context(), "SELECT version FROM answer WHERE k = 1", pgx.QueryExecModeSimpleProtocol).Scan(&v)
	if err != nil || v != want {
		t.Fatalf("%s: version %q, want %q; %v", when, v, want, err)
	}
}

// resets are what pools send between two users of a connection.
var resets = map[string]string{
	"DISCARD ALL": "DISCARD ALL",
	"asyncpg":     "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
	"Npgsql with prepared statements": "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;" +
		"SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP",
	"RESET": "RESET search_path",
}

// TestPoolResetsOnPostgres: under both rules, after each pool's reset the session
// is where it belongs.
func TestPoolResetsOnPostgres(t *testing.T) {
	for _, rule := range []proxy.ClientSet{proxy.MapClientSet, proxy.ReleaseClientSet} {
		s := onPostgres(t, func(c *proxy.Config) { c.ClientSet = func(string) proxy.ClientSet { return rule } })
		for name, reset := range resets {
			t.Run(fmt.Sprintf("%d %s", rule, name), func(t *testing.T) {
				s.weigh(100)
				conn := s.connect(onProd)
				run(t, conn, "SET statement_timeout = '1min'") // nothing to us
				readsVersion(t, conn, "after another SET", "new")
				run(t, conn, reset)
				readsVersion(t, conn, "after the reset", "new")
				run(t, conn, "SET search_path = pg_catalog")
				var path string
				if err := conn.QueryRow(t.Context(), "SHOW search_path").Scan(&path); err != nil || path != "pg_catalog" {
					t.Fatalf("search_path %q, %v", path, err)
				}
				run(t, conn, reset)
				readsVersion(t, conn, "after names of its own and the reset", "new")
				s.weigh(0)
				readsVersion(t, conn, "at weight 0", "old")
			})
		}
	}
}

// TestNpgsqlPrependsItsReset: the reset goes out together with the next
// statement, which must not run on what it restores (I9).
func TestI9NpgsqlPrependsItsReset(t *testing.T) {
	s := onPostgres(t)
	s.weigh(100)
	conn := s.connect(onProd)
	for _, reset := range []string{"DISCARD ALL", resets["Npgsql with prepared statements"]} {
		p := conn.PgConn().Conn()
		var b []byte
		for _, text := range []string{reset, "SELECT version FROM answer WHERE k = 1"} {
			b = append(b, 'Q', 0, 0, byte((len(text)+5)>>8), byte(len(text)+5))
			b = append(append(b, text...), 0)
		}
		if _, err := p.Write(b); err != nil {
			t.Fatal(err)
		}
		var got []string
		for ready := 0; ready < 2; {
			m, err := conn.PgConn().Frontend().Receive()
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, show(m))
			if got[len(got)-1] == "Z I" {
				ready++
			}
		}
		if row := got[len(got)-3]; row != `D "new"` {
			t.Errorf("%s: the next statement read %s", reset, row)
		}
	}
}

// TestOwnNamesOnPostgres: the server reports nothing; the tag of a SET makes the
// proxy ask.
func TestOwnNamesOnPostgres(t *testing.T) {
	s := onPostgres(t)
	s.weigh(100)
	conn := s.connect(onProd)
	is := func(what string, ok func(i proxy.SessionInfo) bool) {
		t.Helper()
		eventually(t, what, func() bool { return ok(s.p.Sessions("")[0]) })
	}
	run(t, conn, "SET search_path = pg_catalog")
	is("unmanaged", unmanaged)
	run(t, conn, "SET search_path = 'prod'") // pgjdbc's setSchema
	readsVersion(t, conn, "back on live names", "new")
	is("managed", managed)
	run(t, conn, "SET search_path = prod_deploy")
	s.weigh(0)
	readsVersion(t, conn, "on names that are the canary's", "old") // as placed: they stand for prod
	run(t, conn, "SET search_path = prod_deploy")
	readsVersion(t, conn, "on deploy names of its own", "new")
	is("fixed", func(i proxy.SessionInfo) bool { return i.Fixed == router.FixedByNames.String() })
	run(t, conn, "SET search_path = prod")
	readsVersion(t, conn, "on live names", "old")
	s.weigh(100)
	run(t, conn, "BEGIN; SET LOCAL search_path = pg_catalog; COMMIT")
	readsVersion(t, conn, "after SET LOCAL", "new")
	run(t, conn, "BEGIN; SET search_path = pg_catalog; ROLLBACK")
	readsVersion(t, conn, "after a SET rolled back", "new")

	plain := s.connect("search_path=public")
	is2 := func(want string) {
		t.Helper()
		eventually(t, "deployment "+want, func() bool { return s.p.Sessions("")[1].Deployment == want })
	}
	is2("")
	run(t, plain, "SET search_path = prod")
	readsVersion(t, plain, "an unmanaged session says live names", "new")
	is2(shop)
	run(t, plain, "DISCARD ALL")
	is2("")
}

// TestOwnNamesOnMaterialize: the same, told by ParameterStatus.
func TestOwnNamesOnMaterialize(t *testing.T) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			s, _ := onSim(t, v)
			s.weigh(100)
			conn, err := pgx.Connect(t.Context(), dsnOf(s, onProdCluster))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			readsVersion(t, conn, "at first", "new")
			run(t, conn, "SET search_path = public", "SET cluster = quickstart")
			eventually(t, "unmanaged", func() bool { return unmanaged(s.p.Sessions("")[0]) })
			run(t, conn, "SET schema = prod", "SET cluster = prod")
			readsVersion(t, conn, "back on live names", "new")
			run(t, conn, "BEGIN", "SET LOCAL search_path = public", "COMMIT")
			readsVersion(t, conn, "after SET LOCAL", "new")
			run(t, conn, "BEGIN", "SET search_path = public", "ROLLBACK")
			readsVersion(t, conn, "after a SET rolled back", "new")
			s.weigh(0)
			readsVersion(t, conn, "at weight 0", "old")
			if i := s.p.Sessions("")[0]; i.ClientSets == 0 || i.ClientSet == "" {
				t.Errorf("session %+v", i)
			}
		})
	}
}

// TestPgbouncerInFront: the real one, session pooling with
// server_reset_query=DISCARD ALL. Its clients take turns on one session of ours.
func TestPgbouncerInFront(t *testing.T) {
	for _, rule := range []proxy.ClientSet{proxy.MapClientSet, proxy.ReleaseClientSet} {
		s := onPostgres(t, func(c *proxy.Config) { c.ClientSet = func(string) proxy.ClientSet { return rule } })
		run(t, s.connect(onProd), "DO $$ BEGIN CREATE ROLE pooled LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
			"ALTER ROLE pooled SET search_path = prod")
		addr := pgbouncer(t, s.addr)
		for round, want := range []string{"old", "new", "new", "old"} {
			s.weigh(map[string]int{"old": 0, "new": 100}[want])
			conn, err := pgx.Connect(t.Context(), pgtest.DSN(addr, "postgres", "default_query_exec_mode=simple_protocol"))
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			readsVersion(t, conn, fmt.Sprintf("round %d", round), want)
			run(t, conn, "SET search_path = pg_catalog") // left behind for the next one
			if err := conn.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the session is reset", func() bool {
				for _, i := range s.p.Sessions("") {
					if i.User == "pooled" {
						return i.Deployment == shop && i.Place == proxy.PlaceBoundary
					}
				}
				return false
			})
		}
	}
}

// pgbouncer starts one in front of addr, or says that it is missing. Its role has
// search_path=prod as its own, because it passes no start-up option on.
func pgbouncer(t *testing.T, addr string) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		if path = "/usr/sbin/pgbouncer"; !executable(path) {
			pgtest.Missing(t, "pgbouncer is not installed; install it to run this test")
		}
	}
	host, port, _ := net.SplitHostPort(addr)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().(*net.TCPAddr)
	free.Close()
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
postgres = host=%s port=%s user=pooled
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
auth_type = any
pool_mode = session
server_reset_query = DISCARD ALL
default_pool_size = 1
unix_socket_dir =
ignore_startup_parameters = extra_float_digits
`, host, port, listen.Port)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, file)
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			pgtest.Missing(t, "pgbouncer does not run as root: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	out := net.JoinHostPort("127.0.0.1", strconv.Itoa(listen.Port))
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := net.Dial("tcp", out)
		if err == nil {
			c.Close()
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("pgbouncer does not listen: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}
