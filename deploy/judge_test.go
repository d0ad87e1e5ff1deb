package deploy

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"mzcanary/internal/armstats"
	"mzcanary/router"
)

func weight(points uint16) router.Weight { return router.Weight(points) }

// shop is evidence as a proxy would have collected it at one weight.
type shop struct {
	weight               router.Weight
	stable, canary       uint64 // exchanges
	stableBad, canaryBad uint64 // of them, in class
	class                armstats.Class
	units                [2]uint64
	n, k                 uint64 // first failures
}

func (s shop) evidence() armstats.Evidence {
	x := armstats.Exposure{Weight: s.weight}
	x.Arms[router.Stable][armstats.OK] = s.stable - s.stableBad
	x.Arms[router.Stable][s.class] += s.stableBad
	x.Arms[router.Canary][armstats.OK] = s.canary - s.canaryBad
	x.Arms[router.Canary][s.class] += s.canaryBad
	e := armstats.Evidence{Rollout: "r1", Observed: time.Minute, Exposures: []armstats.Exposure{x}}
	for a := range e.Arms {
		e.Arms[a] = armstats.ArmEvidence{Units: s.units[a], Exchanges: x.Arms[a].Total(), Bad: x.Arms[a].Bad()}
	}
	if s.n > 0 {
		e.Cohorts = []armstats.Cohort{{Weight: s.weight, Metric: s.class.Metric(), N: s.n, K: s.k}}
	}
	return e
}

var healthy = shop{weight: 2500, stable: 9000, canary: 3000, units: [2]uint64{60, 20}, class: armstats.Server}

func TestVerdicts(t *testing.T) {
	with := func(change func(*shop)) armstats.Evidence {
		s := healthy
		change(&s)
		return s.evidence()
	}
	for _, c := range []struct {
		name     string
		ev       armstats.Evidence
		weight   router.Weight
		want     Verdict
		sentence string // a part of it
		forecast string
	}{
		{"no failure in much traffic", healthy.evidence(), 2500, Safe, "no worse than the margin", ""},
		{"three at 5 %", with(func(s *shop) { s.weight, s.n, s.k, s.canaryBad = 500, 3, 3, 3 }), 500,
			Regress, "3 of the 3 units with server errors are on it", ""},
		{"two at 5 %", with(func(s *shop) { s.weight, s.n, s.k, s.canaryBad = 500, 2, 2, 2 }), 500,
			Undecided, "waiting: the evidence about server errors is 50.8, on its way to 333", ""},
		{"two units fail all the time", with(func(s *shop) { s.weight, s.n, s.k, s.canaryBad = 500, 2, 2, 1500 }), 500,
			Undecided, "waiting", ""},
		{"regress is said even of few units", with(func(s *shop) { s.weight, s.n, s.k, s.units[1] = 100, 3, 3, 3 }), 100, Regress, "", ""},
		{"regress is said at weight 0 as well", with(func(s *shop) { s.weight, s.n, s.k = 500, 3, 3 }), 0, Regress, "weight now 0%", ""},
		{"too little traffic", with(func(s *shop) { s.stable, s.canary = 900, 300 }), 2500,
			Undecided, "no proof yet about", "more at this rate"},
		{"a canary at the margin", with(func(s *shop) { s.stable, s.canary, s.canaryBad = 900_000, 300_000, 3000 }), 2500,
			Undecided, "no proof yet about server errors", "not reachable at these rates: server errors"},
		{"nothing at all", armstats.Evidence{}, 500, Insufficient, "not one exchange was counted on stable", ""},
		{"weight 0", healthy.evidence(), 0, Insufficient, "nobody is on the canary", "not reachable at 0%"},
		{"no exchange on the canary", with(func(s *shop) { s.canary = 0 }), 2500, Insufficient, "not one exchange was counted on canary", ""},
		{"no exchange on stable", with(func(s *shop) { s.stable = 0 }), 2500, Insufficient, "not one exchange was counted on stable", ""},
		{"nothing at this weight", healthy.evidence(), 5000, Insufficient, "counted on stable at 50%", ""},
		{"two units", with(func(s *shop) { s.units[1] = 2 }), 2500, Insufficient, "only 2 units, and the minimum is 3", "not reachable with 2 units: it takes 6"},
		{"six units at 50 %", with(func(s *shop) { s.weight, s.units[1] = 5000, 6 }), 5000,
			Insufficient, "even if all of them failed", "not reachable with 6 units: at 50% it takes 11"},
		{"100 % and nothing before", with(func(s *shop) { s.weight, s.stable = router.Full, 0 }), router.Full,
			Insufficient, "nothing to compare with", "not reachable at 100%"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := Judge(c.ev, c.weight, JudgeConfig{})
			if j.Verdict != c.want {
				t.Fatalf("%s: %s (%s)", j.Verdict, j.Sentence, j.Forecast)
			}
			if !strings.Contains(j.Sentence, c.sentence) {
				t.Errorf("says %q, want something with %q", j.Sentence, c.sentence)
			}
			if !strings.Contains(j.Forecast, c.forecast) || (j.Forecast != "" && c.forecast == "" && c.want == Safe) {
				t.Errorf("forecasts %q, want something with %q", j.Forecast, c.forecast)
			}
			if _, err := json.Marshal(j); err != nil {
				t.Errorf("cannot be written down: %v", err)
			}
		})
	}
}

