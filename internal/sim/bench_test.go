package sim

import (
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// BenchmarkSelects is small SELECTs of 100 driver sessions at once, prepared and simple.
func BenchmarkSelects(b *testing.B) {
	for name, mode := range map[string]pgx.QueryExecMode{"prepared": pgx.QueryExecModeCacheStatement, "simple": pgx.QueryExecModeSimpleProtocol} {
		b.Run(name, func(b *testing.B) {
			_, addr := prepareVersions(b, Options{})
			const clients = 100
			conns := make([]*pgx.Conn, clients)
			for i := range conns {
				conns[i] = connectPGX(b, addr, "options='-c cluster=prod -c search_path=prod'")
			}
			b.ResetTimer()
			var running sync.WaitGroup
			for i, c := range conns {
				running.Go(func() {
					for n := i; n < b.N; n += clients {
						var version string
						if err := c.QueryRow(b.Context(), "SELECT version FROM answer WHERE k = $1", mode, 1).Scan(&version); err != nil || version != "old" {
							b.Errorf("%q, %v", version, err)
							return
						}
					}
				})
			}
			running.Wait()
		})
	}
}
