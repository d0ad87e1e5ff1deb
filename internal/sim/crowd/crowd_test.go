package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"mzcanary/internal/sim"
)

const oneVersion = `
CREATE TABLE public.base (k int, v text);
INSERT INTO public.base VALUES (1,'a'),(2,'b'),(3,'c');
GRANT SELECT ON public.base TO PUBLIC;
CREATE CLUSTER prod (SIZE = 'bootstrap');
CREATE SCHEMA prod;
CREATE VIEW prod.answer AS SELECT 'old'::text AS version, k, v FROM public.base;
CREATE INDEX answer_idx IN CLUSTER prod ON prod.answer (k);
CREATE MATERIALIZED VIEW prod.total IN CLUSTER prod AS SELECT 'old'::text AS version, count(*) AS n FROM public.base;
GRANT USAGE ON SCHEMA prod TO PUBLIC;
GRANT USAGE ON CLUSTER prod TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA prod TO PUBLIC;
`

// onServer serves one version until the test ends.
func onServer(t *testing.T) (s *sim.Server, dsn string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s = sim.New(sim.Options{})
	if err := s.Exec(ctx, oneVersion); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); <-served })
	return s, fmt.Sprintf("postgres://app@%s/materialize?sslmode=disable&search_path=prod&cluster=prod", ln.Addr())
}

// TestSubscribeEndsWhenTheCrowdDoes: also when the crowd ended before the server ran
// the statement, and never without its first row.
func TestSubscribeEndsWhenTheCrowdDoes(t *testing.T) {
	_, dsn := onServer(t)
	stop := make(chan struct{})
	close(stop)
	c := &client{mode: modeStream, opts: &Options{DSN: dsn}, counts: &counts{}, stop: stop, rng: rand.New(rand.NewPCG(1, 1))}
	conn, err := c.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 50 {
		if v, err := c.subscribe(ctx, conn); v != Old || err != nil {
			t.Fatalf("version %s, %v", v, err)
		}
	}
}

// TestCrowdOnTheServerItself lets every mode work without a proxy: whatever the
// account blames then is the crowd's or the simulator's own fault.
func TestCrowdOnTheServerItself(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, dsn := onServer(t)
	c, err := Start(Options{
		DSN:     dsn,
		Clients: len(mix), Seed: 1, Think: 5 * time.Millisecond, Timeline: &Timeline{},
	})
	if err != nil {
		t.Fatal(err)
	}
	enough := make(chan struct{})
	beating := make(chan struct{})
	go func() {
		// Changing rows wakes the subscriptions, also while the crowd is closing.
		defer close(beating)
		for k, told := 100, false; ctx.Err() == nil; k++ {
			if err := s.Exec(ctx, fmt.Sprintf("INSERT INTO public.base VALUES (%d, 'beat'); DELETE FROM public.base WHERE k = %d", k, k)); err != nil {
				return
			}
			if live := c.Live(); !told && (live.Exchanges >= 500 || live.Errors > 20) {
				told = true
				close(enough)
			}
		}
	}()
	defer func() { cancel(); <-beating }()
	select {
	case <-enough:
	case <-beating:
		t.Fatal("rows cannot be changed")
	case <-time.After(20 * time.Second):
		t.Fatalf("too slow: %+v", c.Live())
	}
	closing, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	a, err := c.Close(closing)
	if err != nil {
		t.Fatal(err)
	}
	if a.ClientErrors+a.WrongVersions != 0 || a.SeenNew != 0 || a.Exchanges < 500 {
		t.Errorf("%+v", a)
	}
	if silent := a.Silent(); !slices.Equal(silent, []string{"pinned canary"}) || a.Clean() {
		t.Errorf("without an answer: %q, clean %t; there is no canary here, and no account is clean about a mode it knows nothing of", silent, a.Clean())
	}
}
