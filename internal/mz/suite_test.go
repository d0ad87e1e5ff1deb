package mz

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
	"mzcanary/internal/sim"
)

// mzEnv names a Materialize to run the suite against, by DSN of a role that may
// create clusters, schemas and roles. Without it the suite runs on the simulator.
const mzEnv = "MZCANARY_TEST_MATERIALIZE"

// server is what the suite runs against: a real server, or a simulator of the
// test's own.
type server struct {
	t        *testing.T
	address  string
	user     string
	password string
	database string
	size     string      // of the clusters the tests create
	sim      *sim.Server // nil for a real server
}

// startServer takes the server named by the environment, or starts a simulator.
func startServer(t *testing.T) *server {
	t.Helper()
	if dsn := os.Getenv(mzEnv); dsn != "" {
		cfg, err := pgconn.ParseConfig(dsn)
		if err != nil {
			t.Fatalf("%s: %v", mzEnv, err)
		}
		s := &server{t: t, address: netAddress(cfg), user: cfg.User, password: cfg.Password, database: cfg.Database}
		if s.database == "" {
			s.database = "materialize"
		}
		s.size = s.value("SELECT r.size FROM mz_catalog.mz_cluster_replicas r JOIN mz_catalog.mz_clusters c ON c.id = r.cluster_id WHERE c.id LIKE 'u%' AND r.size IS NOT NULL LIMIT 1")
		return s
	}
	return startSimulator(t, sim.Options{})
}

// startSimulator starts a simulator on a port of its own, for tests that need faults
// a real server cannot be asked for.
func startSimulator(t *testing.T, o sim.Options) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	simulated := sim.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- simulated.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the simulator ended with %v", err)
		}
	})
	return &server{t: t, address: ln.Addr().String(), user: "materialize", database: "materialize", size: "bootstrap", sim: simulated}
}

// needSimulator skips on a real server.
func needSimulator(t *testing.T, o sim.Options) *server {
	t.Helper()
	if os.Getenv(mzEnv) != "" {
		t.Skip("skipped: this fault cannot be ordered from a real server")
	}
	return startSimulator(t, o)
}

func (s *server) connect(user string, options ...string) *pgconn.PgConn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		s.t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.address)
	number, _ := strconv.Atoi(port)
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, uint16(number), user, s.password, s.database
	cfg.RuntimeParams = map[string]string{}
	for i := 0; i+1 < len(options); i += 2 {
		cfg.RuntimeParams[options[i]] = options[i+1]
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // the session ends either way
	})
	return conn
}

// sql runs statements one by one, each in its own Query.
func (s *server) sql(statements ...string) {
	s.t.Helper()
	conn := s.connect(s.user)
	for _, text := range statements {
		s.on(conn, text)
	}
	s.close(conn)
}

func (s *server) on(conn *pgconn.PgConn, text string) [][]string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	results, err := conn.Exec(ctx, text).ReadAll()
	if err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	var rows [][]string
	for _, r := range results {
		for _, values := range r.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (s *server) value(text string) string {
	s.t.Helper()
	conn := s.connect(s.user)
	defer s.close(conn)
	if rows := s.on(conn, text); len(rows) == 1 {
		return rows[0][0]
	}
	return ""
}

func (s *server) close(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is owed
}

// TestTLS asks through an encrypted connection, and refuses a server it cannot verify
// or that has no TLS.
func TestTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	s := needSimulator(t, sim.Options{TLS: &tls.Config{Certificates: certified.TLS.Certificates}})
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	ask := func(address string, c *tls.Config) error {
		w := New(Config{Address: address, User: s.user, TLS: c})
		defer w.Close()
		_, err := w.Server(within(t, 20*time.Second))
		return err
	}
	if err := ask(s.address, &tls.Config{RootCAs: roots}); err != nil {
		t.Errorf("with the right roots: %v", err)
	}
	mustBe(t, ask(s.address, &tls.Config{}), deploy.ErrUnavailable)
	mustBe(t, ask(s.address, &tls.Config{RootCAs: roots, ServerName: "elsewhere"}), deploy.ErrUnavailable)
	plain := startSimulator(t, sim.Options{})
	mustBe(t, ask(plain.address, &tls.Config{RootCAs: roots}), deploy.ErrUnavailable)
}

// warehouse of a role; the default role when user is empty.
func (s *server) warehouse(user ...string) *Warehouse {
	cfg := Config{Address: s.address, User: s.user, Database: s.database}
	if len(user) > 0 {
		cfg.User = user[0]
	}
	if s.password != "" {
		cfg.Password = func() (string, error) { return s.password, nil }
	}
	w := New(cfg)
	s.t.Cleanup(func() { w.Close() })
	return w
}

// shop is one deployment with contents of its own on the server.
type shopOn struct {
	*server
	spec          deploy.Spec
	suffix        string
	live, next    string // of the schemas and of the clusters
	data, reports string // schemas beside
	w             *Warehouse
}

