package router

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"testing"
	"testing/quick"
)

// Raising the weight only ever adds units to the canary; lowering it takes back
// those that came last.
func TestPickIsMonotone(t *testing.T) {
	monotone := func(salt uint64, key string, a, b uint16) bool {
		low, high := Weight(a)%(Full+1), Weight(b)%(Full+1)
		if low > high {
			low, high = high, low
		}
		h := Hash(salt, key)
		return PickAt(h, low) == Stable || PickAt(h, high) == Canary
	}
	if err := quick.Check(monotone, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

func FuzzPickIsMonotone(f *testing.F) {
	f.Add(uint64(0), uint16(0), uint16(10_000))
	f.Add(uint64(math.MaxUint64), uint16(9_999), uint16(10_000))
	f.Fuzz(func(t *testing.T, hash uint64, a, b uint16) {
		low, high := Weight(min(a, b)), Weight(max(a, b))
		if PickAt(hash, low) == Canary && PickAt(hash, high) == Stable {
			t.Errorf("hash %#x is on the canary at %v and not at %v", hash, low, high)
		}
	})
}

// A hash on either side of a weight's edge, exactly: the share of the canary is the
// weight, and not a rounding of it.
func TestPickEdges(t *testing.T) {
	for _, w := range []Weight{1, 5, 100, 2500, 3333, 5000, 9999} {
		// The first hash that is not on the canary: ceil(w·2^64/10000).
		edge := new(big.Int).Lsh(big.NewInt(int64(w)), 64)
		edge.Add(edge, big.NewInt(int64(Full)-1)).Div(edge, big.NewInt(int64(Full)))
		q := edge.Uint64()
		if PickAt(q-1, w) != Canary || PickAt(q, w) != Stable {
			t.Errorf("at %v the edge is not at %#x", w, q)
		}
	}
	for _, h := range []uint64{0, 1, math.MaxUint64} {
		if PickAt(h, 0) != Stable || PickAt(h, Full) != Canary {
			t.Errorf("hash %#x: 0%% is not nobody or 100%% not everybody", h)
		}
	}
}

// Keys as they come in practice spread evenly, under any salt, and two salts have
// nothing to do with each other.
func TestHashSpreadsEvenly(t *testing.T) {
	const keys, cells = 20_000, 100
	for name, key := range map[string]func(int) string{
		"counted":   func(i int) string { return fmt.Sprint(i) },
		"users":     func(i int) string { return fmt.Sprintf("service-%05d", i) },
		"addresses": func(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250) },
		"short":     func(i int) string { return string([]byte{byte(i), byte(i >> 8)}) },
	} {
		for _, salt := range []uint64{0, 1, 0xdeadbeefcafef00d} {
			var seen [cells]float64
			both, one, other := 0.0, 0.0, 0.0
			for i := range keys {
				h := Hash(salt, key(i))
				seen[int(float64(h)/(1<<64)*cells)%cells]++
				a, b := PickAt(h, 2000), PickAt(Hash(salt+1, key(i)), 2000)
				if a == Canary {
					one++
				}
				if b == Canary {
					other++
				}
				if a == Canary && b == Canary {
					both++
				}
			}
			var chi2 float64
			for _, n := range seen {
				d := n - keys/cells
				chi2 += d * d / (keys / cells)
			}
			// 99 degrees of freedom: 99 ± 14; five standard deviations.
			if chi2 > 99+5*14.1 || chi2 < 99-5*14.1 {
				t.Errorf("%s under salt %#x: χ² = %.0f, want about 99", name, salt, chi2)
			}
			if want := one * other / keys; math.Abs(both-want) > 5*math.Sqrt(want) {
				t.Errorf("%s: %v units are on the canary under salts %#x and the next, want about %.0f", name, both, salt, want)
			}
		}
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	d := shop()
	d.Canary, d.Weight = CanaryDeploy, 5000
	dec := Decision{Deployment: "shop", Key: "a-connection"}
	keep := d
	keep.Keep = true
	var sink Arm
	if n := testing.AllocsPerRun(1000, func() {
		sink = PickAt(Hash(7, "a-connection"), 5000)
		sink = d.Arm(&dec)
		sink = keep.Arm(&dec)
		d.Share(&dec)
	}); n != 0 {
		t.Errorf("%v allocations per pick, want none (%v)", n, sink)
	}
}

func BenchmarkArm(b *testing.B) {
	d := shop()
	d.Canary, d.Weight = CanaryDeploy, 5000
	dec := Decision{Deployment: "shop", Key: "4f1c2a9e-0b1d-4c1e-9a55-1f2e3d4c5b6a"}
	b.ReportAllocs()
	for b.Loop() {
		d.Arm(&dec)
	}
}

func TestParseWeight(t *testing.T) {
	for text, want := range map[string]Weight{
		"20%": 2000, "20": 2000, " 20 % ": 2000, "0%": 0, "100%": Full, "0.05%": 5, "0.01": 1, "33.33%": 3333, "1e1%": 1000,
	} {
		got, err := ParseWeight(text)
		if err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "101%", "-1%", "100.01%", "0.001%", "20%%", "ten", "NaN", "Inf", "-Inf", "2000bp", "1,5%", "20 % 30"} {
		if got, err := ParseWeight(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

// Every weight prints as something that reads back as itself.
func TestWeightsRoundTrip(t *testing.T) {
	for w := Weight(0); w <= Full; w++ {
		if got, err := ParseWeight(w.String()); err != nil || got != w {
			t.Fatalf("%d prints as %s and reads back as %d, %v", w, w, got, err)
		}
	}
	in := struct {
		W Weight
		A Arm
	}{25, Canary}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"W":"0.25%","A":"canary"}` {
		t.Errorf("JSON is %s, %v", b, err)
	}
	out := in
	out.W, out.A = 0, Stable
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("reads back as %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"blue"}`), &out); err == nil {
		t.Error("an arm named blue was accepted")
	}
}
