"""psycopg 3, blocking: both cursors, pipelines, COPY, server-side cursors, pool."""

import datetime
import threading
import time

import psycopg
import psycopg_pool

import tally
from tally import MEGABYTE, NAP, ONE, RUN, wants

MINE = "SELECT version FROM sink WHERE run = %s AND n = %s AND xmin = pg_current_xact_id()::xid"


def connect(user=tally.USER, password=tally.PASSWORD, sslmode="disable", **more):
    return psycopg.connect(host=tally.HOST, port=tally.PORT, dbname=tally.DATABASE, user=user, password=password, sslmode=sslmode,
                           options=tally.OPTIONS, connect_timeout=15, autocommit=True, **more)


def versions(cursor):
    return [r[-1] for r in cursor.fetchall()]


def sign_in(conn, t):
    for user in tally.ROLES:
        with connect(user=user) as c:
            t.exchange(c.execute(ONE, [1]).fetchone()[0])


def wrong_password(conn, t):
    with wants("28P01"):
        connect(password="wrong")


def tls(conn, t):
    with connect(sslmode="require") as c:
        prepared(c, t)
        big(c, t)


def newer_protocol(conn, t):
    """A client that asks for protocol 3.2 and makes do with 3.0. Materialize itself refuses it."""
    if tally.MATERIALIZE and not tally.PROXIED:
        try:
            connect(max_protocol_version="3.2").close()
        except psycopg.OperationalError as e:
            assert "does not support the client's requested protocol version" in str(e), e
            return
        raise AssertionError("the server took protocol 3.2")
    with connect(max_protocol_version="3.2") as c:
        prepared(c, t)


def unprepared(conn, t):
    for _ in range(6):
        t.same(versions(conn.execute("SELECT version FROM items WHERE id < 4", prepare=False)), 3)


def prepared(conn, t):
    for i in range(10):
        t.exchange(conn.execute(ONE, [i + 1], prepare=True).fetchone()[0])
        if i % 3 == 0:
            time.sleep(NAP)


def idle(conn, t):
    time.sleep(0.12)
    prepared(conn, t)


def rows(conn, t):
    t.same(versions(conn.execute("SELECT id, version FROM items WHERE id > %s", [0])), 200)


def types(conn, t):
    for binary in (False, True):
        cur = conn.cursor(binary=binary)
        row = cur.execute("SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = %s AND %s::text IS NULL AND made > %s",
                          [6, None, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]).fetchone()
        t.exchange(row[9])
        assert row[0] == "item 6" and float(row[1]) == 7.5 and row[2] is None and row[3] == ["a6", 'b,"6'] and row[4] == {"id": 6, "n": None}, row
        assert bytes(row[5]) == b"\0\0\0\6" and row[6].timestamp() == 1709208360 and row[7] is None and row[8] == 6 / 7.0, row


def transaction(conn, t):
    with conn.transaction():
        a = conn.execute(ONE, [1]).fetchone()[0]
        time.sleep(NAP)
        b = conn.execute("INSERT INTO sink (run, n) VALUES (%s, 1) RETURNING version", [RUN]).fetchone()[0]
        time.sleep(NAP)
        c = conn.execute(ONE, [2]).fetchone()[0]
    t.transaction(a, b, c)


def implicit(conn, t):
    """Without autocommit, as most programs use it: BEGIN comes with the first statement."""
    with connect() as c:
        c.autocommit = False
        for _ in range(3):
            seen = []
            for i in range(3):
                seen.append(c.execute(ONE, [i + 1]).fetchone()[0])
                time.sleep(NAP)
            c.commit()
            t.transaction(*seen)


def savepoint(conn, t):
    with conn.transaction():
        a = conn.execute(ONE, [1]).fetchone()[0]
        with wants(tally.DIVISION):
            with conn.transaction():
                conn.execute("SELECT 1/0")
        time.sleep(NAP)
        b = conn.execute(ONE, [2]).fetchone()[0]
    t.transaction(a, b)


