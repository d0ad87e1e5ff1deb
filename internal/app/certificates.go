package app

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mzcanary/config"
	"mzcanary/internal/wire"
)

// certificates are what the files of the configuration hold, for TLS on both legs.
//
// Their life:
//
//  1. All are read at the start; one that cannot be used keeps the program from
//     starting.
//  2. Whoever shakes hands, and whoever reads the metrics, has the files looked at,
//     at most once a second: names, sizes and times only. SIGHUP reads them at once.
//  3. What has changed is read and checked as a whole. If it can be used, it is
//     published with one pointer: a handshake sees one generation, never a
//     certificate of one and the key of another. If not, the old one stays in use,
//     and that is said once per change.
//
// Connections that are open keep what they have begun with.
type certificates struct {
	log *slog.Logger
	now func() time.Time

	looked atomic.Int64 // when, as now tells it in nanoseconds
	mu     sync.Mutex   // held by the one who looks; guards all below

	sources []*source

	pair       tls.Certificate
	clientCAs  *x509.CertPool
	clientAuth tls.ClientAuthType

	// Published, read by anybody.
	offered  atomic.Pointer[tls.Config]
	upstream atomic.Pointer[wire.ServerTLS]
}

// lookEvery is how often the files are looked at, at the most.
const lookEvery = time.Second

// The certificates by their names in logs and metrics.
const (
	listenerPair = "listener"
	clientCA     = "client_ca"
	upstreamCA   = "upstream_ca"
)

// newCertificates reads every file that the configuration names.
func newCertificates(cfg *config.Config, log *slog.Logger) (*certificates, error) {
	c := &certificates{log: log, now: time.Now}
	server, err := serverTLS(cfg.Upstream)
	if err != nil {
		return nil, err
	}
	c.publishServer(server)
	listen := cfg.Listen.TLS
	if listen.ClientAuth == config.ClientAuthOptional || listen.ClientAuth == config.ClientAuthRequire {
		// A client without one is refused in its own language, after the handshake.
		c.clientAuth = tls.VerifyClientCertIfGiven
		c.add(clientCA, []string{"listen.tls.client_ca_file"}, []string{listen.ClientCAFile}, c.readClientCA)
	}
	if listen.Offered() {
		c.add(listenerPair, []string{"listen.tls.cert_file", "listen.tls.key_file"}, []string{listen.CertFile, listen.KeyFile}, c.readPair)
	}
	if cfg.Upstream.TLS.CAFile != "" {
		c.add(upstreamCA, []string{"upstream.tls.ca_file"}, []string{cfg.Upstream.TLS.CAFile}, func(files [][]byte) (time.Time, func(), error) {
			pool, until, err := authorities(files[0])
			return until, func() {
				server.RootCAs = pool
				c.publishServer(server)
			}, err
		})
	}
	for _, s := range c.sources {
		if err := s.load(true); err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(s.keys, " and "), err)
		}
		if !s.until.After(c.now()) {
			c.log.Warn("a certificate has expired: replace it, its successor is used without a restart", "certificate", s.name, "files", s.files, "expired", s.until)
		}
	}
	c.looked.Store(c.now().UnixNano())
	return c, nil
}

func serverTLS(u config.Upstream) (wire.ServerTLS, error) {
	mode, err := wire.ParseTLSMode(string(u.TLS.Mode))
	if err != nil {
		return wire.ServerTLS{}, fmt.Errorf("upstream.tls.mode: %w", err)
	}
	name := u.TLS.ServerName
	if name == "" {
		if name, err = hostOf(u.Address); err != nil {
			return wire.ServerTLS{}, err
		}
	}
	return wire.ServerTLS{Mode: mode, ServerName: name}, nil
}

// clientTLS is what clients are offered, or nil.
func (c *certificates) clientTLS() *tls.Config {
	if c.offered.Load() == nil {
		return nil
	}
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c.look()
		return c.offered.Load(), nil
	}}
}

// serverTLS is how to speak to the server now.
func (c *certificates) serverTLS() *wire.ServerTLS {
	c.look()
	return c.upstream.Load()
}

// leaf is the certificate that clients are shown, or nil.
func (c *certificates) leaf() *x509.Certificate {
	if offered := c.offered.Load(); offered != nil {
		return offered.Certificates[0].Leaf
	}
	return nil
}

// look looks at the files if nobody has for a while. It waits for nobody: while
// another looks, what there is goes on.
func (c *certificates) look() {
	now, last := c.now().UnixNano(), c.looked.Load()
	if now-last < int64(lookEvery) || !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	c.looked.Store(now)
	for _, s := range c.sources {
		s.look()
	}
}

// reload reads every file now, changed or not.
func (c *certificates) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked.Store(c.now().UnixNano())
	for _, s := range c.sources {
		s.renew(s.print(), true)
	}
}

