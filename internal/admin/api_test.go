package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mzcanary/deploy"
	"mzcanary/proxy"
	"mzcanary/router"
)

// fake records what was asked and answers as it is told.
type fake struct {
	asked string
	err   error
}

func (f *fake) note(s string) (deploy.Status, error) {
	f.asked = s
	return deploy.Status{Deployment: "shop", Rollout: "r1", Weight: 2500, Revision: 7}, f.err
}

func (f *fake) Deployments() []string { return []string{"shop"} }
func (f *fake) Check(context.Context, string) ([]deploy.Finding, error) {
	return []deploy.Finding{{Code: "P01", Severity: deploy.Refuse}}, f.err
}
func (f *fake) Start(_ context.Context, d string, r deploy.StartRequest) (deploy.Status, error) {
	return f.note("start " + d + " by " + r.Who)
}
func (f *fake) DryRun(d string, _ *deploy.Plan) (deploy.DryRun, error) {
	return deploy.DryRun{Deployment: d}, f.err
}
func (f *fake) Do(_ context.Context, d string, v deploy.Verb, r deploy.Request) (deploy.Status, error) {
	return f.note(string(v) + " " + d + " because " + r.Reason)
}
func (f *fake) SetWeight(_ context.Context, d string, w router.Weight, _ deploy.Request) (deploy.Status, error) {
	return f.note("weight " + d + " " + w.String())
}
func (f *fake) Status(d string) (deploy.Status, error) { return f.note("status " + d) }
func (f *fake) Statuses() []deploy.Status              { return []deploy.Status{{Deployment: "shop"}} }
func (f *fake) History(context.Context, string) ([]deploy.Record, error) {
	return []deploy.Record{{Rollout: "r0"}}, f.err
}
func (f *fake) Wait(_ context.Context, d, rollout string, u deploy.Until) (deploy.Status, int) {
	s, _ := f.note("wait " + d + " " + rollout + " " + string(u))
	return s, deploy.ExitRolledBack
}
func (f *fake) Changed(_ context.Context, d string, since uint64) (deploy.Status, error) {
	return f.note("changed " + d)
}
func (f *fake) Ready(string) (bool, string) { return true, "" }

func (f *fake) Sessions(string) []proxy.SessionInfo {
	return []proxy.SessionInfo{
		{ID: "a", Deployment: "shop", Arm: router.Canary, User: "ann", Place: proxy.PlaceBusy, Age: time.Minute},
		{ID: "b", Deployment: "shop", User: "ann", Application: "psql", Place: proxy.PlaceBoundary}, {ID: "c", Place: proxy.PlaceStreaming, Age: time.Second},
	}
}

func (f *fake) QualifiedNames(string) ([]proxy.Qualified, uint64) {
	return []proxy.Qualified{{Text: "SELECT * FROM prod.t", Count: 2}}, 3
}

func serve(t *testing.T, f *fake) (*Client, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(NewHandler(f, f))
	t.Cleanup(s.Close)
	return NewClient(strings.TrimPrefix(s.URL, "http://")), s
}

func TestClientAsksWhatItSays(t *testing.T) {
	f := &fake{}
	c, _ := serve(t, f)
	ctx := t.Context()
	for _, call := range []struct {
		want string
		do   func() error
	}{
		{"start shop by ann", func() error { _, err := c.Start(ctx, "shop", deploy.StartRequest{Who: "ann"}); return err }},
		{"rollback shop because odd", func() error {
			_, err := c.Do(ctx, "shop", deploy.VerbRollback, deploy.Request{Reason: "odd"})
			return err
		}},
		{"weight shop 12.5%", func() error { _, err := c.SetWeight(ctx, "shop", 1250, deploy.Request{}); return err }},
		{"status shop", func() error { _, err := c.Status(ctx, "shop"); return err }},
		{"changed shop", func() error { _, err := c.Changed(ctx, "shop", 3); return err }},
		{"wait shop r1 done", func() error {
			_, code, err := c.Wait(ctx, "shop", "r1", deploy.UntilDone)
			if code != deploy.ExitRolledBack {
				t.Errorf("wait: exit %d", code)
			}
			return err
		}},
	} {
		if err := call.do(); err != nil || f.asked != call.want {
			t.Errorf("asked %q (%v), want %q", f.asked, err, call.want)
		}
	}
	if s, err := c.Status(ctx, "shop"); err != nil || s.Weight != 2500 || s.Revision != 7 {
		t.Errorf("status lost something on the way: %+v %v", s, err)
	}
	canary, err := c.Sessions(ctx, "", "canary")
	if err != nil || len(canary) != 1 || canary[0].ID != "a" {
		t.Errorf("canary sessions: %+v %v", canary, err)
	}
	stable, err := c.Sessions(ctx, "", "stable")
	if err != nil || len(stable) != 1 || stable[0].ID != "b" {
		t.Errorf("stable sessions, unmanaged ones left out: %+v %v", stable, err)
	}
}

