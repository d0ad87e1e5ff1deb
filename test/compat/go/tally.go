package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// tally is what a driver saw. Workers share it.
type tally struct {
	mu     sync.Mutex
	result result
	byName map[string]*checked
}

type result struct {
	Driver       string     `json:"driver"`
	Version      string     `json:"version"`
	Checks       []*checked `json:"checks"`
	Exchanges    int        `json:"exchanges"`
	Old          int        `json:"old"`
	New          int        `json:"new"`
	Mixed        int        `json:"mixed"`
	Strange      int        `json:"strange"`
	Transactions int        `json:"transactions"`
	Errors       int        `json:"errors"`
}

type checked struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Runs   int    `json:"runs"`
	Detail string `json:"detail"`
}

// exchange takes the versions of all answers of one exchange.
func (t *tally) exchange(versions ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Exchanges++
	if len(versions) == 0 {
		return
	}
	one := versions[0]
	for _, v := range versions {
		if v != "old" && v != "new" {
			t.result.Strange++
			return
		}
		if v != one {
			t.result.Mixed++
			return
		}
	}
	if one == "old" {
		t.result.Old++
	} else {
		t.result.New++
	}
}

// transaction takes one version per exchange of a transaction; each exchange is
// counted too.
func (t *tally) transaction(versions ...string) {
	for _, v := range versions {
		t.exchange(v)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.Transactions++
	for _, v := range versions {
		if v != versions[0] {
			t.result.Mixed++
			return
		}
	}
}

func (t *tally) checked(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.byName[name]
	if c == nil {
		c = &checked{Name: name, OK: true}
		t.byName[name] = c
		t.result.Checks = append(t.result.Checks, c)
	}
	c.Runs++
	if err != nil {
		t.result.Errors++
		if c.OK {
			c.OK, c.Detail = false, err.Error()
		}
	}
}

// check is one thing a driver does with a session of its own.
type check[S any] struct {
	name string
	run  func(s S, ctx context.Context, t *tally) error
}

const (
	workers  = 3
	patience = 20 * time.Second // for one check; only ever reached when something hangs
)

// work lets workers go through the checks until the time is over, each of them
// at least once. A session whose check failed is replaced.
func work[S any](driver, version string, checks []check[S], open func(context.Context) (S, error), closeSession func(S)) {
	t := &tally{byName: map[string]*checked{}, result: result{Driver: driver, Version: version}}
	seconds, err := strconv.ParseFloat(os.Getenv("COMPAT_SECONDS"), 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, "COMPAT_SECONDS:", err)
		os.Exit(2)
	}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			l := looper[S]{t: t, open: open, close: closeSession}
			defer l.drop()
			for i := 0; i < (len(checks)+workers-1)/workers || time.Now().Before(end); i++ {
				l.step(checks[(i+w*len(checks)/workers)%len(checks)])
			}
		})
	}
	wg.Wait()
	t.print()
}

func (t *tally) print() {
	line, err := json.Marshal(t.result)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	fmt.Println(string(line))
}

// looper is a worker with its long-lived session.
type looper[S any] struct {
	t       *tally
	open    func(context.Context) (S, error)
	close   func(S)
	session S
	have    bool
}

func (l *looper[S]) step(c check[S]) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !l.have {
		s, err := l.open(ctx)
		l.t.checked("connect", err)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			return
		}
		l.session, l.have = s, true
	}
	err := c.run(l.session, ctx, l.t)
	l.t.checked(c.name, err)
	if err != nil {
		l.drop()
	}
}

func (l *looper[S]) drop() {
	if l.have {
		l.close(l.session)
		l.have = false
	}
}

// same takes the versions out of rows that must all be of one.
func same(t *tally, versions []string, want int) error {
	t.exchange(versions...)
	if len(versions) != want {
		return fmt.Errorf("%d rows instead of %d", len(versions), want)
	}
	return nil
}

// nap waits as long as an application thinks between two statements: long enough
// for the weight to flip meanwhile.
func nap() { time.Sleep(25 * time.Millisecond) }
