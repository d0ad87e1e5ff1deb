package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTableIsOlderThanTheCode changes files in a small repository of its own and
// asks which of them make the table old.
func TestTableIsOlderThanTheCode(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("git", "init", "-q", root).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	write("proxy/pump.go", "package proxy")
	digest, err := codeDigest(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(root, "docs", "compatibility.md")
	write("docs/compatibility.md", (&report{digest: digest}).markdown())
	check := func() error { return checkTable(t.Context(), root, table, io.Discard) }
	if err := check(); err != nil {
		t.Fatalf("a fresh table is refused: %v", err)
	}
	for _, harmless := range []string{"proxy/pump_test.go", "proxy/testdata/x", "test/compat/README.md", "deploy/step.go"} {
		write(harmless, "changed")
		if err := check(); err != nil {
			t.Errorf("%s does not carry sessions, but: %v", harmless, err)
		}
	}
	for _, code := range []string{"proxy/new.go", "internal/wire/kinds.go", "router/pick.go", "test/compat/node/tally.mjs"} {
		write(code, "changed")
		if err := check(); err == nil || !strings.Contains(err.Error(), "go run ./test/compat") {
			t.Errorf("%s was changed, and the check says %v", code, err)
		}
		if err := os.Remove(filepath.Join(root, code)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(table); err != nil {
		t.Fatal(err)
	}
	if err := check(); err == nil {
		t.Error("a missing table passes")
	}
}
