package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad asks that no input makes Load panic, that it either gives a
// configuration its own rules accept or says at least one complete sentence, and
// that values of unknown keys are not printed.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../deploy.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "deployments.0.rollout.plan.steps.0.weight=5%", "2")
	}
	f.Fuzz(func(t *testing.T, data []byte, set, env string) {
		opts := LoadOptions{File: "f", Environ: []string{"MZCANARY_SHUTDOWN_DRAIN=" + env}, Set: []string{set,
			// No file of the machine is to be read.
			"control.password_file=", "listen.tls.cert_file=", "listen.tls.key_file=", "upstream.tls.ca_file=", "state.dir=x",
		}}
		c := newCollector()
		cfg, err := load(c, opts, data, &Report{})
		if err == nil {
			if err := cfg.Validate(); err != nil {
				t.Errorf("an accepted configuration is refused: %v", err)
			}
			return
		}
		faults, ok := errors.AsType[*Faults](err)
		if !ok || len(faults.All) == 0 || cfg != nil {
			t.Fatalf("Load gives %v and %v", cfg, err)
		}
		for _, fault := range faults.All {
			if fault.Problem == "" || fault.Remedy == "" || strings.ContainsAny(fault.String(), "\x00\n") {
				t.Errorf("fault %+v", fault)
			}
			if strings.Contains(fault.Remedy, "mistake of mzcanary") {
				t.Errorf("the schema let something through: %s", fault)
			}
		}
	})
}
