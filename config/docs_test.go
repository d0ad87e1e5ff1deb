package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// schemaPaths lists every leaf of the schema: keys without keys inside.
func schemaPaths() map[string]*schema {
	paths := map[string]*schema{}
	rootSchema().walk("", func(path string, s *schema) {
		inner := len(s.fields) > 0 && s.kind == kindStruct
		if !inner && path != "deployments" {
			paths[path] = s
		}
	})
	return paths
}

// TestReferenceHasEveryKey asks that deploy.yaml sets every key, and that every line
// that does so has a comment. Keys inside lists that are empty there stand in
// comments.
func TestReferenceHasEveryKey(t *testing.T) {
	_, report, err := Load(LoadOptions{File: "../deploy.yaml", FileRequired: true, Environ: none})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../deploy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]bool{}
	for _, origin := range report.Origins {
		given[regexp.MustCompile(`\[\d+\]`).ReplaceAllString(origin.Path, "[]")] = true
	}
	for path, s := range schemaPaths() {
		if strings.HasSuffix(path, ".schemas") || strings.HasSuffix(path, ".clusters") {
			continue // their entries are given
		}
		switch {
		case strings.Contains(path, "objects[]"), strings.Contains(path, "pins[]"), strings.Contains(path, "plan."):
			if !regexp.MustCompile(`#.*\b` + s.key + `\b`).Match(data) {
				t.Errorf("deploy.yaml does not mention %s in a comment", path)
			}
		case !given[path]:
			t.Errorf("deploy.yaml does not set %s", path)
		}
	}
	for i, line := range strings.Split(string(data), "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, "- {") && value != "" && !strings.Contains(value, "#") {
			t.Errorf("deploy.yaml:%d has no sentence: %s", i+1, line)
		}
	}
}

var docRow = regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| ([^|]+) \\|(?:(.*)\\|)?$")

// TestDocumentationHasEveryKey compares the tables of docs/configuration.md with the
// schema and with the defaults.
func TestDocumentationHasEveryKey(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{} // path: default
	for _, row := range docRow.FindAllStringSubmatch(string(data), -1) {
		path := row[1]
		if rootSchema().field(strings.Split(path, ".")[0]) == nil {
			path = "deployments[]." + path
		}
		documented[path] = strings.Trim(strings.TrimSpace(row[2]), "`")
	}
	defaults := map[string]any{}
	flatten(defaults, "", tree(reflect.ValueOf(Default())))
	flatten(defaults, "deployments[]", tree(reflect.ValueOf(DefaultDeployment())))
	for path := range schemaPaths() {
		got, ok := documented[path]
		if !ok {
			t.Errorf("docs/configuration.md has no row for %s", path)
			continue
		}
		delete(documented, path)
		value, outsideLists := defaults[path]
		if !outsideLists || path == "deployments[].name" || strings.Contains(path, "plan.") {
			continue
		}
		if want := docDefault(value); got != want {
			t.Errorf("docs/configuration.md says the default of %s is %q, it is %q", path, got, want)
		}
	}
	for path := range documented {
		t.Errorf("docs/configuration.md documents %s, which is no key", path)
	}
}

func flatten(into map[string]any, path string, node any) {
	m, ok := node.(map[string]any)
	if !ok {
		into[path] = node
		return
	}
	for key, value := range m {
		flatten(into, joinPath(path, key), value)
	}
}

func docDefault(value any) string {
	v := reflect.ValueOf(value)
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return formatDuration(value.(time.Duration))
	case v.Type() == reflect.TypeFor[Plan]():
		return value.(Plan).Name
	case v.Kind() == reflect.Slice && v.Len() == 0, v.IsZero() && v.Kind() == reflect.String:
		return "none"
	}
	return fmt.Sprint(value)
}

func TestDocumentationHasEveryPreset(t *testing.T) {
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Presets() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if !strings.Contains(string(data), "`"+name+"`") {
				t.Errorf("docs/configuration.md does not name the preset %s", name)
			}
		}
	}
}

// TestImageListensForOthers: the image's environment is a configuration that the
// program takes, and one that is reachable from outside of the container.
func TestImageListensForOthers(t *testing.T) {
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	environ := regexp.MustCompile(`MZCANARY_[A-Z_]+=\S+`).FindAllString(string(data), -1)
	cfg, _, err := Load(LoadOptions{File: "../deploy.yaml", FileRequired: true, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	if loopback(cfg.Listen.Address) || loopback(cfg.Observe.Address) || !loopback(cfg.Admin.Address) {
		t.Errorf("listens on %s, observed on %s, API on %s", cfg.Listen.Address, cfg.Observe.Address, cfg.Admin.Address)
	}
	for _, port := range []string{cfg.Listen.Address, cfg.Observe.Address} {
		if !regexp.MustCompile(`(?m)^EXPOSE .*\b` + strings.TrimPrefix(port, ":") + `\b`).Match(data) {
			t.Errorf("port %s is not exposed", port)
		}
	}
	if !strings.Contains(string(data), "VOLUME "+cfg.State.Dir+"\n") {
		t.Errorf("state.dir %s is no volume", cfg.State.Dir)
	}
}
