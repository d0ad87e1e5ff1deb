// postgres.js: everything is pipelined, and its pool is built in.
import { readFileSync } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { COUNT, SETTINGS, Tally, armOf, assert, choose, dialect, materialize, megabyte, nap, nextRun, outside, place, run, sleep, wants, work } from './tally.mjs'

function open(more) {
  const notices = []
  const sql = postgres({ host: place.host, port: place.port, database: place.database, username: place.user, password: place.password,
    max: 1, connect_timeout: 15, connection: dialect.live, fetch_types: !materialize, ...more, onnotice: (n) => notices.push(n.message) })
  return Object.assign(sql, { notices })
}

async function connect() {
  const sql = open()
  await sql`SELECT 1`
  return sql
}

const one = async (sql, id) => (await sql`SELECT version FROM items WHERE id = ${id}`)[0].version
const versions = (rows) => rows.map((r) => r.version)
const withSql = async (more, use) => {
  const sql = open(more)
  try {
    return await use(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

async function read(sql, t) {
  for (let i = 1; i <= 10; i++) {
    t.exchange(await one(sql, i))
    if (i % 3 === 0) await nap()
  }
}

async function big(sql, t) {
  const rows = await sql`SELECT body, version FROM big ORDER BY id`
  for (const { body } of rows) assert(body.length === megabyte && body === body[0].repeat(megabyte), 'a row came back changed')
  t.same(versions(rows), 3)
}

const common = [
  [dialect.signIn, async (_, t) => {
    for (const username of dialect.roles) t.exchange(await withSql({ username }, (sql) => one(sql, 1)))
  }],
  ['wrong password', async () => withSql({ password: 'wrong' }, (sql) => wants('28P01', sql`SELECT 1`))],
  ['TLS, reads and 1 MB rows', async (_, t) => withSql({ ssl: { rejectUnauthorized: false } }, (sql) => read(sql, t).then(() => big(sql, t)))],
  ['read', read],
  ['read after idling', async (sql, t) => { await sleep(120); await read(sql, t) }],
  ['simple protocol', async (sql, t) => {
    for (let i = 0; i < 5; i++) t.same(versions(await sql`SELECT version FROM items WHERE id < 4`.simple()), 3)
  }],
  ['several statements in one query', async (sql, t) => {
    const [a, , b] = await sql.unsafe(`SELECT version FROM items WHERE id = 1; ${dialect.wait}; SELECT version FROM items WHERE id = 2`)
    t.same([...versions(a), ...versions(b)], 2)
  }],
  ['200 rows', async (sql, t) => t.same(versions(await sql`SELECT version FROM items WHERE id > ${0}`), 200)],
  ['pipelined queries', async (sql, t) => {
    const got = await Promise.all(Array.from({ length: 40 }, (_, i) => one(sql, i + 1)))
    got.forEach((v) => t.exchange(v))
  }],
  ['pipelined without end', async (sql, t) => {
    // The next query is always sent before the last one is answered.
    let under = Array.from({ length: 5 }, (_, i) => one(sql, i + 1))
    for (const end = Date.now() + 400; Date.now() < end;) {
      under.push(one(sql, 7))
      t.exchange(await under.shift())
    }
    for (const v of await Promise.all(under)) t.exchange(v)
  }],
  ['pipelined with errors', async (sql, t) => {
    const got = await Promise.allSettled(Array.from({ length: 12 }, (_, i) => (i % 4 === 2 ? sql`SELECT 1/${0}::int` : one(sql, i + 1))))
    got.forEach((g, i) => {
      if (i % 4 !== 2) assert(g.status === 'fulfilled', `query ${i}: ${g.reason}`), t.exchange(g.value)
      else assert(g.reason?.code === dialect.division, `query ${i} ended with ${g.reason ?? g.value}`)
    })
  }],
  ['types and NULLs', async (sql, t) => {
    const [r] = await sql`SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = ${6} AND ${null}::text IS NULL`
    t.exchange(r.version)
    assert(r.name === 'item 6' && (materialize ? Number(r.price) === 7.5 : r.price === '7.50') && r.note === null && (materialize ? r.tags === '{a6,"b,\\"6"}' : r.tags[1] === 'b,"6') && r.doc.id === 6 && Buffer.from(r.raw).equals(Buffer.from([0, 0, 0, 6])) &&
      r.made.getTime() === 1709208360000 && r.flag === null && r.ratio === 6 / 7, JSON.stringify(r))
  }],
  ['unnamed statements', async (_, t) => withSql({ prepare: false }, (sql) => read(sql, t))],
  ['failed transaction', async (sql, t) => {
    await wants(dialect.division, sql.begin(async (tx) => { await tx`SELECT 1/0` }))
    await read(sql, t)
  }],
  ['error and recovery', async (sql, t) => {
    for (const [text, code] of [['SELECT 1/0', dialect.division], ['SELECT * FROM no_such_table', dialect.missing], ['SELEC', '42601']]) {
      await wants(code, sql.unsafe(text))
      await wants(code, sql.unsafe(text, [], { prepare: true }))
      t.exchange(await one(sql, 1))
    }
  }],
  ['1 MB rows', big],
  ['forEach', async (sql, t) => {
    const seen = []
    await sql`SELECT version FROM items`.forEach((r) => seen.push(r.version))
    t.same(seen, 200)
  }],
  ['COPY out', async (sql, t) => {
    let text = ''
    await pipeline(await sql`COPY (SELECT version FROM items) TO STDOUT`.readable(), new Writable({ write(chunk, _, done) { text += chunk; done() } }))
    t.same(text.trim().split('\n'), 200)
  }],
  ['cancel', async (sql, t) => {
    const began = Date.now()
    const query = sql.unsafe(dialect.sleep)
    const sleeping = wants('57014', query.execute())
    await sleep(dialect.soon)
    query.cancel()
    await sleeping
    assert(Date.now() - began < 5000, 'the cancel was slow')
    await read(sql, t)
  }],
  ['pool', async (_, t) => withSql({ max: 3, max_lifetime: 1 }, async (sql) => {
    await Promise.all(Array.from({ length: 5 }, async () => {
      for (let i = 1; i <= 4; i++) {
        t.exchange(await one(sql, i))
        await nap()
      }
      const c = await sql.reserve()
      t.exchange(await one(c, 1))
      c.release()
    }))
  })],
]

const onPostgres = [
  ['transaction', async (sql, t) => {
    const seen = await sql.begin(async (tx) => {
      const seen = [await one(tx, 1)]
      await nap()
      seen.push((await tx`INSERT INTO sink (run, n) VALUES (${run}, 1) RETURNING version`)[0].version)
      await nap()
      seen.push(await one(tx, 2))
      return seen
    })
    t.transaction(...seen)
  }],
  ['pipelined transaction', async (sql, t) => {
    const seen = await sql.begin((tx) => [1, 2, 3].map((id) => tx`SELECT version, pg_sleep(0.01) FROM items WHERE id = ${id}`))
    t.transaction(...seen.map((r) => r[0].version))
  }],
  ['savepoint after an error', async (sql, t) => {
    const seen = await sql.begin(async (tx) => {
      const a = await one(tx, 1)
      await wants('22012', tx.savepoint((s) => s`SELECT 1/0`))
      await nap()
      return [a, await one(tx, 2)]
    })
    t.transaction(...seen)
  }],
  ['notices', async (sql, t) => {
    sql.notices.length = 0
    const [r] = await sql`SELECT speak(${3}) AS version`
    t.same([r.version, ...sql.notices.map((n) => n.replace('said by ', ''))], 4)
  }],
  ['LISTEN and NOTIFY', async () => withSql({}, async (sql) => {
    const channel = `news_${process.pid}_${Math.random().toString(36).slice(2)}`
    const heard = []
    await sql.listen(channel, (payload) => heard.push(payload))
    for (let i = 0; i < 3; i++) {
      await nap()
      await sql.notify(channel, String(i))
    }
    for (const end = Date.now() + 10000; heard.length < 3 && Date.now() < end;) await sleep(10)
    assert(heard.join() === '0,1,2', `heard ${heard}`)
  })],
  ['own SET search_path, RESET', async (sql, t) => {
    await sql`SET search_path = prod, public`
    await read(sql, t)
    await sql`RESET ALL`
    await read(sql, t)
  }],
  ['COPY in', async (sql, t) => {
    await sql.begin(async (tx) => {
      await pipeline(Readable.from(Array.from({ length: 6 }, () => `${run}\t3\thello\n`.repeat(50))), await tx`COPY sink (run, n, body) FROM STDIN`.writable())
      t.same(versions(await tx`SELECT version FROM sink WHERE run = ${run} AND n = 3 AND xmin = pg_current_xact_id()::xid`), 300)
    })
  }],
  ['cursor (portal read in parts)', async (sql, t) => {
    const seen = []
    await sql`SELECT version FROM items ORDER BY id`.cursor(40, async (rows) => {
      seen.push(...versions(rows))
      await nap()
    })
    t.same(seen, 200)
  }],
]

const landed = (t, name, want) => withSql({ connection: outside }, async (sql) => t.landed((await sql.unsafe(COUNT, [name]))[0], want))
const arm = async (sql) => {
  const [r] = await sql.unsafe(SETTINGS)
  return armOf(r.cluster, r.path)
}
const backHome = async (sql) => {
  await sql`SET cluster = prod`
  await sql`SET search_path = prod`
}
const afterReset = async (sql, t) => {
  if (dialect.restores) await read(sql, t)
  else await wants(dialect.missing, sql`SELECT version FROM items`)
  await backHome(sql)
  await read(sql, t)
}

// What only Materialize has, or does differently.
const onMaterialize = [
  ['settings as the server and the client see them', async (_, t) => withSql({}, async (sql) => {
    for (let i = 0; i < 4; i++) {
      t.exchange(await arm(sql))
      const { cluster, search_path: path } = sql.parameters
      assert(cluster === 'prod' && path === 'prod', `${cluster} ${path}`)
      await nap()
    }
  })],
  ['transaction', async (sql, t) => {
    t.transaction(...await sql.begin(async (tx) => {
      const seen = [await one(tx, 1)]
      await nap()
      seen.push(await arm(tx))
      await nap()
      seen.push(await one(tx, 2))
      return seen
    }))
  }],
  ['pipelined transaction', async (sql, t) => {
    const seen = await sql.begin((tx) => [1, 2, 3].map((id) => tx`SELECT version FROM items WHERE id = ${id}`))
    t.transaction(...seen.map((r) => r[0].version))
  }],
  ['write transaction', async (sql, t) => {
    const name = nextRun()
    await sql.begin(async (tx) => {
      for (let n = 0; n < 3; n++) {
        await tx`INSERT INTO sink (run, n) VALUES (${name}, ${n})`
        await nap()
      }
    })
    await landed(t, name, 3)
  }],
  ['notices', async (sql, t) => {
    sql.notices.length = 0
    for (let i = 0; i < 3; i++) {
      await sql`COMMIT`.simple()
      await read(sql, t)
    }
    assert(sql.notices.length === 3 && sql.notices.every((n) => n === 'there is no transaction in progress'), sql.notices.join())
  }],
  ['cursor in a transaction (portal read in parts)', async (sql, t) => {
    const seen = []
    await sql.begin(async (tx) => {
      await tx`SELECT version FROM items ORDER BY id`.cursor(40, async (rows) => {
        seen.push(...versions(rows))
        await nap()
      })
    })
    t.same(seen, 200)
  }],
  ['SUBSCRIBE by a cursor', async (sql, t) => {
    t.transaction(...await sql.begin(async (tx) => {
      await tx`DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)`.simple()
      const seen = []
      for (let i = 0; i < 3; i++) seen.push(...versions(await tx`FETCH ALL c WITH (timeout = '120ms')`.simple()))
      assert(seen.length > 0, 'no changes')
      return seen
    }))
  }],
  ['SUBSCRIBE, row by row, cancelled', async (sql, t) => {
    const seen = []
    const query = sql`SUBSCRIBE (SELECT n, version FROM news)`.simple()
    // Cancelled once it has given something, for a stream may have to wait for its turn.
    await wants('57014', query.forEach((r) => { if (seen.push(r.version) === 3) query.cancel() }))
    t.exchange(...seen)
    await read(sql, t)
  }],
  ['own SET of cluster and search_path', async (sql, t) => {
    for (const text of ['SET search_path = prod, public', 'SET cluster = prod', 'SET schema = prod']) {
      await sql.unsafe(text)
      await read(sql, t)
    }
  }],
  ['RESET', async (sql, t) => {
    await sql`RESET cluster`
    await sql`RESET search_path`
    await afterReset(sql, t)
  }],
  ['DISCARD ALL', async (_, t) => withSql({ prepare: false }, async (sql) => {
    await sql`DISCARD ALL`.simple()
    await afterReset(sql, t)
  })],
]

// Behind its CopyDone postgres.js sends a CopyFail.
if (!dialect.drains) {
  onMaterialize.push(['COPY in', async (sql, t) => {
    const name = nextRun()
    await pipeline(Readable.from(Array.from({ length: 6 }, () => `${name}\t3\thello\n`.repeat(50))), await sql`COPY sink (run, n, body) FROM STDIN`.writable())
    await landed(t, name, 300)
  }])
}

const version = JSON.parse(readFileSync(new URL('./node_modules/postgres/package.json', import.meta.url))).version
await work(new Tally('postgres.js', version), choose(common, onPostgres, onMaterialize), connect, (sql) => sql.end({ timeout: 1 }))
