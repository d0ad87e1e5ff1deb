"""psycopg 3 on asyncio: what differs from the blocking one is how it waits and reads."""

import asyncio
import os

# The system's libpq, not the newer one that the package brings: only older ones hang on
# TLS records over 8 KiB, which is what the reads over TLS are here to find.
os.environ.setdefault("PSYCOPG_IMPL", "python")

import psycopg  # noqa: E402
import psycopg_pool

import tally
from tally import MEGABYTE, NAP, ONE, RUN, wants

MINE = "SELECT version FROM sink WHERE run = %s AND n = %s AND xmin = pg_current_xact_id()::xid"
PLACE = dict(host=tally.HOST, port=tally.PORT, dbname=tally.DATABASE, user=tally.USER, password=tally.PASSWORD, options=tally.OPTIONS,
             connect_timeout=15, autocommit=True)


async def connect(sslmode="disable", **more):
    return await psycopg.AsyncConnection.connect(sslmode=sslmode, **{**PLACE, **more})


async def one(conn, i, prepare=None):
    return (await (await conn.execute(ONE, [i], prepare=prepare)).fetchone())[0]


async def sign_in(conn, t):
    for user in tally.ROLES:
        async with await connect(user=user) as c:
            t.exchange(await one(c, 1))


async def wrong_password(conn, t):
    with wants("28P01"):
        await connect(password="wrong")


async def sizes_by_tls(conn, t):
    """TLS records of more than 8 KiB hang libpq's asynchronous reading: sizes around 8, 16 and 80 KiB."""
    async with await connect(sslmode="require") as c:
        for size in [s + d for s in (8192, 16384, 81920) for d in (-200, -64, -13, -5, -1, 0, 1, 7, 100)]:
            body, v = await (await c.execute("SELECT repeat('x', %s), version FROM items WHERE id = 1", [size])).fetchone()
            assert len(body) == size
            t.exchange(v)
        await read(c, t)
        await big(c, t)


async def read(conn, t):
    for i in range(10):
        t.exchange(await one(conn, i + 1, prepare=i % 2 == 0))
        if i % 3 == 0:
            await asyncio.sleep(NAP)


async def rows(conn, t):
    t.same([r[0] for r in await (await conn.execute("SELECT version FROM items")).fetchall()], 200)


async def streamed(conn, t):
    """Single-row mode: the exchange ends with the last row that is taken."""
    seen = []
    async for row in conn.cursor().stream("SELECT version FROM items ORDER BY id"):
        seen.append(row[0])
        if len(seen) % 50 == 0:
            await asyncio.sleep(NAP)
    t.same(seen, 200)


async def transaction(conn, t):
    async with conn.transaction():
        a = await one(conn, 1)
        await asyncio.sleep(NAP)
        b = (await (await conn.execute("INSERT INTO sink (run, n) VALUES (%s, 1) RETURNING version", [RUN])).fetchone())[0]
        await asyncio.sleep(NAP)
        c = await one(conn, 2)
    t.transaction(a, b, c)


async def savepoint(conn, t):
    async with conn.transaction():
        a = await one(conn, 1)
        with wants(tally.DIVISION):
            async with conn.transaction():
                await conn.execute("SELECT 1/0")
        await asyncio.sleep(NAP)
        b = await one(conn, 2)
    t.transaction(a, b)


async def recovery(conn, t):
    for sql, code in (("SELECT 1/0", tally.DIVISION), ("SELECT * FROM no_such_table", tally.MISSING)):
        with wants(code):
            await conn.execute(sql)
        t.exchange(await one(conn, 1))


async def big(conn, t):
    got = await (await conn.execute("SELECT body, version FROM big ORDER BY id")).fetchall()
    for body, _ in got:
        assert len(body) == MEGABYTE and not body.strip(body[0]), "a row came back changed"
    t.same([v for _, v in got], 3)


async def copy_out(conn, t):
    async with conn.cursor().copy("COPY (SELECT version FROM items) TO STDOUT") as copy:
        got = [r[0] async for r in copy.rows()]
    t.same(got, 200)


async def copy_in(conn, t):
    async with conn.transaction():
        async with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN") as copy:
            for _ in range(6):
                await copy.write(tally.rows_into(3, 50))
                await asyncio.sleep(0.005)
        t.same([r[0] for r in await (await conn.execute(MINE, [RUN, 3])).fetchall()], 300)


async def copy_in_bad(conn, t):
    with wants(tally.BAD_COPY):
        async with conn.cursor().copy("COPY sink (run, n) FROM STDIN") as copy:
            await copy.write(f"{RUN}\tnumber\n" + f"{RUN}\t1\n" * 20000)
    await read(conn, t)


async def server_cursor(conn, t):
    async with conn.transaction():
        seen = []
        async with conn.cursor(name="c") as cur:
            cur.itersize = 40
            await cur.execute("SELECT version FROM items ORDER BY id")
            async for row in cur:
                seen.append(row[0])
                if len(seen) % 40 == 0:
                    await asyncio.sleep(NAP)
        assert len(seen) == 200, len(seen)
        t.transaction(seen[0], *set(seen))


async def pipeline(conn, t):
    async with conn.pipeline() as p:
        for _ in range(3):
            curs = [await conn.execute(ONE, [i + 1]) for i in range(5)]
            await asyncio.sleep(0.01)
            await p.sync()
            t.same([(await c.fetchone())[0] for c in curs], 5)


async def pipeline_error(conn, t):
    with wants(tally.DIVISION):
        async with conn.pipeline():
            await conn.execute(ONE, [1])
            await conn.execute("SELECT 1/%s", [0])
            await conn.execute(ONE, [2])
    await read(conn, t)


