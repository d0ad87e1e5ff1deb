package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// write puts a configuration into a file of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "deploy.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, opts LoadOptions) (*Config, *Report) {
	t.Helper()
	if opts.Environ == nil {
		opts.Environ = none
	}
	cfg, report, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	return cfg, report
}

// faultsOf loads and expects faults, as text.
func faultsOf(t *testing.T, opts LoadOptions) string {
	t.Helper()
	if opts.Environ == nil {
		opts.Environ = none
	}
	_, _, err := Load(opts)
	if err == nil {
		t.Fatal("no fault")
	}
	return err.Error()
}

const shopYAML = `
deployments:
  - name: shop
    schemas: [{live: Prod, deploy: prod.Deploy}]
`

func TestPrecedence(t *testing.T) {
	const path = "limits.per_user"
	file := write(t, "limits: {per_user: 1, max_sessions: 77}\n")
	env := []string{"MZCANARY_LIMITS_PER_USER=2"}
	for _, test := range []struct {
		name  string
		opts  LoadOptions
		want  int
		where string
	}{
		{"default", LoadOptions{}, 0, ""},
		{"file over default", LoadOptions{File: file}, 1, file + ":1"},
		{"environment over file", LoadOptions{File: file, Environ: env}, 2, "environment MZCANARY_LIMITS_PER_USER"},
		{"set over environment", LoadOptions{File: file, Environ: env, Set: []string{path + "=3"}}, 3, "--set " + path},
		{"last set wins", LoadOptions{File: file, Environ: env, Set: []string{path + "=3", path + "=4"}}, 4, "--set " + path},
		{"mapping set key by key", LoadOptions{File: file, Environ: env, Set: []string{path + "=3", "limits={startup: 9s}"}}, 3, "--set " + path},
		{"empty variable is absent", LoadOptions{File: file, Environ: []string{"MZCANARY_LIMITS_PER_USER="}}, 1, file + ":1"},
		{"last variable wins", LoadOptions{Environ: []string{"MZCANARY_LIMITS_PER_USER=5", env[0]}}, 2, "environment MZCANARY_LIMITS_PER_USER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, report := mustLoad(t, test.opts)
			if cfg.Limits.PerUser != test.want {
				t.Errorf("limits.per_user is %d, want %d", cfg.Limits.PerUser, test.want)
			}
			if test.opts.File != "" && cfg.Limits.MaxSessions != 77 {
				t.Errorf("limits.max_sessions is %d, want the file's 77", cfg.Limits.MaxSessions)
			}
			where := ""
			for _, o := range report.Origins {
				if o.Path == path {
					where = o.Where
				}
			}
			if where != test.where {
				t.Errorf("its origin is %q, want %q", where, test.where)
			}
		})
	}
}