func TestSessionsAreFiltered(t *testing.T) {
	c, s := serve(t, &fake{})
	for want, f := range map[string]SessionFilter{
		"abc": {}, "ab": {User: "ann"}, "b": {User: "ann", Application: "psql"}, "a": {Place: "busy"}, "ac": {MinAge: time.Second},
		"": {User: "ann", MinAge: time.Hour}, "c": {Place: "streaming", MinAge: time.Millisecond},
	} {
		found, err := c.FindSessions(t.Context(), f)
		got := ""
		for _, s := range found {
			got += s.ID
		}
		if err != nil || got != want {
			t.Errorf("%+v: got %q, %v, want %q", f, got, err, want)
		}
	}
	for _, query := range []string{"place=here", "min_age=old", "min_age=-1s", "arm=left"} {
		if r, err := http.Get(s.URL + "/v1/sessions?" + query); err != nil || r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v %v", query, r.StatusCode, err)
		}
	}
	q, err := c.QualifiedNames(t.Context(), "shop")
	if err != nil || q.Total != 3 || len(q.Samples) != 1 || q.Samples[0].Count != 2 {
		t.Errorf("qualified names %+v, %v", q, err)
	}
	var refused *deploy.Refusal
	c, _ = serve(t, &fake{err: &deploy.Refusal{Exit: deploy.ExitRefused, Sentence: "no"}})
	if _, err := c.QualifiedNames(t.Context(), "shoes"); !errors.As(err, &refused) {
		t.Errorf("of a deployment that is not there: %v", err)
	}
}

func TestRefusalsKeepTheirExitCode(t *testing.T) {
	f := &fake{err: &deploy.Refusal{Exit: deploy.ExitRefused, Sentence: "no", Next: "mzcanary check"}}
	c, _ := serve(t, f)
	_, err := c.Start(t.Context(), "shop", deploy.StartRequest{})
	var r *deploy.Refusal
	if !errors.As(err, &r) || r.Exit != deploy.ExitRefused || r.Next != "mzcanary check" {
		t.Fatalf("got %v", err)
	}
	if _, err = c.Sessions(t.Context(), "shoes", ""); !errors.As(err, &r) {
		t.Fatalf("sessions of a deployment that is not there: got %v", err)
	}
	f.err = deploy.ErrUnavailable
	if _, err = c.Check(t.Context(), "shop"); !errors.As(err, &r) || r.Exit != deploy.ExitConnect {
		t.Fatalf("unavailable: got %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	addr := strings.TrimPrefix(s.URL, "http://")
	if _, err := NewClient(addr).Statuses(t.Context()); err == nil || !strings.Contains(err.Error(), "not mzcanary's API") {
		t.Errorf("another server: %v", err)
	}
	s.Close()
	_, err := NewClient(addr).Statuses(t.Context())
	var r *deploy.Refusal
	if !errors.As(err, &r) || r.Exit != deploy.ExitConnect || !strings.Contains(r.Sentence, addr) {
		t.Errorf("nobody: %v", err)
	}
}

func TestGuard(t *testing.T) {
	f := &fake{}
	_, s := serve(t, f)
	const post = "/v1/deployments/shop/rollback"
	for _, c := range []struct {
		name, method, path, host, origin, kind, body string
		want                                         int
	}{
		{"plain", "GET", "/v1/status", "", "", "", "", 200},
		{"localhost", "GET", "/v1/status", "localhost:1", "", "", "", 200},
		{"IPv6 loopback", "GET", "/v1/status", "[::1]:6866", "", "", "", 200},
		{"re-bound name", "GET", "/v1/status", "evil.example", "", "", "", 403},
		{"name that begins like loopback", "GET", "/v1/status", "127.0.0.1.evil.example", "", "", "", 403},
		{"foreign page", "GET", "/v1/status", "", "https://evil.example", "", "", 403},
		{"page of another local port", "POST", post, "", "http://127.0.0.1:1", "application/json", "{}", 403},
		{"opaque origin", "GET", "/v1/status", "", "null", "", "", 403},
		{"form", "POST", post, "", "", "application/x-www-form-urlencoded", "{}", 415},
		{"no type", "POST", post, "", "", "", "{}", 415},
		{"json with charset", "POST", post, "", "", "application/json; charset=utf-8", "{}", 200},
		{"unknown field", "POST", post, "", "", "application/json", `{"forse":true}`, 400},
		{"not json", "POST", post, "", "", "application/json", `rollback`, 400},
		{"weight above all", "POST", "/v1/deployments/shop/weight", "", "", "application/json", `{"weight":"101%"}`, 400},
		{"bad since", "GET", "/v1/deployments/shop/changed?since=x", "", "", "", "", 400},
		{"bad until", "GET", "/v1/deployments/shop/wait?until=ever", "", "", "", "", 400},
		{"bad arm", "GET", "/v1/sessions?arm=left", "", "", "", "", 400},
		{"no such path", "GET", "/", "", "", "", "", 404},
		{"huge body", "POST", post, "", "", "application/json", `{"reason":"` + strings.Repeat("x", 2<<20) + `"}`, 400},
	} {
		f.asked = ""
		req, err := http.NewRequestWithContext(t.Context(), c.method, s.URL+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.host != "" {
			req.Host = c.host
		}
		for k, v := range map[string]string{"Origin": c.origin, "Content-Type": c.kind} {
			if v != "" {
				req.Header.Set(k, v)
			}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s: %d, want %d: %.200s", c.name, res.StatusCode, c.want, body)
		}
		if c.want >= 400 && (f.asked != "" || !strings.Contains(string(body), `"sentence"`)) {
			t.Errorf("%s: refused, but asked %q and said %.200s", c.name, f.asked, body)
		}
	}
}
