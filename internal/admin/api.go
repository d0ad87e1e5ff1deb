package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mzcanary/deploy"
	"mzcanary/proxy"
	"mzcanary/router"
)

// Problem is the body of every answer that is not a success: one sentence, the
// command that would help, and the exit code a command ends with.
type Problem = deploy.Refusal

const exitUsage = deploy.ExitUsage

// Sessions lists the proxy's sessions; *proxy.Proxy is it.
type Sessions interface {
	// Sessions returns those of one deployment, or with "" all of them, unmanaged
	// ones too.
	Sessions(deployment string) []proxy.SessionInfo
	// QualifiedNames gives a sample of the statements on a deployment's canary that
	// named a live schema explicitly, and how many there were.
	QualifiedNames(deployment string) ([]proxy.Qualified, uint64)
}

// SessionFilter selects sessions; every given condition must hold.
type SessionFilter struct {
	Deployment, Arm, User, Application string
	Place                              string        // boundary, streaming, busy, unknown or starting
	MinAge                             time.Duration // of the running exchange or transaction
}

// QualifiedAnswer is what is known of statements that named a live schema.
type QualifiedAnswer struct {
	Total   uint64            `json:"total"`
	Samples []proxy.Qualified `json:"samples"` // the most frequent first, normalised, without literals
}

// WeightRequest sets the weight by hand.
type WeightRequest struct {
	Weight router.Weight `json:"weight"`
	deploy.Request
}

// PlanRequest asks what a plan would do.
type PlanRequest struct {
	Plan *deploy.Plan `json:"plan,omitempty"`
}

// WaitAnswer is what a wait ended with.
type WaitAnswer struct {
	Status deploy.Status `json:"status"`
	Exit   int           `json:"exit"`
}

// NewHandler serves the API of a controller.
func NewHandler(controller deploy.API, sessions Sessions) http.Handler {
	a := &api{controller: controller, sessions: sessions}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.statuses)
	mux.HandleFunc("GET /v1/sessions", a.listSessions)
	mux.HandleFunc("GET /v1/phases", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, deploy.Phases()) })
	mux.HandleFunc("GET /v1/verbs", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, deploy.VerbTable()) })
	mux.HandleFunc("GET /v1/deployments/{deployment}", a.status)
	mux.HandleFunc("GET /v1/deployments/{deployment}/changed", a.changed)
	mux.HandleFunc("GET /v1/deployments/{deployment}/wait", a.wait)
	mux.HandleFunc("GET /v1/deployments/{deployment}/history", a.history)
	mux.HandleFunc("GET /v1/deployments/{deployment}/qualified-names", a.qualifiedNames)
	mux.HandleFunc("POST /v1/deployments/{deployment}/check", a.check)
	mux.HandleFunc("POST /v1/deployments/{deployment}/dry-run", a.dryRun)
	mux.HandleFunc("POST /v1/deployments/{deployment}/start", a.start)
	mux.HandleFunc("POST /v1/deployments/{deployment}/weight", a.weight)
	mux.HandleFunc("POST /v1/deployments/{deployment}/{verb}", a.verb)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, Problem{Exit: exitUsage, Sentence: "the API has no " + r.Method + " " + quoted(r.URL.Path), Next: "GET /v1/status"})
	})
	return guard(mux)
}

type api struct {
	controller deploy.API
	sessions   Sessions
}

func (a *api) statuses(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.controller.Statuses()) }

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	s, err := a.controller.Status(r.PathValue("deployment"))
	answer(w, s, err)
}

// changed is a long poll: it answers when the status has moved past the revision
// the caller has, or with the same status when the request's context ends.
func (a *api) changed(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	if err != nil {
		writeError(w, http.StatusBadRequest, Problem{Exit: exitUsage, Sentence: "since must be the revision of a status"})
		return
	}
	s, err := a.controller.Changed(r.Context(), r.PathValue("deployment"), since)
	answer(w, s, err)
}

func (a *api) wait(w http.ResponseWriter, r *http.Request) {
	until := deploy.Until(r.URL.Query().Get("until"))
	if until != deploy.UntilPromoted && until != deploy.UntilDone {
		writeError(w, http.StatusBadRequest, Problem{Exit: exitUsage, Sentence: "until must be promoted or done, not " + quoted(string(until))})
		return
	}
	s, exit := a.controller.Wait(r.Context(), r.PathValue("deployment"), r.URL.Query().Get("rollout"), until)
	writeJSON(w, WaitAnswer{Status: s, Exit: exit})
}

func (a *api) history(w http.ResponseWriter, r *http.Request) {
	records, err := a.controller.History(r.Context(), r.PathValue("deployment"))
	answer(w, list(records), err)
}

func (a *api) check(w http.ResponseWriter, r *http.Request) {
	findings, err := a.controller.Check(r.Context(), r.PathValue("deployment"))
	answer(w, list(findings), err)
}

