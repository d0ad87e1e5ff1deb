package mz

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/deploy"
	"mzcanary/internal/armstats"
	"mzcanary/internal/sim"
)

// Every refusal that a statement of the swap can meet, met by a whole rollout: what
// the server says must reach the operator, block the rollout or be tried again, and
// leave the names as they were.

// interposed does something right before the swap is prepared, and may prepare it on
// another server.
type interposed struct {
	*Warehouse
	before  func(statements []string)
	prepare *Warehouse // nil: on this one

	mu   sync.Mutex
	done bool
}

func (i *interposed) Prepare(ctx context.Context, statements []string) (deploy.Prepared, error) {
	i.mu.Lock()
	first := !i.done
	i.done = true
	i.mu.Unlock()
	if first && i.before != nil {
		i.before(statements)
	}
	if i.prepare != nil {
		return i.prepare.Prepare(ctx, statements)
	}
	return i.Warehouse.Prepare(ctx, statements)
}

// quietTraffic is a data plane without sessions.
type quietTraffic struct{}

func (quietTraffic) Route(context.Context, string, deploy.Routing) (uint64, error) { return 1, nil }
func (quietTraffic) Survey(context.Context, string) (deploy.Survey, error) {
	return deploy.Survey{}, nil
}
func (quietTraffic) Sessions(context.Context, string) ([]deploy.SessionInfo, error) { return nil, nil }
func (quietTraffic) Hold(context.Context, string, time.Duration) (deploy.Hold, error) {
	return quietHold{}, nil
}
func (quietTraffic) End(context.Context, string, deploy.Which, string) (int, error) { return 0, nil }
func (quietTraffic) Notify(context.Context, string, deploy.Which, string) (int, error) {
	return 0, nil
}
func (quietTraffic) Cancel(context.Context, string, deploy.Which) (int, error) { return 0, nil }
func (quietTraffic) Backends(context.Context) ([]uint32, error)                { return nil, nil }
func (quietTraffic) BeginEvidence(context.Context, string, string) error       { return nil }
func (quietTraffic) RestoreEvidence(context.Context, string, armstats.Evidence) error {
	return nil
}
func (quietTraffic) Evidence(context.Context, string) (armstats.Evidence, error) {
	return armstats.Evidence{}, nil
}

type quietHold struct{}

func (quietHold) Generation() uint64                       { return 1 }
func (quietHold) Gather(context.Context) deploy.HoldReport { return deploy.HoldReport{} }
func (quietHold) Pin() bool                                { return true }
func (quietHold) Release() deploy.Stall                    { return deploy.Stall{} }

// forgetful is a store without a disk.
type forgetful struct{}

func (forgetful) Load(context.Context, string) (*deploy.Journal, error)    { return nil, nil }
func (forgetful) Save(context.Context, deploy.Journal) error               { return nil }
func (forgetful) Archive(context.Context, deploy.Record) error             { return nil }
func (forgetful) History(context.Context, string) ([]deploy.Record, error) { return nil, nil }

// promoting runs a rollout of the shop that goes straight to its swap.
func (sh *shopOn) promoting(w deploy.Warehouse) *deploy.Controller {
	sh.t.Helper()
	plan := deploy.DefaultPlan()
	plan.Steps = []deploy.PlanStep{{Promote: true}}
	plan.Ready.Poll, plan.Ready.Consecutive, plan.Ready.Probe = 10*time.Millisecond, 1, 0
	plan.Window.For = time.Hour
	c, err := deploy.New(deploy.Options{Warehouse: w, Traffic: quietTraffic{}, Store: forgetful{}, Tick: 10 * time.Millisecond, Watch: 20 * time.Millisecond,
		Deployments: []deploy.DeploymentConfig{{Spec: sh.spec, Plan: plan}}})
	if err != nil {
		sh.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	sh.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			sh.t.Error(err)
		}
	})
	select {
	case <-c.Recovered():
	case <-within(sh.t, 20*time.Second).Done():
		sh.t.Fatal("not recovered")
	}
	if _, err := c.Start(within(sh.t, 20*time.Second), sh.spec.Name, deploy.StartRequest{Who: "test"}); err != nil {
		sh.t.Fatal(err)
	}
	return c
}

// awaits follows the rollout to a status.
func (sh *shopOn) awaits(c *deploy.Controller, what string, ok func(deploy.Status) bool) deploy.Status {
	sh.t.Helper()
	ctx := within(sh.t, 30*time.Second)
	var s deploy.Status
	for {
		next, err := c.Changed(ctx, sh.spec.Name, s.Revision)
		if err != nil {
			sh.t.Fatalf("waiting for %s: %v; the rollout is %s: %s", what, err, s.Phase, s.Sentence)
		}
		if s = next; ok(s) {
			return s
		}
	}
}

