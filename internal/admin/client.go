package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"mzcanary/deploy"
	"mzcanary/proxy"
	"mzcanary/router"
)

// Client speaks to the API of a running mzcanary. Refusals come back as the
// *deploy.Refusal the controller gave.
type Client struct {
	base string
	http *http.Client
}

// NewClient uses the API at a host:port.
func NewClient(address string) *Client {
	return &Client{base: "http://" + address, http: &http.Client{}}
}

// Statuses lists every deployment.
func (c *Client) Statuses(ctx context.Context) ([]deploy.Status, error) {
	return get[[]deploy.Status](ctx, c, "/v1/status", nil)
}

// Status is one deployment.
func (c *Client) Status(ctx context.Context, deployment string) (deploy.Status, error) {
	return get[deploy.Status](ctx, c, at(deployment, ""), nil)
}

// Changed waits until the status has moved past a revision.
func (c *Client) Changed(ctx context.Context, deployment string, since uint64) (deploy.Status, error) {
	return get[deploy.Status](ctx, c, at(deployment, "changed"), url.Values{"since": {strconv.FormatUint(since, 10)}})
}

// Wait waits for the promotion or the end of a rollout and returns the exit code
// a command should end with.
func (c *Client) Wait(ctx context.Context, deployment, rollout string, until deploy.Until) (deploy.Status, int, error) {
	a, err := get[WaitAnswer](ctx, c, at(deployment, "wait"), url.Values{"rollout": {rollout}, "until": {string(until)}})
	return a.Status, a.Exit, err
}

// History lists the rollouts that are over, newest first.
func (c *Client) History(ctx context.Context, deployment string) ([]deploy.Record, error) {
	return get[[]deploy.Record](ctx, c, at(deployment, "history"), nil)
}

// Sessions lists sessions, of one deployment or all, on one arm or any.
func (c *Client) Sessions(ctx context.Context, deployment, arm string) ([]proxy.SessionInfo, error) {
	return c.FindSessions(ctx, SessionFilter{Deployment: deployment, Arm: arm})
}

// FindSessions lists the sessions that a filter selects.
func (c *Client) FindSessions(ctx context.Context, f SessionFilter) ([]proxy.SessionInfo, error) {
	q := url.Values{}
	for key, value := range map[string]string{"deployment": f.Deployment, "arm": f.Arm, "user": f.User, "application": f.Application, "place": f.Place} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if f.MinAge != 0 {
		q.Set("min_age", f.MinAge.String())
	}
	return get[[]proxy.SessionInfo](ctx, c, "/v1/sessions", q)
}

// QualifiedNames is what is known of the statements on a deployment's canary that
// named a live schema explicitly.
func (c *Client) QualifiedNames(ctx context.Context, deployment string) (QualifiedAnswer, error) {
	return get[QualifiedAnswer](ctx, c, at(deployment, "qualified-names"), nil)
}

// Check runs preflight.
func (c *Client) Check(ctx context.Context, deployment string) ([]deploy.Finding, error) {
	return post[[]deploy.Finding](ctx, c, at(deployment, "check"), struct{}{})
}

// DryRun asks what a plan, or the configured one when nil, would do.
func (c *Client) DryRun(ctx context.Context, deployment string, plan *deploy.Plan) (deploy.DryRun, error) {
	return post[deploy.DryRun](ctx, c, at(deployment, "dry-run"), PlanRequest{Plan: plan})
}

// Start starts a rollout.
func (c *Client) Start(ctx context.Context, deployment string, req deploy.StartRequest) (deploy.Status, error) {
	return post[deploy.Status](ctx, c, at(deployment, "start"), req)
}

// Do asks for a verb.
func (c *Client) Do(ctx context.Context, deployment string, verb deploy.Verb, req deploy.Request) (deploy.Status, error) {
	return post[deploy.Status](ctx, c, at(deployment, string(verb)), req)
}

// SetWeight sets the weight by hand.
func (c *Client) SetWeight(ctx context.Context, deployment string, weight router.Weight, req deploy.Request) (deploy.Status, error) {
	return post[deploy.Status](ctx, c, at(deployment, "weight"), WeightRequest{Weight: weight, Request: req})
}

func at(deployment, what string) string {
	p := "/v1/deployments/" + url.PathEscape(deployment)
	if what != "" {
		p += "/" + url.PathEscape(what)
	}
	return p
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return call[T](ctx, c, http.MethodGet, path, nil)
}

func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		var zero T
		return zero, fmt.Errorf("write the request: %w", err)
	}
	return call[T](ctx, c, http.MethodPost, path, raw)
}

func call[T any](ctx context.Context, c *Client, method, path string, body []byte) (T, error) {
	var out T
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("address the API at %s: %w", c.base, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		return out, &deploy.Refusal{Exit: deploy.ExitConnect, Sentence: fmt.Sprintf("no mzcanary answers at %s: %v", c.base, errors.Unwrap(err)),
			Next: "start `mzcanary serve` there, or name its address with --admin"}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return out, fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if res.StatusCode != http.StatusOK {
		var problem Problem
		if err := json.Unmarshal(raw, &problem); err != nil || problem.Sentence == "" {
			return out, fmt.Errorf("%s%s answered %s, which is not mzcanary's API", c.base, path, res.Status)
		}
		return out, &problem
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return out, fmt.Errorf("understand the answer of %s%s: %w", c.base, path, err)
	}
	return out, nil
}
