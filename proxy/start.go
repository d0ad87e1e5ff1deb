package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"mzcanary/internal/wire"
)

// serveConn is the whole life of an accepted connection, or the beginning of one
// that a loop carries. late: it came while the proxy drains.
func (p *Proxy) serveConn(o *opener, late bool) {
	p.keepAlive(o.base)
	s := p.startUp(o)
	if s != nil && s.flow != nil {
		s.flow.start() // which does the rest
		return
	}
	if s != nil {
		s.run()
	}
	p.reg.disconnected(late)
}

// startUp brings a connection to where its login begins, within the start-up
// deadline, and returns nil when it ended before. What is only needed for that
// is not kept for the session's life.
func (p *Proxy) startUp(o *opener) *session {
	conn, limit := o.base, p.cfg.Limits.Startup
	if o.guest {
		defer o.leave()
		limit = min(limit, guestTime)
	} else if o.only != nil {
		conn.SetDeadline(time.Now().Add(lastWordTime))
		o.refuse(o.only)
		return nil
	}
	deadline := time.Now().Add(limit)
	conn.SetDeadline(deadline)
	ctx, done := context.WithDeadline(p.ctx, deadline)
	defer done()
	stop := context.AfterFunc(p.ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	startup, err := o.open(ctx)
	if err != nil {
		o.refuse(err)
		return nil
	}
	if startup == nil { // a CancelRequest, done with
		conn.Close()
		return nil
	}
	s, err := p.connect(ctx, newLink(o.conn, conn), startup)
	if err != nil {
		o.refuse(err)
		return nil
	}
	conn.SetDeadline(time.Time{})
	if !stop() || p.ctx.Err() != nil {
		s.abort(nil) // the proxy has ended meanwhile
	}
	s.loginTimer = time.AfterFunc(time.Until(deadline), func() {
		s.endWith(wire.Fail(wire.KindStartupDeadline, "", nil))
	})
	return s
}

// connect admits a session and brings both legs to where the login begins.
func (p *Proxy) connect(ctx context.Context, client *link, st *wire.Startup) (*session, error) {
	packet, err := st.Encode(nil, p.cfg.Kind.grammar(), p.forwarded(client.conn)...)
	if err != nil {
		return nil, err
	}
	s := newSession(p, client, st)
	if f := p.reg.admit(s, p.cfg.Limits); f != nil {
		return nil, f
	}
	if err := p.reach(ctx, s, st, packet); err != nil {
		p.reg.giveBack(s)
		return nil, err
	}
	s.flow = p.newFlow(s)
	if f := p.reg.add(s); f != nil {
		if s.flow != nil {
			s.flow.drop()
		}
		s.server.conn.Close()
		p.reg.giveBack(s)
		return nil, f
	}
	return s, nil
}

// forwarded is what the server is told of the client: its address, if anything.
func (p *Proxy) forwarded(client net.Conn) []wire.Param {
	if !p.cfg.ForwardedFor {
		return nil
	}
	t, ok := client.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	return []wire.Param{{Name: wire.ForwardedFor, Value: t.AddrPort().Addr().Unmap().WithZone("").String()}}
}

// reach dials the server and sends it the client's start-up packet.
func (p *Proxy) reach(ctx context.Context, s *session, st *wire.Startup, packet []byte) error {
	if unknown, needed := st.Negotiate(); needed {
		if err := s.client.write(wire.AppendNegotiate(nil, unknown)); err != nil {
			return wire.Fail(wire.KindClientGone, "", err)
		}
	}
	server, err := p.dialInTurn(ctx)
	if err != nil {
		return err
	}
	if err := server.write(packet); err != nil {
		server.conn.Close()
		return wire.Fail(wire.KindUpstreamDown, "", err)
	}
	s.server = server
	return nil
}

// dialInTurn dials when it is this connection's turn: many that come at once
// must not reach the server as one blow.
func (p *Proxy) dialInTurn(ctx context.Context) (*link, error) {
	select {
	case p.dials <- struct{}{}:
		defer func() { <-p.dials }()
	case <-ctx.Done():
		if p.ctx.Err() != nil {
			return nil, wire.Fail(wire.KindShuttingDown, "", nil)
		}
		return nil, wire.Fail(wire.KindStartupDeadline, "too many connections to the server were being made", ctx.Err())
	}
	return p.dial(ctx)
}

func (p *Proxy) dial(ctx context.Context) (*link, error) {
	conn, err := p.cfg.Dial(ctx)
	if err != nil {
		if f, ok := errors.AsType[*wire.Failure](err); ok {
			return nil, f
		}
		return nil, wire.Fail(wire.KindUpstreamDown, "", err)
	}
	base := conn
	if t, ok := conn.(*wire.UpstreamTLS); ok {
		base = t.NetConn()
	}
	p.keepAlive(base)
	return newLink(conn, base), nil
}

func (p *Proxy) keepAlive(conn net.Conn) {
	t, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	d := p.cfg.KeepAlive
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: d > 0, Idle: d, Interval: d / 4, Count: 4}) // a connection without it works as well
}

// opener reads a connection's start-up packets.
type opener struct {
	p      *Proxy
	base   net.Conn
	conn   net.Conn // base, or TLS over it
	secure bool
	// mute: nothing said in the clear would be understood.
	mute bool
	// only is what anything but a CancelRequest is refused with, if set; guest: it
	// counts as a guest.
	only  *wire.Failure
	guest bool
}

