package deploy

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Spread is a distribution of waits that can be added to and journaled: sessions by
// bucket, each bucket a tenth wider than the one before.
type Spread map[int]int

// spreadBase is the ratio of a bucket's ends: quantiles are exact to a tenth.
const spreadBase = 1.1

func bucketOf(wait time.Duration) int {
	if wait <= time.Microsecond {
		return 0
	}
	return int(math.Ceil(math.Log(float64(wait.Microseconds())) / math.Log(spreadBase)))
}

func upperEdge(bucket int) time.Duration {
	return time.Duration(math.Pow(spreadBase, float64(bucket)) * float64(time.Microsecond))
}

// quantile is the upper end of the bucket that holds it.
func (s Spread) quantile(q float64) time.Duration {
	total := 0
	for _, n := range s {
		total += n
	}
	rank, seen := int(q*float64(total-1)+0.5), 0
	for _, bucket := range slices.Sorted(maps.Keys(s)) {
		if seen += s[bucket]; seen > rank {
			return upperEdge(bucket)
		}
	}
	return 0
}

// Wasted is what sessions waited for nothing: the stalls of all attempts of a
// rollout that closed gates and were not done. Its quantiles are exact to a tenth.
type Wasted struct {
	Stall
	Attempts int    `json:"attempts"`
	Spread   Spread `json:"spread,omitempty"`
}

// add counts one attempt's stall. The spread must be the caller's own.
func (w *Wasted) add(s Stall) {
	w.Attempts++
	if s.Sessions == 0 {
		return
	}
	if w.Spread == nil {
		w.Spread = Spread{}
	}
	waits := s.Waits
	if len(waits) == 0 { // a report without the single waits: its own quantiles stand for them
		waits = slices.Repeat([]time.Duration{s.P50}, s.Sessions-1)
		waits = append(waits, s.Max)
	}
	for _, wait := range waits {
		w.Spread[bucketOf(wait)]++
	}
	w.Sessions += s.Sessions
	w.Max = max(w.Max, s.Max)
	w.P50, w.P99 = min(w.Spread.quantile(0.5), w.Max), min(w.Spread.quantile(0.99), w.Max)
}
