"""SQLAlchemy 2: engine and ORM over psycopg2, psycopg 3 and asyncpg, with its pools and resets."""

import asyncio
import threading
import time

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import tally
from tally import MEGABYTE, NAP, RUN, wants

AT = f"{{user}}:{tally.PASSWORD}@{tally.HOST}:{tally.PORT}/{tally.DATABASE}"
LIBPQ = dict(options=tally.OPTIONS, connect_timeout=15)
# Only to find the type of hstore: the simulator has no pg_type.
DIALECT = dict(use_native_hstore=False) if tally.MATERIALIZE else {}


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    note: Mapped[str | None]
    version: Mapped[str]


class Sink(Base):
    __tablename__ = "sink"
    run: Mapped[str] = mapped_column(primary_key=True)  # the ORM wants a key; the table has none
    n: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(server_default=sa.FetchedValue())


def engine(driver, user=tally.USER, sslmode="disable", **more):
    return sa.create_engine(f"postgresql+{driver}://" + AT.format(user=user), connect_args=dict(LIBPQ, sslmode=sslmode), pool_size=3, max_overflow=0, **DIALECT, **more)


class Engines:
    """What a worker keeps for life: one engine per driver, each with a pool."""

    def __init__(self):
        self.sync = [engine("psycopg2"), engine("psycopg", pool_pre_ping=True)]

    def close(self):
        for e in self.sync:
            e.dispose()


def each(run):
    def both(engines, t):
        for e in engines.sync:
            run(e, t)

    return both


def one(c, i):
    return c.scalar(sa.select(Item.version).where(Item.id == i))


def sign_in(engines, t):
    for user in tally.ROLES:
        e = engine("psycopg", user=user)
        with e.connect() as c:
            t.exchange(one(c, 1))
        e.dispose()


def tls(engines, t):
    e = engine("psycopg", sslmode="require")
    rows_of_a_megabyte(e, t)
    e.dispose()


@each
def read(e, t):
    for i in range(4):
        with e.connect() as c:
            t.exchange(one(c, i + 1))
        time.sleep(NAP)


@each
def autocommit(e, t):
    with e.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        for i in range(6):
            t.exchange(one(c, i + 1))
            time.sleep(NAP)


@each
def rows(e, t):
    with e.connect() as c:
        t.same(list(c.scalars(sa.select(Item.version))), 200)


@each
def transaction(e, t):
    with e.begin() as c:
        a = one(c, 1)
        time.sleep(NAP)
        b = c.scalar(sa.insert(Sink).values(run=RUN, n=1).returning(Sink.version))
        time.sleep(NAP)
        t.transaction(a, b, one(c, 2))


@each
def orm(e, t):
    with Session(e) as s:
        items = s.scalars(sa.select(Item).where(Item.id <= 20).order_by(Item.id)).all()
        t.exchange(*(i.version for i in items))
        assert items[5].note is None and items[4].note == "note 5"
        time.sleep(NAP)
        again = s.get(Item, 100)
        t.transaction(items[0].version, again.version)
        s.rollback()
        t.exchange(s.get(Item, 7).version)  # a new transaction


@each
def savepoint(e, t):
    with e.begin() as c:
        a = one(c, 1)
        with wants("22012"):
            with c.begin_nested():
                c.execute(sa.text("SELECT 1/0"))
        time.sleep(NAP)
        t.transaction(a, one(c, 2))


@each
def recovery(e, t):
    for sql, code in (("SELECT 1/0", tally.DIVISION), ("SELECT * FROM no_such_table", tally.MISSING)):
        with e.connect() as c:
            with wants(code):
                c.execute(sa.text(sql))
        with e.connect() as c:
            t.exchange(one(c, 1))


def rows_of_a_megabyte(e, t):
    with e.connect() as c:
        got = c.execute(sa.text("SELECT body, version FROM big ORDER BY id")).all()
    for body, _ in got:
        assert len(body) == MEGABYTE and not body.strip(body[0]), "a row came back changed"
    t.same([v for _, v in got], 3)


big = each(rows_of_a_megabyte)


@each
def streamed(e, t):
    """yield_per makes a server-side cursor."""
    with e.connect() as c:
        seen = []
        for v in c.execution_options(yield_per=40).scalars(sa.select(Item.version)):
            seen.append(v)
            if len(seen) % 40 == 0:
                time.sleep(NAP)
    assert len(seen) == 200, len(seen)
    t.transaction(seen[0], *set(seen))


@each
def bulk(e, t):
    with e.begin() as c:
        got = c.scalars(sa.insert(Sink).returning(Sink.version), [dict(run=RUN, n=7)] * 60).all()
        t.transaction(*got[:1], *set(got))
        assert len(got) == 60, len(got)


