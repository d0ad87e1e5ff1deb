package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim"
	"mzcanary/internal/sim/crowd"
)

// director plays the rollout: it builds the new version, starts, watches the
// status, breaks what is to be broken at the right moment, and keeps the
// timeline that the clients' answers are judged by.
type director struct {
	st    *stage
	o     *demoOptions
	show  *display
	state watched
}

// watched is what the director remembers between two looks at the status.
type watched struct {
	asked    time.Time // when the last look was made
	weight   int       // basis points seen then
	since    time.Time // when this weight was first seen
	settled  bool      // and every session was seen on its arm
	swapped  bool      // the names were swapped: no weight from here on
	done     map[string]bool
	rollout  string
	recovery time.Time
	asking   time.Time // when a person was first asked
	waited   time.Time // the last stop for want of evidence that was resumed
	seen     seen
}

// seen is what the account wants to know of the rollout besides its end.
type seen struct {
	raised    []int // the weights that were reached, in basis points
	settled   int   // how many weights were seen with everybody in place
	unsettled []int // weights that stood long enough and never were
	takenBack int   // times the weight was lowered in the ramp
	before    int   // of them, those before hydration was lost
	kills     int
}

const deploymentName = "demo"

// look is the pause between two looks at the status.
const look = 50 * time.Millisecond

func newDirector(st *stage, o *demoOptions, show *display) *director {
	return &director{st: st, o: o, show: show, state: watched{done: map[string]bool{}, settled: true}}
}

// play returns the last status of the rollout.
func (d *director) play(ctx context.Context) (admin.Status, error) {
	if err := d.wait(ctx, d.o.scaled(2*time.Second)); err != nil { // production by itself, for a moment
		return admin.Status{}, err
	}
	d.show.say("building the new version as schema and cluster prod_deploy")
	if err := newVersion(ctx, d.st.sim); err != nil {
		return admin.Status{}, fmt.Errorf("build the new version: %w", err)
	}
	s, err := d.st.client.Start(ctx, deploymentName, admin.StartRequest{Who: "demo", Reason: "mzcanary demo"})
	if err != nil {
		return s, fmt.Errorf("start the rollout: %w", err)
	}
	d.state.rollout = s.Rollout
	for {
		asked := time.Now()
		s, err := d.st.client.Status(ctx, deploymentName)
		switch {
		case ctx.Err() != nil:
			return s, fmt.Errorf("the rollout did not end in time: %w", ctx.Err())
		case err != nil:
			return s, fmt.Errorf("look at the rollout: %w", err)
		}
		d.noteTimeline(asked, time.Now(), s)
		d.show.status(s, d.st.crowd.Live())
		if err := d.approve(ctx, s); err != nil {
			return s, err
		}
		if err := d.disturb(ctx, s); err != nil {
			return s, err
		}
		if over(s) {
			return d.linger(ctx, s)
		}
		if err := d.wait(ctx, look); err != nil {
			return s, err
		}
	}
}

// linger looks on for a while after the end, in which everybody must come to rest.
func (d *director) linger(ctx context.Context, last admin.Status) (admin.Status, error) {
	for until := time.Now().Add(d.o.scaled(time.Second)); time.Now().Before(until) || !d.state.settled && time.Since(d.state.since) < settleWithin+look; {
		if err := d.wait(ctx, look); err != nil {
			return last, err
		}
		asked := time.Now()
		s, err := d.st.client.Status(ctx, deploymentName)
		if err != nil {
			return last, fmt.Errorf("look at the rollout after its end: %w", err)
		}
		d.noteTimeline(asked, time.Now(), s)
	}
	d.leaveWeight(time.Now())
	return last, nil
}

func over(s admin.Status) bool {
	return s.Rollout != "" && (s.Info.Final || s.Phase == "blocked")
}

