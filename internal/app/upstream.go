package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"mzcanary/config"
)

// upstream opens connections to the server, for the sessions, for cancels, for
// the control connections and for readyz: all in the same way.
type upstream struct {
	address string
	timeout time.Duration
	certs   *certificates
}

func newUpstream(c config.Upstream, certs *certificates) *upstream {
	return &upstream{address: c.Address, timeout: c.DialTimeout, certs: certs}
}

func hostOf(address string) (string, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("upstream.address: %w", err)
	}
	return host, nil
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
	secured, err := u.certs.serverTLS().Start(ctx, plain)
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
