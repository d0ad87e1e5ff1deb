package proxy_test

import (
	"io"
	"net"
	"testing"

	"mzcanary/router"
)

// beat is a session whose client and server allocate nothing themselves.
type beat struct {
	client    net.Conn
	ask, into []byte
}

// newBeat logs a managed session in, on the canary, and lets a backend answer
// every query with the same bytes.
func newBeat(t testing.TB, r *rig) *beat {
	r.toCanary()
	c, s := r.begin()
	s.accept()
	s.expect(moveToCanary)
	s.moved("prod_deploy")
	c.awaitReady()
	ask := []byte("Q\x00\x00\x00\x0dSELECT 1\x00")
	answer := []byte("T\x00\x00\x00\x1a\x00\x01v\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00D\x00\x00\x00\x0d\x00\x01\x00\x00\x00\x03oldC\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I")
	go func() {
		got := make([]byte, len(ask))
		for {
			if _, err := io.ReadFull(s.conn, got); err != nil {
				return
			}
			if _, err := s.conn.Write(answer); err != nil {
				return
			}
		}
	}()
	return &beat{client: c.conn, ask: ask, into: make([]byte, len(answer))}
}

func (b *beat) once(t testing.TB) {
	if _, err := b.client.Write(b.ask); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b.client, b.into); err != nil {
		t.Fatal(err)
	}
}

// TestExchangeAllocatesNothing: header scan, tracking, gate and metering of a
// managed session included.
func TestExchangeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("skipped: pools drop buffers on purpose under the race detector")
	}
	r := newRig(t, false)
	b := newBeat(t, r)
	for range 100 {
		b.once(t)
	}
	if n := testing.AllocsPerRun(2000, func() { b.once(t) }); n != 0 {
		t.Errorf("%v allocations per exchange, want 0", n)
	}
	if sn := r.stats.Find(shop).Snapshot(); sn.Arms[router.Canary].Exchanges < 2000 {
		t.Errorf("metered %d exchanges: the measurement left them out", sn.Arms[router.Canary].Exchanges)
	}
}

// BenchmarkExchange is one round trip of a managed session over the loopback,
// both peers in this process: for allocations and comparisons, not for absolute
// figures (see bench/).
func BenchmarkExchange(b *testing.B) {
	beat := newBeat(b, newRig(b, false))
	b.ReportAllocs()
	for b.Loop() {
		beat.once(b)
	}
}
