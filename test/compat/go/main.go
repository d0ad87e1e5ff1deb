// Program compat is the Go part of the compatibility suite: pgx in each of its
// query modes, lib/pq, and the programs of libpq.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 2 && args[0] == "pgx":
		runPgx(args[1])
	case len(args) == 1 && args[0] == "pq":
		runPq()
	case len(args) == 1 && args[0] == "psql":
		runPsql()
	case len(args) == 2 && args[0] == "pgbench":
		runPgbench(args[1])
	default:
		fmt.Fprintln(os.Stderr, "usage: compat pgx MODE | pq | psql | pgbench MODE")
		os.Exit(2)
	}
}

// env is where to connect to; the runner always sets it.
type env struct {
	host, port, database, user, password, run string
	dialect
}

func environment() env {
	return env{os.Getenv("COMPAT_HOST"), os.Getenv("COMPAT_PORT"), os.Getenv("COMPAT_DATABASE"),
		os.Getenv("COMPAT_USER"), os.Getenv("COMPAT_PASSWORD"), os.Getenv("COMPAT_RUN"), dialectOf(os.Getenv("COMPAT_SERVER"))}
}

// dsn is a connection string in libpq's form; more is added at its end.
func (e env) dsn(user, more string) string {
	return fmt.Sprintf("host=%s port=%s dbname=%s user=%s password=%s %s", e.host, e.port, e.database, user, e.password, more)
}

// moduleVersion is the version a driver was built with.
func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return "unknown"
}