func (d *director) wait(ctx context.Context, t time.Duration) error {
	select {
	case <-time.After(t):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// noteTimeline notes a new weight at the moment of the look before it was seen,
// for then it was not there yet, and calls it settled only when the status has
// shown everybody on the right arm a while after the change: what the status
// says of the sessions may be one tick old. A weight that stands and is never settled
// is a fault that no client can see, for it leaves either version possible.
func (d *director) noteTimeline(asked, answered time.Time, s admin.Status) {
	w := &d.state
	weight := int(s.Weight)
	if s.Canary != "deploy" {
		weight = 0
	}
	swapped := s.Info.Phase == "window" || s.Info.Phase == "draining" || s.Info.Phase == "cleaning" || s.Info.Phase == "done"
	switch {
	case swapped && !w.swapped:
		d.leaveWeight(answered)
		w.swapped, w.settled = true, true
	case swapped || s.Canary == "live":
		// The commit itself is noted by the server, to the moment.
	case weight != w.weight:
		d.leaveWeight(answered)
		d.st.timeline.Weight(w.asked, weight)
		switch {
		case weight > w.weight:
			w.seen.raised = append(w.seen.raised, weight)
		case s.Phase == "ramping":
			w.seen.takenBack++
		}
		w.weight, w.since, w.settled = weight, answered, false
	case !w.settled && answered.Sub(w.since) > 4*demoTick && inPlace(s):
		d.st.timeline.Settled(answered, weight)
		w.settled = true
		w.seen.settled++
	}
	w.asked = asked
}

// settleWithin is how long a weight may stand until everybody was seen in place once.
const settleWithin = 3 * time.Second

// leaveWeight ends the time of a weight.
func (d *director) leaveWeight(now time.Time) {
	if w := &d.state; !w.settled && now.Sub(w.since) > settleWithin {
		w.seen.unsettled = append(w.seen.unsettled, w.weight)
	}
}

// inPlace tells whether every session is on its arm, or reads a stream to its end
// before it can be moved there.
func inPlace(s admin.Status) bool {
	streams := 0
	for _, i := range s.Streaming {
		if !i.Moved {
			streams++
		}
	}
	away := s.Sessions[1] - s.Wanted[1]
	return max(away, -away) <= streams
}

// approve is the demo's operator. It lets the first step go on once the clients that insist on the canary
// have had a while with it: the end-to-end tests before anybody else sees it.
func (d *director) approve(ctx context.Context, s admin.Status) error {
	if s.Stop != nil && s.Stop.Cause == "insufficient" && s.Stop.Since.After(d.state.waited) {
		d.state.waited = s.Stop.Since
		d.show.say("not enough units on the canary for the step to pass; waiting once more")
		if _, err := d.st.client.Do(ctx, deploymentName, "resume", admin.Request{Who: "demo", Reason: "wait for more units"}); err != nil {
			return fmt.Errorf("wait for more units: %w", err)
		}
		return nil
	}
	if s.Asked == nil || s.Stop != nil {
		return nil
	}
	if d.state.asking.IsZero() {
		d.state.asking = time.Now()
		d.show.say("end-to-end tests at weight 0: clients with mzcanary.arm=canary read the new version")
	}
	if time.Since(d.state.asking) < d.o.scaled(3*time.Second) || !d.once("approve") {
		return nil
	}
	d.show.say("the tests passed; approving")
	if _, err := d.st.client.Do(ctx, deploymentName, "approve", admin.Request{Who: "demo", Reason: "end-to-end tests passed"}); err != nil {
		return fmt.Errorf("approve the first step: %w", err)
	}
	return nil
}

// disturb does what --break asks for, once, at its moment.
func (d *director) disturb(ctx context.Context, s admin.Status) error {
	atWeight := s.Phase == "ramping" && s.Step != nil && s.Step.Observed > d.o.scaled(time.Second)
	if d.o.unsafe == "no-hold" && s.Phase == "ramping" && d.once("slow commit") {
		// What a missing hold lets through, it lets through while the COMMIT is out.
		d.st.sim.Faults().Delay(regexp.MustCompile(`^COMMIT$`), slowCommit)
	}
	switch d.o.breaking {
	case "errors":
		if atWeight && s.Weight == 2500 && d.once("break") {
			d.show.say("breaking the new version: one query in five on prod_deploy.answer fails")
			return d.st.sim.Faults().FailSelects(sim.SelectFault{Schema: "prod_deploy", Every: 5, Code: "XX000", Message: demoFault})
		}
	case "hydration":
		return d.disturbHydration(s, atWeight)
	case "swap-conflict":
		if s.Phase == "ramping" && d.once("break") {
			d.show.say("the first two swaps will lose against another session's DDL (40001)")
			d.st.sim.Faults().FailDDLCommits(brokenSwaps)
		}
	case "crash":
		if s.Phase == "ramping" && d.once("slow commit") {
			// The controller's COMMIT takes long enough to be killed inside of it; the
			// crowd's own are spelled "commit".
			d.st.sim.Faults().Delay(regexp.MustCompile(`^COMMIT$`), slowCommit)
		}
		if s.Phase == "promoting" && s.Swap != nil && s.Swap.Stage == "prepared" && d.once("break") {
			return d.crash(ctx)
		}
	}
	return nil
}

// brokenSwaps is how many swaps --break=swap-conflict makes lose.
const brokenSwaps = 2

// demoFault is the message of the injected fault, by which the account knows it.
const demoFault = "Evaluation error: division by zero (made by the demo)"

func (d *director) disturbHydration(s admin.Status, atWeight bool) error {
	if atWeight && s.Weight == 2500 && d.once("break") {
		d.show.say("cluster prod_deploy loses its hydration")
		d.state.seen.before = d.state.seen.takenBack
		d.state.recovery = time.Now().Add(d.o.scaled(4 * time.Second))
		return d.st.sim.Faults().LoseHydration("prod_deploy", false)
	}
	// It comes back when it was seen to be missed, at the latest when the rollout must
	// have looked many times.
	missed := d.state.seen.takenBack > d.state.seen.before || time.Now().After(d.state.recovery.Add(d.o.scaled(12*time.Second)))
	if r := d.state.recovery; !r.IsZero() && time.Now().After(r) && missed && d.once("recover") {
		d.show.say("cluster prod_deploy is hydrated again")
		return d.st.sim.Faults().RestoreHydration("prod_deploy")
	}
	return nil
}

// slowCommit is how long the server takes for the COMMIT that is killed.
const slowCommit = 600 * time.Millisecond

// crash kills the program in the middle of the promotion and starts it again.
func (d *director) crash(ctx context.Context) error {
	child, ok := d.st.host.(*childHost)
	if !ok {
		return errors.New("only a child process can be killed")
	}
	if err := d.wait(ctx, slowCommit/2); err != nil {
		return err
	}
	d.show.say("kill -9 in the middle of the promotion, while its COMMIT is out")
	killed := time.Now()
	d.st.timeline.Widen(killed)
	if err := child.kill(); err != nil {
		return err
	}
	d.state.seen.kills++
	d.st.sim.Faults().ClearDelays()
	if err := d.wait(ctx, d.o.scaled(time.Second)); err != nil {
		return err
	}
	d.show.say("starting the program again")
	if err := child.start(ctx); err != nil {
		return err
	}
	d.st.timeline.Killed(killed, time.Now())
	d.state.since, d.state.settled = time.Now(), false
	return nil
}

func (d *director) once(what string) bool {
	if d.state.done[what] {
		return false
	}
	d.state.done[what] = true
	return true
}

// witness is told by the server of every change of the names, to the moment. It
// notes a commit on the timeline whenever another version stands behind prod.
type witness struct {
	timeline *crowd.Timeline
	versions map[string]crowd.Version // by the id of the schema
	live     string                   // the id behind prod
}

func (w *witness) changed(c sim.Change) {
	if id, exists := c.Schemas["prod_deploy"]; exists && w.versions[id] == crowd.NoVersion {
		w.versions[id] = crowd.New
	}
	id, exists := c.Schemas["prod"]
	if !exists || id == w.live {
		return
	}
	if w.live == "" {
		w.versions[id] = crowd.Old
	} else {
		w.timeline.Committed(c.At, w.versions[id])
	}
	w.live = id
}

// canaryOpen tells the clients that insist on the canary whether there is one.
func (st *stage) canaryOpen(ctx context.Context) func() bool {
	return func() bool {
		s, err := st.client.Status(ctx, deploymentName)
		return err == nil && s.Canary == "deploy" && s.Phase == "ramping"
	}
}
