package app

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// arrows is the picture of docs/how-it-works.md: what a package of ours may
// import of ours. A package that is not named here may not exist.
var arrows = map[string][]string{
	"cmd/mzcanary":       {"internal/app", "internal/admin", "internal/sim", "internal/sim/crowd", "config"},
	"internal/app":       {"*"},
	"internal/admin":     {"deploy", "proxy", "router"},
	"internal/mz":        {"deploy"},
	"deploy":             {"router", "internal/armstats"},
	"proxy":              {"router", "internal/wire", "internal/armstats"},
	"internal/sim":       {"internal/sim/sql"},
	"internal/sim/sql":   {},
	"internal/sim/crowd": {},
	"internal/wire":      {"router"},
	"internal/armstats":  {"router"},
	"router":             {},
	"config":             {},
	"internal/pgtest":    {}, // starts a private PostgreSQL for tests
	"bench":              {"internal/pgtest"},
}

// TestArrows holds the import arrows. Test files may reach for the simulator and
// the private PostgreSQL besides: they are the servers tests run against.
func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "testdata" || name == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, ".go") {
			checkArrows(t, root, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkArrows(t *testing.T, root, file string) {
	t.Helper()
	rel, err := filepath.Rel(root, file)
	if err != nil {
		t.Fatal(err)
	}
	pkg := filepath.ToSlash(filepath.Dir(rel))
	if strings.HasPrefix(pkg, "test/") {
		return // suites that drive the built program from outside
	}
	allowed, known := arrows[pkg]
	if !known {
		t.Errorf("%s: package %s has no arrows; add it to the picture first", rel, pkg)
		return
	}
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !strings.HasPrefix(imported, "mzcanary/") {
			continue
		}
		target := strings.TrimPrefix(imported, "mzcanary/")
		if target == pkg || arrowExists(allowed, target) {
			continue
		}
		if strings.HasSuffix(file, "_test.go") && (testServers[target] || slices.Contains(testArrows[pkg], target)) {
			continue
		}
		t.Errorf("%s imports %s: no such arrow from %s", rel, path.Base(target), pkg)
	}
}

var testServers = map[string]bool{"internal/sim": true, "internal/sim/crowd": true, "internal/pgtest": true, "internal/wire": true}

// testArrows are for test files that implement an interface of another package.
var testArrows = map[string][]string{
	"internal/mz": {"internal/armstats"}, // a deploy.Traffic without sessions
}

func arrowExists(allowed []string, target string) bool {
	for _, a := range allowed {
		if a == "*" || a == target {
			return true
		}
	}
	return false
}
