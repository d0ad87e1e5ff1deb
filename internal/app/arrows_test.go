package app

import (
	"go/parser"
	"go/token"
	"io/fs"
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
	"internal/app":       {"config", "deploy", "internal/admin", "internal/armstats", "internal/mz", "internal/wire", "proxy", "router"},
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
	"test/checker":       {"config", "deploy", "internal/admin", "internal/app", "internal/sim", "router"},
}

// testArrows are the servers that tests of a package run against besides. The
// simulator's own tests have none: it must agree with the recordings, never with our
// reading of the protocol in internal/wire.
var testArrows = map[string][]string{
	"internal/app":       {"internal/pgtest", "internal/sim"},
	"internal/mz":        {"internal/armstats", "internal/pgtest", "internal/sim"}, // armstats: a deploy.Traffic without sessions
	"internal/sim/crowd": {"internal/sim"},
	"proxy":              {"internal/pgtest", "internal/sim"},
	"test/checker":       {"internal/pgtest"},
}

// trees are folders whose packages stand outside of the picture: they measure or
// drive the program, and nothing of ours imports them. They need not hold Go.
var trees = map[string][]string{
	"bench":       {"config", "internal/app", "internal/armstats", "internal/pgtest", "internal/sim", "internal/wire", "proxy", "router"},
	"test/compat": {"internal/pgtest", "internal/sim"}, // drives the built program through drivers
}

// TestArrows holds the import arrows, and that each of them is there.
func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	used := map[string]bool{} // "package" and "package target"
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
			checkArrows(t, root, file, used)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range arrows {
		if !used[pkg] {
			t.Errorf("package %s is not there any more: remove its arrows", pkg)
		}
		for _, target := range slices.Concat(arrows[pkg], testArrows[pkg]) {
			if !used[pkg+" "+target] {
				t.Errorf("%s does not import %s any more: remove the arrow", pkg, target)
			}
		}
	}
}

func checkArrows(t *testing.T, root, file string, used map[string]bool) {
	t.Helper()
	rel, err := filepath.Rel(root, file)
	if err != nil {
		t.Fatal(err)
	}
	pkg := filepath.ToSlash(filepath.Dir(rel))
	allowed, known := arrowsOf(pkg)
	if !known {
		t.Errorf("%s: package %s has no arrows; add it to the picture first", rel, pkg)
		return
	}
	used[pkg] = true
	for _, target := range imports(t, file) {
		if target == pkg {
			continue
		}
		used[pkg+" "+target] = true
		if slices.Contains(allowed, target) || strings.HasSuffix(file, "_test.go") && slices.Contains(testArrows[pkg], target) {
			continue
		}
		t.Errorf("%s imports %s: no such arrow from %s", rel, target, pkg)
	}
}

func arrowsOf(pkg string) (allowed []string, known bool) {
	if allowed, known = arrows[pkg]; known {
		return allowed, true
	}
	for tree, allowed := range trees {
		if pkg == tree || strings.HasPrefix(pkg, tree+"/") {
			return allowed, true
		}
	}
	return nil, false
}

// imports lists what of ours a file imports.
func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if target, ours := strings.CutPrefix(imported, "mzcanary/"); ours {
			out = append(out, target)
		}
	}
	return out
}
