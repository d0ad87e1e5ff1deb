package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"mzcanary/config"
	"mzcanary/internal/wire"
)

// upstream opens connections to the server, for the sessions, for cancels, for
// the control connections and for readyz: all in the same way.
type upstream struct {
	address string
	timeout time.Duration
	tls     wire.ServerTLS
}

func newUpstream(c config.Upstream) (*upstream, error) {
	mode, err := wire.ParseTLSMode(string(c.TLS.Mode))
	if err != nil {
		return nil, fmt.Errorf("upstream.tls.mode: %w", err)
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("upstream.address: %w", err)
	}
	u := &upstream{address: c.Address, timeout: c.DialTimeout, tls: wire.ServerTLS{Mode: mode, ServerName: c.TLS.ServerName}}
	if u.tls.ServerName == "" {
		u.tls.ServerName = host
	}
	if c.TLS.CAFile == "" {
		return u, nil
	}
	pem, err := os.ReadFile(c.TLS.CAFile)
	if err != nil {
		return nil, fmt.Errorf("upstream.tls.ca_file: %w", err)
	}
	u.tls.RootCAs = x509.NewCertPool()
	if !u.tls.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("upstream.tls.ca_file: %s holds no PEM certificate", c.TLS.CAFile)
	}
	return u, nil
}

// dial connects within the configured time, TLS handshake included.
func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	d := net.Dialer{KeepAlive: -1} // whoever wants it sets it, with times of its own
	plain, err := d.DialContext(ctx, "tcp", u.address)
	if err != nil {
		return nil, err
	}
	secured, err := u.tls.Start(ctx, plain)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return secured, nil
}

// probe connects and hangs up.
func (u *upstream) probe(ctx context.Context) error {
	conn, err := u.dial(ctx)
	if err != nil {
		return err
	}
	return conn.Close()
}

// clientTLS is what clients are offered, or nil.
func clientTLS(c config.ListenTLS) (*tls.Config, error) {
	if !c.Offered() {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("listen.tls: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
