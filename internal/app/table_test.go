package app

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mzcanary/config"
	"mzcanary/deploy"
)

// TestTableStartsWithTheJournalsSwaps: sessions that log in before the controller
// has spoken are not taken for ones from before the last swap.
func TestTableStartsWithTheJournalsSwaps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	store, err := deploy.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	journal := deploy.Journal{Version: deploy.JournalVersion, Revision: 1, Spec: deploy.Spec{Name: "shop"},
		State: deploy.State{Deployment: "shop", Phase: deploy.PhaseDone, Swaps: 3}}
	if err := store.Save(t.Context(), journal); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "deploy.yaml")
	text := fmt.Sprintf(`
upstream: {tls: {mode: disable}}
control:  {user: materialize}
deployments:
  - {name: shop, database: materialize, schemas: [{live: prod, deploy: prod_deploy}], clusters: [{live: prod, deploy: prod_deploy}]}
  - {name: other, database: materialize, schemas: [{live: b, deploy: b_deploy}], clusters: [{live: b, deploy: b_deploy}]}
state: {dir: %q}
`, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(config.LoadOptions{File: file, FileRequired: true, Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // nothing was running
	for i, want := range []uint64{3, 0} {
		if d := a.table().Load().Deployments[i]; d.Swaps != want {
			t.Errorf("%s starts with %d swaps, want %d", d.Name, d.Swaps, want)
		}
	}
}
