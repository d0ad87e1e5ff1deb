package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// builder prepares programs in a cache outside the tree, so that a second run
// starts at once and the tree stays clean.
type builder struct {
	root, cache string
	log         io.Writer
	ready       map[string]func(s suite) []string // language to command line
	proxy       string                            // the program under test
	holds       bool
}

func newBuilder(root string, log io.Writer) (*builder, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	b := &builder{root: root, cache: filepath.Join(base, "mzcanary-compat"), log: log, ready: map[string]func(suite) []string{}}
	return b, os.MkdirAll(b.cache, 0o755)
}

func (b *builder) source(lang string) string { return filepath.Join(b.root, "test", "compat", lang) }

// prepare builds every language that a chosen suite needs.
func (b *builder) prepare(ctx context.Context, chosen []suite) error {
	steps := map[string]func(context.Context) error{
		"go": b.buildGo, "python": b.buildPython, "node": b.buildNode, "java": b.buildJava, "rust": b.buildRust,
	}
	for _, s := range chosen {
		if b.ready[s.lang] != nil {
			continue
		}
		if err := steps[s.lang](ctx); err != nil {
			return fmt.Errorf("build the %s suite: %w", s.lang, err)
		}
	}
	return nil
}

// buildProxy builds the program under test from the tree.
func (b *builder) buildProxy(ctx context.Context) error {
	b.proxy = os.Getenv("COMPAT_MZCANARY")
	if b.proxy == "" {
		b.proxy = filepath.Join(b.cache, "mzcanary")
		if err := b.command(ctx, b.root, "go", "build", "-o", b.proxy, "./cmd/mzcanary"); err != nil {
			return err
		}
	}
	return b.probeFlags(ctx)
}

// probeFlags finds out whether the program has the hook for holds: it is a
// hidden flag, so only its refusal tells.
func (b *builder) probeFlags(ctx context.Context) error {
	out, _ := exec.CommandContext(ctx, b.proxy, "serve", "--debug-holds", "--help").CombinedOutput() // an unknown flag is an answer, not a failure
	b.holds = !bytes.Contains(out, []byte("unknown flag"))
	return ctx.Err()
}

func (b *builder) serveFlags() []string {
	if b.holds {
		return []string{"--debug-holds"}
	}
	return nil
}

func (b *builder) buildGo(ctx context.Context) error {
	out := filepath.Join(b.cache, "go-suite")
	b.ready["go"] = func(s suite) []string { return append([]string{out}, s.args...) }
	return b.command(ctx, b.source("go"), "go", "build", "-o", out, ".")
}

// buildPython makes a virtual environment of the pinned packages.
func (b *builder) buildPython(ctx context.Context) error {
	dir, src := filepath.Join(b.cache, "python"), b.source("python")
	python := filepath.Join(dir, "bin", "python")
	b.ready["python"] = func(s suite) []string {
		return append([]string{python, "-B", filepath.Join(src, s.args[0])}, s.args[1:]...)
	}
	return b.once(dir, filepath.Join(src, "requirements.txt"), func() error {
		if err := b.command(ctx, src, "python3", "-m", "venv", "--clear", dir); err != nil {
			return err
		}
		return b.command(ctx, src, python, "-m", "pip", "install", "-q", "-r", "requirements.txt")
	})
}

// buildNode copies the suite beside its packages: modules are found from where
// the importing file lies.
func (b *builder) buildNode(ctx context.Context) error {
	dir, src := filepath.Join(b.cache, "node"), b.source("node")
	b.ready["node"] = func(s suite) []string { return append([]string{"node", filepath.Join(dir, s.args[0])}, s.args[1:]...) }
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := copyTree(src, dir); err != nil {
		return err
	}
	return b.once(filepath.Join(dir, "node_modules"), filepath.Join(src, "package-lock.json"), func() error {
		return b.command(ctx, dir, "npm", "ci", "--silent", "--no-audit", "--no-fund")
	})
}

func (b *builder) buildJava(ctx context.Context) error {
	dir, src := filepath.Join(b.cache, "java"), b.source("java")
	b.ready["java"] = func(s suite) []string {
		path := filepath.Join(dir, "target", "classes") + string(os.PathListSeparator) + filepath.Join(dir, "target", "lib", "*")
		return append([]string{"java", "-XX:+UseSerialGC", "-Xmx512m", "-cp", path}, s.args...)
	}
	if err := copyTree(src, dir); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "target", "lib")); err != nil { // packages of earlier pins
		return err
	}
	return b.command(ctx, dir, "mvn", "-q", "-B", "package")
}

func (b *builder) buildRust(ctx context.Context) error {
	dir := filepath.Join(b.cache, "rust")
	b.ready["rust"] = func(s suite) []string {
		return append([]string{filepath.Join(dir, "target", "release", "compat")}, s.args...)
	}
	if err := copyTree(b.source("rust"), dir); err != nil {
		return err
	}
	return b.command(ctx, dir, "cargo", "build", "--release", "--quiet")
}

// once runs an installation unless its result is there and was made from the
// same pins.
func (b *builder) once(dir, pins string, install func() error) error {
	want, err := os.ReadFile(pins)
	if err != nil {
		return err
	}
	mark := filepath.Join(dir, ".compat-pins")
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, want) {
		return nil
	}
	if err := install(); err != nil {
		return err
	}
	return os.WriteFile(mark, want, 0o644)
}

func (b *builder) command(ctx context.Context, dir, name string, args ...string) error {
	fmt.Fprintf(b.log, "+ %s %s\n", filepath.Base(name), strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func copyTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if have, err := os.ReadFile(to); err == nil && bytes.Equal(have, content) {
			return nil // keeps its time, so that nothing is built again
		}
		return os.WriteFile(to, content, 0o644)
	})
}

// spare is how much longer than its work a program may take to start, finish its
// last round and print, on a busy machine.
const spare = 60 * time.Second

// runSuite runs one program against a target and reads its one Result.
func (b *builder) runSuite(ctx context.Context, s suite, t target, work time.Duration) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, work+spare)
	defer cancel()
	line := b.ready[s.lang](s)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Dir = os.TempDir()
	cmd.Env = append(plainEnv(), suiteEnv(s.name, t, work)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r, parseErr := lastResult(out.Bytes())
	if parseErr != nil {
		return Result{}, errors.Join(err, parseErr, fmt.Errorf("%s printed:\n%s", s.name, clip(errs.String()+out.String(), 4000)))
	}
	return r, nil
}

// suiteEnv is what a suite program reads; see the README.
func suiteEnv(name string, t target, work time.Duration) []string {
	return append([]string{
		"COMPAT_HOST=" + t.host, "COMPAT_PORT=" + strconv.Itoa(t.port),
		"COMPAT_SECONDS=" + strconv.FormatFloat(work.Seconds(), 'f', 2, 64),
		"COMPAT_RUN=" + strings.ReplaceAll(name, "/", "-") + "-" + strconv.Itoa(t.port),
	}, t.env...)
}

func lastResult(out []byte) (Result, error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte{'\n'})
	for _, line := range slices.Backward(lines) {
		var r Result
		if err := json.Unmarshal(line, &r); err == nil && r.Driver != "" {
			return r, nil
		}
	}
	return Result{}, errors.New("no result line")
}

// clip keeps the end of a text, where the cause usually stands.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
