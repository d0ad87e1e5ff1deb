#!/usr/bin/env bash
# Measures mzcanary beside pgbouncer (session pooling) and haproxy (TCP) in one run
# on a private PostgreSQL, interleaved, and prints medians and ratios.
#
#   bench/run.sh [--reps N] [--seconds S] [--clients "1 16 200"] [--modes "simple extended prepared"] [--only tx|bulk|idle|connect]
#
# What is counted is the proxy's own CPU (user + system of all its threads, from
# the kernel's schedstat, in nanoseconds), so that the client and the server do
# not count. Compare only figures of one run. Needs postgresql, pgbouncer and
# haproxy (Debian packages of those names) and Go.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$(dirname "$here")
reps=3 seconds=4 clients="1 16 200" modes="simple extended prepared" only=all
while [ $# -gt 0 ]; do case $1 in
  --reps) reps=$2; shift 2;; --seconds) seconds=$2; shift 2;; --clients) clients=$2; shift 2;;
  --modes) modes=$2; shift 2;; --only) only=$2; shift 2;;
  *) echo "bench/run.sh: unknown option $1" >&2; exit 1;; esac; done

for tool in pgbench pgbouncer haproxy go; do command -v $tool >/dev/null || { echo "bench/run.sh: $tool is not installed" >&2; exit 1; }; done
pgbin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
dir=$(mktemp -d); chmod 755 "$dir"; pids=()
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; else "$@"; fi; }
cleanup() { for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT
port() { python3 - <<'P'
import socket
s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])
P
}
pg=$(port) pb=$(port) ha=$(port) mz=$(port) adm=$(port) obs=$(port)

mkdir "$dir/data" "$dir/run"; [ "$(id -u)" = 0 ] && chown postgres "$dir/data" "$dir/run"
as_postgres "$pgbin/initdb" -D "$dir/data" -A trust -U postgres >/dev/null
as_postgres "$pgbin/postgres" -D "$dir/data" -p $pg -k "$dir/run" -c listen_addresses=127.0.0.1 -c max_connections=2200 -c fsync=off >"$dir/pg.log" 2>&1 & pids+=($!)
for _ in $(seq 100); do psql -h 127.0.0.1 -p $pg -U postgres -qc 'select 1' >/dev/null 2>&1 && break; sleep 0.1; done
psql -h 127.0.0.1 -p $pg -U postgres -qc 'create schema prod; create schema prod_deploy; alter role postgres set search_path = prod, public' >/dev/null
pgbench -h 127.0.0.1 -p $pg -U postgres -i -q -s 5 postgres >/dev/null 2>&1
psql -h 127.0.0.1 -p $pg -U postgres -q >/dev/null <<'SQL'
create table prod_deploy.pgbench_accounts as select * from prod.pgbench_accounts;
alter table prod_deploy.pgbench_accounts add primary key (aid);
SQL

cat >"$dir/pgb.ini" <<INI
[databases]
postgres = host=127.0.0.1 port=$pg dbname=postgres user=postgres
[pgbouncer]
listen_addr=127.0.0.1
listen_port=$pb
auth_type=any
pool_mode=session
max_client_conn=3000
default_pool_size=2000
logfile=$dir/run/pgb.log
pidfile=$dir/run/pgb.pid
unix_socket_dir=
ignore_startup_parameters=extra_float_digits,options
INI
as_postgres pgbouncer -q "$dir/pgb.ini" >/dev/null 2>&1 & pids+=($!); pb_shell=$!
cat >"$dir/ha.cfg" <<CFG
global
  maxconn 4000
  nbthread 2
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  option splice-auto
listen pg
  bind 127.0.0.1:$ha
  server s1 127.0.0.1:$pg
CFG
haproxy -db -f "$dir/ha.cfg" >/dev/null 2>&1 & pids+=($!); ha_pid=$!
(cd "$root" && CGO_ENABLED=0 go build -o "$dir/mzcanary" ./cmd/mzcanary)
cat >"$dir/deploy.yaml" <<YAML
listen: {address: 127.0.0.1:$mz}
upstream: {address: 127.0.0.1:$pg, kind: postgres, tls: {mode: disable}}
control: {user: postgres, database: postgres}
deployments:
  - {name: bench, database: postgres, schemas: [{live: prod, deploy: prod_deploy}], clusters: []}
admin: {address: 127.0.0.1:$adm}
observe: {address: 127.0.0.1:$obs}
state: {dir: $dir/state}
YAML
MZCANARY_PASSWORD=x "$dir/mzcanary" serve -c "$dir/deploy.yaml" >"$dir/mz.log" 2>&1 & pids+=($!); mz_pid=$!
for _ in $(seq 100); do psql -h 127.0.0.1 -p $mz -U postgres -qc 'select 1' postgres >/dev/null 2>&1 && break; sleep 0.1; done
for n in $pb $ha $mz; do psql -h 127.0.0.1 -p $n -U postgres -qc 'select 1' postgres >/dev/null || { echo "a proxy does not answer" >&2; cat "$dir"/*.log "$dir"/run/*.log >&2; exit 1; }; done

pb_pid=$(pgrep -P "$pb_shell" -x pgbouncer || echo "$pb_shell") # setpriv runs it as a child
pids+=("$pb_pid")
declare -A P=([pgbouncer]=$pb [haproxy]=$ha [mzcanary]=$mz) PID=([pgbouncer]=$pb_pid [haproxy]=$ha_pid [mzcanary]=$mz_pid)
cpu() { awk '{s+=$1} END{printf "%.0f", s}' /proc/$1/task/*/schedstat; }
rss() { awk '/^VmRSS/{print $2*1024}' /proc/$1/status; }
results="$dir/results"; : >"$results"
note() { echo "$*" >>"$results"; }

