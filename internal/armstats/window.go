package armstats

import "time"

// Window answers "how is it now": the traffic of the last seconds, from
// snapshots that its owner adds at a steady pace. It holds no clock and no
// goroutine, and is not safe for concurrent use.
type Window struct {
	span    time.Duration
	samples []sample // oldest first; the first one lies at or just before the span
}

type sample struct {
	at time.Time
	s  Snapshot
}

// NewWindow makes a window over the given span, which should be several times
// the pace at which snapshots are added.
func NewWindow(span time.Duration) *Window { return &Window{span: span} }

// Add takes a snapshot of now and forgets what lies before the span. Snapshots
// come in the order of time.
func (w *Window) Add(now time.Time, s Snapshot) {
	w.samples = append(w.samples, sample{now, s})
	drop := 0
	for drop+1 < len(w.samples) && now.Sub(w.samples[drop+1].at) >= w.span {
		drop++
	}
	if drop > 0 {
		kept := copy(w.samples, w.samples[drop:])
		clear(w.samples[kept:])
		w.samples = w.samples[:kept]
	}
}

// Rates is the traffic of one arm over a window.
type Rates struct {
	// PerSecond is exchanges per second, BadPerSecond those that ended badly.
	PerSecond    float64 `json:"per_second"`
	BadPerSecond float64 `json:"bad_per_second"`
	// Over is what was counted in the window. Its Max is that of the whole time.
	Over ArmSnapshot `json:"over"`
}

// Rates compares the newest snapshot with the oldest of the window, per arm, and
// says how much time lies between them: zero until two snapshots were added.
func (w *Window) Rates() ([2]Rates, time.Duration) {
	var out [2]Rates
	if len(w.samples) < 2 {
		return out, 0
	}
	first, last := w.samples[0], w.samples[len(w.samples)-1]
	span := last.at.Sub(first.at)
	if span <= 0 {
		return out, 0
	}
	for a := range out {
		over := last.s.Arms[a].minus(first.s.Arms[a])
		out[a] = Rates{
			PerSecond:    float64(over.Exchanges) / span.Seconds(),
			BadPerSecond: float64(over.Bad) / span.Seconds(),
			Over:         over,
		}
	}
	return out, span
}