// TestEnvironmentReachesEveryScalar sets every variable there is, and expects each
// to change its key and no other.
func TestEnvironmentReachesEveryScalar(t *testing.T) {
	samples := map[kind]string{kindString: "x1:1", kindBool: "true", kindInt: "4321", kindNumber: "0.25", kindDuration: "77s"}
	base := map[string]any{}
	flatten(base, "", tree(reflect.ValueOf(Default())))
	keys := envKeys()
	if len(keys) != 26 {
		t.Errorf("%d keys have a variable, want 26: did a key come or go?", len(keys))
	}
	for name, path := range keys {
		s := rootSchema()
		for key := range strings.SplitSeq(path, ".") {
			s = s.field(key)
		}
		text := samples[s.kind]
		if s.enum != nil {
			text = s.enum[len(s.enum)-1]
			if strings.HasSuffix(path, "mode") {
				text = "disable"
			}
		}
		c := newCollector()
		v, err := merge(c, map[string]any{}, envTree(c, map[string]string{name: text}), nil)
		if err != nil || len(c.list) > 0 {
			t.Fatalf("%s=%s: %v %v", name, text, err, c.list)
		}
		cfg, err := decode(c, v)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		flatten(got, "", tree(reflect.ValueOf(*cfg)))
		for key, value := range got {
			if changed := !reflect.DeepEqual(value, base[key]); changed != (key == path) {
				t.Errorf("%s=%s: %s is %v, was %v", name, text, key, value, base[key])
			}
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	got := faultsOf(t, LoadOptions{Environ: []string{
		"MZCANARY_LISTEN_ADRESS=hunter2", "MZCANARY_CONTROL_PASSWORD=hunter2", "MZCANARY_DEPLOYMENTS=hunter2",
		"MZCANARY_PORT=5432", "mzcanary_listen_address=x", "PATH=/bin", "MZCANARY_PASWORD=hunter2",
	}})
	want := strings.Join([]string{
		"environment: MZCANARY_CONTROL_PASSWORD: is an unknown variable; did you mean MZCANARY_PASSWORD?",
		"environment: MZCANARY_DEPLOYMENTS: is an unknown variable; unset it; lists such as deployments are set in the file or with --set",
		"environment: MZCANARY_LISTEN_ADRESS: is an unknown variable; did you mean MZCANARY_LISTEN_ADDRESS?",
		"environment: MZCANARY_PASWORD: is an unknown variable; did you mean MZCANARY_PASSWORD?",
		"environment: MZCANARY_PORT: is an unknown variable; unset it; lists such as deployments are set in the file or with --set",
	}, "\n")
	if got != want {
		t.Errorf("reported:\n%s\nwant:\n%s", got, want)
	}
}

func TestForeignVariablesAreLeftAlone(t *testing.T) {
	mustLoad(t, LoadOptions{
		Environ: []string{
			"MZCANARY_PASSWORD=x", "MZCANARY_TEST_MATERIALIZE=postgres://", "MZCANARY_SHOP=x",
			"MZCANARY_SERVICE_HOST=10.0.0.1", "MZCANARY_SERVICE_PORT=6865", "MZCANARY_SERVICE_PORT_SQL=6865",
			"MZCANARY_PORT=tcp://10.0.0.1:6865", "MZCANARY_PORT_6865_TCP=tcp://10.0.0.1:6865", "MZCANARY_PORT_6865_TCP_ADDR=10.0.0.1",
			"MZCANARY_ADMIN_SERVICE_HOST=10.0.0.2", "MZCANARY_ADMIN_PORT=tcp://10.0.0.2:6866",
		},
		Set: []string{"control.password_env=MZCANARY_SHOP"},
	})
}

func TestVariablesGoThroughTheSchema(t *testing.T) {
	got := faultsOf(t, LoadOptions{Environ: []string{"MZCANARY_SHUTDOWN_DRAIN=2", "MZCANARY_LOG_LEVEL=Info", "MZCANARY_ADMIN_ADDRESS=0.0.0.0:1"}})
	for _, want := range []string{
		"environment MZCANARY_SHUTDOWN_DRAIN: shutdown.drain: 2 has no unit; ",
		`environment MZCANARY_LOG_LEVEL: log.level: Info is not known here; did you mean "info"?`,
		"environment MZCANARY_ADMIN_ADDRESS: admin.address: 0.0.0.0:1 is reachable from other machines",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("reported:\n%s\nwithout %q", got, want)
		}
	}
}

func TestNamesKeepTheirCaseAndDots(t *testing.T) {
	file := write(t, `
deployments:
  - name: Shop
    database: My.DB
    schemas: [{live: Prod, deploy: prod.Deploy}, {live: prod, deploy: "PROD deploy"}]
    clusters: [{live: "Größe", deploy: größe}]
    accept: ["dependent:Reports.Daily"]
    routing:
      pins: [{user: Jane.Doe@Example.COM, arm: stable}]
      defaults: {search_path: [Prod, public], cluster: "Größe"}
`)
	cfg, _ := mustLoad(t, LoadOptions{File: file, Set: []string{"deployments.Shop.schemas[2]={live: A.B, deploy: a.b}"}})
	d := cfg.Deployment("Shop")
	if d == nil || cfg.Deployment("shop") != nil {
		t.Fatalf("deployments are %+v", cfg.Deployments)
	}
	if d.Database != "My.DB" || d.Accept[0] != "dependent:Reports.Daily" || d.Routing.Pins[0].User != "Jane.Doe@Example.COM" {
		t.Errorf("names changed: %+v", d)
	}
	want := []Pair{{"Prod", "prod.Deploy"}, {"prod", "PROD deploy"}, {"A.B", "a.b"}}
	if !slices.Equal(d.Schemas, want) || d.Clusters[0] != (Pair{"Größe", "größe"}) {
		t.Errorf("pairs are %v and %v", d.Schemas, d.Clusters)
	}
	if d.Routing.Defaults.SearchPath[0] != "Prod" || d.Routing.Defaults.Cluster != "Größe" {
		t.Errorf("defaults are %+v", d.Routing.Defaults)
	}
}

func TestSetReachesIntoLists(t *testing.T) {
	file := write(t, shopYAML)
	cfg, report := mustLoad(t, LoadOptions{File: file, Set: []string{
		"deployments.0.name=Shop",
		"deployments[0].window.for=30m",
		"deployments.Shop.rollout.plan=Linear10PercentEvery1Minute",
		"deployments.0.schemas.0.deploy=Next",
		"deployments.0.schemas.1={live: sales, deploy: sales_next}",
		"deployments.0.accept=[shape-change]",
		"deployments.1.name=billing",
		"deployments.1.clusters=[{live: b, deploy: b_next}]",
		"deployments.1.rollout.plan={steps: [{weight: 5%, bake: 2m}, {promote: {}}]}",
		"deployments.1.rollout.plan.steps.0.weight=7%",
		"deployments.1.promote.fence=false",
	}})
	if len(cfg.Deployments) != 2 {
		t.Fatalf("%d deployments", len(cfg.Deployments))
	}
	shop, billing := cfg.Deployments[0], cfg.Deployments[1]
	if shop.Name != "Shop" || shop.Window.For != 30*time.Minute || shop.Rollout.Plan.Name != "linear-10-1m" {
		t.Errorf("shop is %+v", shop)
	}
	if !slices.Equal(shop.Schemas, []Pair{{"Prod", "Next"}, {"sales", "sales_next"}}) || !slices.Equal(shop.Accept, []string{"shape-change"}) {
		t.Errorf("lists of shop are %v, %v", shop.Schemas, shop.Accept)
	}
	if shop.Promote.MaxStall != 5*time.Second {
		t.Errorf("the default of promote.max_stall is lost: %v", shop.Promote)
	}
	if got := billing.Rollout.Plan.String(); got != "7% for 2m → promote" || billing.Promote.Fence {
		t.Errorf("billing is %+v", billing)
	}
	if !slices.Contains(report.Origins, Origin{"deployments[0].window.for", "--set deployments[0].window.for"}) {
		t.Errorf("origins are %v", report.Origins)
	}
	if len(report.Notes) != 1 || report.Notes[0].Path != "deployments[1].promote.fence" {
		t.Errorf("notes are %v", report.Notes)
	}
}

func TestBadSet(t *testing.T) {
	file := write(t, shopYAML)
	for flag, want := range map[string]string{
		"listen.address":                        "--set: listen.address: has no =",
		"listen.adress=x":                       `--set: listen.adress: is an unknown key; did you mean "address"?`,
		"listen.address.x=1":                    "--set: listen.address.x: is an unknown key; no keys are inside listen.address",
		"listen..address=1":                     "--set: listen..address: is not a path",
		"control.password=hunter2":              "--set: control.password: is an unknown key; secrets are not written here",
		"limits.startup=2":                      "--set limits.startup: limits.startup: 2 has no unit",
		"deployments.3.name=x":                  "--set: deployments[3]: is outside the list, which has 1 entries; places count from 0; deployments[1] adds one",
		"deployments.-1.name=x":                 "--set: deployments[-1]: is outside the list",
		"deployments.Shop.name=x":               "--set: deployments.Shop: is not in the list; the deployments are shop",
		"deployments.0.nam=x":                   `--set: deployments[0].nam: is an unknown key; did you mean "name"?`,
		"deployments.0.schemas=[":               "--set: deployments[0].schemas: is not YAML for a list",
		"deployments.0.schemas=prod":            "--set deployments[0].schemas: deployments[0].schemas: prod is one word, not a list",
		"deployments.0.rollout.plan.steps.0=x":  "deployments[0].rollout.plan.steps[0]: x is one word, not a mapping",
		"deployments.0.rollout.plan=canary":     "--set deployments[0].rollout.plan: deployments[0].rollout.plan: canary is not a preset",
		"deployments.0.accept.x=1":              "--set: deployments[0].accept.x: is not in the list",
		"deployments.0.schemas.0.live=":         "--set deployments[0].schemas[0].live: deployments[0].schemas[0].live: is missing",
		"deployments.0.schemas.0.live.x=1":      "--set: deployments[0].schemas[0].live.x: is an unknown key",
		"deployments.0.routing.pins=[{arm: x}]": "deployments[0].routing.pins[0].arm: x is not known here",
	} {
		got := faultsOf(t, LoadOptions{File: file, Set: []string{flag}})
		if !strings.Contains(got, want) {
			t.Errorf("--set %s reported:\n%s\nwant %q in it", flag, got, want)
		}
		if strings.Contains(got, "hunter2") {
			t.Errorf("a secret is printed: %s", got)
		}
	}
	preset := write(t, shopYAML+"    rollout: {plan: safe-ramp}\n")
	got := faultsOf(t, LoadOptions{File: preset, Set: []string{"deployments.0.rollout.plan.steps.0.weight=2%"}})
	if !strings.Contains(got, "is the preset safe-ramp and has no steps to change") {
		t.Errorf("changing a step of a preset reported: %s", got)
	}
}

func TestFileMissing(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	cfg, report := mustLoad(t, LoadOptions{File: missing})
	cfg.Control.environ = nil
	if !reflect.DeepEqual(*cfg, Default()) || report.File != "" {
		t.Errorf("without a file: %+v, %+v", cfg, report)
	}
	if got := faultsOf(t, LoadOptions{File: missing, FileRequired: true}); !strings.Contains(got, "none.yaml: cannot be read: no such file") {
		t.Errorf("a required file reported %s", got)
	}
	if got := faultsOf(t, LoadOptions{File: t.TempDir()}); !strings.Contains(got, "cannot be read: is a directory") {
		t.Errorf("a directory reported %s", got)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "\ufeff", "~"} {
		mustLoad(t, LoadOptions{File: write(t, text)})
	}
	if got := faultsOf(t, LoadOptions{File: write(t, strings.Repeat("#\n", maxFileSize))}); !strings.Contains(got, "larger than 1 MiB") {
		t.Errorf("a huge file reported %s", got)
	}
}

func TestEmptyContainersAreDefaults(t *testing.T) {
	file := write(t, "listen:\nadmin: {}\n"+shopYAML+"    clusters:\n    accept: []\n    routing:\n    promote: {}\n")
	cfg, _ := mustLoad(t, LoadOptions{File: file})
	want := DefaultDeployment()
	want.Name, want.Schemas = "shop", []Pair{{"Prod", "prod.Deploy"}}
	if !reflect.DeepEqual(cfg.Deployments[0], want) {
		t.Errorf("got %+v\nwant %+v", cfg.Deployments[0], want)
	}
}

func TestAnchorsAreFollowed(t *testing.T) {
	file := write(t, `
deployments:
  - {name: a, schemas: [{live: a, deploy: an}], promote: &p {gather: 2s}}
  - {name: b, schemas: [{live: b, deploy: bn}], promote: *p}
`)
	cfg, _ := mustLoad(t, LoadOptions{File: file})
	if got := cfg.Deployments[1].Promote.Gather; got != 2*time.Second {
		t.Errorf("gather of b is %v", got)
	}
	cyclic := write(t, "deployments: &d [*d]\n")
	if got := faultsOf(t, LoadOptions{File: cyclic}); !strings.Contains(got, "deployments[0]: is a list, not a mapping") {
		t.Errorf("a circle reported %s", got)
	}
}