tx() { local name=$1 c=$2 mode=$3 a b out n
  a=$(cpu ${PID[$name]}); out=$(pgbench -h 127.0.0.1 -p ${P[$name]} -U postgres -n -S -M "$mode" -c "$c" -j 2 -T "$seconds" postgres 2>/dev/null); b=$(cpu ${PID[$name]})
  n=$(awk '/actually processed/{print $6}' <<<"$out"); n=${n%%/*}
  note "tx/$mode/$c $name $(awk -v d=$((b-a)) -v n="$n" 'BEGIN{printf "%.2f", d/1000/n}') us/tx"
  note "tps/$mode/$c $name $(awk '/^tps/{print $3}' <<<"$out") tps"
  note "lat/$mode/$c $name $(awk '/latency average/{print $4*1000}' <<<"$out") us"; }
bulk() { local name=$1 rows=400000 a b
  a=$(cpu ${PID[$name]}); psql -h 127.0.0.1 -p ${P[$name]} -U postgres -qc "copy (select repeat('x',1000) from generate_series(1,$rows)) to stdout" postgres >/dev/null; b=$(cpu ${PID[$name]})
  note "copy/1kB $name $(awk -v d=$((b-a)) -v r=$rows 'BEGIN{printf "%.0f", d/1e6/(r*1000/1e9)}') ms/GB"
  a=$(cpu ${PID[$name]}); psql -h 127.0.0.1 -p ${P[$name]} -U postgres -qAt --set=FETCH_COUNT=10000 -c "select repeat('x',1000) from generate_series(1,200000)" postgres >/dev/null; b=$(cpu ${PID[$name]})
  note "rows/1kB $name $(awk -v d=$((b-a)) 'BEGIN{printf "%.0f", d/1e6/0.2}') ms/GB"; }
idle() { local name=$1 n=1000 a b
  a=$(rss ${PID[$name]}); python3 "$here/idle.py" ${P[$name]} $n "$dir/idle.go" & local ip=$!
  while [ ! -e "$dir/idle.go" ]; do sleep 0.1; kill -0 $ip 2>/dev/null || return 0; done; sleep 1
  b=$(rss ${PID[$name]}); rm -f "$dir/idle.go"; wait $ip || true
  note "idle/plain $name $(awk -v d=$((b-a)) -v n=$n 'BEGIN{printf "%.0f", d/n}') B/session"; }
connect() { local name=$1 a b out n
  a=$(cpu ${PID[$name]}); out=$(pgbench -h 127.0.0.1 -p ${P[$name]} -U postgres -n -S -C -c 4 -j 2 -T "$seconds" postgres 2>/dev/null); b=$(cpu ${PID[$name]})
  n=$(awk '/actually processed/{print $6}' <<<"$out"); n=${n%%/*}
  note "connect $name $(awk -v d=$((b-a)) -v n="$n" 'BEGIN{printf "%.1f", d/1000/n}') us/connection"; }

names="mzcanary pgbouncer haproxy"
want() { [ "$only" = all ] || [ "$only" = "$1" ]; }
for rep in $(seq "$reps"); do
  want tx && for c in $clients; do for m in $modes; do for n in $names; do tx $n $c $m; done; done; done
  want bulk && for n in $names; do bulk $n; done
  want connect && for n in $names; do connect $n; done
done
want idle && for n in $names; do idle $n; done

python3 - "$results" <<'P'
import sys, statistics, collections
rows = collections.OrderedDict(); unit = {}
for line in open(sys.argv[1]):
    what, name, value, u = line.split(); rows.setdefault(what, {}).setdefault(name, []).append(float(value)); unit[what] = u
print(f"{'measure':22} {'unit':14} {'mzcanary':>10} {'pgbouncer':>10} {'haproxy':>10}  {'/pgbouncer':>10} {'/haproxy':>9}")
for what, by in rows.items():
    m = {n: statistics.median(v) for n, v in by.items()}
    if 'mzcanary' not in m: continue
    r = lambda n: f"{m['mzcanary']/m[n]:.2f}" if m.get(n) else '-'
    print(f"{what:22} {unit[what]:14} " + ' '.join(f"{m.get(n, float('nan')):10.1f}" for n in ('mzcanary','pgbouncer','haproxy')) + f"  {r('pgbouncer'):>10} {r('haproxy'):>9}")
P
