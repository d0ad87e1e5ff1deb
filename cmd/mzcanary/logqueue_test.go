package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// Every line arrives, whole and in its order, whoever wrote it.
func TestLogQueueKeepsOrder(t *testing.T) {
	var out bytes.Buffer
	q, log := newLogQueue(&out, textLog)
	var wg sync.WaitGroup
	for who := range 4 {
		wg.Go(func() {
			for n := range 500 {
				log.Info("line", "who", who, "n", n)
			}
		})
	}
	wg.Wait()
	q.close()
	var next [4]int
	for line := range strings.Lines(out.String()) {
		var who, n int
		if _, err := fmt.Sscanf(line[strings.Index(line, "msg="):], "msg=line who=%d n=%d\n", &who, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if n != next[who] {
			t.Fatalf("line %d of %d came when %d was due", n, who, next[who])
		}
		next[who]++
	}
	if next != [4]int{500, 500, 500, 500} || q.lost.Load() != 0 {
		t.Errorf("%v lines came, %d were dropped", next, q.lost.Load())
	}
}

// A log that is not read stops nobody, keeps the first lines, and says how many are
// missing when it is read again.
func TestLogQueueNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		q, log := newLogQueue(write, textLog)
		filler := strings.Repeat("x", 1000)
		const lines = 3 * logLimit / 1000
		for n := range lines {
			log.Info(filler, "n", n) // would wait for ever on the pipe
		}
		lost := q.lost.Load()
		if lost == 0 || lost >= lines {
			t.Fatalf("%d of %d lines were dropped", lost, lines)
		}
		var out bytes.Buffer
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(&out, read)
		}()
		synctest.Wait()
		log.Info("after")
		q.close()
		write.Close()
		<-ended
		text := out.String()
		for _, want := range []string{" n=0\n", fmt.Sprintf("lines=%d\n", lost), "msg=after"} {
			if !strings.Contains(text, want) {
				t.Errorf("the log has no %q", want)
			}
		}
		if got := strings.Count(text, filler); got != lines-int(lost) {
			t.Errorf("%d lines arrived, %d were taken", got, lines-int(lost))
		}
	})
}

// The end does not wait for a log that is never read.
func TestLogQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, write := io.Pipe()
		q, log := newLogQueue(write, textLog)
		log.Info("unread")
		q.close()
		read.Close() // lets the goroutine end
		<-q.ended
		if n, err := q.Write([]byte("late\n")); n != 5 || err != nil {
			t.Errorf("a late line: %d, %v", n, err)
		}
	})
}

// Lines that a log refuses are counted as well.
func TestLogQueueCountsWhatIsRefused(t *testing.T) {
	read, write := io.Pipe()
	read.Close()
	q, log := newLogQueue(write, textLog)
	for range 3 {
		log.Info("line")
	}
	q.close()
	if lost := q.lost.Load(); lost != 3 {
		t.Errorf("%d lines were lost, want 3", lost)
	}
}
