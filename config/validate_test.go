package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAddresses checks which addresses may stand together.
func TestAddresses(t *testing.T) {
	const refused, taken, circle = "is reachable from other machines", "is taken by", "would connect to itself"
	for _, test := range []struct{ listen, upstream, admin, observe, want string }{
		{admin: "localhost:6866"},
		{admin: "[::1]:6866"},
		{admin: "127.8.9.1:6866"},
		{admin: "[::ffff:127.0.0.1]:6866"},
		{admin: ":6866", want: refused},
		{admin: "[::]:6866", want: refused},
		{admin: "10.0.0.1:6866", want: refused},
		{admin: "localhost.example.com:6866", want: refused},
		{listen: ":6865", observe: "0.0.0.0:6867"},
		{listen: "127.0.0.1:0", admin: "127.0.0.1:0", observe: "127.0.0.1:0"},
		{listen: "10.0.0.1:7000", observe: "10.0.0.2:7000"},
		{listen: "10.0.0.1:7000", observe: "10.0.0.1:7000", want: taken},
		{listen: ":7000", observe: "10.0.0.1:7000", want: taken},
		{listen: "10.0.0.1:7000", observe: "[::]:7000", want: taken},
		{admin: "localhost:7000", observe: "127.0.0.1:7000", want: taken},
		{listen: "127.0.0.1:6875", want: circle},
		{listen: "0.0.0.0:6875", upstream: "localhost:6875", want: circle},
		{listen: "0.0.0.0:6875", upstream: "db.internal:6875"},
		{upstream: "[2001:db8::1]:6875"},
		{upstream: "2001:db8::1:6875", want: "is not host:port"},
		{upstream: "/var/run/postgresql", want: "is not host:port"},
		{upstream: "db:sql", want: "is not host:port"},
		{upstream: "", want: ""},
	} {
		cfg := Default()
		for _, f := range []struct {
			to   *string
			from string
		}{{&cfg.Listen.Address, test.listen}, {&cfg.Upstream.Address, test.upstream}, {&cfg.Admin.Address, test.admin}, {&cfg.Observe.Address, test.observe}} {
			if f.from != "" {
				*f.to = f.from
			}
		}
		err := cfg.Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// TestAllowed holds what must not be refused by a rule beside it.
func TestAllowed(t *testing.T) {
	for name, text := range map[string]string{
		"clusters only":                  "deployments: [{name: a, clusters: [{live: c, deploy: cn}]}]",
		"postgres with schemas":          "upstream: {kind: postgres}\ndeployments: [{name: a, schemas: [{live: c, deploy: cn}], clusters: []}]",
		"same schema, two databases":     "deployments: [{name: a, schemas: [{live: p, deploy: q}]}, {name: b, database: x, schemas: [{live: p, deploy: q}]}]",
		"schema and cluster of a name":   shopYAML + "    clusters: [{live: Prod, deploy: prod.Deploy}]",
		"names that differ by case":      "deployments: [{name: a, schemas: [{live: prod, deploy: PROD}]}, {name: A, schemas: [{live: Prod, deploy: pROD}]}]",
		"no window":                      shopYAML + "    window: {for: 0s}",
		"immediate drain":                shopYAML + "    drain: {for: 0s, then: wait}",
		"keep, terminate, step_back":     shopYAML + "    routing: {live_sessions: keep}\n    promote: {stragglers: terminate}\n    rollout: {on_regress: step_back}",
		"pins of several properties":     shopYAML + "    routing: {pins: [{user: a, arm: stable}, {user: a, database: d, arm: canary}]}",
		"equal weights, 100% at the end": shopYAML + "    rollout: {plan: {steps: [{weight: 5%, bake: 1m}, {weight: 5%, until: safe, within: 1m}, {weight: 100%, bake: 1m}, {promote: {}}]}}",
		"defaults":                       shopYAML + "    routing: {defaults: {search_path: [Prod, public]}}",
		"system trust for verify-full":   "upstream: {address: \"db:6875\", tls: {mode: verify-ca, server_name: db}}",
		"observe anywhere":               "observe: {address: \":6867\"}",
		"one sample within one poll":     shopYAML + "    rollout: {ready: {within: 1s, poll: 5s, consecutive: 1}}",
	} {
		t.Run(name, func(t *testing.T) { mustLoad(t, LoadOptions{File: write(t, text)}) })
	}
}

// TestValidateBuiltInCode is for configurations that no file was read for.
func TestValidateBuiltInCode(t *testing.T) {
	cfg := Default()
	d := DefaultDeployment()
	d.Name, d.Schemas = "shop", []Pair{{"prod", "prod_deploy"}}
	cfg.Deployments = []Deployment{d}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.Deployments[0].Rollout.Plan = Plan{}
	cfg.Deployments[0].Window.For = -time.Hour
	cfg.Deployments[0].Drain.Then = "kill"
	cfg.Limits.MaxSessions = 0
	err := cfg.Validate()
	const want = "deployments[0].window.for: -1h0m0s is negative; use a duration of zero or more\n" +
		"deployments[0].drain.then: kill is not known here; use terminate or wait\n" +
		"limits.max_sessions: 0 is less than one; write the most sessions the proxy may carry, such as 10000\n" +
		"deployments[0].rollout.plan: has no steps; name a preset, such as canary-10-5m"
	if err == nil || err.Error() != want {
		t.Errorf("reported:\n%v\nwant:\n%s", err, want)
	}
}

func TestNotes(t *testing.T) {
	_, report := mustLoad(t, LoadOptions{File: write(t, shopYAML+"    rollout: {plan: all-at-once}\n    promote: {fence: false}\n    window: {for: 0s}\n"+
		"listen: {address: \":6865\"}\nupstream: {address: \"db:6875\", tls: {mode: disable}}\n")})
	var paths []string
	for _, note := range report.Notes {
		paths = append(paths, note.Path)
	}
	want := "upstream.tls.mode listen.tls.required deployments[0].rollout.plan deployments[0].promote.fence deployments[0].window.for"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("notes on %s, want %s", got, want)
	}
	if _, report := mustLoad(t, LoadOptions{}); len(report.Notes) != 1 || report.Notes[0].Path != "deployments" {
		t.Errorf("notes on nothing: %v", report.Notes)
	}
}

func TestCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "a")
	_, otherKey := certificate(t, dir, "b")
	set := func(cert, key, ca string) LoadOptions {
		return LoadOptions{Set: []string{"listen.tls.cert_file=" + cert, "listen.tls.key_file=" + key, "upstream.tls.ca_file=" + ca, "listen.tls.required=true"}}
	}
	cfg, _ := mustLoad(t, set(cert, key, cert))
	if !cfg.Listen.TLS.Offered() {
		t.Error("TLS is not offered")
	}
	got := faultsOf(t, set(cert, otherKey, key))
	for _, want := range []string{"listen.tls.cert_file: ", "are no pair: private key does not match public key", "upstream.tls.ca_file: ", "holds no certificate"} {
		if !strings.Contains(got, want) {
			t.Errorf("reported:\n%s\nwithout %q", got, want)
		}
	}
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	put := func(file, kind string, der []byte) string {
		path := filepath.Join(dir, name+file)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return put(".crt", "CERTIFICATE", der), put(".key", "PRIVATE KEY", keyDER)
}
