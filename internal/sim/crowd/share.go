package crowd

import "math"

// implausible is how improbable a share of sessions must be, in one direction and
// one period, to blame the proxy: with the dozen periods of a rollout at most, a
// proxy that draws its sessions rightly is blamed less than once in a million runs.
const implausible = 2e-8

// share judges the shares that were counted period by period.
func (a *Account) share(v *verdicts, counted []Share) {
	for i, p := range v.periods {
		s := counted[i]
		if p.weight <= 0 || p.weight >= 10_000 {
			continue // what is possible then is one version, which every answer is checked for
		}
		s.Weight = p.weight
		w := float64(p.weight) / 10_000
		s.Plausible = atMost(s.Sessions, s.Canary, w) > implausible && atMost(s.Sessions, s.Sessions-s.Canary, 1-w) > implausible
		if !s.Plausible {
			a.example("%d of %d sessions were on the new version while %g %% were wanted", s.Canary, s.Sessions, w*100)
		}
		a.Shares = append(a.Shares, s)
	}
}

// atMost is the probability of k or fewer hits in n draws, each a hit with
// probability p in (0,1).
func atMost(n, k int, p float64) float64 {
	sum := 0.0
	for i := range k + 1 {
		sum += math.Exp(logFactorial(n) - logFactorial(i) - logFactorial(n-i) + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return sum
}

func logFactorial(n int) float64 {
	v, _ := math.Lgamma(float64(n) + 1)
	return v
}
