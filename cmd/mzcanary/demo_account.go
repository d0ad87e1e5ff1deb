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
	crowd.Account
	SessionsMoved  int     `json:"sessions_moved"`
	Holds          int     `json:"holds"`
	LongestStallMS float64 `json:"longest_stall_ms"`
	DurationS      float64 `json:"duration_s"`
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
	out.Green = clients.Clean() && out.Outcome == out.Expected && clients.SeenOld > 0 && clients.SeenNew > 0
	return out, nil
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