func (o *opener) leave() {
	if o.guest {
		o.guest = false
		o.p.reg.guestLeaves()
	}
}

// open reads until the StartupMessage. It returns nil after a CancelRequest,
// which it has handled.
func (o *opener) open(ctx context.Context) (*wire.Startup, error) {
	offered := o.p.cfg.ClientTLS != nil
	opening := wire.Opening{AllowDirectTLS: offered}
	for {
		packet, err := opening.Read(o.conn)
		if err != nil {
			return nil, o.deadline(err)
		}
		switch packet.Kind {
		case wire.PacketSSL:
			if err := o.answerSSL(ctx, offered && !o.secure); err != nil {
				return nil, err
			}
		case wire.PacketGSS:
			if _, err := o.conn.Write([]byte{wire.AnswerPlain}); err != nil {
				return nil, wire.Fail(wire.KindClientGone, "", err)
			}
		case wire.PacketDirectTLS:
			if err := o.direct(ctx, packet.Head); err != nil {
				return nil, err
			}
		case wire.PacketCancel:
			o.cancel(packet.Cancel)
			return nil, nil
		case wire.PacketStartup:
			if o.only != nil {
				return nil, o.only
			}
			return packet.Startup, o.proven()
		}
	}
}

// proven refuses a session whose client has not shown what is required of it. A
// CancelRequest needs nothing of that: its key is its proof.
func (o *opener) proven() error {
	if o.p.cfg.ClientTLSRequired && !o.secure {
		return wire.Fail(wire.KindTLSRequired, "", nil)
	}
	if !o.p.cfg.ClientCertRequired {
		return nil
	}
	if t, ok := o.conn.(*wire.ClientTLS); !ok || len(t.ConnectionState().PeerCertificates) == 0 {
		return wire.Fail(wire.KindClientCertificate, "", nil)
	}
	return nil
}

// cancel takes a CancelRequest. It is none of the connections that start.
func (o *opener) cancel(key wire.CancelKey) {
	if !o.p.reg.cancelBegins() {
		o.p.count.cancels.failed.Add(1) // a storm: servers lose cancels too
		return
	}
	defer o.p.reg.cancelEnds()
	o.leave()
	o.p.cancelRequest(key)
}

// tooLate is why a start-up is cut short: its own time is over, or the proxy's.
func (p *Proxy) tooLate(err error) *wire.Failure {
	if p.ctx.Err() != nil {
		return wire.Fail(wire.KindShuttingDown, "", err)
	}
	return wire.Fail(wire.KindStartupDeadline, "", err)
}

// deadline names the failure that a silent client is, or the end of the proxy.
func (o *opener) deadline(err error) error {
	if o.p.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return o.p.tooLate(err)
	}
	return err
}

func (o *opener) answerSSL(ctx context.Context, yes bool) error {
	answer := wire.AnswerPlain
	if yes {
		answer = wire.AnswerTLS
	}
	if _, err := o.conn.Write([]byte{answer}); err != nil {
		return wire.Fail(wire.KindClientGone, "", err)
	}
	if !yes {
		return nil
	}
	return o.handshake(ctx, o.conn)
}

// direct is TLS without an SSLRequest, which demands the protocol's name.
func (o *opener) direct(ctx context.Context, head []byte) error {
	if err := o.handshake(ctx, wire.Prepend(o.conn, head)); err != nil {
		return err
	}
	if t, ok := o.conn.(*wire.ClientTLS); !ok || t.ConnectionState().NegotiatedProtocol != wire.ALPN {
		return wire.Fail(wire.KindDirectTLS, "direct TLS needs the application protocol "+wire.ALPN, nil)
	}
	return nil
}

func (o *opener) handshake(ctx context.Context, conn net.Conn) error {
	turn := &turnConn{Conn: conn, turns: o.p.turns, ctx: ctx}
	secured, err := wire.ServeTLS(ctx, turn, o.p.cfg.ClientTLS)
	turn.end()
	if err != nil {
		o.mute = true
		return err
	}
	o.conn, o.secure = secured, true
	return nil
}

// refuse tells the client why it cannot have a session, in its own language,
// and closes.
func (o *opener) refuse(err error) {
	f, ok := errors.AsType[*wire.Failure](err)
	if !ok {
		f = wire.Fail(wire.KindInternal, "", err)
	}
	o.p.count.startup(f.Kind)
	level := o.p.log.Info
	if f.Kind == wire.KindProbe || f.Kind == wire.KindClientGone {
		level = o.p.log.Debug
	}
	level("connection refused", "client", o.base.RemoteAddr().String(), "kind", f.Kind.Label(), "error", f)
	link := newLink(o.conn, o.base)
	var word []byte
	switch {
	case o.mute, f.Kind == wire.KindProbe, f.Kind == wire.KindClientGone, f.Kind == wire.KindDirectTLS && !o.secure:
	case f.Kind == wire.KindHTTP:
		word = wire.AppendHTTP(nil)
	default:
		word = f.Append(nil)
	}
	if word == nil {
		o.conn.Close()
		return
	}
	o.base.SetDeadline(time.Now().Add(lastWordTime))
	if link.write(word) != nil {
		o.conn.Close()
		return
	}
	link.closeAfterLastWord()
}
