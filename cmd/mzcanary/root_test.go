package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
		{"nobody answers", []string{"rollout", "status", "--admin", nobody}, exitConnect, []string{nobody, "next:"}},
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
