package sim

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	protocol30    = 196608
	codeCancel    = 80877102
	codeSSL       = 80877103
	codeGSSENC    = 80877104
	maxFrame      = 64 << 20
	maxConnNumber = 524287
	// orgBits are bits 19 to 30 of every connection id: the low bits of the organisation's uuid.
	orgBits = 0x001 << 19
)

// serveConn is the life of one connection.
func (s *Server) serveConn(ctx context.Context, c net.Conn, internal bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	raw := c
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.conns, raw)
		s.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()

	c, params, err := s.readStartup(c)
	if err != nil || params == nil {
		return
	}
	backend := pgproto3.NewBackend(c, c)
	backend.SetMaxBodyLen(maxFrame)
	se := newSession(s, params["user"])
	se.conn, se.out = c, backend
	if err := se.login(backend, params, internal); err != nil {
		if !errors.Is(err, errGone) {
			se.sendError("FATAL", err)
			_ = se.flush() // the connection closes either way
		}
		return
	}
	defer se.leave()

	se.in = make(chan inbound, 16)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer c.Close()
	reader.Go(func() { se.read(ctx, backend, cancel) })
	err = se.run(ctx)
	cancel(errGone)
	s.o.Log.Debug("simulated session ended", "conn_id", se.id, "user", se.user, "duration", s.now().Sub(se.since), "error", err)
}

// readStartup answers everything that may come before the start-up packet. No parameters and no error: the connection
// was for a cancel request.
func (s *Server) readStartup(c net.Conn) (net.Conn, map[string]string, error) {
	secure := false
	for {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return c, nil, err
		}
		size, code := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
		if size < 8 || size > maxFrame {
			return c, nil, fmt.Errorf("start-up packet of %d bytes", size)
		}
		body := make([]byte, size-8)
		if _, err := io.ReadFull(c, body); err != nil {
			return c, nil, err
		}
		switch code {
		case codeSSL:
			if s.o.TLS == nil || secure {
				if _, err := c.Write([]byte("N")); err != nil {
					return c, nil, err
				}
				continue
			}
			if _, err := c.Write([]byte("S")); err != nil {
				return c, nil, err
			}
			c, secure = tls.Server(c, s.o.TLS), true
		case codeGSSENC:
			if _, err := c.Write([]byte("N")); err != nil {
				return c, nil, err
			}
		case codeCancel:
			if len(body) >= 8 {
				s.cancelRequest(binary.BigEndian.Uint32(body), [4]byte(body[4:8]))
			}
			return c, nil, nil
		case protocol30:
			params, err := parseStartup(body)
			return c, params, err
		default:
			b := pgproto3.NewBackend(c, c)
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08004",
				Message: "server does not support the client's requested protocol version"})
			return c, nil, b.Flush()
		}
	}
}

// parseStartup reads keys and values; the last of equal keys wins.
func parseStartup(body []byte) (map[string]string, error) {
	params := map[string]string{}
	for {
		key, rest, ok := bytes.Cut(body, []byte{0})
		if !ok {
			return nil, errors.New("start-up packet without end")
		}
		if len(key) == 0 {
			return params, nil
		}
		val, rest, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, errors.New("start-up parameter without value")
		}
		params[string(key)] = string(val)
		body = rest
	}
}

// cancelRequest ends the running statement of the session the key belongs to; a wrong key is ignored.
func (s *Server) cancelRequest(id uint32, secret [4]byte) {
	s.mu.Lock()
	se := s.sessions[id]
	s.mu.Unlock()
	if se != nil && se.secret == secret {
		se.cancelStatement(errCanceled())
	}
}

// join gives the session its number and makes it visible.
func (s *Server) join(se *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.nextConn = s.nextConn%maxConnNumber + 1
		if s.sessions[s.nextConn|orgBits] == nil {
			break
		}
	}
	se.id = s.nextConn | orgBits
	se.publishInfo()
	s.sessions[se.id] = se
}

// leave throws away what the session held and makes it invisible.
func (se *session) leave() {
	se.closeCursors()
	s := se.s
	s.mu.Lock()
	delete(s.sessions, se.id)
	s.mu.Unlock()
	se.dropTemp()
}

