package sim

import "testing"

// TestDefaultsAndRights: default privileges, defaults of roles and of the system, views with their owner's rights.
func TestDefaultsAndRights(t *testing.T) {
	t.Parallel()
	script(t, Options{}, `
connect su PORT=6877 QUIET user=mz_system
connect op QUIET user=materialize
connect a QUIET user=app
# objects made later are readable by default; a view reads with its owner's rights
op: Q ALTER DEFAULT PRIVILEGES IN SCHEMA reports GRANT SELECT ON TABLES TO app
  <- C "ALTER DEFAULT PRIVILEGES"
  <- Z I
op: Q CREATE TABLE public.hidden (x int NOT NULL)
  <- C "CREATE TABLE"
  <- Z I
op: Q CREATE VIEW reports.shown AS SELECT count(*) AS n FROM hidden
  <- C "CREATE VIEW"
  <- Z I
a: Q SELECT n FROM reports.shown
  <- T n:20/0
  <- D "0"
  <- C "SELECT 1"
  <- Z I
a: Q SELECT x FROM hidden
  <- T x:23/0
  <- E S="ERROR" C="42501" M="permission denied for TABLE \"materialize.public.hidden\"" D="The 'app' role needs SELECT privileges on TABLE \"materialize.public.hidden\""
  <- Z I
su: Q ALTER TABLE public.hidden OWNER TO mz_system
  <- C "ALTER TABLE"
  <- Z I
su: Q REVOKE SELECT ON TABLE public.hidden FROM materialize
  <- C "REVOKE"
  <- Z I
a: Q SELECT n FROM reports.shown
  <- T n:20/0
  <- E S="ERROR" C="42501" M="permission denied for TABLE \"materialize.public.hidden\"" D="The 'materialize' role needs SELECT privileges on TABLE \"materialize.public.hidden\""
  <- Z I
a: Q INSERT INTO hidden VALUES (1)
  <- E S="ERROR" C="42501" M="permission denied for TABLE \"materialize.public.hidden\"" D="The 'app' role needs INSERT privileges on TABLE \"materialize.public.hidden\""
  <- Z I
# a role's default counts at its next login, the system's at anybody's
su: Q ALTER ROLE app SET search_path = prod, public
  <- N S="NOTICE" C="00000" M="variable \"search_path\" was updated for \"app\", this will have no effect on the current session"
  <- C "ALTER ROLE"
  <- Z I
su: Q ALTER SYSTEM SET cluster = prod
  <- C "ALTER SYSTEM"
  <- Z I
a: Q SHOW search_path
  <- T search_path:25/0
  <- D "public"
  <- C "SELECT 1"
  <- Z I
connect b user=app
  <- R 0
  <- S cluster="prod"
  <- S database="materialize"
  <- S search_path="prod, public"
  <- N S="NOTICE" C="00000" M="connected to Materialize …"
  <- Z I
b: Q SET search_path = reports; RESET search_path
  <- S search_path="reports"
  <- C "SET"
  <- S search_path="prod, public"
  <- C "RESET"
  <- Z I
a: Q ALTER SYSTEM SET cluster = prod
  <- E S="ERROR" C="42501" M="permission denied to alter system"
  <- Z I
# names taken, rights missing, roles in use
a: Q CREATE CLUSTER mine (SIZE = 'x')
  <- E S="ERROR" C="42501" M="permission denied for SYSTEM" D="The 'app' role needs CREATECLUSTER privileges on SYSTEM"
  <- Z I
op: Q CREATE SCHEMA IF NOT EXISTS prod
  <- N S="NOTICE" C="42P06" M="schema \"prod\" already exists, skipping"
  <- C "CREATE SCHEMA"
  <- Z I
op: Q CREATE VIEW prod.answer AS SELECT 1 AS a
  <- E S="ERROR" C="XX000" M="view 'materialize.prod.answer' already exists"
  <- Z I
op: Q ALTER VIEW prod.answer RENAME TO total
  <- E S="ERROR" C="XX000" M="catalog item 'total' already exists"
  <- Z I
op: Q SET search_path = nope
  <- S search_path="nope"
  <- C "SET"
  <- Z I
op: Q CREATE TABLE t (a int)
  <- E S="ERROR" C="3F000" M="no valid schema selected"
  <- Z I
su: Q GRANT SELECT ON prod.only_old TO app
  <- C "GRANT"
  <- Z I
su: Q DROP ROLE app
  <- E S="ERROR" C="2BP01" M="role \"app\" cannot be dropped because some objects depend on it" D="privileges on VIEW materialize.prod.only_old granted to app\nprivileges on VIEW materialize.reports.shown granted to app"
  <- Z I
# a temporary object shadows, and goes with DISCARD ALL
a: Q CREATE TEMPORARY VIEW shape AS SELECT 1 AS a
  <- C "CREATE VIEW"
  <- Z I
a: Q SELECT * FROM shape
  <- T a:23/0
  <- D "1"
  <- C "SELECT 1"
  <- Z I
a: Q DISCARD ALL
  <- C "DISCARD ALL"
  <- Z I
a: Q SELECT * FROM shape
  <- E S="ERROR" C="XX000" M="unknown catalog item 'shape'"
  <- Z I
# replicas of a cluster without management
op: Q CREATE CLUSTER loose REPLICAS (r1 (SIZE 'x'), r2 (SIZE 'x'))
  <- C "CREATE CLUSTER"
  <- Z I
op: Q DROP CLUSTER REPLICA loose.r2
  <- C "DROP CLUSTER REPLICA"
  <- Z I
op: Q SELECT managed, (SELECT count(*) FROM mz_cluster_replicas r WHERE r.cluster_id = c.id) FROM mz_clusters c WHERE name = 'loose'
  <- T managed:16/0 count:20/0
  <- D "f" "1"
  <- C "SELECT 1"
  <- Z I
# databases, three-part names
op: Q CREATE DATABASE other
  <- C "CREATE DATABASE"
  <- Z I
op: Q CREATE TABLE other.public.t (a int)
  <- C "CREATE TABLE"
  <- Z I
op: Q SELECT a FROM other.public.t
  <- T a:23/0
  <- C "SELECT 0"
  <- Z I
op: Q SELECT a FROM nowhere.public.t
  <- E S="ERROR" C="XX000" M="unknown database 'nowhere'"
  <- Z I
op: Q DROP DATABASE other CASCADE
  <- N S="NOTICE" C="00000" M="drop cascades to 2 other objects" D="drop cascades to TABLE \"other.public.t\"\ndrop cascades to SCHEMA \"other.public\""
  <- C "DROP DATABASE"
  <- Z I`)
}