def recovery(conn, t):
    for sql, code in (("SELECT 1/0", tally.DIVISION), ("SELECT * FROM no_such_table", tally.MISSING), ("SELEC", "42601")):
        with wants(code):
            conn.execute(sql)
        t.exchange(conn.execute(ONE, [1]).fetchone()[0])


def failed_transaction(conn, t):
    conn.execute("BEGIN")
    with wants(tally.DIVISION):
        conn.execute("SELECT 1/0")
    time.sleep(NAP)
    with wants("25P02"):
        conn.execute("SELECT 1")
    conn.execute("ROLLBACK")
    prepared(conn, t)


def several(conn, t):
    cur = psycopg.ClientCursor(conn)
    cur.execute(f"SELECT version FROM items WHERE id = 1; {tally.WAIT}; SELECT version FROM items WHERE id = 2")
    first = cur.fetchone()[0]
    cur.nextset()
    cur.nextset()
    t.same([first, cur.fetchone()[0]], 2)


def big(conn, t):
    got = conn.execute("SELECT body, version FROM big ORDER BY id").fetchall()
    for body, _ in got:
        assert len(body) == MEGABYTE and not body.strip(body[0]), "a row came back changed"
    t.same([v for _, v in got], 3)


def copy_out(conn, t):
    with conn.cursor().copy("COPY (SELECT id, version FROM items) TO STDOUT") as copy:
        got = [r[1] for r in copy.rows()]
    t.same(got, 200)


def copy_out_slowly(conn, t):
    with conn.cursor().copy("COPY (SELECT version, repeat('x', 2000) FROM items) TO STDOUT") as copy:
        got = []
        for i, row in enumerate(copy.rows()):
            got.append(row[0])
            if i % 50 == 0:
                time.sleep(NAP)
    t.same(got, 200)


def copy_in(conn, t):
    with conn.transaction():
        with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN") as copy:
            for i in range(300):
                copy.write_row((RUN, 3, None))
                if i == 150:
                    time.sleep(NAP)
        t.same(versions(conn.execute(MINE, [RUN, 3])), 300)
    with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN") as copy:
        copy.write(tally.rows_into(4, 50))
    t.exchange()


def copy_in_binary(conn, t):
    with conn.transaction():
        with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "int4", "text"])
            for _ in range(100):
                copy.write_row((RUN, 5, "x"))
        t.same(versions(conn.execute(MINE, [RUN, 5])), 100)


def copy_in_bad(conn, t):
    with wants(tally.BAD_COPY):
        with conn.cursor().copy("COPY sink (run, n) FROM STDIN") as copy:
            copy.write(f"{RUN}\t1\n{RUN}\tnumber\n" + f"{RUN}\t1\n" * 20000)
    prepared(conn, t)


def copy_in_given_up(conn, t):
    with wants("57014"):
        with conn.cursor().copy("COPY sink (run, n) FROM STDIN") as copy:
            copy.write(f"{RUN}\t1\n")
            raise psycopg.errors.QueryCanceled("the client changed its mind")
    prepared(conn, t)


def server_cursor(conn, t):
    with conn.transaction():
        seen = []
        with conn.cursor(name="c") as cur:
            cur.itersize = 40
            cur.execute("SELECT version FROM items ORDER BY id")
            for i, row in enumerate(cur):
                seen.append(row[0])
                if i % 40 == 0:
                    time.sleep(NAP)
        assert len(seen) == 200, len(seen)
        t.transaction(seen[0], *set(seen))


def held_cursor(conn, t):
    """WITH HOLD outlives its transaction and the moves between the fetches."""
    with conn.cursor(name="kept", withhold=True) as cur:
        cur.execute("SELECT version FROM items ORDER BY id")
        seen = []
        for _ in range(4):
            seen += [r[0] for r in cur.fetchmany(50)]
            time.sleep(NAP)
    t.same(seen, 200)


