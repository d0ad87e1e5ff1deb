//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
)

// Bulk transfers are of lines of 1 kB.
const (
	bulkLine  = 1000
	bulkLines = 300_000
)

// transfer is one of the bulk measures.
type transfer struct {
	name, sql string
	in        func() io.Reader // what psql reads; nil: nothing
}

var transfers = []transfer{
	{"copy-out", fmt.Sprintf("COPY (SELECT repeat('x', %d) FROM generate_series(1, %d)) TO STDOUT", bulkLine, bulkLines), nil},
	{"copy-in", "COPY public.sink FROM STDIN", func() io.Reader {
		return &repeated{line: []byte(strings.Repeat("x", bulkLine-1) + "\n"), left: bulkLines}
	}},
	{"rows", fmt.Sprintf("SELECT repeat('x', %d) FROM generate_series(1, %d)", bulkLine, bulkLines), nil},
}

// bulk measures the CPU per GB of COPY in both directions and of rows.
func (st *stage) bulk(ctx context.Context) error {
	for _, t := range transfers {
		for _, p := range st.peers {
			cpu, err := p.cpuOf(func() error { return st.transfer(ctx, p, t) })
			if err != nil {
				return err
			}
			st.results.add("bulk/"+t.name, "ms/GB", p.name, float64(cpu)/1e6/(bulkLine*bulkLines/1e9))
			if t.in != nil {
				if err := st.exec(ctx, "TRUNCATE public.sink"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (st *stage) transfer(ctx context.Context, p *peer, t transfer) error {
	ctx, cancel := st.limited(ctx)
	defer cancel()
	host, port, _ := net.SplitHostPort(p.plain)
	cmd := exec.CommandContext(ctx, "psql", "-h", host, "-p", port, "-U", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1", "--set=FETCH_COUNT=10000", "-c", t.sql, "postgres")
	cmd.Env = append(os.Environ(), plain.libpqEnv())
	var said bytes.Buffer
	cmd.Stderr = &said
	if t.in != nil {
		cmd.Stdin = t.in()
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("psql: %w: %s", err, said.Bytes())
	}
	return nil
}

// repeated reads as a line that comes again and again.
type repeated struct {
	line []byte
	at   int
	left int // lines
}

func (r *repeated) Read(b []byte) (n int, err error) {
	for n < len(b) {
		if r.left == 0 {
			return n, io.EOF
		}
		k := copy(b[n:], r.line[r.at:])
		n += k
		if r.at += k; r.at == len(r.line) {
			r.at = 0
			r.left--
		}
	}
	return n, nil
}
