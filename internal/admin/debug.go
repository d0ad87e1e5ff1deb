package admin

import (
	"context"
	"net/http"
	"time"

	"mzcanary/deploy"
	"mzcanary/proxy"
)

// Holder holds sessions without a promotion; *proxy.Proxy is it.
type Holder interface {
	Hold(deployment string, lease time.Duration) (*proxy.Hold, error)
}

// HoldRequest asks for a hold of a deployment's sessions for the whole lease.
type HoldRequest struct {
	Lease string `json:"lease"` // a duration such as "200ms", at most longestDebugHold
}

// HoldAnswer says what a debug hold did.
type HoldAnswer struct {
	Held       int     `json:"held"`
	Stragglers int     `json:"stragglers"`
	LongestMS  float64 `json:"longest_ms"`
}

// longestDebugHold is the default promote.max_stall: a hold for its own sake may
// not cost clients more than a promotion may.
const longestDebugHold = 5 * time.Second

// WithDebugHolds adds holds at will to the API. They exist for suites that prove
// that a hold is invisible; serve offers them behind a hidden flag only.
func WithDebugHolds(api http.Handler, holder Holder) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	mux.Handle("POST /v1/debug/deployments/{deployment}/hold", guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, ok := read[HoldRequest](w, r)
		if !ok {
			return
		}
		lease, err := time.ParseDuration(req.Lease)
		if err != nil || lease <= 0 || lease > longestDebugHold {
			writeError(w, http.StatusBadRequest, Problem{Exit: deploy.ExitUsage, Sentence: "lease must be a duration above 0 and at most " + longestDebugHold.String()})
			return
		}
		done, err := debugHold(r.Context(), holder, r.PathValue("deployment"), lease)
		answer(w, done, err)
	})))
	return mux
}

func debugHold(ctx context.Context, holder Holder, deployment string, lease time.Duration) (HoldAnswer, error) {
	h, err := holder.Hold(deployment, lease)
	if err != nil {
		return HoldAnswer{}, err
	}
	over, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	report := h.Gather(over)
	<-over.Done()
	stall := h.Release()
	return HoldAnswer{Held: report.Held, Stragglers: len(report.Stragglers), LongestMS: float64(stall.Max) / float64(time.Millisecond)}, nil
}
