package sim

import (
	"strings"
	"testing"
)

// TestVersions replays a few lines against servers of different versions: what changed between them changes here.
func TestVersions(t *testing.T) {
	t.Parallel()
	const old, now = "v26.4.0-dev.0 (4c45b0938)", "v26.39.0-dev.0 (30e4b1d24)"
	for name, lines := range map[string]string{
		// RESET restores the role's or system's default before 26.33, the start-up value since.
		"reset " + old: `
connect a QUIET user=app cluster=prod search_path=prod
a: Q RESET cluster
  <- S cluster="quickstart"
  <- C "RESET"
  <- Z I`,
		"reset " + now: `
connect a QUIET user=app cluster=prod search_path=prod
a: Q SET cluster = prod_deploy
  <- S cluster="prod_deploy"
  <- C "SET"
  <- Z I
a: Q RESET cluster
  <- S cluster="prod"
  <- C "RESET"
  <- Z I`,
		// DISCARD ALL is staged before 26.36: a failing next transaction undoes it.
		"discard " + old: `
connect a QUIET user=app cluster=prod search_path=prod
a: Q DISCARD ALL
  <- C "DISCARD ALL"
  <- Z I
a: Q SELECT nope
  <- E S="ERROR" C="XX000" M="column \"nope\" does not exist"
  <- Z I
a: Q SHOW cluster
  <- T cluster:25/0
  <- D "prod"
  <- C "SELECT 1"
  <- Z I`,
		"discard " + now: `
connect a QUIET user=app cluster=prod search_path=prod
a: Q SET cluster = prod_deploy
  <- S cluster="prod_deploy"
  <- C "SET"
  <- Z I
a: Q DISCARD ALL
  <- C "DISCARD ALL"
  <- Z I
a: Q SELECT nope
  <- E S="ERROR" C="XX000" M="column \"nope\" does not exist"
  <- Z I
a: Q SHOW cluster
  <- T cluster:25/0
  <- D "prod"
  <- C "SELECT 1"
  <- Z I`,
		// The end of SET LOCAL in an implicit transaction is announced since 26.37.
		"local " + now: `
connect a QUIET user=app cluster=prod search_path=prod
a: Q SET LOCAL cluster = prod_deploy
  <- S cluster="prod_deploy"
  <- C "SET"
  <- S cluster="prod"
  <- Z I`,
		// Evaluation errors carry their own codes since 26.29.
		"evaluation " + now: `
connect a QUIET user=app
a: Q SELECT 1/0
  <- T ?column?:23/0
  <- E S="ERROR" C="22012" M="division by zero"
  <- Z I`,
		// A stray CopyData is ignored since 26.33.
		"stray " + now: `
connect a QUIET user=app
a: d x
a: Q SELECT 5
  <- T ?column?:23/0
  <- D "5"
  <- C "SELECT 1"
  <- Z I`,
		// The drop of a subscribed relation has another text since 26.32.
		"drop " + now: `
connect op QUIET user=materialize
connect a QUIET user=app cluster=prod search_path=prod
a: q SUBSCRIBE total
a: recv 1s
  <- T mz_timestamp:1700/0 mz_diff:20/0 version:25/0 n:20/0
  <- N S="NOTICE" C="01000" M="streaming SUBSCRIBE rows directly requires a client that does not buffer output"
  <- D "<ts>" "1" "old" "3"
op: Q DROP MATERIALIZED VIEW prod.total
  <- C "DROP MATERIALIZED VIEW"
  <- Z I
a: recv 1s
  <- E S="ERROR" C="42704" M="relation 'materialize.prod.total' was dropped"
  <- Z I`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, version, _ := strings.Cut(name, " ")
			script(t, Options{Version: version}, lines)
		})
	}
}

func TestParseVersion(t *testing.T) {
	for version, want := range map[string][2]int{
		DefaultVersion: {26, 4}, "v26.39.0-dev.0 (30e4b1d24)": {26, 39}, "v27.0.1": {27, 0}, "nonsense": {1 << 20, 0},
	} {
		if major, minor := parseVersion(version); major != want[0] || minor != want[1] {
			t.Errorf("%q is %d.%d", version, major, minor)
		}
	}
	if behaviourOf("v26.32.9") != (behaviour{droppedTexts: true, evaluationCodes: true, environmentID: true}) {
		t.Errorf("26.32 behaves like %+v", behaviourOf("v26.32.9"))
	}
}
