package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// good is an entry that passes; each case spoils one thing.
func good() entry {
	return entry{
		suite:       suite{name: "driver"},
		direct:      Result{Driver: "driver", Checks: []Check{{Name: "read", OK: true}}, Old: 5, Exchanges: 5},
		proxied:     Result{Driver: "driver", Checks: []Check{{Name: "read", OK: true}}, Old: 3, New: 2, Exchanges: 5},
		disturbance: disturbance{Flips: 9, Rollbacks: 1, Moves: 7, Holds: 3},
	}
}

func TestVerdictFindsWhatDiffers(t *testing.T) {
	e := good()
	if e.verdict(true); len(e.differences) > 0 {
		t.Fatalf("a run without differences has %q", e.differences)
	}
	cases := map[string]struct {
		spoil func(*entry)
		want  string
	}{
		"an error only through the proxy": {func(e *entry) { e.proxied.Checks[0] = Check{Name: "read", Detail: "EOF"} }, "read: EOF"},
		"a check that was not reached":    {func(e *entry) { e.proxied.Checks = nil }, "read: not reached"},
		"answers of both versions":        {func(e *entry) { e.proxied.Mixed = 1 }, "both versions"},
		"answers of neither version":      {func(e *entry) { e.proxied.Strange = 2 }, "2 answers of neither"},
		"only the old version":            {func(e *entry) { e.proxied.New = 0 }, "only one version"},
		"only the new version":            {func(e *entry) { e.proxied.Old = 0 }, "only one version"},
		"a move refused by the server":    {func(e *entry) { e.disturbance.NotMoved = map[string]int{"refused": 3} }, `3 moves ended as "refused"`},
		"a session that cannot be moved":  {func(e *entry) { e.disturbance.Sessions = []string{"cannot be tracked"} }, "cannot be tracked"},
		"a rollback that takes long":      {func(e *entry) { e.disturbance.LongestRollback = 3 * time.Second }, "a rollback took 3s"},
		"no disturbance":                  {func(e *entry) { e.disturbance.Flips = 0 }, "only 0 flips"},
		"no hold":                         {func(e *entry) { e.disturbance.Holds = 0 }, "7 moves and 0 holds"},
		"no move":                         {func(e *entry) { e.disturbance.Moves = 0 }, "0 moves and 3 holds"},
		"a refusal of the API":            {func(e *entry) { e.disturbance.Troubles = []string{"hold: 500"} }, "hold: 500"},
		"a suite that fails by itself":    {func(e *entry) { e.direct.Checks[0] = Check{Name: "read", Detail: "bug"} }, "directly: read: bug"},
		"a suite that sees new directly":  {func(e *entry) { e.direct.New = 1 }, "the suite is wrong"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			e := good()
			cases[name].spoil(&e)
			e.verdict(true)
			if len(e.differences) != 1 || !strings.Contains(e.differences[0], cases[name].want) {
				t.Errorf("differences %q, want one with %q", e.differences, cases[name].want)
			}
			r := report{halves: []half{{kind: onPostgres, entries: []entry{e}}}}
			var out strings.Builder
			if err := r.sum(&out); err == nil || !strings.Contains(out.String(), "0 passed, 1 failed") {
				t.Errorf("the run ended with %v and %q", err, out.String())
			}
			if text := r.markdown(); !strings.Contains(text, "**different**") || !strings.Contains(text, "- **driver**: ") {
				t.Errorf("the table does not show it:\n%s", text)
			}
		})
	}
}

// On a starved machine a slow rollback says nothing.
func TestVerdictForgivesWhatTheMachineOwes(t *testing.T) {
	e := good()
	e.disturbance.LongestRollback, e.disturbance.Late = 3*time.Second, 300*time.Millisecond
	if e.verdict(true); len(e.differences) > 0 {
		t.Errorf("differences %q", e.differences)
	}
}

// A failure that the direct run has as well is no difference of the proxy.
func TestVerdictForgivesWhatFailsDirectlyToo(t *testing.T) {
	e := good()
	e.direct.Checks[0] = Check{Name: "read", Detail: "bug"}
	e.proxied.Checks[0] = Check{Name: "read", Detail: "bug"}
	e.verdict(true)
	if len(e.differences) != 1 || !strings.HasPrefix(e.differences[0], "directly: ") {
		t.Errorf("differences %q", e.differences)
	}
}

func TestLastResultIsTheLastLineThatIsOne(t *testing.T) {
	out := "warming up\n{\"driver\":\"a\",\"exchanges\":1}\n{\"driver\":\"b\",\"exchanges\":2}\nsome warning\n"
	r, err := lastResult([]byte(out))
	if err != nil || r.Driver != "b" || r.Exchanges != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := lastResult([]byte("Traceback: boom\n")); err == nil {
		t.Error("a program without a result was believed")
	}
}
