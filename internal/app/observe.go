package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mzcanary/deploy"
)

// readyProbe bounds the connection attempt that readyz makes. A load balancer's
// own probe timeout is usually a few seconds.
const readyProbe = 2 * time.Second

// observer serves what may be seen from anywhere and changes nothing: metrics,
// "am I alive", "can I serve".
type observer struct {
	registry *prometheus.Registry
	dial     func(context.Context) error
	control  deploy.API
	stopping func() bool
}

func (o *observer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", o.ready)
	return mux
}

// ready answers whether a new session could be served now, by trying the
// upstream. The controller's troubles are told and do not count: the data plane
// keeps relaying without it.
func (o *observer) ready(w http.ResponseWriter, r *http.Request) {
	var lines []string
	ok := true
	if o.stopping() {
		ok = false
		lines = append(lines, "stopping: sessions are being drained, new ones are not accepted")
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyProbe)
	defer cancel()
	if err := o.dial(ctx); err != nil {
		ok = false
		lines = append(lines, "upstream: cannot be reached: "+err.Error())
	} else {
		lines = append(lines, "upstream: ok")
	}
	for _, s := range o.control.Statuses() {
		line := "deployment " + s.Deployment + ": "
		if recovered, why := o.control.Ready(s.Deployment); recovered {
			line += string(s.Phase)
		} else {
			line += "served on live names: " + why
		}
		lines = append(lines, line)
	}
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, strings.Join(lines, "\n"))
}
