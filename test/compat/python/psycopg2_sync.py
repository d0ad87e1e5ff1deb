"""psycopg2: libpq's blocking interface, implicit transactions, COPY, named cursors, pool."""

import io
import select
import threading
import time

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool

import tally
from tally import MEGABYTE, NAP, ONE, RUN, wants

MINE = "SELECT version FROM sink WHERE run = %s AND n = %s AND xmin = pg_current_xact_id()::xid"
PLACE = dict(host=tally.HOST, port=tally.PORT, dbname=tally.DATABASE, user=tally.USER, password=tally.PASSWORD, sslmode="disable",
             options=tally.OPTIONS, connect_timeout=15)


def connect(**more):
    conn = psycopg2.connect(**{**PLACE, **more})
    conn.autocommit = True
    return conn


def ask(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return [r[-1] for r in cur.fetchall()]


def sign_in(conn, t):
    for user in tally.ROLES:
        c = connect(user=user)
        t.exchange(*ask(c, ONE, [1]))
        c.close()


def wrong_password(conn, t):
    with wants("28P01"):
        connect(password="wrong")


def tls(conn, t):
    c = connect(sslmode="require")
    read(c, t)
    big(c, t)
    c.close()


def read(conn, t):
    for i in range(10):
        t.exchange(*ask(conn, ONE, [i + 1]))
        if i % 3 == 0:
            time.sleep(NAP)


def rows(conn, t):
    t.same(ask(conn, "SELECT id, version FROM items"), 200)


def types(conn, t):
    with conn.cursor() as cur:
        cur.execute("SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = %s AND %s IS NULL", [6, None])
        row = cur.fetchone()
    t.exchange(row[9])
    assert row[0] == "item 6" and float(row[1]) == 7.5 and row[2] is None and row[3] == ["a6", 'b,"6'] and row[4] == {"id": 6, "n": None}, row
    assert bytes(row[5]) == b"\0\0\0\6" and row[6].timestamp() == 1709208360 and row[7] is None and row[8] == 6 / 7.0, row


def prepared(conn, t):
    with conn.cursor() as cur:
        cur.execute(f"PREPARE p{'' if tally.MATERIALIZE else '(int)'} AS SELECT version FROM items WHERE id = $1")
    try:
        for i in range(4):
            t.exchange(*ask(conn, "EXECUTE p(%s)", [i + 1]))
            time.sleep(NAP)
    finally:
        with conn.cursor() as cur:
            cur.execute("DEALLOCATE p")


def transaction(conn, t):
    """Without autocommit psycopg2 sends BEGIN and the first statement as two queries."""
    conn.autocommit = False
    try:
        for _ in range(2):
            seen = ask(conn, ONE, [1])
            time.sleep(NAP)
            seen += ask(conn, "INSERT INTO sink (run, n) VALUES (%s, 1) RETURNING version", [RUN])
            time.sleep(NAP)
            seen += ask(conn, ONE, [2])
            conn.commit()
            t.transaction(*seen)
    finally:
        conn.rollback()
        conn.autocommit = True


def failed(conn, t):
    conn.autocommit = False
    try:
        a = ask(conn, ONE, [1])
        ask_nothing(conn, "SAVEPOINT s")
        with wants(tally.DIVISION):
            ask(conn, "SELECT 1/0")
        time.sleep(NAP)
        with wants("25P02"):
            ask(conn, "SELECT 1")
        ask_nothing(conn, "ROLLBACK TO s")
        b = ask(conn, ONE, [2])
        conn.commit()
        t.transaction(*a, *b)
    finally:
        conn.rollback()
        conn.autocommit = True


def ask_nothing(conn, sql):
    with conn.cursor() as cur:
        cur.execute(sql)


def recovery(conn, t):
    for sql, code in (("SELECT 1/0", tally.DIVISION), ("SELECT * FROM no_such_table", tally.MISSING), ("SELEC", "42601")):
        with wants(code):
            ask(conn, sql)
        t.exchange(*ask(conn, ONE, [1]))


def several(conn, t):
    with conn.cursor() as cur:
        cur.execute("INSERT INTO sink (run, n) VALUES (%s, 2); SELECT min(version) FROM items UNION ALL SELECT max(version) FROM items", [RUN])
        t.same([r[0] for r in cur.fetchall()], 2)


def big(conn, t):
    with conn.cursor() as cur:
        cur.execute("SELECT body, version FROM big ORDER BY id")
        got = cur.fetchall()
    for body, _ in got:
        assert len(body) == MEGABYTE and not body.strip(body[0]), "a row came back changed"
    t.same([v for _, v in got], 3)


def copy_out(conn, t):
    out = io.StringIO()
    with conn.cursor() as cur:
        cur.copy_expert("COPY (SELECT version FROM items) TO STDOUT", out)
    t.same(out.getvalue().split(), 200)


def copy_in(conn, t):
    conn.autocommit = False
    try:
        with conn.cursor() as cur:
            cur.copy_expert("COPY sink (run, n, body) FROM STDIN", io.StringIO(tally.rows_into(3, 300)))
        time.sleep(NAP)
        t.same(ask(conn, MINE, [RUN, 3]), 300)
        conn.commit()
    finally:
        conn.rollback()
        conn.autocommit = True


def copy_in_bad(conn, t):
    with wants(tally.BAD_COPY):
        with conn.cursor() as cur:
            cur.copy_expert("COPY sink (run, n) FROM STDIN", io.StringIO(f"{RUN}\tnumber\n" + f"{RUN}\t1\n" * 20000))
    read(conn, t)


def named_cursor(conn, t):
    conn.autocommit = False
    try:
        seen = []
        with conn.cursor(name="c") as cur:
            cur.itersize = 40
            cur.execute("SELECT version FROM items ORDER BY id")
            for row in cur:
                seen.append(row[0])
                if len(seen) % 40 == 0:
                    time.sleep(NAP)
        conn.commit()
        assert len(seen) == 200, len(seen)
        t.transaction(seen[0], *set(seen))
    finally:
        conn.rollback()
        conn.autocommit = True


def values(conn, t):
    with conn.cursor() as cur:
        got = psycopg2.extras.execute_values(cur, "INSERT INTO sink (run, n) VALUES %s RETURNING version", [(RUN, 7)] * 50, fetch=True)
    t.same([r[0] for r in got], 50)


def cancel(conn, t):
    timer = threading.Timer(tally.SOON, conn.cancel)
    timer.start()
    began = time.monotonic()
    with wants("57014"):
        ask(conn, tally.SLEEP)
    timer.join()
    assert time.monotonic() - began < 5, "the cancel was slow"
    read(conn, t)


def notices(conn, t):
    del conn.notices[:]
    seen = ask(conn, "SELECT speak(3)")
    seen += [n.strip().removeprefix("NOTICE:  said by ") for n in conn.notices]
    t.same(seen, 4)


def listen(conn, t):
    channel = f"news_{conn.get_backend_pid()}"
    ask_nothing(conn, f"LISTEN {channel}")
    other = connect()
    for i in range(3):
        time.sleep(NAP)
        ask(other, "SELECT pg_notify(%s, %s)", [channel, str(i)])
        end = time.monotonic() + 10
        while not conn.notifies and time.monotonic() < end:
            select.select([conn], [], [], 1)
            conn.poll()
        assert conn.notifies and conn.notifies.pop(0).payload == str(i), "the notification got lost"
    other.close()
    ask_nothing(conn, f"UNLISTEN {channel}")


def reset(conn, t):
    conn.reset()  # ABORT, RESET ALL, SET SESSION AUTHORIZATION DEFAULT
    conn.autocommit = True
    read(conn, t)
    ask_nothing(conn, "DISCARD ALL")
    read(conn, t)


def pool(conn, t):
    p = psycopg2.pool.ThreadedConnectionPool(2, 3, **PLACE)
    try:
        for i in range(8):
            c = p.getconn()
            t.exchange(*ask(c, ONE, [i + 1]))
            p.putconn(c)  # rolls back
            time.sleep(NAP / 2)
    finally:
        p.closeall()


SETTINGS = "SELECT current_setting('cluster') || ' ' || current_setting('search_path')"


def settings(conn, t):
    """What the server says is one arm's; what the client was told is what it asked for."""
    c = connect()
    for _ in range(4):
        t.exchange(tally.arm_of(*ask(c, SETTINGS)[0].split()))
        told = c.get_parameter_status("cluster"), c.get_parameter_status("search_path")
        assert told == ("prod", "prod"), told
        time.sleep(NAP)
    c.close()


def read_transaction(conn, t):
    conn.autocommit = False
    try:
        for _ in range(2):
            seen = ask(conn, ONE, [1])
            time.sleep(NAP)
            seen.append(tally.arm_of(*ask(conn, SETTINGS)[0].split()))
            time.sleep(NAP)
            seen += ask(conn, ONE, [2])
            conn.commit()
            t.transaction(*seen)
    finally:
        conn.rollback()
        conn.autocommit = True


def failed_transaction(conn, t):
    conn.autocommit = False
    try:
        a = ask(conn, ONE, [1])
        with wants(tally.MISSING):
            ask(conn, "SELECT * FROM no_such_table")
        time.sleep(NAP)
        with wants("25P02"):
            ask(conn, "SELECT 1")
        t.transaction(*a)
    finally:
        conn.rollback()
        conn.autocommit = True
    read(conn, t)


def write_transaction(conn, t):
    run = tally.next_run()
    conn.autocommit = False
    try:
        for n in range(3):
            ask_nothing(conn, f"INSERT INTO sink (run, n) VALUES ('{run}', {n})")
            time.sleep(NAP)
        conn.commit()
    finally:
        conn.rollback()
        conn.autocommit = True
    tally.landed(t, run, 3)


def write_values(conn, t):
    run = tally.next_run()
    with conn.cursor() as cur:
        psycopg2.extras.execute_values(cur, "INSERT INTO sink (run, n) VALUES %s", [(run, 7)] * 50)
    tally.landed(t, run, 50)


def copy_rows(conn, t):
    run = tally.next_run()
    with conn.cursor() as cur:
        cur.copy_expert("COPY sink (run, n, body) FROM STDIN", io.StringIO(f"{run}\t3\thello\n" * 200))
    tally.landed(t, run, 200)


def read_several(conn, t):
    with conn.cursor() as cur:
        cur.execute(f"{tally.WAIT}; SELECT min(version) FROM items UNION ALL SELECT max(version) FROM items")
        t.same([r[0] for r in cur.fetchall()], 2)


def warned(conn, t):
    del conn.notices[:]
    for _ in range(3):
        ask_nothing(conn, "COMMIT")
        read(conn, t)
    heard = [n.strip() for n in conn.notices]
    assert heard == ["WARNING:  there is no transaction in progress"] * 3, heard


def own_names(conn, t):
    for sql in ("SET search_path = prod, public", "SET cluster = prod", "SET schema = prod"):
        ask_nothing(conn, sql)
        read(conn, t)
    told = conn.get_parameter_status("cluster"), conn.get_parameter_status("search_path")
    assert told == ("prod", "prod"), told


def discard_all(conn, t):
    ask_nothing(conn, "DISCARD ALL")
    if tally.RESTORES:
        read(conn, t)
    else:
        with wants(tally.MISSING):
            ask(conn, ONE, [1])
    ask_nothing(conn, "SET cluster = prod; SET search_path = prod")
    read(conn, t)


def subscribe_cursor(conn, t):
    conn.autocommit = False
    try:
        ask_nothing(conn, "DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)")
        seen = []
        for _ in range(3):
            seen += ask(conn, "FETCH ALL c WITH (timeout = '120ms')")
        conn.commit()
        assert seen, "no changes"
        t.transaction(*seen)
    finally:
        conn.rollback()
        conn.autocommit = True


CHECKS = tally.choose([
    (tally.SIGN_IN, sign_in), ("wrong password", wrong_password), ("TLS, reads and 1 MB rows", tls), ("read", read), ("200 rows", rows),
    ("types and NULLs", types), ("prepared statement by SQL", prepared),
    ("error and recovery", recovery), ("1 MB rows", big), ("COPY out", copy_out),
    ("COPY in refused by the server", copy_in_bad), ("named cursor", named_cursor), ("cancel", cancel), ("pool", pool),
], postgres=[
    ("transaction", transaction), ("failed transaction and savepoint", failed), ("several statements in one query", several), ("COPY in", copy_in),
    ("execute_values", values), ("notices", notices), ("LISTEN and NOTIFY", listen), ("reset and DISCARD ALL", reset),
], materialize=[
    ("settings as the server and the client see them", settings), ("transaction", read_transaction), ("failed transaction", failed_transaction),
    ("write transaction", write_transaction), ("execute_values", write_values), ("several statements in one query", read_several), ("COPY in", copy_rows),
    ("notices", warned), ("own SET of cluster and search_path", own_names), ("DISCARD ALL", discard_all), ("SUBSCRIBE by a cursor", subscribe_cursor),
])

if __name__ == "__main__":
    tally.work(tally.Tally("psycopg2", psycopg2.__version__.split()[0]), CHECKS, connect, lambda c: c.close())
