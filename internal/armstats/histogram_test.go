package armstats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The buckets cover every latency once, in order, and none is wider than 1/32 of
// its lower edge.
func TestBucketsCoverTheLine(t *testing.T) {
	for b := range numBuckets {
		lo, hi := lowerEdge(b), upperEdge(b)
		if hi <= lo {
			t.Fatalf("bucket %d is empty: [%d,%d)", b, lo, hi)
		}
		if bucketOf(lo) != b || bucketOf(hi-1) != b {
			t.Fatalf("bucket %d [%d,%d) holds edges of %d and %d", b, lo, hi, bucketOf(lo), bucketOf(hi-1))
		}
		if lo >= subBuckets && float64(hi-lo)/float64(lo) > 1.0/subBuckets {
			t.Fatalf("bucket %d [%d,%d) is too wide", b, lo, hi)
		}
	}
	if bucketOf(math.MaxUint64) != numBuckets-1 {
		t.Error("an endless latency does not land in the last bucket")
	}
}

func TestQuantilesAreWithinTheirError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var c counter
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(math.Exp(r.NormFloat64()*2+8)) * time.Microsecond // 3 ms, heavy tail
		all = append(all, d)
		c.observe(d)
	}
	slices.Sort(all)
	var h Histogram
	h.add(&c)
	for _, q := range []float64{0, .01, .5, .9, .95, .99, .999, 1} {
		exact := all[min(int(q*float64(len(all))), len(all)-1)]
		got := h.Quantile(q)
		if rel := math.Abs(float64(got-exact)) / float64(exact); rel > 0.02 && got-exact > time.Microsecond {
			t.Errorf("p%v is %v, exactly %v: off by %.1f %%", q*100, got, exact, rel*100)
		}
	}
	if h.Max() != all[len(all)-1] || h.Count() != 20_000 {
		t.Errorf("max %v of %d, want %v of 20000", h.Max(), h.Count(), all[len(all)-1])
	}
	exact, _ := slices.BinarySearch(all, 5*time.Millisecond)
	if got := h.Below(5 * time.Millisecond); math.Abs(float64(got)-float64(exact)) > 0.02*20_000 {
		t.Errorf("%d lie below 5 ms, exactly %d", got, exact)
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(.5) != 0 || h.Below(time.Second) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has latencies")
	}
	var c counter
	c.observe(-time.Second) // a clock that stepped back
	c.observe(100 * time.Hour)
	h.add(&c)
	if h.Count() != 2 || h.Quantile(0) >= time.Microsecond || h.Max() != 100*time.Hour {
		t.Errorf("count %d, p0 %v, max %v", h.Count(), h.Quantile(0), h.Max())
	}
}
