package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/bad/*.want")

// TestBadFiles loads every file of testdata/bad and compares what is reported with
// the .want beside it. Each file shows one fault, many-at-once several.
func TestBadFiles(t *testing.T) {
	t.Chdir("testdata/bad") // so that messages name the file alone
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".yaml"), func(t *testing.T) {
			cfg, report, err := Load(LoadOptions{File: file, FileRequired: true, Environ: none})
			faults, ok := errors.AsType[*Faults](err)
			if !ok || len(faults.All) == 0 {
				t.Fatalf("Load reports %v, want *Faults", err)
			}
			if cfg != nil || report == nil {
				t.Errorf("with faults: config %v, report %v", cfg, report)
			}
			got := err.Error() + "\n"
			if strings.Contains(got, "hunter2") || strings.Contains(got, "31337") {
				t.Errorf("a secret is printed:\n%s", got)
			}
			for _, f := range faults.All {
				if f.Problem == "" || f.Remedy == "" || f.Where == "" && f.Path == "" {
					t.Errorf("incomplete fault %+v", f)
				}
			}
			wantFile := strings.TrimSuffix(file, ".yaml") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("reported:\n%swant:\n%s", got, want)
			}
		})
	}
}
