package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretDoesNotPrint(t *testing.T) {
	const value = "hunter2"
	s := NewSecret(value)
	inner := struct{ s Secret }{s} // fmt asks no method of an unexported field
	outputs := map[string]string{
		"Sprint": fmt.Sprint(s, &s), "String": s.String(), "GoString": s.GoString(), "error": fmt.Errorf("connect as %v: %w", s, errors.ErrUnsupported).Error(),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%10.3s"} {
		outputs[verb] = fmt.Sprintf(verb, s)
		outputs[verb+" inside"] = fmt.Sprintf(verb, inner)
		outputs[verb+" in a slice"] = fmt.Sprintf(verb, []Secret{s})
		outputs[verb+" in a map"] = fmt.Sprintf(verb, map[string]*Secret{"x": &s})
	}
	data, err := json.Marshal(map[string]any{"s": s, "p": &s, "in": inner})
	outputs["json"] = string(data)
	if err != nil {
		t.Error(err)
	}
	yamlData, err := yaml.Marshal(map[string]any{"s": s})
	outputs["yaml"] = string(yamlData)
	if err != nil {
		t.Error(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "in", inner)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "p", &s)
	outputs["slog"] = log.String()
	for how, text := range outputs {
		if strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
			t.Errorf("%s prints the secret: %s", how, text)
		}
	}
	for _, how := range []string{"Sprint", "%v", "%q", "json", "yaml", "slog", "%v in a slice"} {
		if !strings.Contains(outputs[how], "[secret]") {
			t.Errorf("%s prints %s, want [secret] in it", how, outputs[how])
		}
	}
	if s.Reveal() != value || s.Empty() || !NewSecret("").Empty() || (Secret{}).Reveal() != "" {
		t.Error("Reveal or Empty is wrong")
	}
}

func TestPasswordIsReadAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("one\n")
	cfg, _ := mustLoad(t, LoadOptions{Set: []string{"control.password_file=" + file}})
	for content, want := range map[string]string{"two": "two", "three\r\n": "three", " four \n": " four "} {
		put(content)
		if got, err := cfg.Control.Password(); err != nil || got.Reveal() != want {
			t.Errorf("after %q: %v, %v", content, got.Reveal(), err)
		}
	}
	for _, content := range []string{"", "\n", "a\nb\n", "a\x00b"} {
		put(content)
		if got, err := cfg.Control.Password(); err == nil || !got.Empty() || strings.Contains(err.Error(), "a\n") {
			t.Errorf("after %q: %v, %v", content, got.Reveal(), err)
		}
	}
}

func TestPasswordOfTheEnvironment(t *testing.T) {
	t.Setenv(DefaultPasswordEnv, "first")
	cfg, _, err := Load(LoadOptions{}) // the environment of the process
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second", ""} {
		t.Setenv(DefaultPasswordEnv, want)
		if got, err := cfg.Control.Password(); err != nil || got.Reveal() != want {
			t.Errorf("password is %q, %v, want %q", got.Reveal(), err, want)
		}
	}
	given, _ := mustLoad(t, LoadOptions{Environ: []string{"MZCANARY_SHOP_SECRET=x"}, Set: []string{"control.password_env=MZCANARY_SHOP_SECRET"}})
	if got, err := given.Control.Password(); err != nil || got.Reveal() != "x" {
		t.Errorf("password of the given environment is %q, %v", got.Reveal(), err)
	}
	var c Control
	if got, err := c.Password(); err != nil || !got.Empty() {
		t.Errorf("password of nothing is %q, %v", got.Reveal(), err)
	}
	c.PasswordEnv = "MZCANARY_TEST_SURELY_UNSET"
	if _, err := c.Password(); err == nil || !strings.Contains(err.Error(), c.PasswordEnv) {
		t.Errorf("an unset variable gives %v", err)
	}
}

func TestTwoPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{DefaultPasswordEnv + "=hunter3"}
	got := faultsOf(t, LoadOptions{Environ: env, Set: []string{"control.password_file=" + file}})
	if !strings.Contains(got, "is a second source of the password: MZCANARY_PASSWORD is set too") || strings.Contains(got, "hunter") {
		t.Errorf("reported %s", got)
	}
	cfg, _ := mustLoad(t, LoadOptions{Environ: env, Set: []string{"control.password_file=" + file, "control.password_env="}})
	if got, err := cfg.Control.Password(); err != nil || got.Reveal() != "hunter2" {
		t.Errorf("password is %q, %v", got.Reveal(), err)
	}
}