func standsStill(s deploy.Status) bool {
	return s.Stop != nil || s.Phase.Final() || s.Phase == deploy.PhaseWindow
}

// owned makes the shop belong to a plain role through membership only, and returns
// that role's warehouse.
func (sh *shopOn) owned() *Warehouse {
	sh.run("CREATE ROLE team_SUFFIX", "CREATE ROLE plain_SUFFIX", "GRANT team_SUFFIX TO "+quoteIdent(sh.user), "GRANT team_SUFFIX TO plain_SUFFIX",
		"GRANT CREATE, USAGE ON DATABASE db TO team_SUFFIX")
	for _, what := range []string{"SCHEMA LIVE", "SCHEMA NEXT", "CLUSTER LIVE", "CLUSTER NEXT"} {
		sh.run("ALTER " + what + " OWNER TO team_SUFFIX")
	}
	return sh.warehouse(sh.text("plain_SUFFIX"))
}

// TestSwapRefusedByTheServer makes the simulated server refuse the swap between the
// last look at the names and its transaction.
func TestSwapRefusedByTheServer(t *testing.T) {
	retired := regexp.MustCompile(`RENAME TO "([^"]+)"$`)
	for _, c := range []struct {
		name   string
		before func(sh *shopOn, statements []string)
		says   string
		code   string
		names  bool // the names were moved by the fault itself
	}{
		{"the deploy schema is gone", func(sh *shopOn, _ []string) { sh.run("DROP SCHEMA NEXT CASCADE") }, "unknown schema", "XX000", true},
		{"the live schema is gone", func(sh *shopOn, _ []string) { sh.run("ALTER SCHEMA LIVE RENAME TO other_SUFFIX") }, "unknown schema", "XX000", true},
		{"the deploy cluster is gone", func(sh *shopOn, _ []string) { sh.run("DROP CLUSTER NEXT CASCADE") }, "unknown cluster", "XX000", true},
		{"not owner of a schema", func(sh *shopOn, _ []string) { sh.run("ALTER SCHEMA NEXT OWNER TO " + quoteIdent(sh.user)) }, "must be owner of SCHEMA", "42501", false},
		{"not owner of a cluster", func(sh *shopOn, _ []string) { sh.run("ALTER CLUSTER NEXT OWNER TO " + quoteIdent(sh.user)) }, "must be owner of CLUSTER", "42501", false},
		{"no CREATE on the database", func(sh *shopOn, _ []string) { sh.run("REVOKE CREATE ON DATABASE db FROM team_SUFFIX") }, "permission denied for DATABASE", "42501", false},
		{"the retired schema's name is taken", func(sh *shopOn, list []string) {
			sh.run("CREATE SCHEMA " + quoteIdent(retired.FindStringSubmatch(list[len(list)-1])[1]))
		}, "already exists", "XX000", false},
		{"the retired cluster's name is taken", func(sh *shopOn, list []string) {
			sh.run("CREATE CLUSTER " + quoteIdent(retired.FindStringSubmatch(list[len(list)-1])[1]) + " (SIZE = 'SIZE')")
		}, "uniqueness violation", "XX000", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sh := newShop(needSimulator(t, sim.Options{}))
			w := &interposed{Warehouse: sh.owned()}
			w.before = func(list []string) { c.before(sh, list) }
			before := sh.ids()
			control := sh.promoting(w)
			// The watcher may see the fault right after the refusal was told.
			s := sh.awaits(control, "a stop", standsStill)
			if s.Phase != deploy.PhaseBlocked || s.Stop.Cause != deploy.CauseError && !(c.names && s.Stop.Cause == deploy.CauseInterference) {
				t.Fatalf("%s: %s", s.Phase, s.Sentence)
			}
			if len(s.Swap.History) != 1 || s.Swap.History[0].Outcome != string(deploy.EndFailed) || s.Swap.History[0].Held {
				t.Fatalf("history %+v; nobody waits for a preparation that fails", s.Swap.History)
			}
			told := s.Swap.History[0].Error
			if !strings.Contains(told, c.says) || !strings.Contains(told, c.code) || s.Stop.Cause == deploy.CauseError && !strings.Contains(s.Stop.Reason, c.says) {
				t.Errorf("told %q, and stopped because %q", told, s.Stop.Reason)
			}
			if now := sh.ids(); !c.names && fmt.Sprint(now) != fmt.Sprint(before) {
				t.Errorf("names moved: %v, before %v", now, before)
			}
		})
	}
}

