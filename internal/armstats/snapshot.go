package armstats

import "time"

// ArmSnapshot is the traffic of one arm since the process started, pinned
// sessions included.
type ArmSnapshot struct {
	Exchanges uint64 `json:"exchanges"`
	Classes   Counts `json:"classes"`
	// Bad is the number of exchanges that ended badly (Class.Bad).
	Bad uint64        `json:"bad"`
	P50 time.Duration `json:"p50"`
	P95 time.Duration `json:"p95"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
	// Latency is what the quantiles were read from; streams are not in it.
	Latency Histogram `json:"-"`
}

// Injections counts the exchanges that the proxy put in, by outcome.
type Injections struct {
	Count [NumInjections]uint64 `json:"count"` // indexed by Injection
	// Took is the sum of their durations, by outcome.
	Took [NumInjections]time.Duration `json:"took"`
}

// Snapshot is a look at one deployment's traffic. The counts are read one after
// the other while others go on counting, so sums may be off by what happened in
// between.
type Snapshot struct {
	Arms     [2]ArmSnapshot `json:"arms"` // indexed by router.Arm
	Injected Injections     `json:"injected"`
}

// Snapshot reads the traffic of both arms.
func (d *Deployment) Snapshot() Snapshot {
	var s Snapshot
	for i := range d.shards {
		for a := range s.Arms {
			from := &d.shards[i].arms[a]
			for class := range from.classes {
				s.Arms[a].Classes[class] += from.classes[class].Load()
			}
			s.Arms[a].Latency.add(&from.latency)
		}
	}
	for a := range s.Arms {
		s.Arms[a].derive()
	}
	for i := range d.injected {
		s.Injected.Count[i] = d.injected[i].count.Load()
		s.Injected.Took[i] = time.Duration(d.injected[i].micros.Load()) * time.Microsecond
	}
	return s
}

func (a *ArmSnapshot) derive() {
	a.Exchanges = a.Classes.Total()
	a.Bad = a.Classes.Bad().Total()
	a.P50, a.P95, a.P99 = a.Latency.Quantile(.50), a.Latency.Quantile(.95), a.Latency.Quantile(.99)
	a.Max = a.Latency.Max()
}

// minus is what was counted since an earlier snapshot.
func (a ArmSnapshot) minus(earlier ArmSnapshot) ArmSnapshot {
	out := ArmSnapshot{Latency: a.Latency.Minus(earlier.Latency)}
	for class := range out.Classes {
		out.Classes[class] = a.Classes[class] - earlier.Classes[class]
	}
	out.derive()
	return out
}
