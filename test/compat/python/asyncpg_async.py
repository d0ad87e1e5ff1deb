"""asyncpg: its own protocol code. A statement's first use is Parse, Describe and Flush without a Sync."""

import asyncio
import datetime
import io

import asyncpg

import tally
from tally import MEGABYTE, NAP, RUN, wants

ONE = "SELECT version FROM items WHERE id = $1"
PLACE = dict(host=tally.HOST, port=tally.PORT, database=tally.DATABASE, user=tally.USER, password=tally.PASSWORD, timeout=15,
             server_settings=tally.LIVE)


async def connect(ssl=False, **more):
    return await asyncpg.connect(**{**PLACE, "ssl": ssl, **more})


async def sign_in(conn, t):
    for user in tally.ROLES:
        c = await connect(user=user)
        t.exchange(await c.fetchval(ONE, 1))
        await c.close()


async def wrong_password(conn, t):
    with wants("28P01"):
        await connect(password="wrong")


async def tls(conn, t):
    c = await connect(ssl="require")
    await read(c, t)
    await big(c, t)
    await c.close()


async def read(conn, t):
    for i in range(10):
        t.exchange(await conn.fetchval(ONE, i + 1))
        if i % 3 == 0:
            await asyncio.sleep(NAP)


async def fresh(conn, t):
    """Texts never seen before: each needs its own Parse and Flush."""
    for i in range(6):
        fresh.serial += 1
        t.exchange(await conn.fetchval(f"SELECT version /* {fresh.serial} */ FROM items WHERE id = $1", i + 1))


fresh.serial = 0


async def uncached(conn, t):
    c = await connect(statement_cache_size=0)
    for i in range(6):
        t.exchange(await c.fetchval(ONE, i + 1))
        await asyncio.sleep(NAP)
    await c.close()


async def simple(conn, t):
    await conn.execute(f"SELECT 1; {tally.WAIT}; SELECT 2")
    await read(conn, t)


async def rows(conn, t):
    t.same([r[0] for r in await conn.fetch("SELECT version FROM items WHERE id > $1", 0)], 200)


