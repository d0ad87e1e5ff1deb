package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// The weights and the pace of the disturbance. The low weight is not 0 %: that, set
// by hand, ends the canary, which is what the rollbacks are for. With one unit in
// ten thousand it is nobody all the same.
const (
	everybody = "100%"
	nobody    = "0.01%"

	flipEvery = 50 * time.Millisecond
	holdFor   = 200 * time.Millisecond
	holdEvery = 900 * time.Millisecond // on average, at random
	// holdWithin is the longest pause: a run without a hold would prove nothing.
	holdWithin = 2 * time.Second
	rollEvery  = 2500 * time.Millisecond
	lookEvery  = 100 * time.Millisecond

	// A session that does nothing this long, and is not moved although the weight
	// flips all the time, has been forgotten. Longer than several holds in a row.
	forgotten = 1500 * time.Millisecond
)

// disturbance counts what was done to the sessions while a driver worked.
type disturbance struct {
	Flips, Holds, Rollbacks int
	Moves                   int
	NotMoved                map[string]int // injected units by outcome, other than moves
	LongestRollback         time.Duration  // until a weight was taken again
	Late                    time.Duration  // how late the disturber itself came at worst: how starved the machine is
	NoHolds                 bool
	Troubles                []string // what the API refused or failed to do
	Sessions                []string // what was wrong with sessions, in the proxy's own words
}

// disturber flips the weight, takes holds and rolls back until it is stopped.
type disturber struct {
	p      *proxyServer
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	did    disturbance
	before map[string]int
	seen   map[string]bool // sessions that were complained of
}

func (p *proxyServer) disturb(ctx context.Context) *disturber {
	d := &disturber{p: p, seen: map[string]bool{}}
	var err error
	d.before, err = p.moves(ctx)
	d.note(err, "read the metrics", nil)
	ctx, d.cancel = context.WithCancel(ctx)
	d.wg.Go(func() { d.flips(ctx) })
	d.wg.Go(func() { d.holds(ctx) })
	d.wg.Go(func() { d.looks(ctx) })
	d.wg.Go(func() { d.naps(ctx) })
	return d
}

// stop ends the disturbance and leaves everybody on production.
func (d *disturber) stop() disturbance {
	d.cancel()
	d.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), startUp)
	defer cancel()
	d.note(d.p.setWeight(ctx, "0%"), "set the weight back", nil)
	after, err := d.p.moves(ctx)
	d.note(err, "read the metrics", nil)
	d.did.NotMoved = map[string]int{}
	for outcome, n := range after {
		switch n -= d.before[outcome]; {
		case outcome == "retargeted":
			d.did.Moves = n
		case outcome == "broken": // a client that hung up in the middle; what a client sees of it is an error of its own
		case n > 0:
			d.did.NotMoved[outcome] = n
		}
	}
	return d.did
}

// looks keeps an eye on the sessions: a driver that is relayed perfectly and never
// moved again sees no error, and yet something is wrong.
func (d *disturber) looks(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	still := map[string]sighting{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list, err := d.p.sessions(ctx)
		late := d.comesLate(0)
		d.note(err, "list the sessions", nil)
		for _, s := range list {
			was, ok := still[s.ID]
			if !ok || was.moves != s.Retargets || was.exchanges != s.Exchanges || s.Place != "at boundary" {
				was = sighting{time.Now(), s.Retargets, s.Exchanges}
				still[s.ID] = was
			}
			switch {
			case s.Deployment == "", s.Why == "closing": // nobody moves it
			case s.Place == "unknown":
				d.complain(s, "a session cannot be moved any more: "+s.Why)
			case time.Since(was.since) > forgotten+patience*late:
				d.complain(s, fmt.Sprintf("a session at its boundary was not moved in %s: %s", forgotten, s.Why))
			}
		}
	}
}

// patience is by how many times the disturber's own lateness what takes time may
// take longer: where nobody gets the processor, a slow rollback says nothing.
const patience = 4

// naps measures how late a sleeper is woken.
func (d *disturber) naps(ctx context.Context) {
	const nap = 20 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		time.Sleep(nap)
		d.comesLate(time.Since(began) - nap)
	}
}

// comesLate keeps the worst lateness, and returns it.
func (d *disturber) comesLate(by time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did.Late = max(d.did.Late, by)
	return d.did.Late
}

// sighting is since when a session has done nothing and was not moved.
type sighting struct {
	since            time.Time
	moves, exchanges uint64
}

// complain keeps each session's first fault, and each fault once.
func (d *disturber) complain(s session, what string) {
	if d.seen[s.ID] || d.seen[what] {
		return
	}
	d.seen[s.ID], d.seen[what] = true, true
	d.mu.Lock()
	defer d.mu.Unlock()
	d.did.Sessions = append(d.did.Sessions, what)
}

// flips alternates between nobody and everybody on the new version; now and then
// a rollback takes the place of the flip to nobody.
func (d *disturber) flips(ctx context.Context) {
	tick := time.NewTicker(flipEvery)
	defer tick.Stop()
	rollback := time.Now().Add(rollEvery / 2)
	var since time.Time // of a rollback that is under way
	for up := true; ; up = !up {
		select {
		case <-ctx.Done():
			if !since.IsZero() {
				d.did.LongestRollback = max(d.did.LongestRollback, time.Since(since))
			}
			return
		case <-tick.C:
		}
		switch {
		case up:
			err := d.p.setWeight(ctx, everybody)
			d.note(err, "set the weight", &d.did.Flips)
			if err == nil && !since.IsZero() {
				d.did.LongestRollback = max(d.did.LongestRollback, time.Since(since))
				since = time.Time{}
			}
		case time.Now().After(rollback):
			d.note(d.p.rollback(ctx), "roll back", &d.did.Rollbacks)
			if since.IsZero() {
				since = time.Now()
			}
			rollback = time.Now().Add(rollEvery)
		default:
			d.note(d.p.setWeight(ctx, nobody), "set the weight", &d.did.Flips)
		}
	}
}

func (d *disturber) holds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(time.Duration(rand.ExpFloat64()*float64(holdEvery))+50*time.Millisecond, holdWithin)):
		}
		err := d.p.hold(ctx, holdFor)
		if errors.Is(err, errNoHolds) {
			d.mu.Lock()
			d.did.NoHolds = true
			d.mu.Unlock()
			return
		}
		d.note(err, "hold", &d.did.Holds)
	}
}

// note counts what was done, or keeps what went wrong; a few are enough.
func (d *disturber) note(err error, what string, count *int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		if count != nil {
			*count++
		}
	case errors.Is(err, context.Canceled):
	case isBusy(err):
	case len(d.did.Troubles) < 5:
		d.did.Troubles = append(d.did.Troubles, fmt.Sprintf("%s: %v", what, err))
	}
}

// isBusy recognises the refusals that are right while a rollback is under way or
// just over (exit code 8: somebody else was faster): the next flip comes 50 ms later.
func isBusy(err error) bool {
	for _, words := range []string{"rolling_back", "rolling back already", `"exit":8,`, "no rollout is running", "the rollout is over"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}
