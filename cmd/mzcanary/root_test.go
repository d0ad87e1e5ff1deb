package main

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mzcanary/config"
	"mzcanary/internal/admin"
)

func TestUsage(t *testing.T) {
	nobody, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "deploy.yaml")
	if err := os.WriteFile(file, []byte("listen: {adress: 1}\nlimits: {startup: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"version", []string{"version"}, exitDone, []string{"mzcanary "}},
		{"version as JSON", []string{"version", "--output=json"}, exitDone, []string{`"version"`}},
		{"unknown command", []string{"releas"}, exitUsage, []string{"unknown command"}},
		{"unknown flag", []string{"serve", "--portt", "1"}, exitUsage, []string{"unknown flag"}},
		{"bad output", []string{"version", "--output=xml"}, exitUsage, []string{"text or json"}},
		{"missing file", []string{"serve", "-c", "nowhere.yaml"}, exitUsage, []string{"nowhere.yaml"}},
		{"all faults at once", []string{"check", "--offline", "-c", file}, exitUsage, []string{"listen.adress", "limits.startup"}},
		{"weight above all", []string{"traffic", "set", "101%", "--admin", nobody}, exitUsage, []string{"101%"}},
		{"nobody answers", []string{"rollout", "status", "--admin", nobody}, exitConnect, []string{nobody, "what to do:", "mzcanary serve"}},
		{"bad wait", []string{"rollout", "start", "--wait=ever", "--admin", nobody}, exitUsage, []string{"--wait"}},
		{"demo without a crowd", []string{"demo", "--clients", "1"}, exitUsage, []string{"--clients"}},
		{"demo breaks what it cannot", []string{"demo", "--break=heart"}, exitUsage, []string{"--break"}},
	} {
		code, out, errOut := runProgram(t, 10*time.Second, c.args...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d: %s%s", c.name, code, c.code, out, errOut)
		}
		for _, s := range c.says {
			if !strings.Contains(out+errOut, s) {
				t.Errorf("%s: does not say %q: %s%s", c.name, s, out, errOut)
			}
		}
	}
}

// TestEveryCommandHasExamples walks the whole tree: help is documentation.
func TestEveryCommandHasExamples(t *testing.T) {
	p := &program{}
	all := p.root().Commands()
	for len(all) > 0 {
		c := all[0]
		all = append(all[1:], c.Commands()...)
		if c.Short == "" || (c.Example == "" && !c.HasSubCommands() && c.Name() != "help") {
			t.Errorf("%s: no short help or no example", c.CommandPath())
		}
	}
}

func TestRefusalAsJSON(t *testing.T) {
	nobody, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := runProgram(t, 10*time.Second, "rollout", "status", "--admin", nobody, "--output", "json")
	var r struct {
		Exit     int
		Sentence string
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Exit != exitConnect || r.Sentence == "" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestErrorsAsJSON: whoever asked for JSON gets it on every way out, also when the
// arguments could not be read to their end.
func TestErrorsAsJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deploy.yaml")
	if err := os.WriteFile(file, []byte("listen: {adress: 1}\nlimits: {startup: 2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		args   []string
		says   string
		faults []string
	}{
		{"configuration", []string{"check", "--offline", "-c", file, "--output", "json"}, "listen.adress", []string{"listen.adress", "limits.startup"}},
		{"no configuration", []string{"serve", "-c", "nowhere.yaml", "--output=json"}, "nowhere.yaml", []string{""}},
		{"unknown command", []string{"--output", "json", "releas"}, "unknown command", nil},
		{"unknown flag before it", []string{"serve", "--portt", "1", "--output", "json"}, "unknown flag", nil},
		{"bad argument", []string{"rollout", "start", "--wait=ever", "--output=json"}, "--wait", nil},
		{"demo", []string{"demo", "--break=heart", "--output=json"}, "--break", nil},
	} {
		code, out, errOut := runProgram(t, 10*time.Second, c.args...)
		var f struct {
			Exit   int
			Error  string
			Faults []config.Fault
		}
		if err := json.Unmarshal([]byte(out), &f); err != nil || code != exitUsage || f.Exit != code || !strings.Contains(f.Error, c.says) || errOut != "" {
			t.Errorf("%s: exit %d, %v: %s%s", c.name, code, err, out, errOut)
		}
		var paths []string
		for _, fault := range f.Faults {
			paths = append(paths, fault.Path)
			if fault.Remedy == "" {
				t.Errorf("%s: no remedy for %s", c.name, fault)
			}
		}
		if !slices.Equal(paths, c.faults) {
			t.Errorf("%s: faults of %q, want %q", c.name, paths, c.faults)
		}
	}
}

// TestExitCodesStandOnce: the guide's table and the help say what the code does.
func TestExitCodesStandOnce(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "guide.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented, helped := map[int]string{}, map[int]string{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.*) \|$`).FindAllStringSubmatch(string(guide), -1) {
		code, _ := strconv.Atoi(row[1])
		documented[code] = row[2]
	}
	list := strings.TrimSuffix(strings.TrimPrefix(strings.ReplaceAll(exitHelp, "\n", " "), "Exit codes: "), ".")
	for entry := range strings.SplitSeq(list, " · ") {
		number, words, _ := strings.Cut(strings.TrimSuffix(entry, " ·"), " ")
		code, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%q in the help", entry)
		}
		helped[code] = words
	}
	want := admin.ExitMeanings()
	if !maps.Equal(documented, want) {
		t.Errorf("docs/guide.md says %v, the code %v", documented, want)
	}
	if !maps.Equal(helped, want) {
		t.Errorf("the help says %v, the code %v", helped, want)
	}
}

// TestCommandsThatAreNamedExist: what a sentence or a page tells to run can be run.
func TestCommandsThatAreNamedExist(t *testing.T) {
	known := map[string]bool{}
	all := (&program{}).root().Commands()
	for len(all) > 0 {
		c := all[0]
		all = append(all[1:], c.Commands()...)
		known[strings.TrimPrefix(c.CommandPath(), "mzcanary ")] = true
	}
	prose := []string{"ended", "relays", "simulator", "stands", "takes"} // what mzcanary does, not what one runs
	named := regexp.MustCompile("(?m)(?:^|[`\"])mzcanary ([a-z]+)(?: ([a-z]+))?")
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".go", ".md", ".yaml"}, filepath.Ext(file)) {
			return err
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(src), -1) {
			if !known[m[1]] && !slices.Contains(prose, m[1]) || (m[1] == "rollout" || m[1] == "traffic") && m[2] != "" && !known[m[1]+" "+m[2]] {
				t.Errorf("%s names %q, which does not exist", file, strings.Trim(m[0], "`\""))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
