package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logLimit is how many bytes of lines wait for a log that is not read. A storm of
	// 2,000 sessions that begin and end says about as much.
	logLimit = 1 << 20
	// logPause is what passes between two writes. Under load the lines of many sessions
	// are one write then, and their sessions wake nobody.
	logPause = 20 * time.Millisecond
	// logPatience is how long the end waits for the last lines to be read.
	logPatience = time.Second
)

// logQueue is the log's writer. It takes a line without ever waiting, and its own
// goroutine writes the lines in their order: who logs may be carrying sessions or
// holding them, and a pipe that nobody reads must not stop either. What finds no
// room is dropped and counted, and the log says so when it is read again.
type logQueue struct {
	to io.Writer
	// own writes to to, and speaks of what was dropped.
	own *slog.Logger

	mu     sync.Mutex
	lines  []byte
	missed uint64 // since the last line about it
	closed bool

	lost  atomic.Uint64
	more  chan struct{} // holds one token while there may be lines
	end   chan struct{} // closed with closed
	ended chan struct{}
}

// newLogQueue gives a queue in front of a writer and the log that format makes of it.
// The caller closes the queue.
func newLogQueue(to io.Writer, format func(io.Writer) *slog.Logger) (*logQueue, *slog.Logger) {
	q := &logQueue{to: to, own: format(to), more: make(chan struct{}, 1), end: make(chan struct{}), ended: make(chan struct{})}
	go q.run()
	return q, format(q)
}

// Write implements io.Writer, for one line at a time.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.lines)+len(line) > logLimit {
		q.missed++
		q.lost.Add(1)
		return len(line), nil
	}
	q.lines = append(q.lines, line...)
	q.wake()
	return len(line), nil
}

func (q *logQueue) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// run writes until close, and what was said before.
func (q *logQueue) run() {
	defer close(q.ended)
	var spare []byte
	for range q.more {
		q.mu.Lock()
		lines, missed, closed := q.lines, q.missed, q.closed
		q.lines, q.missed = spare[:0], 0
		q.mu.Unlock()
		if n, err := q.to.Write(lines); err != nil { // which has nowhere to be said, but can be counted
			q.lost.Add(uint64(bytes.Count(lines[n:], []byte("\n"))))
		}
		if missed > 0 {
			q.own.Warn("log lines were dropped, because the log was not read fast enough", "lines", missed)
		}
		if closed {
			return
		}
		select {
		case <-time.After(logPause):
		case <-q.end:
		}
		spare = lines
		if cap(spare) > logLimit/16 {
			spare = nil // a storm is no reason to keep its memory
		}
	}
}

// close waits a moment for the last lines to be read; later ones are dropped.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	close(q.end)
	q.wake()
	q.mu.Unlock()
	select {
	case <-q.ended:
	case <-time.After(logPatience):
	}
}
