//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"os"
	"strings"
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

// judged records how a test was ended, and ends nothing.
type judged struct {
	testing.TB
	said []string
}

func (j *judged) Helper() {}
func (j *judged) Skipf(format string, args ...any) {
	j.said = append(j.said, "skip: "+fmt.Sprintf(format, args...))
}
func (j *judged) Fatalf(format string, args ...any) {
	j.said = append(j.said, "fail: "+fmt.Sprintf(format, args...))
}

func TestMissingFailsWhereNothingMayBeSkipped(t *testing.T) {
	for required, want := range map[string]string{"": "skip: ", "1": "fail: "} {
		t.Setenv("MZCANARY_TEST_REQUIRE_POSTGRES", required)
		j := &judged{TB: t}
		Missing(j, "%s is not installed", "pgbouncer")
		if !strings.HasPrefix(j.said[0], want) || !strings.Contains(j.said[0], "pgbouncer is not installed") {
			t.Errorf("required %q: %q, want %q first", required, j.said, want)
		}
	}
}
