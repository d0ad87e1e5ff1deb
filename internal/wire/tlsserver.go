package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
)

// TLSMode is how the connection to the server is protected.
type TLSMode uint8

// The modes, with libpq's names and meanings.
const (
	TLSDisable    TLSMode = iota // plain text
	TLSRequire                   // encrypted, certificate not checked
	TLSVerifyCA                  // certificate signed by a trusted authority
	TLSVerifyFull                // and issued for the server's name
)

var tlsModeNames = [...]string{"disable", "require", "verify-ca", "verify-full"}

// ParseTLSMode reads a mode by its name.
func ParseTLSMode(name string) (TLSMode, error) {
	for i, n := range tlsModeNames {
		if n == name {
			return TLSMode(i), nil
		}
	}
	return 0, fmt.Errorf("TLS mode %q: use disable, require, verify-ca or verify-full", name)
}

// String is the mode's name.
func (m TLSMode) String() string {
	if int(m) < len(tlsModeNames) {
		return tlsModeNames[m]
	}
	return "unknown"
}

// ServerTLS says how to speak TLS to the server. The zero value does not.
type ServerTLS struct {
	Mode       TLSMode
	RootCAs    *x509.CertPool // nil: the system's
	ServerName string         // sent as SNI in every mode, checked by verify-full
	// Certificates is what the proxy shows of itself, if the server asks.
	Certificates []tls.Certificate

	prepared *tls.Config // of Prepare; nil: made for each connection
}

// Prepare returns a copy whose connections share one configuration of crypto/tls,
// which is half a kilobyte. Fields that are changed later have no effect on it.
func (t ServerTLS) Prepare() ServerTLS {
	t.prepared = t.config()
	return t
}

// UpstreamTLS is the TLS connection to the server.
type UpstreamTLS struct {
	*tls.Conn
	socket *underTLS
}

// NetConn is the connection under TLS.
func (u *UpstreamTLS) NetConn() net.Conn { return u.socket.Conn }

// Start asks the server for TLS and completes the handshake, within ctx. With
// TLSDisable it returns conn, else an *UpstreamTLS. The error is a *Failure. conn
// stays open, unless ctx ended while the server was silent.
func (t ServerTLS) Start(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if t.Mode == TLSDisable {
		return conn, nil
	}
	if err := requestTLS(ctx, conn); err != nil {
		return nil, err
	}
	config := t.prepared
	if config == nil {
		config = t.config()
	}
	socket := &underTLS{Conn: conn}
	u := &UpstreamTLS{Conn: tls.Client(socket, config), socket: socket}
	if err := u.HandshakeContext(ctx); err != nil {
		return nil, Fail(KindUpstreamTLS, "", err)
	}
	return u, nil
}

// requestTLS sends SSLRequest and reads exactly one byte: what a man in the
// middle stuffs behind it goes to the handshake and fails there.
func requestTLS(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(AppendSSLRequest(nil)); err != nil {
		return Fail(KindUpstreamDown, "", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Fail(KindUpstreamDown, "", fmt.Errorf("no answer to SSLRequest: %w", err))
	}
	switch answer[0] {
	case AnswerTLS:
		return nil
	case AnswerPlain:
		return Fail(KindUpstreamTLS, "the server offers no TLS", nil)
	}
	return Fail(KindUpstreamTLS, fmt.Sprintf("the server answered SSLRequest with %q", answer[0]), nil)
}

func (t ServerTLS) config() *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: t.RootCAs, ServerName: t.ServerName, Certificates: t.Certificates,
	}
	if t.Mode == TLSVerifyFull {
		return config
	}
	// Without a name to check, Go verifies nothing by itself.
	config.InsecureSkipVerify = true
	if t.Mode == TLSVerifyCA {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			options := x509.VerifyOptions{Roots: t.RootCAs, Intermediates: x509.NewCertPool()}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(options)
			return err
		}
	}
	return config
}