@each
def reflection(e, t):
    """The inspector asks the catalog for the current schema: it must find the tables on either version."""
    with e.connect() as c:
        columns = [x["name"] for x in sa.inspect(c).get_columns("items")]
    assert "version" in columns and len(columns) == 11, columns


@each
def two_phase(e, t):
    with e.connect() as c:
        tx = c.begin_twophase()
        a = one(c, 1)
        b = c.scalar(sa.insert(Sink).values(run=RUN, n=9).returning(Sink.version))
        tx.prepare()
        time.sleep(NAP)
        tx.commit()
    t.transaction(a, b)


@each
def pool(e, t):
    failures = []

    def use():
        try:
            for i in range(3):
                with e.connect() as c:
                    t.exchange(one(c, i + 1))
                time.sleep(NAP)
        except Exception as x:
            failures.append(x)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    if failures:
        raise failures[0]


def asynchronous(engines, t):
    async def go():
        e = create_async_engine("postgresql+asyncpg://" + AT.format(user=tally.USER), connect_args=dict(ssl=False, server_settings={"search_path": "prod"}), pool_size=3)
        try:
            async def use():
                for _ in range(3):
                    async with e.connect() as c:
                        t.exchange(await c.scalar(sa.select(Item.version).where(Item.id == 1)))
                    async with e.begin() as c:
                        a = await c.scalar(sa.select(Item.version).where(Item.id == 1))
                        await asyncio.sleep(NAP)
                        t.transaction(a, await c.scalar(sa.select(Item.version).where(Item.id == 2)))

            await asyncio.gather(use(), use(), use())
        finally:
            await e.dispose()

    asyncio.run(go())


@each
def read_transaction(e, t):
    with e.begin() as c:
        a = one(c, 1)
        time.sleep(NAP)
        b = tally.arm_of(*c.execute(sa.text("SELECT current_setting('cluster'), current_setting('search_path')")).one())
        time.sleep(NAP)
        t.transaction(a, b, one(c, 2))


@each
def read_orm(e, t):
    with Session(e) as s:
        items = s.scalars(sa.select(Item).where(Item.id <= 20).order_by(Item.id)).all()
        t.exchange(*(i.version for i in items))
        assert items[5].note is None and items[4].note == "note 5"
        time.sleep(NAP)
        t.transaction(items[0].version, s.get(Item, 100).version)
        s.rollback()
        t.exchange(s.get(Item, 7).version)  # a new transaction


def autocommit_engine(engines, t):
    """Of an engine, not of a connection: going back to Materialize's own isolation level is more than SQLAlchemy can."""
    for driver in ("psycopg2", "psycopg"):
        e = engine(driver, isolation_level="AUTOCOMMIT")
        with e.connect() as c:
            for i in range(6):
                t.exchange(one(c, i + 1))
                time.sleep(NAP)
        e.dispose()


@each
def failed_transaction(e, t):
    with e.connect() as c:
        one(c, 1)
        with wants(tally.DIVISION):
            c.execute(sa.text("SELECT 1/0"))
        time.sleep(NAP)
        with wants("25P02"):
            one(c, 1)
        c.rollback()
        t.exchange(one(c, 2))


@each
def write_transaction(e, t):
    run = tally.next_run()
    with e.begin() as c:
        for n in range(3):
            c.execute(sa.text("INSERT INTO sink (run, n) VALUES (:run, :n)"), dict(run=run, n=n))
            time.sleep(NAP)
    tally.landed(t, run, 3)


CHECKS = tally.choose([
    (tally.SIGN_IN, sign_in), ("TLS, 1 MB rows", tls), ("read from the pool", read), ("200 rows", rows),
    ("error and recovery", recovery), ("1 MB rows", big), ("server-side cursor by yield_per", streamed), ("pool, four threads", pool),
], postgres=[
    ("AUTOCOMMIT", autocommit), ("transaction", transaction), ("ORM session, NULLs", orm), ("savepoint after an error", savepoint), ("bulk insert", bulk), ("reflection", reflection),
    ("two-phase commit", two_phase), ("asyncpg engine", asynchronous),
], materialize=[
    ("AUTOCOMMIT", autocommit_engine), ("transaction", read_transaction), ("ORM session, NULLs", read_orm), ("failed transaction", failed_transaction), ("write transaction", write_transaction),
])

if __name__ == "__main__":
    tally.work(tally.Tally("sqlalchemy", sa.__version__ + (" on psycopg2, psycopg" if tally.MATERIALIZE else " on psycopg2, psycopg, asyncpg")), CHECKS, Engines, Engines.close)
