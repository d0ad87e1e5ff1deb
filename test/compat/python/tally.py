"""What a driver saw, and the loops that let workers go through the checks.

Threads and tasks share one Tally; every change is one step under its lock.
"""

import asyncio
import itertools
import json
import os
import threading
import time
import traceback

HOST = os.environ["COMPAT_HOST"]
PORT = int(os.environ["COMPAT_PORT"])
DATABASE = os.environ["COMPAT_DATABASE"]
USER = os.environ["COMPAT_USER"]
PASSWORD = os.environ["COMPAT_PASSWORD"]
RUN = os.environ["COMPAT_RUN"]
SECONDS = float(os.environ["COMPAT_SECONDS"])

# What differs between the servers.
MATERIALIZE = os.environ["COMPAT_SERVER"] == "materialize"
PROXIED = os.environ["COMPAT_WAY"] == "proxied"
if MATERIALIZE:
    ROLES = [USER]
    SIGN_IN = "sign in by the server's kind"
    LIVE = dict(search_path="prod", cluster="prod")
    SLEEP = "SELECT version FROM slow"  # eight seconds unless it is cancelled
    SOON = 0.15  # when that is done
    WAIT = "SELECT version FROM pause WHERE id = 1"
    DIVISION, MISSING, BAD_COPY = os.environ["COMPAT_DIVISION"], "XX000", "22P04"
    RESTORES = os.environ["COMPAT_RESETS"] == "startup"  # RESET and DISCARD ALL give back what the session started with
    TOLD = os.environ["COMPAT_TOLD"]  # what ParameterStatus says of search_path after a RESET
else:
    ROLES = ["compat_trust", "compat_password", "compat_md5", "compat_scram"]
    SIGN_IN = "sign in with trust, password, md5, scram"
    LIVE = dict(search_path="prod")
    SLEEP, WAIT, SOON = "SELECT pg_sleep(8)", "SELECT pg_sleep(0.03)", 0.06
    DIVISION, MISSING, BAD_COPY = "22012", "42P01", "22P02"
OPTIONS = " ".join(f"-c{k}={v}" for k, v in LIVE.items())
ONE = "SELECT version FROM items WHERE id = %s"
MEGABYTE = 1 << 20
NAP = 0.025  # as long as an application thinks: the weight may flip meanwhile
WORKERS = 3
PATIENCE = 20  # seconds for one check; only reached when something hangs


class Tally:
    def __init__(self, driver, version):
        self.driver, self.version = driver, version
        self.lock = threading.Lock()
        self.checks = {}
        self.counts = dict(exchanges=0, old=0, new=0, mixed=0, strange=0, transactions=0, errors=0)

    def exchange(self, *versions):
        """Takes the versions of all answers of one exchange."""
        with self.lock:
            self.counts["exchanges"] += 1
            kinds = set(versions)
            if not kinds:
                return
            if not kinds <= {"old", "new"}:
                self.counts["strange"] += 1
            elif len(kinds) > 1:
                self.counts["mixed"] += 1
            else:
                self.counts[kinds.pop()] += 1

    def transaction(self, *versions):
        """Takes one version per exchange of a transaction."""
        for v in versions:
            self.exchange(v)
        with self.lock:
            self.counts["transactions"] += 1
            self.counts["mixed"] += len(set(versions)) > 1

    def same(self, versions, want):
        """Rows that must all be of one version."""
        self.exchange(*versions)
        if len(versions) != want:
            raise AssertionError(f"{len(versions)} rows instead of {want}")

    def checked(self, name, error=None):
        with self.lock:
            c = self.checks.setdefault(name, dict(name=name, ok=True, runs=0, detail=""))
            c["runs"] += 1
            if error is not None:
                self.counts["errors"] += 1
                if c["ok"]:
                    where = traceback.extract_tb(error.__traceback__)
                    line = f" (line {where[-1].lineno if len(where) < 2 else where[1].lineno})" if where else ""
                    c["ok"], c["detail"] = False, f"{type(error).__name__}: {error}"[:1500] + line

    def print(self):
        print(json.dumps(dict(driver=self.driver, version=self.version, checks=list(self.checks.values()), **self.counts)))


