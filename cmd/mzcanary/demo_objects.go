package main

import (
	"context"
	"fmt"
	"time"

	"mzcanary/internal/sim"
)

// versionSQL builds one version of the example: an indexed view and a
// materialized view over public.base, both of which say which version they are.
// owner runs the controller, and everybody may read.
func versionSQL(name, version string) string {
	return fmt.Sprintf(`
CREATE CLUSTER %[1]s (SIZE = 'bootstrap');
CREATE SCHEMA %[1]s;
CREATE VIEW %[1]s.answer AS SELECT '%[2]s'::text AS version, k, v FROM public.base;
CREATE INDEX answer_idx IN CLUSTER %[1]s ON %[1]s.answer (k);
CREATE MATERIALIZED VIEW %[1]s.total IN CLUSTER %[1]s AS SELECT '%[2]s'::text AS version, count(*) AS n FROM public.base;
GRANT USAGE ON SCHEMA %[1]s TO PUBLIC;
GRANT USAGE ON CLUSTER %[1]s TO PUBLIC;
GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO PUBLIC;
ALTER SCHEMA %[1]s OWNER TO materialize;
ALTER CLUSTER %[1]s OWNER TO materialize;
`, name, version)
}

const baseSQL = `
CREATE TABLE public.base (k int, v text);
INSERT INTO public.base VALUES (1,'a'),(2,'b'),(3,'c');
GRANT SELECT ON public.base TO PUBLIC;
GRANT CREATE ON DATABASE materialize TO materialize;
`

func oldVersion(ctx context.Context, s *sim.Server) error {
	return s.Exec(ctx, baseSQL+versionSQL("prod", "old"))
}

func newVersion(ctx context.Context, s *sim.Server) error {
	return s.Exec(ctx, versionSQL("prod_deploy", "new"))
}

func twoVersions(ctx context.Context, s *sim.Server) error {
	if err := oldVersion(ctx, s); err != nil {
		return err
	}
	return newVersion(ctx, s)
}

// heartbeat keeps rows changing, so that subscriptions have something to say.
func heartbeat(ctx context.Context, s *sim.Server) error {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for k := 1000; ; k++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sql := fmt.Sprintf("INSERT INTO public.base VALUES (%d, 'beat'); DELETE FROM public.base WHERE k = %d", k, k-1)
		if err := s.Exec(ctx, sql); err != nil && ctx.Err() == nil {
			return fmt.Errorf("change rows of public.base: %w", err)
		}
	}
}