def pipeline(conn, t):
    with conn.pipeline() as p:
        for _ in range(3):
            curs = [conn.execute(ONE, [i + 1]) for i in range(5)]
            time.sleep(0.01)
            p.sync()
            t.same([c.fetchone()[0] for c in curs], 5)


def pipeline_fetching(conn, t):
    """Fetching inside a pipeline flushes without a Sync."""
    with conn.pipeline():
        seen = []
        for i in range(4):
            seen.append(conn.execute(ONE, [i + 1]).fetchone()[0])
    t.exchange(seen[0])


def pipeline_transaction(conn, t):
    with conn.pipeline(), conn.transaction():
        a = conn.execute(ONE, [1])
        b = conn.execute("INSERT INTO sink (run, n) VALUES (%s, 6) RETURNING version", [RUN])
        seen = [a.fetchone()[0], b.fetchone()[0]]
        time.sleep(NAP)
        seen.append(conn.execute(ONE, [2]).fetchone()[0])
    t.transaction(*seen)


def pipeline_error(conn, t):
    with wants(tally.DIVISION):
        with conn.pipeline():
            conn.execute(ONE, [1])
            conn.execute("SELECT 1/%s", [0])
            conn.execute(ONE, [2])
    prepared(conn, t)


def many(conn, t):
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO sink (run, n) VALUES (%s, %s) RETURNING version", [(RUN, 7)] * 30, returning=True)
        seen = []
        for _ in range(30):
            seen.append(cur.fetchone()[0])
            cur.nextset()
    t.exchange(*seen)  # executemany is one pipeline


def cancel(conn, t):
    for ask in (conn.cancel_safe, conn.cancel):
        timer = threading.Timer(tally.SOON, ask)
        timer.start()
        began = time.monotonic()
        with wants("57014"):
            conn.execute(tally.SLEEP)
        timer.join()
        assert time.monotonic() - began < 5, "the cancel was slow"
        prepared(conn, t)


def notices(conn, t):
    seen = []
    handler = lambda d: seen.append(d.message_primary.removeprefix("said by "))
    conn.add_notice_handler(handler)
    try:
        seen.append(conn.execute("SELECT speak(3)").fetchone()[0])
    finally:
        conn.remove_notice_handler(handler)
    t.same(seen, 4)


def listen(conn, t):
    channel = f"news_{conn.info.backend_pid}"
    conn.execute(f"LISTEN {channel}")
    with connect() as other:
        for i in range(3):
            time.sleep(NAP)
            other.execute("SELECT pg_notify(%s, %s)", [channel, str(i)])
            got = [n.payload for n in conn.notifies(timeout=10, stop_after=1)]
            assert got == [str(i)], got
    conn.execute(f"UNLISTEN {channel}")


def reset(conn, t):
    conn.execute("DISCARD ALL")
    prepared(conn, t)  # psycopg recognises DISCARD ALL and forgets its statements


def own_set(conn, t):
    conn.execute("SET search_path = prod, public")
    prepared(conn, t)
    conn.execute("RESET search_path")
    prepared(conn, t)


def pool(conn, t):
    def give_back(c):
        c.execute("SET search_path = prod; SET cluster = prod" if tally.MATERIALIZE else "RESET ALL")

    with psycopg_pool.ConnectionPool(open=True, min_size=2, max_size=3, reset=give_back, check=psycopg_pool.ConnectionPool.check_connection, kwargs=dict(
            host=tally.HOST, port=tally.PORT, dbname=tally.DATABASE, user=tally.USER, password=tally.PASSWORD, sslmode="disable",
            options=tally.OPTIONS, autocommit=True)) as p:
        for i in range(8):
            with p.connection() as c:
                t.exchange(c.execute(ONE, [i + 1]).fetchone()[0])
            time.sleep(NAP / 2)


