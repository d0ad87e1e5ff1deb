package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/internal/pgtest"
)

// storm counts what clients see while their sessions are moved and held.
type storm struct {
	s        *stand
	ctx      context.Context
	options  string
	versions [2]atomic.Int64
	bad      chan error
}

// saw checks one exchange's or transaction's versions: one of the two, not both.
func (w *storm) saw(versions ...string) error {
	for _, v := range versions {
		if v != versions[0] {
			return fmt.Errorf("one transaction saw %v", versions)
		}
	}
	switch versions[0] {
	case "old":
		w.versions[0].Add(1)
	case "new":
		w.versions[1].Add(1)
	default:
		return fmt.Errorf("version %q", versions[0])
	}
	return nil
}

// crowd is what the clients do, by name.
var crowd = map[string]client{
	"simple": func(w *storm, c *pgx.Conn) error {
		return w.ask(c, pgx.QueryExecModeSimpleProtocol)
	},
	"prepared": func(w *storm, c *pgx.Conn) error {
		return w.ask(c, pgx.QueryExecModeCacheStatement)
	},
	"described": func(w *storm, c *pgx.Conn) error {
		return w.ask(c, pgx.QueryExecModeDescribeExec)
	},
	"exec": func(w *storm, c *pgx.Conn) error {
		return w.ask(c, pgx.QueryExecModeExec)
	},
	"transaction": func(w *storm, c *pgx.Conn) error {
		tx, err := c.Begin(w.ctx)
		if err != nil {
			return err
		}
		var a, b string
		if err := tx.QueryRow(w.ctx, "SELECT version FROM answer WHERE k = 1").Scan(&a); err != nil {
			return err
		}
		if err := tx.QueryRow(w.ctx, "SELECT version FROM answer WHERE k = 2").Scan(&b); err != nil {
			return err
		}
		if err := tx.Commit(w.ctx); err != nil {
			return err
		}
		return w.saw(a, b)
	},
	"multi": func(w *storm, c *pgx.Conn) error {
		rs, err := c.PgConn().Exec(w.ctx, "SELECT version FROM answer WHERE k = 1; SELECT version FROM answer WHERE k = 2").ReadAll()
		if err != nil {
			return err
		}
		return w.saw(string(rs[0].Rows[0][0]), string(rs[1].Rows[0][0]))
	},
	"batch": func(w *storm, c *pgx.Conn) error {
		b := &pgx.Batch{}
		for k := range 20 {
			b.Queue("SELECT version FROM answer WHERE k = $1", k+1)
		}
		res := c.SendBatch(w.ctx, b)
		var all []string
		for range 20 {
			var v string
			if err := res.QueryRow().Scan(&v); err != nil {
				return err
			}
			all = append(all, v)
		}
		if err := res.Close(); err != nil {
			return err
		}
		return w.saw(all...)
	},
	"copy out": func(w *storm, c *pgx.Conn) error {
		var b strings.Builder
		if _, err := c.PgConn().CopyTo(w.ctx, &b, "COPY (SELECT version FROM answer) TO STDOUT"); err != nil {
			return err
		}
		return w.saw(strings.Fields(b.String())...)
	},
	"copy in": func(w *storm, c *pgx.Conn) error {
		rows := [][]any{{1, "a"}, {2, "b"}}
		if _, err := c.CopyFrom(w.ctx, pgx.Identifier{"notes"}, []string{"id", "note"}, pgx.CopyFromRows(rows)); err != nil {
			return err
		}
		return w.ask(c, pgx.QueryExecModeSimpleProtocol)
	},
	"errors": func(w *storm, c *pgx.Conn) error {
		var pgErr *pgconn.PgError
		if _, err := c.Exec(w.ctx, "SELECT * FROM no_such_thing WHERE k = $1", 0); !errors.As(err, &pgErr) {
			return fmt.Errorf("want an error of the server, got %w", err)
		}
		return w.ask(c, pgx.QueryExecModeExec)
	},
	"failed copy": func(w *storm, c *pgx.Conn) error {
		_, err := c.PgConn().CopyFrom(w.ctx, io.MultiReader(strings.NewReader("1\tx\n"), failing{}), "COPY notes FROM STDIN")
		if err == nil {
			return errors.New("a failed COPY succeeded")
		}
		return w.ask(c, pgx.QueryExecModeExec)
	},
	"pipeline": func(w *storm, c *pgx.Conn) error {
		p := c.PgConn().StartPipeline(w.ctx)
		const depth = 10
		for range depth {
			p.SendQueryParams("SELECT version FROM answer WHERE k = 1", nil, nil, nil, nil)
			if err := p.Sync(); err != nil {
				return err
			}
		}
		for range depth {
			res, err := p.GetResults()
			if err != nil {
				return err
			}
			r := res.(*pgconn.ResultReader).Read()
			if r.Err != nil {
				return r.Err
			}
			if err := w.saw(string(r.Rows[0][0])); err != nil {
				return err
			}
			if _, err := p.GetResults(); err != nil {
				return err
			}
		}
		return p.Close()
	},
	"reconnect": func(w *storm, c *pgx.Conn) error {
		fresh, err := pgx.Connect(w.ctx, pgtest.DSN(w.s.addr, "postgres", w.options))
		if err != nil {
			return err
		}
		defer fresh.Close(w.ctx)
		return w.ask(fresh, pgx.QueryExecModeSimpleProtocol)
	},
	"discard": func(w *storm, c *pgx.Conn) error {
		if _, err := c.Exec(w.ctx, "DISCARD ALL", pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return w.ask(c, pgx.QueryExecModeSimpleProtocol)
	},
	"sets": func(w *storm, c *pgx.Conn) error {
		if _, err := c.Exec(w.ctx, "SET search_path = prod", pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		return w.ask(c, pgx.QueryExecModeExec)
	},
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the client's file broke") }

func (w *storm) ask(c *pgx.Conn, mode pgx.QueryExecMode) error {
	var v string
	if err := c.QueryRow(w.ctx, "SELECT version FROM answer WHERE k = $1", mode, 1).Scan(&v); err != nil {
		return err
	}
	return w.saw(v)
}

func (w *storm) client(name string, do client, stop <-chan struct{}) {
	conn, err := pgx.Connect(w.ctx, pgtest.DSN(w.s.addr, "postgres", w.options))
	if err != nil {
		w.bad <- fmt.Errorf("%s: %w", name, err)
		return
	}
	defer conn.Close(w.ctx)
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		if err := do(w, conn); err != nil {
			w.bad <- fmt.Errorf("%s, round %d: %w", name, n, err)
			return
		}
	}
}

// TestStormOfMovesAndHolds: every kind of client works on while the weight
// flips between 0 and 100 % and holds come at random, without one error, one
// unknown version or one mixed transaction.
func TestStormOfMovesAndHolds(t *testing.T) {
	s := onPostgres(t)
	runStorm(t, s, onProd, crowd, 3*time.Second)
}

type client func(w *storm, c *pgx.Conn) error

func runStorm(t *testing.T, s *stand, options string, crowd map[string]client, length time.Duration) {
	ctx, done := context.WithTimeout(t.Context(), 60*time.Second)
	defer done()
	w := &storm{s: s, ctx: ctx, options: options, bad: make(chan error, 100)}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for name, do := range crowd {
		clients.Go(func() { w.client(name, do, stop) })
	}
	deadline := time.Now().Add(length)
	complete, holds := 0, 0
	for i := 0; time.Now().Before(deadline) && len(w.bad) == 0; i++ {
		s.weigh(100 * (i % 2))
		time.Sleep(time.Duration(10+rand.IntN(30)) * time.Millisecond)
		if i%5 == 4 {
			hold, err := s.p.Hold(shop, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			gather, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			report := hold.Gather(gather)
			cancel()
			holds++
			if report.Complete() {
				complete++
				s.weigh(100 * ((i + 1) % 2))
			} else {
				t.Logf("not gathered: %+v", report.Stragglers)
			}
			hold.Release()
		}
	}
	close(stop)
	clients.Wait()
	close(w.bad)
	for err := range w.bad {
		t.Error(err)
	}
	t.Logf("answers: %d old, %d new; %d of %d holds complete; longest stall %v", w.versions[0].Load(), w.versions[1].Load(), complete, holds, s.p.LongestStall())
	if w.versions[0].Load() == 0 || w.versions[1].Load() == 0 {
		t.Error("one version was never seen: nothing was tested")
	}
	if holds > 0 && complete == 0 {
		t.Error("no hold was ever complete")
	}
	for _, i := range s.p.Sessions("") {
		if i.Place == "unknown" {
			t.Errorf("session cannot be tracked: %s", i.Why)
		}
	}
}
