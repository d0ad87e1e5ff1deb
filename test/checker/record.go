package checker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// record keeps what happened behind the scenes, for a run that fails.
type record struct {
	clock func() time.Duration
	mu    sync.Mutex
	b     strings.Builder
}

// recordLimit is how much of it is kept.
const recordLimit = 1 << 20

// Write implements io.Writer, for the program's own log.
func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.b.Len() < recordLimit {
		fmt.Fprintf(&r.b, "%9s %s", clock(r.clock()), p)
	}
	return len(p), nil
}

func (r *record) note(format string, args ...any) {
	fmt.Fprintf(r, "-- "+format+"\n", args...)
}

func (r *record) handler() slog.Handler {
	return slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == "deployment" || a.Key == "rollout" {
			return slog.Attr{}
		}
		return a
	}})
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}
