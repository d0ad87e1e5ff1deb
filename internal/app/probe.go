package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"mzcanary/config"
	"mzcanary/deploy"
	"mzcanary/internal/wire"
)

// scramPlus is SCRAM bound to the TLS channel: to the certificate that the server
// showed, which is the proxy's for clients and the server's for the server.
const scramPlus = "SCRAM-SHA-256-PLUS"

// greeting is what the server answers to the beginning of a login that goes no
// further.
type greeting struct {
	mechanisms []string          // of SASL; nil when the server asks for something else, or nothing
	refused    *wire.Failure     // with the server's own words as detail
	leaf       *x509.Certificate // that the server showed; nil without TLS
}

// greet begins a login as the control role and hangs up at the server's first
// demand. Nothing is proven to the server, and PostgreSQL logs nothing of it.
func (u *upstream) greet(ctx context.Context, user, database string, added ...wire.Param) (*greeting, error) {
	conn, err := u.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	g := &greeting{}
	if t, ok := conn.(*wire.UpstreamTLS); ok {
		g.leaf = t.ConnectionState().PeerCertificates[0]
	}
	st := wire.Startup{Params: []wire.Param{{Name: "user", Value: user}, {Name: "database", Value: database}, {Name: "application_name", Value: "mzcanary"}}}
	packet, err := st.Encode(nil, wire.GrammarPostgres, added...)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	return g, g.read(conn)
}

// longestGreeting bounds what a server may say before it asks for anything, per
// message in bytes.
const longestGreeting = 64 << 10

// read takes the server's messages until one asks, refuses or admits.
func (g *greeting) read(conn net.Conn) error {
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return fmt.Errorf("the server hung up instead of asking for a password: %w", err)
		}
		n := binary.BigEndian.Uint32(head[1:])
		if n < 4 || n > longestGreeting {
			return errors.New("the server does not answer a login as a server does")
		}
		body := make([]byte, n-4)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		switch head[0] {
		case 'E':
			f := wire.ParseFields(body)
			g.refused = wire.Fail(wire.KindUpstreamDown, fmt.Sprintf("%s (%s)", f.Message, f.Code), nil)
			return nil
		case 'R':
			if len(body) >= 4 && binary.BigEndian.Uint32(body) == 10 { // AuthenticationSASL
				for _, name := range bytes.Split(bytes.TrimRight(body[4:], "\x00"), []byte{0}) {
					g.mechanisms = append(g.mechanisms, string(name))
				}
			}
			return nil
		}
	}
}

// ConnectionFinding is what `check` found about how clients reach the server,
// whatever the deployments are. Codes are C01 and C02, stable for scripts.
type ConnectionFinding struct {
	Code     string          `json:"code"`
	Severity deploy.Severity `json:"severity"`
	// Object is the key of the configuration that the finding is about.
	Object   string `json:"object"`
	Sentence string `json:"sentence"`
	// Remedies are alternatives, each of them enough.
	Remedies []string `json:"remedies"`
}

// connectionFindings asks the server what clients will be asked, before they are.
// It speaks for the control role: other roles may have other rules in pg_hba.conf.
func connectionFindings(ctx context.Context, cfg *config.Config, up *upstream) ([]ConnectionFinding, error) {
	found := []ConnectionFinding{} // an empty list in JSON, not null
	g, err := up.greet(ctx, cfg.Control.User, cfg.Control.Database)
	if err != nil {
		return nil, err
	}
	if f := channelBinding(cfg, g, up.certs.leaf()); f != nil {
		found = append(found, *f)
	}
	if !cfg.Upstream.ForwardedFor || g.refused != nil {
		return found, nil
	}
	with, err := up.greet(ctx, cfg.Control.User, cfg.Control.Database, wire.Param{Name: wire.ForwardedFor, Value: "127.0.0.1"})
	if err != nil {
		return nil, err
	}
	if with.refused != nil {
		found = append(found, ConnectionFinding{Code: "C02", Severity: deploy.Refuse, Object: "upstream.forwarded_for",
			Sentence: "the server refuses sessions that carry mz_forwarded_for, as Materialize's own balancer does; every client would be told: " + with.refused.Detail,
			Remedies: []string{"set upstream.forwarded_for: false", "reach Materialize directly, not through its balancer"}})
	}
	return found, nil
}

// channelBinding is C01: a server that offers SCRAM bound to the channel sees another
// channel than the client does.
func channelBinding(cfg *config.Config, g *greeting, shown *x509.Certificate) *ConnectionFinding {
	if g.leaf == nil || !slices.Contains(g.mechanisms, scramPlus) {
		return nil
	}
	// The binding is a hash of the certificate: one certificate on both legs is one binding.
	bound := shown != nil && !shown.Equal(g.leaf)
	plain := !cfg.Listen.TLS.Required
	if !bound && !plain {
		return nil
	}
	f := &ConnectionFinding{Code: "C01", Severity: deploy.Warn, Object: "upstream.tls.mode"}
	if cfg.Listen.TLS.Required {
		f.Severity = deploy.Refuse
	}
	f.Sentence = fmt.Sprintf("the server offers %s to %q over TLS, which ends at the proxy:", scramPlus, cfg.Control.User)
	if bound {
		f.Sentence += " clients with TLS that use it, as libpq does by default, fail with \"SCRAM channel binding check failed\""
	}
	if bound && plain {
		f.Sentence += ";"
	}
	if plain {
		f.Sentence += " libpq without TLS fails with \"server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection\""
	}
	f.Remedies = append(f.Remedies, "set upstream.tls.mode: disable where the network to the server is trusted (or ssl=off on the server): without TLS it does not offer it")
	switch {
	case bound:
		f.Remedies = append(f.Remedies, "let clients connect with TLS and channel_binding=disable",
			"give listen.tls the server's own certificate and key, and set listen.tls.required: the binding is the same on both legs then")
	case shown != nil:
		f.Remedies = append(f.Remedies, "set listen.tls.required: with the server's own certificate, which listen.tls has, clients with TLS can bind")
	default:
		f.Remedies = append(f.Remedies, "offer TLS in listen.tls, and let clients connect with it and channel_binding=disable")
	}
	f.Remedies = append(f.Remedies, "choose a method without SCRAM for the proxy's address in the server's pg_hba.conf")
	return f
}