// newShop builds both versions with a random suffix and removes everything that
// carries it afterwards.
func newShop(s *server) *shopOn {
	s.t.Helper()
	suffix := randomSuffix()
	own := *s // the deployment has a database of its own; the control connections log in elsewhere
	own.database = "db_" + suffix
	s.sql("CREATE DATABASE " + own.database)
	sh := &shopOn{server: &own, suffix: suffix, live: "prod_" + suffix, next: "prod_" + suffix + "_deploy", data: "data_" + suffix, reports: "reports_" + suffix, w: s.warehouse()}
	pairs := addPair(deploy.Spec{}.Schemas, sh.live, sh.next)
	sh.spec = deploy.Spec{Name: "shop", Database: own.database, Schemas: pairs, Clusters: slices.Clone(pairs)}
	s.t.Cleanup(sh.remove)
	sh.run(
		"CREATE CLUSTER LIVE (SIZE = 'SIZE')", "CREATE CLUSTER NEXT (SIZE = 'SIZE')",
		"CREATE SCHEMA LIVE", "CREATE SCHEMA NEXT", "CREATE SCHEMA DATA", "CREATE SCHEMA REPORTS",
		"CREATE TABLE DATA.base (k int, v text)", "INSERT INTO DATA.base VALUES (1, 'a'), (2, 'b')",
	)
	for _, v := range []string{"LIVE", "NEXT"} {
		version := map[string]string{"LIVE": "old", "NEXT": "new"}[v]
		sh.run(
			"CREATE VIEW "+v+".answer AS SELECT '"+version+"'::text AS version, k, v FROM DATA.base",
			"CREATE INDEX answer_idx IN CLUSTER "+v+" ON "+v+".answer (k)",
			"CREATE MATERIALIZED VIEW "+v+".total IN CLUSTER "+v+" AS SELECT '"+version+"'::text AS version, count(*) AS n FROM DATA.base",
		)
	}
	return sh
}

// text replaces the placeholders of a statement.
func (sh *shopOn) text(statement string) string {
	return strings.NewReplacer("LIVE", sh.live, "NEXT", sh.next, "DATA.", sh.data+".", "SCHEMA DATA", "SCHEMA "+sh.data,
		"REPORTS", sh.reports, "'SIZE'", "'"+sh.size+"'", "SUFFIX", sh.suffix, "DATABASE db", "DATABASE "+sh.database).Replace(statement)
}

func (sh *shopOn) run(statements ...string) {
	sh.t.Helper()
	out := make([]string, len(statements))
	for i, s := range statements {
		out[i] = sh.text(s)
	}
	sh.sql(out...)
}

// remove drops whatever carries the suffix.
func (sh *shopOn) remove() {
	conn := sh.connect(sh.user)
	defer sh.close(conn)
	for _, r := range sh.on(conn, "SELECT name FROM mz_catalog.mz_clusters WHERE name LIKE '%"+sh.suffix+"%'") {
		sh.on(conn, "DROP CLUSTER "+quoteIdent(r[0])+" CASCADE")
	}
	sh.on(conn, "DROP DATABASE "+sh.database+" CASCADE")
}

func (sh *shopOn) dialectSchema(name string) string {
	return newDialect(Materialize).schema(sh.database, name)
}

// plain replaces the random names in a text by their placeholders.
func (sh *shopOn) plain(text string) string {
	return strings.NewReplacer(sh.next, "NEXT", sh.live, "LIVE", sh.data, "DATA", sh.reports, "REPORTS", sh.database, "DB", sh.suffix, "SUFFIX").Replace(text)
}

// found runs preflight and prints its findings.
func (sh *shopOn) found(w *Warehouse, spec deploy.Spec) []string {
	sh.t.Helper()
	findings, err := w.Preflight(within(sh.t, time.Minute), spec, "r1")
	if err != nil {
		sh.t.Fatal(err)
	}
	list := shown(findings)
	for i := range list {
		list[i] = sh.plain(list[i])
	}
	return list
}

func (sh *shopOn) ids() []deploy.Ref { return identified(sh.t, sh.w, sh.spec) }

// swap is the statement list of a promotion of this shop.
func (sh *shopOn) swap(fence bool) []string {
	schema := sh.dialectSchema
	list := []string{
		"ALTER SCHEMA " + schema(sh.live) + " SWAP WITH " + quoteIdent(sh.next),
		"ALTER CLUSTER " + quoteIdent(sh.live) + " SWAP WITH " + quoteIdent(sh.next),
	}
	if fence {
		list = append(list, "ALTER SCHEMA "+schema(sh.next)+" RENAME TO "+quoteIdent(sh.next+"_retired_r1"),
			"ALTER CLUSTER "+quoteIdent(sh.next)+" RENAME TO "+quoteIdent(sh.next+"_retired_r1"))
	}
	return list
}

// prepared opens the swap's transaction.
func (sh *shopOn) prepared(fence bool) deploy.Prepared {
	sh.t.Helper()
	p, err := sh.w.Prepare(within(sh.t, time.Minute), sh.swap(fence))
	if err != nil {
		sh.t.Fatal(err)
	}
	return p
}

// pair is what a deployment's list of pairs holds; its name belongs to another package.
type pair = struct {
	Live   string `json:"live"`
	Deploy string `json:"deploy"`
}

func addPair[P interface{ ~pair }](list []P, live, deployed string) []P {
	return append(list, P(pair{live, deployed}))
}

// randomSuffix keeps the objects of one test apart from everybody else's.
func randomSuffix() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func netAddress(cfg *pgconn.Config) string {
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func containsComment(all []comment, name, text string) bool {
	return slices.ContainsFunc(all, func(c comment) bool { return c.ref.Name == name && c.text == text })
}