func (a *api) dryRun(w http.ResponseWriter, r *http.Request) {
	req, ok := read[PlanRequest](w, r)
	if !ok {
		return
	}
	dry, err := a.controller.DryRun(r.PathValue("deployment"), req.Plan)
	answer(w, dry, err)
}

func (a *api) start(w http.ResponseWriter, r *http.Request) {
	req, ok := read[deploy.StartRequest](w, r)
	if !ok {
		return
	}
	s, err := a.controller.Start(r.Context(), r.PathValue("deployment"), req)
	answer(w, s, err)
}

func (a *api) weight(w http.ResponseWriter, r *http.Request) {
	req, ok := read[WeightRequest](w, r)
	if !ok {
		return
	}
	s, err := a.controller.SetWeight(r.Context(), r.PathValue("deployment"), req.Weight, req.Request)
	answer(w, s, err)
}

func (a *api) verb(w http.ResponseWriter, r *http.Request) {
	req, ok := read[deploy.Request](w, r)
	if !ok {
		return
	}
	s, err := a.controller.Do(r.Context(), r.PathValue("deployment"), deploy.Verb(r.PathValue("verb")), req)
	answer(w, s, err)
}

func (a *api) listSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if name := q.Get("deployment"); name != "" {
		if _, err := a.controller.Status(name); err != nil {
			answer(w, nil, err)
			return
		}
	}
	keep, err := sessionFilter(q)
	if err != nil {
		writeError(w, http.StatusBadRequest, Problem{Exit: exitUsage, Sentence: err.Error()})
		return
	}
	found := slices.DeleteFunc(a.sessions.Sessions(q.Get("deployment")), func(s proxy.SessionInfo) bool { return !keep(s) })
	writeJSON(w, list(found))
}

var places = map[string]proxy.Place{
	"boundary": proxy.PlaceBoundary, "streaming": proxy.PlaceStreaming, "busy": proxy.PlaceBusy,
	"unknown": proxy.PlaceUnknown, "starting": proxy.PlaceStarting,
}

// sessionFilter reads the conditions of a query besides the deployment.
func sessionFilter(q url.Values) (func(proxy.SessionInfo) bool, error) {
	var arm *router.Arm
	if name := q.Get("arm"); name != "" {
		a, err := router.ParseArm(name)
		if err != nil {
			return nil, err
		}
		arm = &a
	}
	place, known := places[q.Get("place")]
	if name := q.Get("place"); name != "" && !known {
		return nil, fmt.Errorf("place must be boundary, streaming, busy, unknown or starting, not %s", quoted(name))
	}
	var age time.Duration
	if text := q.Get("min_age"); text != "" {
		var err error
		if age, err = time.ParseDuration(text); err != nil || age < 0 {
			return nil, fmt.Errorf("min_age must be a duration such as 10s, not %s", quoted(text))
		}
	}
	user, application := q.Get("user"), q.Get("application")
	return func(s proxy.SessionInfo) bool {
		return (arm == nil || s.Deployment != "" && s.Arm == *arm) && (!known || s.Place == place) && s.Age >= age &&
			(user == "" || s.User == user) && (application == "" || s.Application == application)
	}, nil
}

func (a *api) qualifiedNames(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("deployment")
	if _, err := a.controller.Status(name); err != nil {
		answer(w, nil, err)
		return
	}
	samples, total := a.sessions.QualifiedNames(name)
	writeJSON(w, QualifiedAnswer{Total: total, Samples: list(samples)})
}

// list makes an empty list of none: callers iterate over what null is not.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// read decodes a request strictly: a field that nobody reads is a mistake the
// caller should hear of.
func read[T any](w http.ResponseWriter, r *http.Request) (T, bool) {
	var req T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		writeError(w, http.StatusBadRequest, Problem{Exit: exitUsage, Sentence: "the request is not what this call takes: " + err.Error()})
		return req, false
	}
	return req, true
}

// answer writes the value, or the refusal, or the failure.
func answer(w http.ResponseWriter, v any, err error) {
	var refusal *deploy.Refusal
	switch {
	case err == nil:
		writeJSON(w, v)
	case errors.As(err, &refusal):
		writeError(w, http.StatusConflict, *refusal)
	case errors.Is(err, deploy.ErrUnavailable):
		writeError(w, http.StatusBadGateway, Problem{Exit: deploy.ExitConnect, Sentence: err.Error(), Next: "look at the server, then try again"})
	default:
		writeError(w, http.StatusInternalServerError, Problem{Exit: deploy.ExitHuman, Sentence: err.Error()})
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeError(w, http.StatusInternalServerError, Problem{Exit: deploy.ExitHuman, Sentence: fmt.Sprintf("the answer cannot be written: %v", err)})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a caller that went away needs no answer
}

func writeError(w http.ResponseWriter, code int, p Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"exit":7,"sentence":"the refusal cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a caller that went away needs no answer
}
