package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// judged are the directories whose code the table speaks of: what carries and meters
// sessions, the simulated server, and the suite itself.
var judged = [...]string{"proxy", "internal/wire", "internal/armstats", "router", "internal/sim", "test/compat", ":(exclude)internal/sim/crowd"}

func repositoryRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository (run this inside it): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// codeDigest is a hash over names and contents of the judged code as it lies in
// the work tree. Tests, their data and prose do not change what was judged.
func codeDigest(ctx context.Context, root string) (string, error) {
	args := append([]string{"-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, judged[:]...)
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("list the judged code: %w", err)
	}
	var names []string
	for name := range bytes.SplitSeq(bytes.TrimRight(out, "\x00"), []byte{0}) {
		if n := string(name); !strings.HasSuffix(n, "_test.go") && !strings.HasSuffix(n, ".md") && !strings.Contains(n, "/testdata/") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	sum := sha256.New()
	for _, name := range slices.Compact(names) {
		if err := addFile(sum, root, name); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

func addFile(sum io.Writer, root, name string) error {
	content, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted, not yet committed
	}
	if err != nil {
		return fmt.Errorf("read the judged code: %w", err)
	}
	_, err = fmt.Fprintf(sum, "%s %d\n%x\n", name, len(content), sha256.Sum256(content))
	return err
}

const digestMark = "<!-- judged: "

func checkTable(ctx context.Context, root, table string, stdout io.Writer) error {
	want, err := codeDigest(ctx, root)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(table)
	if err != nil {
		return fmt.Errorf("read the table (go run ./test/compat writes it): %w", err)
	}
	_, rest, ok := strings.Cut(string(content), digestMark)
	have, _, _ := strings.Cut(rest, " ")
	if !ok || have != want {
		return fmt.Errorf("docs/compatibility.md judged code %q, but here is %q: run `go run ./test/compat` and commit the table", have, want)
	}
	fmt.Fprintln(stdout, "docs/compatibility.md judged the code that is here:", want)
	return nil
}
