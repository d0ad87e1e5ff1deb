package checker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

const rawQuery = "SELECT version, k FROM answer WHERE k = 1"

// raw takes the socket out of a connection. The connection counts as closed
// afterwards, so the session ends with the unit.
func raw(conn *pgx.Conn) (net.Conn, *pgproto3.Frontend, error) {
	taken, err := conn.PgConn().Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take the socket: %w", err)
	}
	return taken.Conn, taken.Frontend, nil
}

// beginRaw begins a unit on a taken socket.
func (c *client) beginRaw(socket net.Conn) (time.Duration, error) {
	return c.begin(), socket.SetDeadline(time.Now().Add(patience))
}

// pipeline sends many Queries without waiting for an answer. Each is a unit of its
// own, asked when all were sent.
func (c *client) pipeline(_ context.Context, conn *pgx.Conn, u *unit) error {
	socket, front, err := raw(conn)
	if err != nil {
		return err
	}
	defer socket.Close()
	for !c.stopped() {
		asked, err := c.beginRaw(socket)
		if err != nil {
			return err
		}
		u.Asked = asked
		n := 2 + c.rng.IntN(6)
		for range n {
			front.Send(&pgproto3.Query{String: rawQuery})
		}
		if err := front.Flush(); err != nil {
			return err
		}
		for range n {
			u := &unit{Answer: Answer{Who: c.who, Asked: asked}}
			err := c.untilReady(front, u)
			u.Answered = c.clock()
			u.Ended = u.Answered
			if len(u.Versions) > 0 {
				c.answers = append(c.answers, u.Answer)
			}
			if err != nil {
				if _, told := err.(*pgconn.PgError); !told || fatal(err) {
					return err
				}
				c.fail(Failure{Who: c.who, Asked: asked}, err)
				continue
			}
			c.served = asked
		}
		c.busy.Store(0)
		c.pause(c.think)
	}
	front.Send(&pgproto3.Terminate{})
	return front.Flush()
}

func fatal(err error) bool {
	pg, ok := err.(*pgconn.PgError)
	return ok && pg.Severity != "ERROR"
}

// untilReady reads the answer of one exchange; an ERROR in it is returned after
// its ReadyForQuery, a FATAL at once.
func (c *client) untilReady(front *pgproto3.Frontend, u *unit) error {
	var told error
	for {
		msg, err := front.Receive()
		if err != nil {
			if told != nil {
				return told
			}
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			if v, err := strconv.Atoi(string(m.Values[0])); err == nil {
				u.row(v, c.clock())
			}
		case *pgproto3.ErrorResponse:
			told = pgconn.ErrorResponseToPgError(m)
			if fatal(told) {
				return told
			}
		case *pgproto3.ReadyForQuery:
			return told
		}
	}
}

// halfAMessage sends a Query in two halves, and takes its time between them when
// the script says so.
func (c *client) halfAMessage(_ context.Context, conn *pgx.Conn, u *unit) error {
	socket, front, err := raw(conn)
	if err != nil {
		return err
	}
	defer socket.Close()
	for range 20 {
		if c.stopped() {
			break
		}
		asked, err := c.beginRaw(socket)
		if err != nil {
			return err
		}
		*u = unit{Answer: Answer{Who: c.who, Asked: asked}}
		if err := c.halves(socket, front, u); err != nil {
			return err
		}
		u.Answered = c.clock()
		u.Ended = u.Answered
		c.answers, c.served = append(c.answers, u.Answer), u.Asked
		c.busy.Store(0)
		c.pause(c.think)
	}
	u.Versions = nil // every answer was noted already
	_, err = socket.Write([]byte{'X', 0, 0, 0, 4})
	return err
}

func (c *client) halves(socket net.Conn, front *pgproto3.Frontend, u *unit) error {
	bytes, err := (&pgproto3.Query{String: rawQuery}).Encode(nil)
	if err != nil {
		return err
	}
	cut := 1 + c.rng.IntN(len(bytes)-1)
	if _, err := socket.Write(bytes[:cut]); err != nil {
		return err
	}
	c.pause(max(time.Duration(c.halfMessage.Load()), time.Millisecond))
	if _, err := socket.Write(bytes[cut:]); err != nil {
		return err
	}
	return c.untilReady(front, u)
}