def settings(conn, t):
    """What SHOW says is one arm's; what the client was told is what it asked for, wherever it is."""
    with connect() as c:
        for _ in range(4):
            cur = psycopg.ClientCursor(c)
            cur.execute("SHOW cluster; SHOW search_path")
            cluster = cur.fetchone()[0]
            cur.nextset()
            t.exchange(tally.arm_of(cluster, cur.fetchone()[0]))
            told(c, "prod", "prod")
            time.sleep(NAP)
        t.exchange(tally.arm_of(*c.execute("SELECT current_setting('cluster'), current_setting('search_path')").fetchone()))


def told(conn, cluster, path):
    got = conn.info.parameter_status("cluster"), conn.info.parameter_status("search_path")
    assert got == (cluster, path), got


def read_transaction(conn, t):
    with conn.transaction():
        seen = [conn.execute(ONE, [1]).fetchone()[0]]
        time.sleep(NAP)
        seen.append(tally.arm_of(*conn.execute("SELECT current_setting('cluster'), current_setting('search_path')").fetchone()))
        time.sleep(NAP)
        seen.append(conn.execute(ONE, [2]).fetchone()[0])
    t.transaction(*seen)


def write_transaction(conn, t):
    run = tally.next_run()
    with conn.transaction():
        for n in range(3):
            conn.execute("INSERT INTO sink (run, n) VALUES (%s, %s)", [run, n])
            time.sleep(NAP)
    tally.landed(t, run, 3)


def write_many(conn, t):
    """executemany is one pipeline, and so one exchange."""
    run = tally.next_run()
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO sink (run, n) VALUES (%s, %s)", [(run, n) for n in range(30)])
    tally.landed(t, run, 30)


def copy_rows(conn, t):
    for in_transaction in (True, False):
        run = tally.next_run()
        if in_transaction:
            conn.execute("BEGIN")
        with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN") as copy:
            for i in range(200):
                copy.write_row((run, 3, None))
                if i == 100:
                    time.sleep(NAP)
        if in_transaction:
            conn.execute("COMMIT")
        tally.landed(t, run, 200)


def read_pipeline_transaction(conn, t):
    with conn.pipeline(), conn.transaction():
        curs = [conn.execute(ONE, [i + 1]) for i in range(3)]
        seen = [c.fetchone()[0] for c in curs]
        time.sleep(NAP)
        seen.append(conn.execute(ONE, [2]).fetchone()[0])
    t.transaction(*seen)


def warned(conn, t):
    heard = []
    handler = lambda d: heard.append(d.message_primary)
    conn.add_notice_handler(handler)
    try:
        for _ in range(3):
            conn.execute("COMMIT")
            prepared(conn, t)
    finally:
        conn.remove_notice_handler(handler)
    assert heard == ["there is no transaction in progress"] * 3, heard


def own_names(conn, t):
    for sql, path in (("SET search_path = prod, public", "prod, public"), ("SET cluster = prod", "prod, public"), ("SET schema = prod", "prod")):
        conn.execute(sql)
        told(conn, "prod", path)
        for _ in range(2):
            prepared(conn, t)


def other_names(conn, t):
    """It must see what it asked for, be left alone, and be moved again once it comes back."""
    conn.execute("SET search_path = public")
    conn.execute("SET cluster = quickstart")
    for _ in range(3):
        got = conn.execute("SELECT current_setting('cluster'), current_setting('search_path')").fetchone()
        assert got == ("quickstart", "public"), got
        with wants(tally.MISSING):
            conn.execute(ONE, [1])
        time.sleep(NAP)
    told(conn, "quickstart", "public")
    conn.execute("SET cluster = prod")
    conn.execute("SET search_path = prod")
    prepared(conn, t)
    told(conn, "prod", "prod")


def after_reset(conn, t):
    got = conn.execute("SELECT current_setting('cluster'), current_setting('search_path')").fetchone()
    if tally.RESTORES:
        t.exchange(tally.arm_of(*got))
        prepared(conn, t)
    else:
        assert got == ("quickstart", "public"), got
        with wants(tally.MISSING):
            conn.execute(ONE, [1])
    conn.execute("SET cluster = prod")
    conn.execute("SET search_path = prod")
    prepared(conn, t)


