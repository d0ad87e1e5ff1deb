package admin

import (
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds a request body. The largest real one is a plan of some dozens
// of steps, a few kilobytes.
const maxBody = 1 << 20

// guard refuses what a browser on the operator's machine could be tricked into
// sending. The API listens on loopback only, but a web page can reach loopback:
// by a form (no JSON content type), by script from its own origin (Origin), or
// by a host name that it re-binds to 127.0.0.1 (Host).
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			writeError(w, http.StatusForbidden, Problem{Exit: exitUsage, Sentence: "the API answers only to loopback host names, not to " + quoted(r.Host), Next: "use http://127.0.0.1:PORT"})
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r.Host) {
			writeError(w, http.StatusForbidden, Problem{Exit: exitUsage, Sentence: "a page of " + quoted(origin) + " may not use the API", Next: "open the API's own address"})
			return
		}
		if r.Method == http.MethodPost {
			kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
			if err != nil || kind != "application/json" {
				writeError(w, http.StatusUnsupportedMediaType, Problem{Exit: exitUsage, Sentence: "a request that changes something must be application/json", Next: "set the Content-Type header"})
				return
			}
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

func isLoopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host == host
}

// quoted keeps what a stranger sent short and printable.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, `"`+s+`"`)
}
