package admin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"mzcanary/internal/admin"
)

// Profiles are there when asked for, behind the guard, and only then.
func TestPprof(t *testing.T) {
	api := http.NotFoundHandler()
	for _, c := range []struct {
		name, host, path string
		handler          http.Handler
		want             int
	}{
		{"off", "127.0.0.1", "/debug/pprof/goroutine?debug=1", api, http.StatusNotFound},
		{"on", "127.0.0.1", "/debug/pprof/goroutine?debug=1", admin.WithPprof(api), http.StatusOK},
		{"another host", "evil.example", "/debug/pprof/heap", admin.WithPprof(api), http.StatusForbidden},
		{"the API behind it", "127.0.0.1", "/v1/nothing", admin.WithPprof(api), http.StatusNotFound},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://"+c.host+c.path, nil)
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
	}
}
