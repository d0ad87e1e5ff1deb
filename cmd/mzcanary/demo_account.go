package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mzcanary/internal/admin"
	"mzcanary/internal/sim/crowd"
)

// demoAccount is the result of a demo, as --output json prints it.
type demoAccount struct {
	Outcome  string `json:"outcome"`
	Expected string `json:"expected"`
	Green    bool   `json:"green"`
	// Red says in words what is not as it must be.
	Red []string `json:"red,omitempty"`
	crowd.Account
	demoShown
	SessionsMoved int `json:"sessions_moved"`
	Holds         int `json:"holds"`
	// Unsettled are the weights, in basis points, that stood and never had everybody
	// in place.
	Unsettled      []int   `json:"unsettled"`
	LongestStallMS float64 `json:"longest_stall_ms"`
	DurationS      float64 `json:"duration_s"`
}

// demoShown is what was really seen of the fault that --break names.
type demoShown struct {
	FaultShown         bool `json:"fault_shown"` // also when none was asked for
	WeightsTakenBack   int  `json:"weights_taken_back"`
	Kills              int  `json:"kills"`
	Conflicts          int  `json:"conflicts"`
	AutomaticRollbacks int  `json:"automatic_rollbacks"`
}

// account ends the crowd, judges its notes and adds what only the program knows.
func (d *director) account(ctx context.Context, s admin.Status, took time.Duration) (*demoAccount, error) {
	moved, err := d.st.metric(ctx, "mzcanary_retargets_total", `outcome="retargeted"`)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	clients, err := d.st.crowd.Close(ctx)
	if err != nil {
		return nil, err
	}
	out := &demoAccount{
		Outcome:       string(s.Phase),
		Expected:      breaks[d.o.breaking],
		Account:       *clients,
		SessionsMoved: moved,
		Unsettled:     append([]int{}, d.state.seen.unsettled...), // a list in JSON, never null
		DurationS:     took.Round(100 * time.Millisecond).Seconds(),
	}
	if s.Swap != nil {
		out.Holds = s.Swap.Attempts
		for _, a := range s.Swap.History {
			out.LongestStallMS = max(out.LongestStallMS, milliseconds(a.Stall.Max))
		}
		if r := s.Swap.Record; r != nil {
			out.LongestStallMS = max(out.LongestStallMS, milliseconds(r.Stall.Max))
		}
	}
	out.shown(d.o.breaking, d.state.seen, s, d.st.sim.Faults().FailedDDLCommits())
	out.judge(d.state.seen)
	return out, nil
}

// shown counts what was seen of the fault. refused is how many swaps the server
// itself made lose.
func (a *demoAccount) shown(breaking string, seen seen, s admin.Status, refused int) {
	a.WeightsTakenBack, a.Kills = seen.takenBack, seen.kills
	if s.Swap != nil {
		a.Conflicts = min(s.Swap.Conflicts, refused) // met by the one, made by the other
	}
	if b := s.RollingBack; b != nil && b.Cause != "hand" && b.Cause != "abort" {
		a.AutomaticRollbacks = 1
	}
	switch breaking {
	case "errors":
		a.FaultShown = a.Injected > 0 && a.AutomaticRollbacks > 0
	case "hydration":
		a.FaultShown = seen.takenBack > seen.before
	case "swap-conflict":
		a.FaultShown = a.Conflicts >= brokenSwaps
	case "crash":
		a.FaultShown = a.Kills > 0 && a.LostByKill > 0
	default:
		a.FaultShown = true
	}
}

// judge says what is not as it must be.
func (a *demoAccount) judge(seen seen) {
	red := func(when bool, format string, args ...any) {
		if when {
			a.Red = append(a.Red, fmt.Sprintf(format, args...))
		}
	}
	red(a.Outcome != a.Expected, "the rollout ended as %s, not as %s", a.Outcome, a.Expected)
	red(a.ClientErrors > 0, "clients saw errors")
	red(a.WrongVersions > 0, "clients saw versions that were not possible")
	red(a.SeenOld == 0 || a.SeenNew == 0, "clients saw one version only")
	for _, s := range a.Shares {
		red(!s.Plausible, "%d of %d sessions on the new version are no %g %%", s.Canary, s.Sessions, float64(s.Weight)/100)
	}
	red(len(a.Silent()) > 0, "never answered: %s", strings.Join(a.Silent(), ", "))
	for _, w := range a.Unsettled {
		red(true, "at %g %% sessions never were where they should be", float64(w)/100)
	}
	red(seen.settled == 0, "sessions never were where they should be, at any weight")
	wanted := demoWeights
	if a.Expected != "done" {
		wanted = demoWeights[:2]
	}
	red(!reached(seen.raised, wanted), "the weights of the plan were not gone through, only %v", seen.raised)
	red(!a.FaultShown, "the fault was not shown")
	a.Green = len(a.Red) == 0
}

// reached tells whether the weights were gone through in this order.
func reached(raised, wanted []int) bool {
	for _, w := range raised {
		if len(wanted) > 0 && w == wanted[0] {
			wanted = wanted[1:]
		}
	}
	return len(wanted) == 0
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// metric sums the samples of a family that carry a label.
func (st *stage) metric(ctx context.Context, family, label string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+st.addrs.Observe+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, family+"{") || !strings.Contains(line, label) {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("sample %q: %w", line, err)
		}
		sum += v
	}
	return int(sum), lines.Err()
}