async def types(conn, t):
    row = await conn.fetchrow("SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = $1 AND $2::text IS NULL AND made > $3",
                              6, None, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    t.exchange(row[9])
    assert row[0] == "item 6" and float(row[1]) == 7.5 and row[2] is None and row[3] == ["a6", 'b,"6'], row
    assert row[5] == b"\0\0\0\6" and row[6].timestamp() == 1709208360 and row[7] is None and row[8] == 6 / 7.0, row


async def introspection(conn, t):
    """A type asyncpg does not know makes it ask the catalog in between."""
    c = await connect()
    row = await c.fetchrow("SELECT i.version, i::items FROM items i WHERE id = 1")
    t.exchange(row[0], row[1]["version"])
    await c.close()


async def prepared(conn, t):
    p = await conn.prepare(ONE)
    for i in range(4):
        t.exchange(await p.fetchval(i + 1))
        await asyncio.sleep(NAP)


async def transaction(conn, t):
    async with conn.transaction():
        a = await conn.fetchval(ONE, 1)
        await asyncio.sleep(NAP)
        b = await conn.fetchval("INSERT INTO sink (run, n) VALUES ($1, 1) RETURNING version", RUN)
        await asyncio.sleep(NAP)
        c = await conn.fetchval(ONE, 2)
    t.transaction(a, b, c)


async def savepoint(conn, t):
    async with conn.transaction(isolation="repeatable_read"):
        a = await conn.fetchval(ONE, 1)
        with wants(tally.DIVISION):
            async with conn.transaction():
                await conn.execute("SELECT 1/0")
        await asyncio.sleep(NAP)
        b = await conn.fetchval(ONE, 2)
    t.transaction(a, b)


async def recovery(conn, t):
    for sql, code in (("SELECT 1/0", tally.DIVISION), ("SELECT * FROM no_such_table", tally.MISSING)):
        with wants(code):
            await conn.fetch(sql)
        with wants(code):
            await conn.execute(sql)
        t.exchange(await conn.fetchval(ONE, 1))


async def failed_transaction(conn, t):
    tx = conn.transaction()
    await tx.start()
    with wants(tally.DIVISION):
        await conn.execute("SELECT 1/0")
    await asyncio.sleep(NAP)
    with wants("25P02"):
        await conn.fetchval(ONE, 1)
    await tx.rollback()
    await read(conn, t)


async def big(conn, t):
    got = await conn.fetch("SELECT body, version FROM big ORDER BY id")
    for body, _ in got:
        assert len(body) == MEGABYTE and not body.strip(body[0]), "a row came back changed"
    t.same([v for _, v in got], 3)


async def copy_out(conn, t):
    out = io.BytesIO()
    await conn.copy_from_query("SELECT version FROM items", output=out)
    t.same(out.getvalue().decode().split(), 200)


async def copy_in(conn, t):
    async with conn.transaction():
        await conn.copy_records_to_table("sink", records=[(RUN, 3, None)] * 300, columns=["run", "n", "body"])
        got = await conn.fetch("SELECT version FROM sink WHERE run = $1 AND n = 3 AND xmin = pg_current_xact_id()::xid", RUN)
        t.same([r[0] for r in got], 300)
    await conn.copy_to_table("sink", source=io.BytesIO(tally.rows_into(4, 50).encode()), columns=["run", "n", "body"])
    t.exchange()


async def copy_in_bad(conn, t):
    with wants(tally.BAD_COPY):
        await conn.copy_to_table("sink", source=io.BytesIO(f"{RUN}\tnumber\n".encode() + f"{RUN}\t1\n".encode() * 20000), columns=["run", "n"])
    await read(conn, t)


async def cursor(conn, t):
    """Portals in a transaction: Execute with a row limit, resumed."""
    async with conn.transaction():
        seen = []
        async for row in conn.cursor("SELECT version FROM items ORDER BY id", prefetch=40):
            seen.append(row[0])
            if len(seen) % 40 == 0:
                await asyncio.sleep(NAP)
    assert len(seen) == 200, len(seen)
    t.transaction(seen[0], *set(seen))


async def many(conn, t):
    await conn.executemany("INSERT INTO sink (run, n) VALUES ($1, $2)", [(RUN, 7)] * 200)
    got = await conn.fetchmany("INSERT INTO sink (run, n) VALUES ($1, $2) RETURNING version", [(RUN, 8)] * 40)
    t.same([r[0] for r in got], 40)


async def cancel(conn, t):
    """A timeout or a cancelled task makes asyncpg send a CancelRequest and keep the connection."""
    began = asyncio.get_running_loop().time()
    try:
        await conn.execute(tally.SLEEP, timeout=tally.SOON)
        raise AssertionError("no timeout")
    except TimeoutError:
        pass
    await read(conn, t)
    task = asyncio.create_task(conn.fetchval(tally.SLEEP))
    await asyncio.sleep(tally.SOON)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    await read(conn, t)
    assert asyncio.get_running_loop().time() - began < 5, "the cancel was slow"


async def notices(conn, t):
    seen = []
    listener = lambda c, m: seen.append(m.message.removeprefix("said by "))
    conn.add_log_listener(listener)
    seen.append(await conn.fetchval("SELECT speak(3)"))
    await asyncio.sleep(0)
    conn.remove_log_listener(listener)
    t.same(seen, 4)


async def listen(conn, t):
    channel, got = f"news_{conn.get_server_pid()}", asyncio.Queue()
    hear = lambda c, pid, ch, payload: got.put_nowait(payload)
    await conn.add_listener(channel, hear)
    other = await connect()
    for i in range(3):
        await asyncio.sleep(NAP)
        await other.execute("SELECT pg_notify($1, $2)", channel, str(i))
        assert await asyncio.wait_for(got.get(), 10) == str(i)
    await other.close()
    await conn.remove_listener(channel, hear)


async def reset(conn, t):
    await conn.reset()
    await read(conn, t)


async def pool(conn, t):
    """Every release sends asyncpg's reset script, RESET ALL among it; Materialize needs another one."""
    async def own_reset(c):
        await c.execute("SET cluster = prod; SET search_path = prod")

    async with asyncpg.create_pool(min_size=2, max_size=3, ssl=False, **PLACE, **(dict(reset=own_reset) if tally.MATERIALIZE else {})) as p:
        async def use():
            for i in range(4):
                t.exchange(await p.fetchval(ONE, i + 1))
                async with p.acquire() as c, c.transaction():
                    a = await c.fetchval(ONE, 1)
                    await asyncio.sleep(NAP)
                    t.transaction(a, await c.fetchval(ONE, 2))

        await asyncio.gather(use(), use(), use(), use())


SETTINGS = "SELECT current_setting('cluster'), current_setting('search_path')"


async def settings(conn, t):
    """What the server says is one arm's; what the client was told is what it asked for."""
    c = await connect()
    for _ in range(4):
        t.exchange(tally.arm_of(*await c.fetchrow(SETTINGS)))
        told = c.get_settings().cluster, c.get_settings().search_path
        assert told == ("prod", "prod"), told
        await asyncio.sleep(NAP)
    await c.close()


async def read_transaction(conn, t):
    async with conn.transaction():
        seen = [await conn.fetchval(ONE, 1)]
        await asyncio.sleep(NAP)
        seen.append(tally.arm_of(*await conn.fetchrow(SETTINGS)))
        await asyncio.sleep(NAP)
        seen.append(await conn.fetchval(ONE, 2))
    t.transaction(*seen)


async def write_transaction(conn, t):
    run = tally.next_run()
    async with conn.transaction():
        for n in range(3):
            await conn.execute("INSERT INTO sink (run, n) VALUES ($1, $2)", run, n)
            await asyncio.sleep(NAP)
    await asyncio.to_thread(tally.landed, t, run, 3)


async def write_many(conn, t):
    run = tally.next_run()
    await conn.executemany("INSERT INTO sink (run, n) VALUES ($1, $2)", [(run, 7)] * 100)
    await asyncio.to_thread(tally.landed, t, run, 100)


async def copy_rows(conn, t):
    run = tally.next_run()
    await conn.copy_to_table("sink", source=io.BytesIO(f"{run}\t3\thello\n".encode() * 200), columns=["run", "n", "body"])
    await asyncio.to_thread(tally.landed, t, run, 200)


async def warned(conn, t):
    heard = []
    listener = lambda c, m: heard.append(m.message)
    conn.add_log_listener(listener)
    for _ in range(3):
        await conn.execute("COMMIT")
        await read(conn, t)
    conn.remove_log_listener(listener)
    assert heard == ["there is no transaction in progress"] * 3, heard


async def own_names(conn, t):
    for sql in ("SET search_path = prod, public", "SET cluster = prod", "SET schema = prod"):
        await conn.execute(sql)
        await read(conn, t)


async def discard_all(conn, t):
    c = await connect(statement_cache_size=0)
    await c.execute("DISCARD ALL")
    if tally.RESTORES:
        await read(c, t)
    else:
        with wants(tally.MISSING):
            await c.fetchval(ONE, 1)
    await c.execute("SET cluster = prod; SET search_path = prod")
    await read(c, t)
    await c.close()


async def subscribe_cursor(conn, t):
    seen = []
    async with conn.transaction():
        await conn.execute("DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)")
        for _ in range(3):
            seen += [r[-1] for r in await conn.fetch("FETCH ALL c WITH (timeout = '120ms')")]
    assert seen, "no changes"
    t.transaction(*seen)


CHECKS = tally.choose([
    (tally.SIGN_IN, sign_in), ("wrong password", wrong_password), ("TLS, reads and 1 MB rows", tls), ("read", read),
    ("first use of statements (Flush without Sync)", fresh), ("statement cache off", uncached), ("several statements in one query", simple), ("200 rows", rows),
    ("types and NULLs, binary", types), ("prepared statement", prepared),
    ("error and recovery", recovery), ("failed transaction", failed_transaction), ("1 MB rows", big),
    ("COPY out", copy_out), ("COPY in refused by the server", copy_in_bad), ("cursor by portal", cursor),
    ("cancel by timeout and by task", cancel),
], postgres=[
    ("type introspection", introspection), ("transaction", transaction), ("savepoint after an error", savepoint), ("COPY in, binary and text", copy_in),
    ("executemany and fetchmany", many), ("notices", notices), ("LISTEN and NOTIFY", listen), ("reset", reset), ("pool with RESET ALL", pool),
], materialize=[
    ("settings as the server and the client see them", settings), ("transaction", read_transaction), ("write transaction", write_transaction),
    ("executemany", write_many), ("COPY in, text", copy_rows), ("notices", warned), ("own SET of cluster and search_path", own_names),
    ("DISCARD ALL", discard_all), ("SUBSCRIBE by a cursor", subscribe_cursor), ("pool with a reset of its own", pool),
])

if __name__ == "__main__":
    asyncio.run(tally.work_async(tally.Tally("asyncpg", asyncpg.__version__), CHECKS, connect, lambda c: c.close(timeout=2)))