def work(tally, checks, connect, close):
    """Worker threads go through (name, function(session, tally)) until the time is over."""
    end = time.monotonic() + SECONDS
    rounds = -(-len(checks) // WORKERS)

    def worker(w):
        session, i = None, 0
        while i < rounds or time.monotonic() < end:
            name, run = checks[(i + w * len(checks) // WORKERS) % len(checks)]
            i += 1
            try:
                if session is None:
                    name, was = "connect", name
                    session = connect()
                    tally.checked(name)
                    name = was
                run(session, tally)
                tally.checked(name)
            except Exception as e:
                tally.checked(name, e)
                if session is not None:
                    quietly(close, session)
                    session = None
        if session is not None:
            quietly(close, session)

    threads = [threading.Thread(target=worker, args=(w,)) for w in range(WORKERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    tally.print()


async def work_async(tally, checks, connect, close):
    """The same with tasks."""
    end = time.monotonic() + SECONDS
    rounds = -(-len(checks) // WORKERS)

    async def worker(w):
        session, i = None, 0
        while i < rounds or time.monotonic() < end:
            name, run = checks[(i + w * len(checks) // WORKERS) % len(checks)]
            i += 1
            try:
                async with asyncio.timeout(PATIENCE):
                    if session is None:
                        name, was = "connect", name
                        session = await connect()
                        tally.checked(name)
                        name = was
                    await run(session, tally)
                tally.checked(name)
            except Exception as e:
                tally.checked(name, e)
                if session is not None:
                    await quietly_async(close, session)
                    session = None
        if session is not None:
            await quietly_async(close, session)

    await asyncio.gather(*(worker(w) for w in range(WORKERS)))
    tally.print()


def quietly(close, session):
    try:
        close(session)
    except Exception:
        pass  # it failed already, and that was counted


async def quietly_async(close, session):
    try:
        await close(session)
    except Exception:
        pass  # it failed already, and that was counted


class wants:
    """Turns one expected SQLSTATE into none: with wants("22012"): ..."""

    def __init__(self, code):
        self.code = code

    def __enter__(self):
        return self

    def __exit__(self, kind, error, tb):
        if error is None:
            raise AssertionError(f"no error instead of {self.code}")
        orig = getattr(error, "orig", error)  # SQLAlchemy wraps
        state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
        if state is None and self.code == "28P01" and ("password authentication failed" in str(error) or "invalid password" in str(error)):
            return True  # libpq gives no SQLSTATE for a refused login
        if state != self.code:
            raise AssertionError(f"{state} ({error}) instead of {self.code}") from error
        return True


def rows_into(n, count):
    """COPY text of count rows with n as their number."""
    return f"{RUN}\t{n}\thello\n" * count


def choose(common, postgres, materialize):
    """The checks for the server that this is."""
    return common + (materialize if MATERIALIZE else postgres)


def arm_of(cluster, path):
    """The version that a pair of settings means; half a move is none."""
    return {("prod", "prod"): "old", ("prod_deploy", "prod_deploy"): "new"}.get((cluster, path), f"cluster {cluster} with search_path {path}")


serials = itertools.count(1)


def next_run():
    """Numbers what is written, so that it can be counted."""
    return f"{RUN}-{next(serials)}"


def landed(t, run, want):
    """Counts what was written under a name, on a session that belongs to neither version: all of it must be in one."""
    import psycopg

    with psycopg.connect(host=HOST, port=PORT, dbname=DATABASE, user=USER, password=PASSWORD, sslmode="disable", autocommit=True,
                         options="-csearch_path=public -ccluster=quickstart") as c:
        old, new = c.execute("SELECT (SELECT count(*) FROM prod.sink WHERE run = %s), (SELECT count(*) FROM prod_deploy.sink WHERE run = %s)", [run, run]).fetchone()
    t.exchange(*(["old"] if old else []), *(["new"] if new else []))
    assert old + new == want, f"{old + new} rows were written instead of {want}"
