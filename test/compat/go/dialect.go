package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// dialect is what differs between the servers that a suite runs on.
type dialect struct {
	materialize bool
	live        string        // connection settings that name production
	options     string        // the same as PGOPTIONS
	outside     string        // PGOPTIONS of a session that belongs to no version
	roles       []string      // who may sign in
	sleep       string        // takes eight seconds unless it is cancelled
	wait        string        // takes 30 ms
	soon        time.Duration // when a sleep is cancelled
	// SQLSTATEs
	division, missing, badValue, badCopy string
	refused                              string // what libpq prints of a wrong password
	// restores: RESET and DISCARD ALL give back what the session started with.
	restores bool
	// told is what ParameterStatus says of search_path after a RESET.
	told    string
	proxied bool
	// drains: COPY data that comes when no COPY runs makes the server deaf until a
	// Sync, so that a client that does not wait for CopyInResponse hangs.
	drains bool
}

func dialectOf(server string) dialect {
	if server != "materialize" {
		return dialect{live: "search_path=prod", options: "-csearch_path=prod", outside: "-csearch_path=public", roles: []string{"compat_trust", "compat_password", "compat_md5", "compat_scram"},
			sleep: "SELECT pg_sleep(8)", wait: "SELECT pg_sleep(0.03)", soon: 60 * time.Millisecond, division: "22012", missing: "42P01", badValue: "22P02", badCopy: "22P02", refused: "password authentication failed"}
	}
	d := dialect{materialize: true, live: "search_path=prod cluster=prod", options: "-csearch_path=prod -ccluster=prod -cwelcome_message=off",
		outside: "-csearch_path=public -ccluster=quickstart -cwelcome_message=off", roles: []string{os.Getenv("COMPAT_USER")},
		sleep: "SELECT version FROM slow", wait: "SELECT version FROM pause WHERE id = 1", soon: 150 * time.Millisecond,
		division: os.Getenv("COMPAT_DIVISION"), missing: "XX000", badValue: "22P02", badCopy: "22P04", refused: "invalid password",
		restores: os.Getenv("COMPAT_RESETS") == "startup", told: os.Getenv("COMPAT_TOLD"), proxied: os.Getenv("COMPAT_WAY") == "proxied"}
	if d.division == "XX000" { // so are all errors of evaluation there
		d.badValue, d.drains = "XX000", true
	}
	return d
}

// armOf is the version that a pair of settings means; half a move is none.
func armOf(cluster, path string) string {
	switch {
	case cluster == "prod" && path == "prod":
		return "old"
	case cluster == "prod_deploy" && path == "prod_deploy":
		return "new"
	}
	return "cluster " + cluster + " with search_path " + path
}

// landed counts what was written under a run's name, on a session that belongs to
// neither version: all of it must be in one.
func (e env) landed(ctx context.Context, t *tally, run string, want int) error {
	conn, err := pgx.Connect(ctx, e.dsn(e.user, "search_path=public cluster=quickstart sslmode=disable default_query_exec_mode=simple_protocol"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var old, fresh int
	err = conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM prod.sink WHERE run = $1), (SELECT count(*) FROM prod_deploy.sink WHERE run = $1)", run).Scan(&old, &fresh)
	if err != nil {
		return errors.Join(fmt.Errorf("count what was written: %w", err), conn.Close(ctx))
	}
	switch {
	case old > 0 && fresh > 0:
		t.exchange("old", "new")
	case old > 0:
		t.exchange("old")
	case fresh > 0:
		t.exchange("new")
	}
	if old+fresh != want {
		return fmt.Errorf("%d rows were written instead of %d", old+fresh, want)
	}
	return nil
}

// signIn is the check's name: what it says is done.
func (e env) signIn() string {
	if e.materialize {
		return "sign in by the server's kind"
	}
	return "sign in with trust, password, md5, scram"
}
