package app

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	counting = regexp.MustCompile(`testing\.AllocsPerRun\(`)
)

// TestNothingIsLeftOutOfCI: allocations can only be measured without the race
// detector, so .ci/run runs those tests by their names and packages once more; and
// a test that looks for a program must not pass where programs are required.
func TestNothingIsLeftOutOfCI(t *testing.T) {
	root := filepath.Join("..", "..")
	script, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	if err != nil {
		t.Fatal(err)
	}
	step := regexp.MustCompile(`(?m)^go test .*-run Allocat .*$`).FindString(string(script))
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "ci_test.go" {
			return err
		}
		src, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, file)
		pkg := "./" + filepath.ToSlash(filepath.Dir(rel))
		text := string(src)
		for _, at := range counting.FindAllStringIndex(text, -1) {
			names := testFunc.FindAllStringSubmatch(text[:at[0]], -1)
			if len(names) == 0 || !strings.Contains(names[len(names)-1][1], "Allocat") {
				t.Errorf("%s: a test that counts allocations is not named …Allocat…, so .ci/run leaves it out", rel)
			}
			if !strings.Contains(step+" ", " "+pkg+" ") {
				t.Errorf(".ci/run does not count allocations in %s: %q", pkg, step)
			}
		}
		if strings.Contains(text, "exec.LookPath(") && !strings.HasPrefix(pkg, "./test/") && !strings.Contains(text, "pgtest.Missing(") {
			t.Errorf("%s looks for a program and does not use pgtest.Missing: where programs are required it must fail", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
