package proxy_test

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// awaitKey reads the login to its end and gives the cancel key in it.
func (c *player) awaitKey() *pgproto3.BackendKeyData {
	c.t.Helper()
	var key *pgproto3.BackendKeyData
	for {
		m, err := c.front.Receive()
		if err != nil {
			c.t.Fatalf("the client waits for the end of its login: %v", err)
		}
		switch m := m.(type) {
		case *pgproto3.BackendKeyData:
			copied := *m
			copied.SecretKey = append([]byte(nil), m.SecretKey...)
			key = &copied
		case *pgproto3.ReadyForQuery:
			if key == nil {
				c.t.Fatal("no BackendKeyData")
			}
			return key
		}
	}
}

// cancel sends a CancelRequest and waits until the proxy has closed that
// connection: it has done what it does then.
func (r *rig) cancel(key *pgproto3.BackendKeyData) {
	r.t.Helper()
	conn := r.conn()
	if _, err := conn.Write(cancelPacket(key)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		r.t.Fatalf("waiting for the end of the cancel connection: %v", err)
	}
}

func cancelPacket(key *pgproto3.BackendKeyData) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(12+len(key.SecretKey)))
	b = binary.BigEndian.AppendUint32(b, 80877102)
	b = binary.BigEndian.AppendUint32(b, key.ProcessID)
	return append(b, key.SecretKey...)
}

const wantCancel = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x10\x92" + serverSecret

func TestC1CancelKeyIsOurOwn(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		if key.ProcessID == serverPID || string(key.SecretKey) == serverSecret || key.ProcessID>>31 != 0 || len(key.SecretKey) != 4 {
			r.t.Errorf("the client got the key %d %x", key.ProcessID, key.SecretKey)
		}
		if got := r.p.Backends(); len(got) != 1 || got[0] != serverPID {
			r.t.Errorf("backends %v", got)
		}
	})
}

func TestC6CancelIsForwardedWhileSomethingRuns(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		closed := make(chan struct{})
		go func() { r.cancel(key); close(closed) }()
		upstream := r.backend()
		got := make([]byte, len(wantCancel))
		readFull(r.t, upstream, got)
		if string(got) != wantCancel {
			r.t.Fatalf("the server got %x, want %x", got, wantCancel)
		}
		// The statement ends by itself; the next one waits until the server has
		// acted on the cancel.
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		c.send(query("SELECT 2"))
		upstream.Close()
		s.expect(`Q "SELECT 2"`)
		<-closed
	})
}

func TestC6NextStatementWaitsForACancelButNotForEver(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		closed := make(chan struct{})
		go func() { r.cancel(key); close(closed) }()
		upstream := r.backend()
		readFull(r.t, upstream, make([]byte, len(wantCancel)))
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		begin := time.Now()
		c.send(query("SELECT 2"))
		s.expect(`Q "SELECT 2"`)
		if took := time.Since(begin); took < 50*time.Millisecond || took > 150*time.Millisecond {
			r.t.Errorf("waited %v, want 100 ms", took)
		}
		upstream.Close()
		<-closed
	})
}

func TestC3CancelOfAnIdleSessionGoesNowhere(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		r.cancel(key)
		wrong := *key
		wrong.SecretKey = []byte("abcd")
		c.send(query("SELECT 1"))
		s.expect(`Q "SELECT 1"`)
		r.cancel(&wrong)
		if n := len(r.backends); n != 0 {
			r.t.Errorf("%d connections to the server for cancels that mean nothing", n)
		}
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
	})
}

func TestE4ClientDeathCancelsItsStatement(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SUBSCRIBE answer"))
		s.expect(`Q "SUBSCRIBE answer"`)
		c.conn.Close()
		upstream := r.backend()
		got := make([]byte, len(wantCancel))
		readFull(r.t, upstream, got)
		if string(got) != wantCancel {
			r.t.Errorf("the server got %x", got)
		}
		upstream.Close()
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014"}, ready('I'))
		s.expectEnd()
	})
}
