package admin

import (
	"net/http"
	"net/http/pprof"
)

// WithPprof adds Go's profiles under /debug/pprof/ to the API, behind the same
// guard. A profile costs time and shows the program's inside (never data of a
// session), so serve offers it behind a hidden flag only.
func WithPprof(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", api)
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/":        pprof.Index, // heap, goroutine, allocs, block, mutex, threadcreate
		"/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol":  pprof.Symbol,
		"/debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle("GET "+path, guard(h))
	}
	return mux
}
