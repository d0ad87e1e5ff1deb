package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// wireTap is the socket of a detached connection: it has what the peer's TLS was
// written so far, in pieces of any size.
type wireTap struct {
	has   []byte
	piece func(n int) int
	ended bool
	reads int
}

func (w *wireTap) recv(p []byte) (int, error) {
	w.reads++
	n := w.piece(min(len(p), len(w.has)))
	switch {
	case n > 0:
		copy(p, w.has[:n])
		w.has = w.has[n:]
		return n, nil
	case w.ended && len(w.has) == 0:
		return 0, io.EOF
	}
	return 0, ErrDry
}

// detachedPair is a client and a server that have shaken hands and are both detached.
func detachedPair(t *testing.T, version uint16, piece func(n int) int) (client, server *Detached, toServer, toClient *wireTap) {
	t.Helper()
	a := newAuthority(t)
	near, far := connected(t)
	type shaken struct {
		u   net.Conn
		err error
	}
	done := make(chan shaken, 1)
	go func() {
		u, err := ServerTLS{Mode: TLSVerifyFull, RootCAs: a.pool, ServerName: "db"}.Start(t.Context(), near)
		done <- shaken{u, err}
	}()
	var request [8]byte
	if _, err := io.ReadFull(far, request[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := far.Write([]byte{AnswerTLS}); err != nil {
		t.Fatal(err)
	}
	config := OfferTLS(&tls.Config{Certificates: []tls.Certificate{a.issue(t, "db")}, MaxVersion: version})
	s, err := ServeTLS(t.Context(), far, config)
	c := <-done
	if err := errors.Join(err, c.err); err != nil {
		t.Fatal(err)
	}
	toServer, toClient = &wireTap{piece: piece}, &wireTap{piece: piece}
	return c.u.(*UpstreamTLS).Detach(toClient.recv), s.Detach(toServer.recv), toServer, toClient
}

// TestDetached: what one side seals the other opens, in whatever pieces the socket
// gives it, and nothing waits: with nothing to read Open says so and can be asked
// again within a record.
func TestDetached(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := map[string]func(n int) int{
		"as it comes":       func(n int) int { return n },
		"a byte at a time":  func(n int) int { return min(n, 1) },
		"or nothing at all": func(n int) int { return min(n, r.IntN(700)) },
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, piece := range pieces {
			client, server, toServer, toClient := detachedPair(t, version, piece)
			buf := make([]byte, 40<<10)
			transfer := func(from, to *Detached, tap *wireTap, size int, capped bool) {
				t.Helper()
				sent := bytes.Repeat([]byte{byte(size)}, size)
				made, err := from.Seal([]byte("kept"), sent)
				if err != nil || !bytes.HasPrefix(made, []byte("kept")) {
					t.Fatalf("%s: sealing %d bytes: %v", name, size, err)
				}
				made = made[len("kept"):]
				if capped {
					checkRecords(t, version, size, made)
				}
				// What is not there yet is not waited for.
				half := len(made) / 2
				tap.has = append(tap.has, made[:half]...)
				var got []byte
				for dry := 0; len(got) < size; {
					n, err := to.Open(buf)
					got = append(got, buf[:n]...)
					if err == nil || n > 0 && err == ErrDry {
						continue
					}
					if err != ErrDry || n != 0 {
						t.Fatalf("%s: opening %d bytes: %d, %v", name, size, n, err)
					}
					if dry++; dry > 100_000 {
						t.Fatalf("%s: %d of %d bytes came", name, len(got), size)
					}
					tap.has = append(tap.has, made[half:]...)
					half = len(made)
				}
				if !bytes.Equal(got, sent) {
					t.Fatalf("%s: %d bytes are not what was sealed", name, size)
				}
				if owed := to.Owed(); owed != nil {
					t.Errorf("%s: reading owes %d bytes", name, len(owed))
				}
			}
			for _, size := range []int{1, 2, 8192, 8193, 16385, 100_000, 1} {
				transfer(client, server, toServer, size, false)
				transfer(server, client, toClient, size, true)
			}
			if n, err := server.Open(buf); n != 0 || err != ErrDry {
				t.Errorf("%s: an idle connection gives %d, %v", name, n, err)
			}

			// The last bytes come before the goodbye behind them.
			made, err := client.Seal(nil, []byte("X"))
			if err != nil {
				t.Fatal(err)
			}
			toServer.has = client.SealEnd(append(toServer.has, made...))
			var last []byte
			for err = ErrDry; err == ErrDry; {
				var n int
				if n, err = server.Open(buf); n > 0 {
					last, err = append(last, buf[:n]...), ErrDry
				}
			}
			if string(last) != "X" || err != io.EOF {
				t.Errorf("%s: the end is %q, %v", name, last, err)
			}
			if _, err := server.Open(buf); err != io.EOF {
				t.Errorf("%s: behind the end: %v", name, err)
			}
			if _, err := client.Seal(nil, []byte("more")); err == nil {
				t.Errorf("%s: sealed behind the goodbye", name)
			}
		}
	}
}

// TestDetachedEnds: a stream that ends within a record, or is not TLS, is an error
// that comes again, and what it owes the peer is an alert.
func TestDetachedEnds(t *testing.T) {
	whole := func(n int) int { return n }
	buf := make([]byte, 100)
	client, server, toServer, _ := detachedPair(t, tls.VersionTLS13, whole)
	made, err := client.Seal(nil, []byte("cut short"))
	if err != nil {
		t.Fatal(err)
	}
	toServer.has, toServer.ended = made[:len(made)-1], true
	for range 2 {
		if n, err := server.Open(buf); n != 0 || err != io.ErrUnexpectedEOF {
			t.Errorf("a record cut short gives %d, %v", n, err)
		}
	}

	client, server, toServer, toClient := detachedPair(t, tls.VersionTLS13, whole)
	toServer.has = bytes.Repeat([]byte{23, 3, 3, 0, 1, 0}, 3)
	for range 2 {
		if n, err := server.Open(buf); n != 0 || err == nil || err == ErrDry {
			t.Errorf("forged records give %d, %v", n, err)
		}
	}
	if toClient.has = server.Owed(); len(toClient.has) == 0 {
		t.Fatal("the peer is not told")
	}
	if n, err := client.Open(buf); n != 0 || err == nil || err == ErrDry || err == io.EOF {
		t.Errorf("the alert reads as %d, %v", n, err)
	}
}

// TestDetachedReadsOnce: what one read of the socket gave is opened without another
// one for each record, and that nothing is left is said at once.
func TestDetachedReadsOnce(t *testing.T) {
	client, server, toServer, _ := detachedPair(t, tls.VersionTLS13, func(n int) int { return n })
	for range 20 {
		made, err := client.Seal(nil, []byte("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		toServer.has = append(toServer.has, made...)
	}
	toServer.reads = 0
	n, err := server.Open(make([]byte, 1000))
	if n != 200 || err != ErrDry || toServer.reads > 2 {
		t.Errorf("%d bytes (%v) in %d reads of the socket", n, err, toServer.reads)
	}
}
