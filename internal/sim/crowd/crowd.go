package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Options describes a crowd.
type Options struct {
	// DSN is where the clients connect, without user-specific settings.
	DSN string
	// Clients is how many there are; every mode is present from 12 on.
	Clients int
	Seed    uint64
	// Think is the mean pause between two exchanges of a client. Default 40ms.
	Think    time.Duration
	Timeline *Timeline
	// Fault is the message of errors that are made on purpose; "" when none are.
	Fault string
	// CanaryOpen tells clients that ask for the canary by name whether there is one.
	CanaryOpen func() bool
}

// Live is the running count, for a display.
type Live struct {
	Connected int
	Exchanges int64
	Errors    int64
}

// Crowd is a set of running clients. Close ends it and gives the account.
type Crowd struct {
	opts    Options
	clients []*client
	stop    chan struct{}
	wg      sync.WaitGroup
	counts  counts
}

type counts struct {
	connected atomic.Int64
	exchanges atomic.Int64
	errors    atomic.Int64
}

// mode is how a client talks.
type mode uint8

const (
	modeSimple mode = iota
	modeExtended
	modePrepared
	modeTransaction
	modeBatch
	modeCopy
	modeReconnect
	modeStream
	modeCursor
	modePinnedCanary
	modePinnedStable
)

// pinned: its arm is fixed by what the client asked for, so no weight moves it.
func (m mode) pinned() bool { return m == modePinnedCanary || m == modePinnedStable }

func (m mode) String() string {
	return [...]string{"simple", "extended", "prepared", "transaction", "batch", "copy out",
		"reconnecting", "subscribe", "cursor", "pinned canary", "pinned stable"}[m]
}

// mix is the order in which modes are dealt out: mostly ordinary work, a few of
// the special ones. Twelve clients are one of every mode and a second simple one.
var mix = [...]mode{
	modeSimple, modeExtended, modePrepared, modeTransaction, modeBatch, modeCopy,
	modeReconnect, modeStream, modeCursor, modePinnedCanary, modePinnedStable, modeSimple,
	modeExtended, modePrepared, modeTransaction, modePrepared, modeExtended, modeTransaction,
	modeSimple, modePrepared, modeReconnect, modeBatch, modeCopy, modeTransaction,
}

// streamsAtMost bounds the endless readers: they are there to be seen, and each
// of them keeps the old version alive for as long as it reads.
const streamsAtMost = 3

// Start connects the clients, spread over half a second, and lets them work
// until Close.
func Start(opts Options) (*Crowd, error) {
	if opts.Clients < 1 {
		return nil, fmt.Errorf("a crowd needs at least one client, not %d", opts.Clients)
	}
	if opts.Think <= 0 {
		opts.Think = 40 * time.Millisecond
	}
	if opts.CanaryOpen == nil {
		opts.CanaryOpen = func() bool { return false }
	}
	c := &Crowd{opts: opts, stop: make(chan struct{})}
	start, streams := time.Now(), 0
	for i := range opts.Clients {
		m := mix[i%len(mix)]
		if m == modeStream || m == modeCursor {
			if streams++; streams > 2*streamsAtMost {
				m = modePrepared
			}
		}
		cl := &client{id: i, mode: m, opts: &c.opts, counts: &c.counts, start: start, stop: c.stop,
			rng: rand.New(rand.NewPCG(opts.Seed, uint64(i)))}
		c.clients = append(c.clients, cl)
	}
	for _, cl := range c.clients {
		c.wg.Go(cl.run)
	}
	return c, nil
}

// Live reads the running counts.
func (c *Crowd) Live() Live {
	return Live{Connected: int(c.counts.connected.Load()), Exchanges: c.counts.exchanges.Load(), Errors: c.counts.errors.Load()}
}

// Close lets every client finish its exchange, waits for all of them and judges
// their notes. The context bounds the wait; a client that hangs is a fault of
// its own and is named.
func (c *Crowd) Close(ctx context.Context) (*Account, error) {
	close(c.stop)
	ended := make(chan struct{})
	go func() { c.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		return nil, fmt.Errorf("clients did not finish their last exchange: %w", ctx.Err())
	}
	return judge(c.clients, c.opts.Timeline.verdicts()), nil
}

// judge checks every note of every client.
func judge(clients []*client, v *verdicts) *Account {
	a := &Account{}
	counted := make([]Share, len(v.periods))
	v.disturbed(clients)
	for _, cl := range clients {
		a.check(cl, v, counted)
	}
	a.share(v, counted)
	a.WrongVersions, a.ClientErrors = a.Stable.WrongVersions+a.Canary.WrongVersions, a.Stable.ClientErrors+a.Canary.ClientErrors
	return a
}
