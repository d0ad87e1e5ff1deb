package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

// script plays lines against a fresh server with the two versions.
func script(t *testing.T, o Options, text string) *Server {
	t.Helper()
	s, plain, internal := startServer(t, o)
	setUp(t, s)
	r := &replay{t: t, plain: plain, internal: internal, conns: map[string]*client{}}
	t.Cleanup(func() {
		for _, c := range r.conns {
			c.close()
		}
	})
	r.run(text)
	return s
}

// TestPendingReadEndsWithDrop: a SELECT that waits ends when what it names goes, or else its cluster.
func TestPendingReadEndsWithDrop(t *testing.T) {
	t.Parallel()
	for drop, want := range map[string]string{
		"DROP VIEW prod.answer CASCADE":      `query could not complete because relation "materialize.prod.answer" was dropped`,
		"DROP TABLE public.base CASCADE":     `query could not complete because relation "materialize.prod.answer" was dropped`,
		"DROP CLUSTER prod CASCADE":          `query could not complete because cluster "prod" was dropped`,
		"ALTER SCHEMA prod RENAME TO gone":   "",
		"ALTER CLUSTER prod RENAME TO other": "",
	} {
		t.Run(drop, func(t *testing.T) {
			t.Parallel()
			s, addr := prepareVersions(t, Options{})
			must(t, s.Faults().HangReplica("prod", "r1"))
			c := connectPGX(t, addr, "options='-c search_path=prod -c cluster=prod'")
			var acting sync.WaitGroup
			acting.Go(func() {
				awaitLive(t, s, 1)
				if err := s.ExecAs(context.Background(), "materialize", drop); err != nil {
					t.Error(err)
				}
				if want == "" {
					if err := s.Faults().StartReplica(s.clusterOf("prod", "other"), "r1"); err != nil {
						t.Error(err)
					}
				}
			})
			_, err := c.Exec(t.Context(), "SELECT * FROM answer")
			acting.Wait()
			switch {
			case want == "" && err != nil:
				t.Errorf("a rename ended the read: %v", err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// clusterOf is the first of the names that exists.
func (s *Server) clusterOf(names ...string) string {
	for _, n := range names {
		if s.catalog.Load().clusterByName(n) != nil {
			return n
		}
	}
	return ""
}

// TestSubscribeCursor follows a table through a cursor: the snapshot, one change in pieces, a timeout, and the end
// by a drop after everything that came before it has been handed out.
func TestSubscribeCursor(t *testing.T) {
	t.Parallel()
	script(t, Options{}, `
connect op QUIET user=materialize
connect a QUIET user=app cluster=prod search_path=prod
a: Q BEGIN
  <- C "BEGIN"
  <- Z T
a: Q DECLARE c CURSOR FOR SUBSCRIBE (SELECT k FROM answer WHERE k > 1)
  <- C "DECLARE CURSOR"
  <- Z T
a: Q FETCH ALL c
  <- T mz_timestamp:1700/0 mz_diff:20/0 k:23/0
  <- D "<ts>" "1" "2"
  <- D "<ts>" "1" "3"
  <- C "FETCH 2"
  <- Z T
a: Q FETCH 5 c WITH (timeout = '10ms')
  <- T mz_timestamp:1700/0 mz_diff:20/0 k:23/0
  <- C "FETCH 0"
  <- Z T
op: Q INSERT INTO base VALUES (7, 'x'), (8, 'y')
  <- C "INSERT 0 2"
  <- Z I
op: Q DELETE FROM base WHERE k = 2
  <- C "DELETE 1"
  <- Z I
a: Q FETCH 1 c
  <- T mz_timestamp:1700/0 mz_diff:20/0 k:23/0
  <- D "<ts>" "1" "7"
  <- C "FETCH 1"
  <- Z T
a: Q SELECT 1
  <- T ?column?:23/0
  <- E S="ERROR" C="25000" M="SUBSCRIBE in transactions must be the only read statement"
  <- Z E
a: Q ROLLBACK
  <- C "ROLLBACK"
  <- Z I
a: Q BEGIN
  <- C "BEGIN"
  <- Z T
a: Q DECLARE c CURSOR FOR SUBSCRIBE (SELECT count(*) AS n FROM answer) WITH (SNAPSHOT = false)
  <- C "DECLARE CURSOR"
  <- Z T
a: Q FETCH 1 c WITH (timeout = '1ms')
  <- T mz_timestamp:1700/0 mz_diff:20/0 n:20/0
  <- C "FETCH 0"
  <- Z T
op: Q INSERT INTO base VALUES (9, 'z')
  <- C "INSERT 0 1"
  <- Z I
op: Q DROP VIEW prod.answer CASCADE
  <- N S="NOTICE" C="00000" M="drop cascades to 1 other object" D="drop cascades to INDEX \"materialize.prod.answer_idx\""
  <- C "DROP VIEW"
  <- Z I
op: Q INSERT INTO base VALUES (10, 'after')
  <- C "INSERT 0 1"
  <- Z I
a: Q FETCH ALL c
  <- T mz_timestamp:1700/0 mz_diff:20/0 n:20/0
  <- D "<ts>" "-1" "4"
  <- D "<ts>" "1" "5"
  <- C "FETCH 2"
  <- Z T
a: Q FETCH ALL c
  <- T mz_timestamp:1700/0 mz_diff:20/0 n:20/0
  <- E S="ERROR" C="XX000" M="subscribe has been terminated because underlying relation \"materialize.prod.answer\" was dropped"
  <- Z E
a: Q ROLLBACK
  <- C "ROLLBACK"
  <- Z I`)
}

// TestWriteTransactions commits by table id, and fails when the table is gone.
func TestWriteTransactions(t *testing.T) {
	t.Parallel()
	script(t, Options{}, `
connect op QUIET user=materialize
connect w QUIET user=materialize
w: Q BEGIN
  <- C "BEGIN"
  <- Z T
w: Q SELECT 1
  <- T ?column?:23/0
  <- D "1"
  <- C "SELECT 1"
  <- Z T
w: Q INSERT INTO base VALUES (20, 'q')
  <- C "INSERT 0 1"
  <- Z T
op: Q SELECT count(*) FROM base
  <- T count:20/0
  <- D "3"
  <- C "SELECT 1"
  <- Z I
op: Q ALTER TABLE base RENAME TO moved
  <- C "ALTER TABLE"
  <- Z I
w: Q COMMIT
  <- C "COMMIT"
  <- Z I
op: Q SELECT count(*) FROM moved
  <- T count:20/0
  <- D "4"
  <- C "SELECT 1"
  <- Z I
w: Q BEGIN
  <- C "BEGIN"
  <- Z T
w: Q INSERT INTO moved VALUES (21, 'q')
  <- C "INSERT 0 1"
  <- Z T
w: Q SELECT count(*) FROM moved
  <- T count:20/0
  <- E S="ERROR" C="25000" M="transaction in write-only mode"
  <- Z E
w: Q ROLLBACK
  <- C "ROLLBACK"
  <- Z I
op: Q INSERT INTO moved VALUES (1, 'x'); UPDATE moved SET v = 'y'
  <- C "INSERT 0 1"
  <- E S="ERROR" C="25001" M="UPDATE moved SET v = 'y' cannot be run inside a transaction block"
  <- Z I
op: Q SELECT count(*) FROM moved
  <- T count:20/0
  <- D "4"
  <- C "SELECT 1"
  <- Z I`)
}

// TestLists runs every SHOW … of objects the simulator knows.
func TestLists(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	c := connectPGX(t, addr, "options='-c search_path=prod'")
	for query, want := range map[string]string{
		"SHOW DATABASES": "materialize", "SHOW SCHEMAS": "information_schema", "SHOW CLUSTERS": "mz_catalog_server r1 (25cc)",
		"SHOW VIEWS": "answer", "SHOW MATERIALIZED VIEWS": "total prod", "SHOW OBJECTS": "answer view", "SHOW TABLES": "no row",
		"SHOW TYPES": "0A000", "SHOW ROLES": "app", "SHOW server_version": "9.5.0", "SHOW nothing": "42704",
	} {
		if got := scalar(t, c, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// TestRefusals: what the simulator lacks says so.
func TestRefusals(t *testing.T) {
	t.Parallel()
	_, addr := prepareVersions(t, Options{})
	c := connectPGX(t, addr, "user=materialize")
	for _, query := range []string{
		"SUBSCRIBE (SELECT 1)", "SUBSCRIBE mz_catalog.mz_objects", "SUBSCRIBE base UP TO 5", "COPY base TO STDOUT WITH (FORMAT BINARY)",
		"BEGIN; DELETE FROM base", "SHOW TYPES", "COMMIT AND CHAIN",
	} {
		_, err := c.PgConn().Exec(t.Context(), query).ReadAll()
		if codeOf(err) != "0A000" || !strings.Contains(err.Error(), "mzcanary simulator: ") {
			t.Errorf("%s: %v", query, err)
		}
		if _, err := c.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
	}
}

// TestIdleInTransaction: the session ends in silence and says why only when the client speaks again.
func TestIdleInTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		c := connectMemory(t, s, "app", "")
		exec := func(query string) string {
			_, err := c.Exec(t.Context(), query)
			return codeOf(err)
		}
		for _, q := range []string{"SELECT 1", "BEGIN"} {
			if got := exec(q); got != "<nil>" {
				t.Fatal(got)
			}
			time.Sleep(100 * time.Second)
		}
		if got := exec("SELECT 1"); got != "<nil>" {
			t.Errorf("after 100 s: %s", got)
		}
		time.Sleep(121 * time.Second)
		if got := exec("COMMIT"); got != "25P03" {
			t.Errorf("after 121 s: %s", got)
		}
	})
}

// TestSilenceAfterClientEnd: a statement that waits ends soon after its client has gone.
func TestSilenceAfterClientEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		must(t, s.ExecAs(t.Context(), "app", "CREATE TEMPORARY VIEW v AS SELECT 1"))
		must(t, s.ExecAs(t.Context(), "materialize", "CREATE TABLE t (a int)"))
		must(t, s.Faults().HangReplica("quickstart", "r1"))
		mine, theirs := net.Pipe()
		var serving sync.WaitGroup
		serving.Go(func() { s.ServeConn(t.Context(), theirs) })
		c := &client{conn: mine}
		c.fe = newFrontend(mine)
		if _, err := c.startup(protocol30, []string{"user", "materialize"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.do("q SELECT * FROM t", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(s.Sessions()); n != 1 {
			t.Errorf("%d sessions", n)
		}
		mine.Close()
		serving.Wait()
		if n := len(s.Sessions()) + len(s.live); n != 0 {
			t.Errorf("%d sessions and reads left", n)
		}
	})
}

// TestProtocolErrors ends a session with a sentence when a message makes no sense.
func TestProtocolErrors(t *testing.T) {
	t.Parallel()
	_, addr, _ := startServer(t, Options{})
	for raw, want := range map[string]string{
		"F\x00\x00\x00\x04": `E S="FATAL" C="08006" M="unknown message type 70"`,
		"~\x00\x00\x00\x04": `E S="FATAL" C="08006" M="unknown message type 126"`,
		"Q\x7f\x00\x00\x00": `E S="FATAL" C="08006" M="frame size too big"`,
		"X\x00\x00\x00\x04": "(eof)",
	} {
		c, err := dialRaw(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		if _, err := c.startup(protocol30, []string{"user", "app"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.conn.Write([]byte(raw)); err != nil {
			t.Fatal(err)
		}
		if got, err := c.recv(guard); err != nil || got != want {
			t.Errorf("%q: %s, %v; want %s", raw, got, err, want)
		}
	}
}

// TestTLS upgrades a connection, and answers N without a certificate.
func TestTLS(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"sim"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for mode, config := range map[string]*tls.Config{"require": {Certificates: []tls.Certificate{cert}}, "disable": nil} {
		_, addr, _ := startServer(t, Options{TLS: config})
		host, port, _ := strings.Cut(addr, ":")
		c, err := pgx.Connect(t.Context(), "user=app sslmode="+mode+" host="+host+" port="+port)
		must(t, err)
		_, secure := c.PgConn().Conn().(*tls.Conn)
		if secure != (config != nil) || scalar(t, c, "SELECT 2") != "2" {
			t.Errorf("%s: secure %v", mode, secure)
		}
		must(t, c.Close(t.Context()))
	}
	_, addr, _ := startServer(t, Options{})
	host, port, _ := strings.Cut(addr, ":")
	if _, err := pgx.Connect(t.Context(), "user=app sslmode=require host="+host+" port="+port); err == nil {
		t.Error("TLS without a certificate")
	}
}
