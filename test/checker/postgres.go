package checker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/sim"
)

// postgresTarget is a database of the run's own on a real PostgreSQL. What its names
// stand for is looked up without pause, so that a change is known to lie between
// two looks.
type postgresTarget struct {
	address, database string
	end               context.CancelFunc
	watched           sync.WaitGroup
	watchErr          atomic.Pointer[error]

	mu   sync.Mutex
	conn *pgx.Conn
}

// lastDatabase numbers the databases of this process.
var lastDatabase atomic.Uint32

func newPostgresTarget(ctx context.Context, address string, changed func(sim.Change)) (*postgresTarget, error) {
	p := &postgresTarget{address: address, database: fmt.Sprintf("checker_%d", lastDatabase.Add(1))}
	admin, err := pgx.Connect(ctx, p.dsn("postgres"))
	if err != nil {
		return nil, err
	}
	_, err = admin.Exec(ctx, "CREATE DATABASE "+p.database)
	if err = errors.Join(err, admin.Close(ctx)); err != nil {
		return nil, err
	}
	watch, err := pgx.Connect(ctx, p.dsn(p.database))
	if err != nil {
		return nil, err
	}
	if p.conn, err = pgx.Connect(ctx, p.dsn(p.database)); err != nil {
		return nil, errors.Join(err, watch.Close(ctx))
	}
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	p.end = end
	p.watched.Go(func() {
		if err := watchNames(watching, watch, changed); err != nil {
			p.watchErr.Store(&err)
		}
		_ = watch.Close(context.WithoutCancel(watching)) // its end ends the session just as well
	})
	return p, nil
}

func (p *postgresTarget) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", p.address, database)
}

// watchNames tells of every change of the ids behind the schemas. Each look is a
// statement of its own, and so of the moment at which it began.
func watchNames(ctx context.Context, conn *pgx.Conn, changed func(sim.Change)) error {
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	last, before := "", time.Now()
	for {
		began := time.Now()
		rows, err := conn.Query(ctx, "SELECT nspname, oid::text FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1")
		if err != nil {
			return ended(ctx, err)
		}
		c := sim.Change{Since: before, Schemas: map[string]string{}}
		var name, id, seen string
		if _, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
			c.Schemas[name] = id
			seen += name + " " + id + "\n"
			return nil
		}); err != nil {
			return ended(ctx, err)
		}
		if seen != last {
			c.At = time.Now()
			changed(c)
			last = seen
		}
		before = began
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watch what the names stand for: %w", err)
}

func (p *postgresTarget) Address() string     { return p.address }
func (p *postgresTarget) Faults() *sim.Faults { return nil }
func (p *postgresTarget) Tells() bool         { return true }

func (p *postgresTarget) Exec(ctx context.Context, statements []string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range statements {
		if _, err := p.conn.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

func (p *postgresTarget) Stored(ctx context.Context, table string) (map[string]int, error) {
	return stored(ctx, p.dsn(p.database), table)
}

// cutControl ends the controller's session that holds an open transaction, if there is
// one.
func (p *postgresTarget) cutControl(ctx context.Context) error {
	return p.Exec(ctx, []string{`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'mzcanary' AND xact_start IS NOT NULL`})
}

func (p *postgresTarget) Close() error {
	p.end()
	p.watched.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := p.conn.Close(ctx)
	if watch := p.watchErr.Load(); watch != nil {
		err = errors.Join(err, *watch)
	}
	return err
}

// RunPostgres plays a script on a database of its own on a PostgreSQL, as its
// superuser.
func RunPostgres(ctx context.Context, s Script, address string) (*Outcome, error) {
	names := Names{Live: "prod", Wide: s.Config.Wide, Base: "base", Control: "postgres", Postgres: true}
	tl := newTimeline(names)
	target, err := newPostgresTarget(ctx, address, tl.changed)
	if err != nil {
		return nil, err
	}
	names.Database = target.database
	err = target.Exec(ctx, []string{"CREATE SCHEMA base"})
	var out *Outcome
	if err == nil {
		out, err = play(ctx, s, names, target, "postgres", "", tl)
	}
	return out, errors.Join(err, target.Close())
}
