//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/internal/pgtest"
)

// stage is everything that runs while is measured.
type stage struct {
	o *options

	server    *pgtest.Server
	postgres  string // address of server
	simulator string // address of the simulated Materialize
	simulated *process

	certFile, keyFile, pemFile string // pemFile holds both

	direct *peer   // PostgreSQL itself
	peers  []*peer // the proxies before it
	once   *peer   // pgbouncer without reuse of server connections
	crowd  []*peer // the proxies before the simulator

	results results
}

func startStage(ctx context.Context, o *options) (_ *stage, err error) {
	st := &stage{o: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.stop())
		}
	}()
	for _, step := range []func(context.Context) error{st.certify, st.startServers, st.makeTables, st.makePeers, st.startPeers} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return st, nil
}

// stop ends everything, the last first.
func (st *stage) stop() (err error) {
	for _, p := range st.proxies() {
		if p.process != nil {
			err = errors.Join(err, p.process.stop())
		}
	}
	if st.simulated != nil {
		err = errors.Join(err, st.simulated.stop())
	}
	if st.server != nil {
		err = errors.Join(err, st.server.Stop())
	}
	return err
}

// proxies are all that are started, each once.
func (st *stage) proxies() []*peer {
	list := append([]*peer(nil), st.peers...)
	if st.once != nil {
		list = append(list, st.once)
	}
	for _, p := range st.crowd {
		if p.simulator == "" {
			list = append(list, p)
		}
	}
	return list
}

// certify writes the certificate that every proxy shows: ECDSA P-256, so that
// the handshake's CPU is that of one signature everywhere.
func (st *stage) certify(context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	in := func(name string) string { return filepath.Join(st.o.work, name) }
	st.certFile, st.keyFile, st.pemFile = in("cert.pem"), in("key.pem"), in("both.pem")
	// Readable by the user pgbouncer runs as; it lives as long as the run.
	return errors.Join(os.WriteFile(st.certFile, certPEM, 0o644), os.WriteFile(st.keyFile, keyPEM, 0o644),
		os.WriteFile(st.pemFile, append(certPEM, keyPEM...), 0o644))
}

func (st *stage) startServers(ctx context.Context) (err error) {
	if st.server, err = pgtest.StartWith(pgtest.Options{Settings: []string{"max_connections = 2200", "shared_buffers = 256MB", "checkpoint_timeout = 1h", "max_wal_size = 8GB"}}); err != nil {
		return err
	}
	st.postgres = st.server.Addr()
	if st.simulator, err = freeAddr(); err != nil {
		return err
	}
	if st.simulated, err = start(st.o.work, "simulator", nil, st.o.mzcanary, "simulate", "--listen", st.simulator); err != nil {
		return err
	}
	return st.simulated.awaitListening(ctx, st.simulator)
}

const tables = `
CREATE SCHEMA prod;
CREATE SCHEMA prod_deploy;
ALTER ROLE postgres SET search_path = prod, public;
CREATE UNLOGGED TABLE public.sink (line text)`

const secondVersion = `
CREATE TABLE prod_deploy.pgbench_accounts AS SELECT * FROM prod.pgbench_accounts;
ALTER TABLE prod_deploy.pgbench_accounts ADD PRIMARY KEY (aid);
VACUUM ANALYZE`

// makeTables makes both versions of pgbench's tables.
func (st *stage) makeTables(ctx context.Context) error {
	if err := st.exec(ctx, tables); err != nil {
		return err
	}
	host, port, _ := net.SplitHostPort(st.postgres)
	if out, err := exec.CommandContext(ctx, "pgbench", "-h", host, "-p", port, "-U", "postgres", "-i", "-q", "-s", "5", "postgres").CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return st.exec(ctx, secondVersion)
}

// exec runs statements on the server itself, each on its own.
func (st *stage) exec(ctx context.Context, statements string) error {
	conn, err := pgconn.Connect(ctx, pgtest.DSN(st.postgres, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range splitStatements(statements) {
		if err := conn.Exec(ctx, sql).Close(); err != nil {
			return err
		}
	}
	return nil
}

func (st *stage) makePeers(context.Context) error {
	st.direct = &peer{name: "direct", plain: st.postgres}
	add := func(to *[]*peer, p *peer, err error) error {
		if err == nil {
			*to = append(*to, p)
		}
		return err
	}
	builds := []struct{ name, program string }{{"mzcanary", st.o.mzcanary}, {"before", st.o.before}}
	for _, b := range builds {
		if b.program == "" {
			continue
		}
		p, err := st.canary(b.name, b.program, "postgres", st.postgres, "postgres")
		if err := add(&st.peers, p, err); err != nil {
			return err
		}
		p, err = st.canary(b.name+"-simulator", b.program, "materialize", st.simulator, "materialize")
		if err := add(&st.crowd, p, err); err != nil {
			return err
		}
	}
	pgbouncer, err := st.pgbouncer("pgbouncer", false)
	if err := add(&st.peers, pgbouncer, err); err != nil {
		return err
	}
	haproxy, err := st.haproxy()
	if err := add(&st.peers, haproxy, err); err != nil {
		return err
	}
	st.crowd = append(st.crowd, pgbouncer, haproxy)
	st.once, err = st.pgbouncer("pgbouncer-once", true)
	return err
}

func (st *stage) startPeers(ctx context.Context) error {
	for _, p := range st.proxies() {
		if err := p.restart(ctx); err != nil {
			return err
		}
	}
	return nil
}