// dropTemp drops the session's temporary objects, which is a catalog change when there are any.
func (se *session) dropTemp() {
	if se.s.catalog.Load().schemas[tempSchemaID(se.id)] == nil {
		return
	}
	_ = se.s.changeCatalog(se.user, func(d *draft) error { // the change itself cannot fail
		d.removeTemp(se.id)
		return nil
	})
}

// gonePoll is how long a statement may run on after its client has gone: what is queued before the end of the
// connection is still answered, as by a server that looks at the socket from time to time.
const gonePoll = 100 * time.Millisecond

// read decodes messages ahead of the session until the connection ends; then it ends the session's context, and with
// it whatever statement is running.
func (se *session) read(ctx context.Context, b *pgproto3.Backend, cancel context.CancelCauseFunc) {
	for {
		msg, err := b.Receive()
		in := inbound{err: err}
		switch {
		case err == nil:
			in.msg = detach(msg)
		default:
			in.err = receiveError(err)
		}
		select {
		case se.in <- in:
		case <-ctx.Done():
			return
		}
		if err != nil {
			waitGone(ctx, cancel)
			return
		}
	}
}

func waitGone(ctx context.Context, cancel context.CancelCauseFunc) {
	grace := time.NewTimer(gonePoll)
	defer grace.Stop()
	select {
	case <-grace.C:
		cancel(errGone)
	case <-ctx.Done():
	}
}

// receiveError is what a message that makes no sense is answered with, FATAL; errGone when the connection ended.
func receiveError(err error) error {
	var netErr net.Error
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || errors.As(err, &netErr) {
		return errGone
	}
	if _, ok := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); ok {
		return failf("08006", "frame size too big")
	}
	if name, ok := strings.CutPrefix(err.Error(), "unknown message type: "); ok && name != "" {
		return failf("08006", "unknown message type %d", name[0])
	}
	if strings.HasPrefix(err.Error(), "FunctionCall ") {
		return failf("08006", "unknown message type %d", 'F')
	}
	return failf("08006", "%s", err)
}

// detach copies a message out of the decoder, which reuses it at the next one.
func detach(m pgproto3.FrontendMessage) pgproto3.FrontendMessage {
	switch m := m.(type) {
	case *pgproto3.Query:
		return &pgproto3.Query{String: m.String}
	case *pgproto3.Parse:
		return &pgproto3.Parse{Name: m.Name, Query: m.Query, ParameterOIDs: append([]uint32(nil), m.ParameterOIDs...)}
	case *pgproto3.Bind:
		c := &pgproto3.Bind{DestinationPortal: m.DestinationPortal, PreparedStatement: m.PreparedStatement,
			ParameterFormatCodes: append([]int16(nil), m.ParameterFormatCodes...),
			ResultFormatCodes:    append([]int16(nil), m.ResultFormatCodes...)}
		for _, p := range m.Parameters {
			c.Parameters = append(c.Parameters, bytes.Clone(p))
		}
		return c
	case *pgproto3.Describe:
		c := *m
		return &c
	case *pgproto3.Execute:
		c := *m
		return &c
	case *pgproto3.Close:
		c := *m
		return &c
	case *pgproto3.CopyData:
		return &pgproto3.CopyData{Data: bytes.Clone(m.Data)}
	case *pgproto3.CopyFail:
		c := *m
		return &c
	case *pgproto3.PasswordMessage:
		c := *m
		return &c
	}
	return m // the rest carries nothing
}

// receive waits for the client's next message.
func (se *session) receive(ctx context.Context) (pgproto3.FrontendMessage, error) {
	if se.in == nil {
		return nil, refuse("there is no client to read from")
	}
	select {
	case in := <-se.in:
		return in.msg, in.err
	default:
	}
	select {
	case in := <-se.in:
		return in.msg, in.err
	case <-ctx.Done():
		return nil, ended(ctx)
	}
}

func uuidOf(a, b uint64) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], a)
	binary.BigEndian.PutUint64(raw[8:], b)
	raw[6] = raw[6]&0x0f | 0x40
	raw[8] = raw[8]&0x3f | 0x80
	h := hex.EncodeToString(raw[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
