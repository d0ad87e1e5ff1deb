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
	rollEvery = 2500 * time.Millisecond
)

// disturbance counts what was done to the sessions while a driver worked.
type disturbance struct {
	Flips, Holds, Rollbacks int
	Moves, FailedMoves      int
	NoHolds                 bool
	Troubles                []string // what the API refused or failed to do
}

// disturber flips the weight, takes holds and rolls back until it is stopped.
type disturber struct {
	p      *proxyServer
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex
	did          disturbance
	done, failed int
}

func (p *proxyServer) disturb(ctx context.Context) *disturber {
	d := &disturber{p: p}
	d.done, d.failed = p.moves(ctx)
	ctx, d.cancel = context.WithCancel(ctx)
	d.wg.Go(func() { d.flips(ctx) })
	d.wg.Go(func() { d.holds(ctx) })
	return d
}

// stop ends the disturbance and leaves everybody on production.
func (d *disturber) stop() disturbance {
	d.cancel()
	d.wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), startUp)
	defer cancel()
	d.note(d.p.setWeight(ctx, "0%"), "set the weight back", nil)
	done, failed := d.p.moves(ctx)
	d.did.Moves, d.did.FailedMoves = done-d.done, failed-d.failed
	return d.did
}

// flips alternates between nobody and everybody on the new version; now and then
// a rollback takes the place of the flip to nobody.
func (d *disturber) flips(ctx context.Context) {
	tick := time.NewTicker(flipEvery)
	defer tick.Stop()
	rollback := time.Now().Add(rollEvery / 2)
	for up := true; ; up = !up {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch {
		case up:
			d.note(d.p.setWeight(ctx, everybody), "set the weight", &d.did.Flips)
		case time.Now().After(rollback):
			d.note(d.p.rollback(ctx), "roll back", &d.did.Rollbacks)
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
		case <-time.After(time.Duration(rand.ExpFloat64()*float64(holdEvery)) + 50*time.Millisecond):
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
// just over: the next flip comes 50 ms later.
func isBusy(err error) bool {
	for _, words := range []string{"rolling_back", "rolling back already", "still removing its marks", "no rollout is running", "the rollout is over"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}