// At 100 % the canary has no company. What it does there is held against stable as
// it was in the largest step before: neither the old proof nor silence suffices.
func TestJudgingAtFullWeight(t *testing.T) {
	e := healthy.evidence()
	if j := Judge(e, router.Full, JudgeConfig{}); j.Verdict != Insufficient {
		t.Errorf("nothing seen at 100%%: %s, %s", j.Verdict, j.Sentence)
	}
	full := armstats.Exposure{Weight: router.Full}
	full.Arms[router.Canary][armstats.OK] = 4000
	e.Exposures = append(e.Exposures, full)
	if j := Judge(e, router.Full, JudgeConfig{}); j.Verdict != Safe {
		t.Errorf("4000 good exchanges at 100%%: %s, %s", j.Verdict, j.Sentence)
	}
	e.Exposures[1].Arms[router.Canary][armstats.Server] = 2000
	if j := Judge(e, router.Full, JudgeConfig{}); j.Verdict == Safe {
		t.Errorf("a third of all exchanges fails at 100%%: %s, %s", j.Verdict, j.Sentence)
	}
}

// A proof needs every metric: failing connections are not outweighed by healthy
// queries, and each spends its own share of alpha.
func TestEveryMetricMustBeProven(t *testing.T) {
	var sum float64
	for _, m := range armstats.Metrics() {
		sum += share(m)
	}
	if sum > .8+1e-9 {
		t.Errorf("the metrics spend %v of alpha; .2 is reserved for latency", sum)
	}
	for _, class := range []armstats.Class{armstats.Connect, armstats.Lost, armstats.Other} {
		s := healthy
		s.class, s.canaryBad = class, 30
		j := Judge(s.evidence(), 2500, JudgeConfig{})
		if j.Verdict == Safe {
			t.Errorf("1 %% of the canary's exchanges end in %v, and it is called safe", class)
		}
		for _, m := range j.Metrics {
			if m.Metric != class.Metric() && m.ProvenBy != "rate" {
				t.Errorf("%v spoils the proof about %s", class, m.Metric)
			}
		}
	}
	if j := Judge(healthy.evidence(), 2500, JudgeConfig{}); j.Metrics[2].Threshold != 1/(.01*.2) {
		t.Errorf("threshold of %s is %v", j.Metrics[2].Metric, j.Metrics[2].Threshold)
	}
}

func TestForecastsReadAsPeopleSpeak(t *testing.T) {
	for seconds, want := range map[float64]string{0.2: "1 s", 75.1: "76 s", 200: "4 min", 9000: "2.5 h", 1e6: "two days or"} {
		if got := duration(seconds); got != want {
			t.Errorf("%v s is %q, want %q", seconds, got, want)
		}
	}
}

// The forecast is kept: with the traffic it asks for, and the same rates, the
// verdict is there.
func TestForecastComesTrue(t *testing.T) {
	s := healthy
	s.stable, s.canary = 1200, 400
	side := sideBySide(s.evidence(), 2500)
	cfg := JudgeConfig{}.withDefaults()
	f := factorNeeded(s.evidence(), armstats.MetricServer, side, cfg)
	for _, c := range []struct {
		factor float64
		want   Verdict
	}{{f * 1.01, Safe}, {f * .97, Undecided}} {
		later := s
		later.stable, later.canary = uint64(1200*c.factor), uint64(400*c.factor)
		if j := Judge(later.evidence(), 2500, JudgeConfig{}); j.Verdict != c.want {
			t.Errorf("after %.2f times the traffic: %s, %s", c.factor, j.Verdict, j.Sentence)
		}
	}
	if j := Judge(s.evidence(), 2500, JudgeConfig{}); !strings.HasPrefix(j.Forecast, "about ") {
		t.Errorf("forecast %q", j.Forecast)
	}
}