// TestSwapRefusedInEveryWay answers the statements, or the COMMIT, with each refusal
// there is, those included that the simulated server cannot be brought to.
func TestSwapRefusedInEveryWay(t *testing.T) {
	const detail = "The requested feature (enable_alter_swap) is in private preview."
	for _, c := range []struct {
		code, message, detail string
		end                   deploy.Ended
		cause                 deploy.Cause // "" for none: it is tried again and done
	}{
		{"XX000", "unknown schema 'prod_deploy'", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "unknown cluster 'prod_deploy'", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "cannot swap schemas that are in the ambient database", "", deploy.EndFailed, deploy.CauseError},
		{"42501", "must be owner of CLUSTER mz_catalog_server", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "system cluster 'mz_system' cannot be modified", "", deploy.EndFailed, deploy.CauseError},
		{"0A000", "ALTER TABLE .. SWAP WITH ... not yet supported", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "the ALTER SWAP feature for objects is not available", detail, deploy.EndFailed, deploy.CauseError},
		{"42501", "must be owner of SCHEMA materialize.prod", "", deploy.EndFailed, deploy.CauseError},
		{"42501", `permission denied for DATABASE "materialize"`, "The 'r' role needs CREATE privileges on DATABASE \"materialize\"", deploy.EndFailed, deploy.CauseError},
		{"XX000", "schema 'red' already exists", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "catalog item 'x' already exists", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "uniqueness violation", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "unacceptable schema name 'mz_x'", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", `cluster name "mz_x" is reserved`, "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "renaming conflict: in v, which uses materialize.prod, ambiguous reference to schema named prod", "", deploy.EndFailed, deploy.CauseError},
		{"XX000", "unable to swap!", "", deploy.EndFailed, deploy.CauseError},
		{"25006", "transaction in read-only mode", "SELECT queries cannot be combined with other query types, including SUBSCRIBE.", deploy.EndFailed, deploy.CauseError},
		{"25006", "cannot write in read-only mode", "", deploy.EndReadOnly, deploy.CauseUpstream},
		{"40001", "another session modified the catalog while this DDL transaction was open", "", deploy.EndConflict, ""},
	} {
		for _, at := range []string{"ALTER CLUSTER", "COMMIT"} {
			t.Run(at+": "+c.message, func(t *testing.T) {
				sh := newShop(needSimulator(t, sim.Options{}))
				before := sh.ids()
				var once sync.Once
				f := &fake{t: t, answer: func(sql string) reply {
					out := reply{}
					if strings.HasPrefix(sql, at) {
						once.Do(func() {
							out.messages = []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Severity: "ERROR", Code: c.code, Message: c.message, Detail: c.detail}}
						})
					}
					return out
				}}
				control := sh.promoting(&interposed{Warehouse: sh.w, prepare: f.warehouse()})
				s := sh.awaits(control, "an end of the first attempt", func(s deploy.Status) bool {
					return s.Swap != nil && len(s.Swap.History) > 0 && s.Swap.History[0].Outcome != string(deploy.EndUnderWay)
				})
				first := s.Swap.History[0]
				if first.Outcome != string(c.end) || !strings.Contains(first.Error, c.message) || !strings.Contains(first.Error, c.code) || !strings.Contains(first.Error, c.detail) {
					t.Errorf("the attempt is remembered as %+v", first)
				}
				if first.Held != (at == "COMMIT") {
					t.Errorf("sessions were held: %t", first.Held)
				}
				switch {
				case c.cause == "":
					sh.awaits(control, "another attempt", func(s deploy.Status) bool { return len(s.Swap.History) > 1 })
				case s.Stop == nil || s.Stop.Cause != c.cause || !strings.Contains(s.Stop.Reason, c.message) && c.end == deploy.EndFailed:
					// The pause may be over already when the server takes changes again.
					if c.cause != deploy.CauseUpstream {
						t.Errorf("it stands in %s (%+v)", s.Phase, s.Stop)
					}
				}
				if now := sh.ids(); fmt.Sprint(now) != fmt.Sprint(before) {
					t.Errorf("names moved: %v, before %v", now, before)
				}
			})
		}
	}
}

// A generation that takes no changes yet is waited for, before and after the gates.
func TestReadOnlyServerIsWaitedFor(t *testing.T) {
	sh := newShop(needSimulator(t, sim.Options{}))
	w := &interposed{Warehouse: sh.w, before: func([]string) { sh.sim.Faults().SetReadOnly(true) }}
	control := sh.promoting(w)
	s := sh.awaits(control, "a stop", standsStill)
	if s.Phase != deploy.PhasePaused || s.Stop.Cause != deploy.CauseUpstream || !s.Stop.Auto || !strings.Contains(s.Stop.Reason, "read-only") {
		t.Fatalf("%s: %s", s.Phase, s.Sentence)
	}
	if h := s.Swap.History; len(h) != 1 || h[0].Outcome != string(deploy.EndReadOnly) || h[0].Held {
		t.Errorf("history %+v", h)
	}
	sh.sim.Faults().SetReadOnly(false)
	sh.awaits(control, "the swap", func(s deploy.Status) bool { return s.Phase == deploy.PhaseWindow })
}