// readPair is the reader of the certificate and key that clients are shown.
func (c *certificates) readPair(files [][]byte) (until time.Time, use func(), err error) {
	if err := whole(files[0]); err != nil {
		return until, nil, err
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return until, nil, errors.New(strings.TrimPrefix(err.Error(), "tls: "))
	}
	until = pair.Leaf.NotAfter
	for _, der := range pair.Certificate[1:] {
		if above, err := x509.ParseCertificate(der); err == nil && above.NotAfter.Before(until) {
			until = above.NotAfter
		}
	}
	if c.offered.Load() != nil { // at the start there is nothing better
		switch now := c.now(); {
		case now.Before(pair.Leaf.NotBefore):
			return until, nil, fmt.Errorf("it is not valid before %s", pair.Leaf.NotBefore.Format(time.RFC3339))
		case now.After(until):
			return until, nil, fmt.Errorf("it has expired on %s", until.Format(time.RFC3339))
		}
	}
	return until, func() { c.pair = pair; c.publishClient() }, nil
}

func (c *certificates) readClientCA(files [][]byte) (until time.Time, use func(), err error) {
	pool, until, err := authorities(files[0])
	return until, func() { c.clientCAs = pool; c.publishClient() }, err
}

func (c *certificates) publishClient() {
	if c.pair.Certificate == nil {
		return // the pair is read next
	}
	c.offered.Store(wire.OfferTLS(&tls.Config{
		Certificates: []tls.Certificate{c.pair}, MinVersion: tls.VersionTLS12, ClientAuth: c.clientAuth, ClientCAs: c.clientCAs,
	}))
}

func (c *certificates) publishServer(t wire.ServerTLS) {
	t = t.Prepare()
	c.upstream.Store(&t)
}

// authorities reads certificates to trust, and until when the last of them is valid.
func authorities(data []byte) (pool *x509.CertPool, until time.Time, err error) {
	if err := whole(data); err != nil {
		return nil, until, err
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, until, errors.New("it holds no PEM certificate")
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.After(until) {
			until = cert.NotAfter
		}
	}
	return pool, until, nil
}

// whole finds a file that is still being written: readers of PEM stop at half a
// certificate as if it were the end.
func whole(data []byte) error {
	rest := data
	for block := (&pem.Block{}); block != nil; {
		block, rest = pem.Decode(rest)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return errors.New("it ends within a PEM block")
	}
	return nil
}

// source is what is read as one from one or two files.
type source struct {
	c     *certificates
	name  string
	keys  []string // of the configuration
	files []string
	// read checks the contents as a whole; use publishes what came of them.
	read func(contents [][]byte) (until time.Time, use func(), err error)

	until   time.Time // when what is in use expires
	content [sha256.Size]byte
	seen    string // print of what is in use
	suspect string // print of what could not be used once, and may have been half written
	told    string // print and error of what was complained about last
	failing bool

	reloaded, failed int
}

func (c *certificates) add(name string, keys, files []string, read func([][]byte) (time.Time, func(), error)) {
	c.sources = append(c.sources, &source{c: c, name: name, keys: keys, files: files, read: read})
}

// print is what can be told of the files without reading them.
func (s *source) print() string {
	var b strings.Builder
	for _, file := range s.files {
		if info, err := os.Stat(file); err != nil {
			fmt.Fprintf(&b, "%v;", err)
		} else {
			fmt.Fprintf(&b, "%d %d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

func (s *source) look() {
	if print := s.print(); print != s.seen || s.failing {
		s.renew(print, false)
	}
}

// renew reads the files and uses them if it can. What cannot be used is complained
// about when it is still so at the second look, or when somebody has asked.
func (s *source) renew(print string, asked bool) {
	before := s.reloaded
	err := s.load(false)
	if err == nil {
		if s.failing && s.reloaded == before {
			s.c.log.Info("certificate files hold again what is in use", "certificate", s.name, "files", s.files)
		}
		s.seen, s.suspect, s.told, s.failing = print, "", "", false
		return
	}
	if s.suspect != print && !asked {
		s.suspect = print
		return
	}
	s.suspect, s.failing = print, true
	if told := print + err.Error(); told != s.told {
		s.told = told
		s.failed++
		s.c.log.Error("a changed certificate cannot be used; the one before stays in use: put what belongs there into the files, it is read when they change and on SIGHUP",
			"certificate", s.name, "keys", s.keys, "files", s.files, "error", err, "in_use_until", s.until)
	}
}

// load reads the files and uses what they hold, if that is not in use already.
func (s *source) load(first bool) error {
	var contents [][]byte
	hash := sha256.New()
	if first {
		s.seen = s.print() // before reading: what is written meanwhile is a change
	}
	for _, file := range s.files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fmt.Fprintf(hash, "%d;", len(data)) //nolint:errcheck // a hash takes everything
		hash.Write(data)
		contents = append(contents, data)
	}
	if !first && s.content == [sha256.Size]byte(hash.Sum(nil)) {
		return nil
	}
	until, use, err := s.read(contents)
	if err != nil {
		return err
	}
	use()
	s.content, s.until = [sha256.Size]byte(hash.Sum(nil)), until
	if !first {
		s.reloaded++
		s.c.log.Info("a changed certificate is in use for new connections", "certificate", s.name, "files", s.files, "until", until)
	}
	return nil
}