async def cancel(conn, t):
    began = asyncio.get_running_loop().time()
    sleeping = asyncio.create_task(conn.execute(tally.SLEEP))
    await asyncio.sleep(tally.SOON)
    await conn.cancel_safe()
    with wants("57014"):
        await sleeping
    assert asyncio.get_running_loop().time() - began < 5, "the cancel was slow"
    await read(conn, t)


async def cancelled_task(conn, t):
    """asyncio's own cancellation makes psycopg cancel the statement and keep the connection."""
    sleeping = asyncio.create_task(conn.execute(tally.SLEEP))
    await asyncio.sleep(tally.SOON)
    sleeping.cancel()
    try:
        await sleeping
    except asyncio.CancelledError:
        pass
    await read(conn, t)


async def listen(conn, t):
    channel = f"news_{conn.info.backend_pid}"
    await conn.execute(f"LISTEN {channel}")
    async with await connect() as other:
        for i in range(3):
            await asyncio.sleep(NAP)
            await other.execute("SELECT pg_notify(%s, %s)", [channel, str(i)])
            got = [n.payload async for n in conn.notifies(timeout=10, stop_after=1)]
            assert got == [str(i)], got
    await conn.execute(f"UNLISTEN {channel}")


async def pool(conn, t):
    async def give_back(c):
        await c.execute("SET search_path = prod; SET cluster = prod" if tally.MATERIALIZE else "RESET ALL")

    async with psycopg_pool.AsyncConnectionPool(open=False, min_size=2, max_size=3, reset=give_back, kwargs=dict(sslmode="disable", **PLACE)) as p:
        async def use():
            for i in range(4):
                async with p.connection() as c:
                    t.exchange(await one(c, i + 1))
                await asyncio.sleep(NAP)

        await asyncio.gather(use(), use(), use(), use())


async def settings(conn, t):
    """What the server says is one arm's; what the client was told is what it asked for."""
    async with await connect() as c:
        for _ in range(4):
            t.exchange(tally.arm_of(*await (await c.execute("SELECT current_setting('cluster'), current_setting('search_path')")).fetchone()))
            told = c.info.parameter_status("cluster"), c.info.parameter_status("search_path")
            assert told == ("prod", "prod"), told
            await asyncio.sleep(NAP)


async def read_transaction(conn, t):
    async with conn.transaction():
        seen = [await one(conn, 1)]
        await asyncio.sleep(NAP)
        seen.append(tally.arm_of(*await (await conn.execute("SELECT current_setting('cluster'), current_setting('search_path')")).fetchone()))
        await asyncio.sleep(NAP)
        seen.append(await one(conn, 2))
    t.transaction(*seen)


async def write_transaction(conn, t):
    run = tally.next_run()
    async with conn.transaction():
        for n in range(3):
            await conn.execute("INSERT INTO sink (run, n) VALUES (%s, %s)", [run, n])
            await asyncio.sleep(NAP)
    await asyncio.to_thread(tally.landed, t, run, 3)


async def copy_rows(conn, t):
    run = tally.next_run()
    async with conn.cursor().copy("COPY sink (run, n, body) FROM STDIN") as copy:
        for _ in range(4):
            await copy.write(f"{run}\t3\thello\n" * 50)
            await asyncio.sleep(0.02)
    await asyncio.to_thread(tally.landed, t, run, 200)


async def subscribe(conn, t):
    """Rows as they come, until the client cancels: once it has some, for a stream may have to wait for its turn."""
    seen, asked = [], None
    with wants("57014"):
        async for row in conn.cursor().stream("SUBSCRIBE (SELECT n, version FROM news)"):
            seen.append(row[-1])
            if len(seen) == 3:
                asked = asyncio.create_task(conn.cancel_safe())
    await asked
    t.exchange(*seen)
    await read(conn, t)


async def discard_all(conn, t):
    await conn.execute("DISCARD ALL")
    if tally.RESTORES:
        await read(conn, t)
    else:
        with wants(tally.MISSING):
            await one(conn, 1)
    await conn.execute("SET cluster = prod")
    await conn.execute("SET search_path = prod")
    await read(conn, t)


CHECKS = tally.choose([
    (tally.SIGN_IN, sign_in), ("wrong password", wrong_password), ("TLS, result sizes around 8, 16 and 80 KiB, reads, 1 MB", sizes_by_tls),
    ("read, prepared and not", read), ("200 rows", rows), ("rows streamed one by one", streamed),
    ("error and recovery", recovery), ("1 MB rows", big), ("COPY out", copy_out),
    ("COPY in refused by the server", copy_in_bad), ("server-side cursor", server_cursor), ("pipeline with several Syncs", pipeline),
    ("pipeline with an error", pipeline_error), ("cancel", cancel), ("cancelled task", cancelled_task),
], postgres=[
    ("transaction", transaction), ("savepoint after an error", savepoint), ("COPY in", copy_in), ("LISTEN and NOTIFY", listen), ("pool with RESET ALL", pool),
], materialize=[
    ("settings as the server and the client see them", settings), ("transaction", read_transaction), ("write transaction", write_transaction),
    ("COPY in", copy_rows), ("SUBSCRIBE, row by row, cancelled", subscribe), ("DISCARD ALL", discard_all), ("pool with a reset of its own", pool),
])

if __name__ == "__main__":
    asyncio.run(tally.work_async(tally.Tally("psycopg3 async", psycopg.__version__), CHECKS, connect, lambda c: c.close()))
