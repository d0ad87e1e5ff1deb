package armstats

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latencies are counted in log-linear buckets of microseconds: 32 buckets to an
// octave, so that a bucket is at most 1/32 (3.1 %) wide relative to its lower
// edge, from 1 µs (exact up to 32 µs) to about 71 minutes. What is longer counts
// in the last bucket.
const (
	subBits    = 5
	subBuckets = 1 << subBits
	octaves    = 32 - subBits
	numBuckets = subBuckets * (octaves + 1)
)

// bucketOf finds the bucket of a latency in microseconds.
func bucketOf(us uint64) int {
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	if shift >= octaves {
		return numBuckets - 1
	}
	return shift<<subBits + int(us>>shift)
}

// lowerEdge is the smallest latency of a bucket; upperEdge the smallest of the
// next one, in microseconds.
func lowerEdge(bucket int) uint64 {
	if bucket < subBuckets {
		return uint64(bucket)
	}
	shift := bucket>>subBits - 1
	return uint64(bucket&(subBuckets-1)|subBuckets) << shift
}

func upperEdge(bucket int) uint64 { return lowerEdge(bucket + 1) }

// counter is the hot side of a Histogram: one per arm and shard.
type counter struct {
	buckets [numBuckets]atomic.Uint64
	sum     atomic.Uint64 // microseconds
	max     atomic.Uint64 // microseconds
}

func (c *counter) observe(d time.Duration) {
	us := uint64(max(d, 0) / time.Microsecond)
	c.buckets[bucketOf(us)].Add(1)
	c.sum.Add(us)
	for old := c.max.Load(); us > old; old = c.max.Load() {
		if c.max.CompareAndSwap(old, us) {
			return
		}
	}
}

// Histogram is a copy of latency counts. The zero value is empty.
type Histogram struct {
	counts []uint64 // numBuckets of them, or nil
	total  uint64
	sum    uint64 // microseconds
	max    uint64 // microseconds
}

func (h *Histogram) add(c *counter) {
	if h.counts == nil {
		h.counts = make([]uint64, numBuckets)
	}
	for i := range c.buckets {
		n := c.buckets[i].Load()
		h.counts[i] += n
		h.total += n
	}
	h.sum += c.sum.Load()
	h.max = max(h.max, c.max.Load())
}

// Count is the number of latencies counted.
func (h Histogram) Count() uint64 { return h.total }

// Sum is the sum of all latencies, to the microsecond each.
func (h Histogram) Sum() time.Duration { return time.Duration(h.sum) * time.Microsecond }

// Max is the longest latency, to the microsecond. For the difference of two
// histograms it is the longest of the whole time.
func (h Histogram) Max() time.Duration { return time.Duration(h.max) * time.Microsecond }

// Quantile returns the latency below which a share q of all latencies lies: the
// middle of its bucket, hence within 1.6 % from 32 µs up. It is 0 when nothing
// was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q * float64(h.total))
	if rank >= h.total {
		rank = h.total - 1
	}
	var seen uint64
	for i, n := range h.counts {
		seen += n
		if seen > rank {
			middle := time.Duration(lowerEdge(i)+upperEdge(i)) * time.Microsecond / 2
			return min(middle, h.Max())
		}
	}
	return h.Max()
}

// Below counts the latencies up to a bound, to the bucket: the answer is exact
// for a bound at most 3.1 % away.
func (h Histogram) Below(bound time.Duration) uint64 {
	limit := uint64(bound / time.Microsecond)
	var n uint64
	for i, c := range h.counts {
		if upperEdge(i) > limit {
			break
		}
		n += c
	}
	return n
}

// Minus is what was counted since an earlier copy of the same histogram.
func (h Histogram) Minus(earlier Histogram) Histogram {
	out := Histogram{counts: make([]uint64, numBuckets), total: h.total - earlier.total, sum: h.sum - earlier.sum, max: h.max}
	copy(out.counts, h.counts)
	for i, n := range earlier.counts {
		out.counts[i] -= n
	}
	return out
}
