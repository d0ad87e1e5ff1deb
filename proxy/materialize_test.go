package proxy_test

import (
	"context"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/pgtest"
	"mzcanary/internal/sim"
	"mzcanary/proxy"
	"mzcanary/router"
)

const onProdCluster = "dbname=materialize cluster=prod search_path=prod"

// onSim is a stand in front of a simulated Materialize of a version, with both
// versions of the fixtures.
func onSim(t *testing.T, version string, changes ...change) (*stand, *sim.Server) {
	t.Helper()
	return onSimWith(t, sim.Options{Version: version}, changes...)
}

func onSimWith(t *testing.T, options sim.Options, changes ...change) (*stand, *sim.Server) {
	t.Helper()
	server := sim.New(options)
	setup, err := os.ReadFile(filepath.Join("..", "internal", "sim", "testdata", "conversations", "setup.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(setup), "INSERT INTO public.base SELECT g, 'x' FROM generate_series(4, 30) AS g"} {
		if err := server.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the simulator: %v", err)
		}
	})
	all := append([]change{func(c *proxy.Config) {
		c.Kind = proxy.Materialize
		d := shopDeployment()
		d.Clusters = d.Schemas
		c.Table = router.NewTable([]router.Deployment{d})
	}}, changes...)
	s := newStand(t, ln.Addr().String(), all...)
	return s, server
}

var versions = []string{"v26.4.0-dev.0 (4c45b0938)", "v26.39.0 (30e4b1d24)"}

func TestStormOnMaterialize(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			s, _ := onSim(t, version)
			here := maps.Clone(crowd)
			delete(here, "copy in")
			delete(here, "failed copy")
			runStorm(t, s, onProdCluster, here, 2*time.Second)
		})
	}
}

// TestSwapIsInvisible: in a real promotion, with hold, canary target and swap,
// no answer that was asked for after the swap comes from the old version, on no
// session.
func TestSwapIsInvisible(t *testing.T) {
	s, server := onSim(t, versions[1])
	s.weigh(50)
	ctx, done := context.WithTimeout(t.Context(), 30*time.Second)
	defer done()
	stop := make(chan struct{})
	var swapped sync.Map // "yes" once the swap is committed
	var clients sync.WaitGroup
	for n := range 12 {
		clients.Go(func() {
			conn, err := pgx.Connect(ctx, dsnOf(s, onProdCluster))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(ctx)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, after := swapped.Load("yes")
				var v string
				mode := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec}[n%3]
				if err := conn.QueryRow(ctx, "SELECT version FROM answer WHERE k = 1", mode).Scan(&v); err != nil {
					t.Errorf("client %d: %v", n, err)
					return
				}
				if after && v != "new" {
					t.Errorf("client %d read the version %q after the swap", n, v)
					return
				}
			}
		})
	}
	eventually(t, "sessions on both arms", func() bool {
		v := s.p.Survey(shop)
		return v.Sessions[0] > 0 && v.Sessions[1] > 0 && v.Sessions[0]+v.Sessions[1] == 12
	})
	hold, err := s.p.Hold(shop, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if report := hold.Gather(ctx); !report.Complete() || report.Held != 12 {
		t.Fatalf("gathered %+v", report)
	}
	eventually(t, "somebody waits", func() bool {
		for _, i := range s.p.Sessions(shop) {
			if i.Why == "its message waits at the closed gate" {
				return true
			}
		}
		return false
	})
	s.route(func(d *router.Deployment) { d.Canary = router.CanaryLive })
	if !hold.Pin() {
		t.Fatal("the lease ran out")
	}
	if err := server.Exec(ctx, `BEGIN; ALTER SCHEMA prod SWAP WITH prod_deploy; ALTER CLUSTER prod SWAP WITH prod_deploy;
		ALTER SCHEMA prod_deploy RENAME TO prod_deploy_retired_1; ALTER CLUSTER prod_deploy RENAME TO prod_deploy_retired_1; COMMIT`); err != nil {
		t.Fatal(err)
	}
	swapped.Store("yes", true)
	s.route(func(d *router.Deployment) { d.Swaps++; d.Canary, d.Weight = router.CanaryClosed, 0 })
	stall := hold.Release()
	if stall.Sessions == 0 {
		t.Error("nobody waited: the hold was not tested")
	}
	eventually(t, "everybody on live names", func() bool {
		v := s.p.Survey(shop)
		return v.Sessions[0] == 12 && len(v.Old) == 0
	})
	time.Sleep(100 * time.Millisecond)
	close(stop)
	clients.Wait()
	t.Logf("stall %+v", stall)
}

func dsnOf(s *stand, options string) string { return pgtest.DSN(s.addr, "postgres", options) }