func TestMinimumAndAdvance(t *testing.T) {
	small := healthy
	small.units[1], small.canary = 3, 100
	if !MinimumMet(small.evidence(), JudgeConfig{}) {
		t.Error("3 units and 100 exchanges do not meet the default minimum")
	}
	tooSmall := healthy
	tooSmall.canary, tooSmall.units[1] = 99, 2
	rising := healthy
	rising.weight, rising.n, rising.k = 500, 2, 2
	sick := rising
	sick.n, sick.k = 3, 3
	for _, c := range []struct {
		name string
		s    shop
		bake bool
		pass bool
		why  string
	}{
		{"all met", small, true, true, ""}, // undecided or insufficient: a timed step asks for no proof
		{"bake not over", healthy, false, false, "bake"},
		{"below the minimum", tooSmall, true, false, "canary had 2 units of 3, canary had 99 exchanges of 100"},
		{"evidence rising", rising, true, false, "waiting"},
		{"regress", sick, true, false, "the canary is worse"},
		{"regress before the bake is over", sick, false, false, "the canary is worse"},
	} {
		ev := c.s.evidence()
		j := Judge(ev, c.s.weight, JudgeConfig{})
		pass, why := Advance(j, JudgeConfig{}, MinimumMet(ev, JudgeConfig{}), c.bake)
		if pass != c.pass || !strings.Contains(why, c.why) {
			t.Errorf("%s: %v, %q; want %v, %q", c.name, pass, why, c.pass, c.why)
		}
	}
}

// traffic lets units work on a proxy's statistics at a weight.
func traffic(r *rand.Rand, proxies []*armstats.Deployment, w router.Weight, units int, stableRate, canaryRate float64) {
	for range units {
		hash := r.Uint64()
		d := proxies[r.IntN(len(proxies))]
		u := d.Enter(hash, false)
		arm := router.PickAt(hash, w)
		rate := stableRate
		if arm == router.Canary {
			rate = canaryRate
		}
		for range 20 {
			class := armstats.OK
			if r.Float64() < rate {
				class = armstats.Class(1 + r.IntN(armstats.NumClasses-1))
			}
			d.Observe(u, armstats.Exchange{Arm: arm, Weight: w, Class: class, Counted: true})
		}
		d.Leave(u)
	}
}

func proxies(n int) []*armstats.Deployment {
	var out []*armstats.Deployment
	for range n {
		d := armstats.NewSet([]string{"shop"}).Find("shop")
		d.Begin("r1", time.Now())
		out = append(out, d)
	}
	return out
}

// Equal versions all the way from the hash to the verdict, with a look after every
// few units: hardly ever regress.
func TestEqualVersionsAreSeldomCondemned(t *testing.T) {
	const runs, alpha = 100, .05
	r := rand.New(rand.NewPCG(31, 32))
	wrong := 0
	for range runs {
		ps := proxies(1)
	run:
		for _, w := range []router.Weight{100, 1000, 5000} {
			for range 8 {
				traffic(r, ps, w, 15, .02, .02)
				if Judge(ps[0].Evidence(), w, JudgeConfig{Alpha: alpha}).Verdict == Regress {
					wrong++
					break run
				}
			}
		}
	}
	if got := float64(wrong) / runs; got > allowed(alpha, runs) {
		t.Errorf("%.3f of all equal versions are condemned, want at most %.3f", got, allowed(alpha, runs))
	}
}

func TestAWorseVersionIsCondemned(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	found := 0
	for range 20 {
		ps := proxies(1)
		for range 40 {
			traffic(r, ps, 1000, 10, .002, .1)
			if Judge(ps[0].Evidence(), 1000, JudgeConfig{}).Verdict == Regress {
				found++
				break
			}
		}
	}
	if found < 19 {
		t.Errorf("a canary with 50 times the errors was found in %d of 20 runs", found)
	}
}

// Replicas merge in any order, and a process that died and came back from what was
// written judges the same as one that lived.
func TestMergedAndReplayedEvidenceJudgesTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 36))
	ps := proxies(3)
	judge := func(parts []armstats.Evidence) Judgement {
		e, err := armstats.Merge(parts...)
		if err != nil {
			t.Fatal(err)
		}
		e.Observed = time.Minute
		return Judge(e, 2500, JudgeConfig{})
	}
	for round := range 20 {
		traffic(r, ps, 2500, 30, .01, .02)
		var live []armstats.Evidence
		for _, d := range ps {
			live = append(live, d.Evidence())
		}
		want := judge(live)
		r.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
		if got := judge(live); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: another order judges differently:\n%+v\n%+v", round, got, want)
		}

		written, err := json.Marshal(ps[0].Evidence())
		if err != nil {
			t.Fatal(err)
		}
		var read armstats.Evidence
		if err := json.Unmarshal(written, &read); err != nil {
			t.Fatal(err)
		}
		ps[0] = armstats.NewSet([]string{"shop"}).Find("shop") // the process died here
		ps[0].Restore(read)
		live = live[:0]
		for _, d := range ps {
			live = append(live, d.Evidence())
		}
		if got := judge(live); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: after a restart it judges differently:\n%+v\n%+v", round, got, want)
		}
	}
}
