package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"syscall"
	"testing"
	"time"

	"mzcanary/internal/wire"
)

// sealedLeg is a leg under TLS, as after flow.start, and its peer.
func sealedLeg(t *testing.T) (*leg, *tls.Conn) {
	t.Helper()
	return sealedLegWith(t, &tls.Config{InsecureSkipVerify: true})
}

// sealedLegWith is sealedLeg with a configuration for the peer.
func sealedLegWith(t *testing.T, config *tls.Config) (*leg, *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far.SetDeadline(time.Now().Add(20 * time.Second))
	peer := tls.Client(far, config)
	shaken := make(chan error, 1)
	go func() { shaken <- peer.Handshake() }()
	secured, err := wire.ServeTLS(t.Context(), near, wire.OfferTLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	fd, err := duplicate(near.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	g := &leg{fd: fd, room: true}
	g.detach(secured, &loop{})
	near.Close()
	t.Cleanup(func() {
		far.Close()
		closeSocket(fd)
	})
	return g, peer
}

// fill writes chunks until one does not go out whole, and gives what was written.
func fill(t *testing.T, g *leg) (written []byte) {
	t.Helper()
	for i := byte(0); !g.unsent(); i++ {
		chunk := bytes.Repeat([]byte{i}, largeBuffer)
		if n, err := g.write(chunk); n != len(chunk) || err != nil {
			t.Fatalf("%d bytes were taken, %v", n, err)
		}
		written = append(written, chunk...)
	}
	if g.room {
		t.Fatal("records wait and there is room")
	}
	return written
}

// drain reads the peer to its end while the leg goes on whenever it can.
func drain(t *testing.T, g *leg, peer io.Reader) []byte {
	t.Helper()
	type end struct {
		got []byte
		err error
	}
	ended := make(chan end, 1)
	go func() {
		got, err := io.ReadAll(peer)
		ended <- end{got, err}
	}()
	for g.unsent() {
		g.room = true // there is no loop here to say so
		if err := g.flush(); err != nil {
			t.Fatal(err)
		}
	}
	e := <-ended
	if e.err != nil {
		t.Fatalf("the peer's end: %v", e.err)
	}
	return e.got
}

// TestSealedLegEndsBehindWhatWaits: records that found no room, what was written
// after them, the goodbye and the end of the stream arrive in this order.
func TestSealedLegEndsBehindWhatWaits(t *testing.T) {
	g, peer := sealedLeg(t)
	written := fill(t, g)
	if _, err := g.write([]byte("the last word")); err != nil {
		t.Fatal(err)
	}
	g.closeWrite()
	got := drain(t, g, peer)
	if !bytes.Equal(got, append(written, "the last word"...)) {
		t.Errorf("%d bytes arrived, not as the %d that were written", len(got), len(written)+13)
	}
	if g.tls.outBuf != nil || g.tls.out != nil {
		t.Error("an empty leg keeps memory")
	}
	// The stream itself has ended too, not only TLS.
	if n, err := peer.NetConn().Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("behind the goodbye the socket gives %d, %v", n, err)
	}
}

// TestSealedLegIsLeft: giving up TLS frees what waits, and the socket is read on as
// it is.
func TestSealedLegIsLeft(t *testing.T) {
	g, peer := sealedLeg(t)
	fill(t, g)
	g.leaveTLS()
	g.leaveTLS() // twice is once
	if g.unsent() {
		t.Error("something is left to send")
	}
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for g.ready = true; ; g.ready = true {
		if n, err := g.read(buf); n > 1 { // a record, not its byte
			break
		} else if err != syscall.EAGAIN {
			t.Fatal(n, err)
		}
	}
}

// TestSealedLegAsksTheSocketOnce: a read that emptied the socket is the last one until
// the next edge, and what TLS still has is given without one.
func TestSealedLegAsksTheSocketOnce(t *testing.T) {
	g, peer := sealedLeg(t)
	if _, err := peer.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	var n int
	var err error = syscall.EAGAIN
	for err == syscall.EAGAIN { // the peer's kernel needs a moment
		g.ready, g.tls.dry = true, false
		n, err = g.read(buf)
	}
	if string(buf[:n]) != "first" || err != nil {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if g.ready {
		t.Error("TLS has said that nothing is left, and is to be asked again")
	}
	if _, err := peer.Write([]byte("second")); err != nil {
		t.Fatal(err)
	}
	if n, err := g.read(buf); n != 0 || err != syscall.EAGAIN {
		t.Errorf("without an edge the socket was read: %d, %v", n, err)
	}
	g.hup = true // the end is near: no edge comes for what is before it
	for err = syscall.EAGAIN; err == syscall.EAGAIN; {
		n, err = g.read(buf)
	}
	if string(buf[:n]) != "second" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
}