def own_reset(conn, t):
    conn.execute("RESET cluster")
    conn.execute("RESET search_path")
    assert conn.info.parameter_status("search_path") == tally.TOLD, conn.info.parameter_status("search_path")
    after_reset(conn, t)


def discard_all(conn, t):
    before = conn.info.parameter_status("search_path")
    conn.execute("DISCARD ALL")
    assert conn.info.parameter_status("search_path") == before, "DISCARD ALL tells nothing"
    after_reset(conn, t)


def subscribe_cursor(conn, t):
    with conn.transaction():
        conn.execute("DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)")
        seen = []
        for _ in range(3):
            seen += versions(conn.execute("FETCH ALL c WITH (timeout = '120ms')"))
    assert seen, "no changes"
    t.transaction(*seen)


def until_enough(conn, t, rows):
    """Takes rows as they come until the client cancels: once it has some, for a stream may have to wait for its turn."""
    seen, cancelling = [], threading.Thread(target=conn.cancel_safe)
    with wants("57014"):
        for row in rows:
            seen.append(row[-1])
            if len(seen) == 3:
                cancelling.start()
    cancelling.join()
    t.exchange(*seen)


def subscribe_stream(conn, t):
    until_enough(conn, t, conn.cursor().stream("SUBSCRIBE (SELECT n, version FROM news)"))
    prepared(conn, t)


def copy_subscribe(conn, t):
    def rows():
        with conn.cursor().copy("COPY (SUBSCRIBE (SELECT n, version FROM news)) TO STDOUT") as copy:
            yield from copy.rows()

    until_enough(conn, t, rows())
    prepared(conn, t)


CHECKS = tally.choose([
    (tally.SIGN_IN, sign_in), ("wrong password", wrong_password), ("TLS, reads and 1 MB rows", tls),
    ("protocol 3.2 asked for", newer_protocol),
    ("unprepared read", unprepared), ("prepared read", prepared), ("read after idling", idle), ("200 rows", rows),
    ("types and NULLs, text and binary", types), ("implicit transactions", implicit),
    ("error and recovery", recovery), ("failed transaction", failed_transaction), ("several statements in one query", several), ("1 MB rows", big),
    ("COPY out", copy_out), ("COPY out, read slowly", copy_out_slowly),
    ("COPY in refused by the server", copy_in_bad), ("COPY in given up by the client", copy_in_given_up), ("server-side cursor", server_cursor),
    ("pipeline with several Syncs", pipeline), ("pipeline, fetching inside", pipeline_fetching),
    ("pipeline with an error", pipeline_error), ("cancel", cancel),
], postgres=[
    ("transaction", transaction), ("savepoint after an error", savepoint), ("COPY in", copy_in), ("COPY in, binary", copy_in_binary), ("cursor WITH HOLD", held_cursor),
    ("pipeline in a transaction", pipeline_transaction), ("executemany", many), ("notices", notices), ("LISTEN and NOTIFY", listen), ("DISCARD ALL", reset),
    ("own SET search_path, RESET", own_set), ("pool with RESET ALL", pool),
], materialize=[
    ("settings as the server and the client see them", settings), ("transaction", read_transaction), ("write transaction", write_transaction),
    ("executemany", write_many), ("COPY in", copy_rows), ("pipeline in a transaction", read_pipeline_transaction), ("notices", warned),
    ("own SET of cluster and search_path", own_names), ("own SET of other names and back", other_names), ("RESET", own_reset), ("DISCARD ALL", discard_all),
    ("SUBSCRIBE by a cursor", subscribe_cursor), ("SUBSCRIBE, row by row, cancelled", subscribe_stream), ("COPY of a SUBSCRIBE, cancelled", copy_subscribe),
    ("pool with a reset of its own", pool),
])

if __name__ == "__main__":
    version = f"{psycopg.__version__}, libpq {psycopg.pq.version() // 10000}.{psycopg.pq.version() % 10000}"
    tally.work(tally.Tally("psycopg3 sync", version), CHECKS, connect, lambda c: c.close())
