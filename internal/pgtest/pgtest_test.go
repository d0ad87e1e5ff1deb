//go:build unix

package pgtest

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestServerAuthenticatesAndLeavesNothing(t *testing.T) {
	start := sync.OnceValues(Start)
	s := Need(t, start)
	for _, role := range []string{"postgres", RoleCleartext, RoleMD5, RoleSCRAM} {
		conn, err := pgconn.Connect(t.Context(), DSN(s.Addr(), role))
		if err != nil {
			t.Fatalf("%s: %v", role, err)
		}
		conn.Close(context.Background())
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", s.dir, err)
	}
}
