// node-postgres: client, pool, cursor, query stream, COPY streams.
import { createRequire } from 'node:module'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import { COUNT, SETTINGS, Tally, armOf, assert, choose, dialect, materialize, megabyte, nap, nextRun, options, outside, place, run, sleep, wants, work } from './tally.mjs'

const ONE = 'SELECT version FROM items WHERE id = $1'
const MINE = 'SELECT version FROM sink WHERE run = $1 AND n = $2 AND xmin = pg_current_xact_id()::xid'
const settings = { ...place, options: options(dialect.live), connectionTimeoutMillis: 15000 }

async function connect(more) {
  const client = new pg.Client({ ...settings, ...more })
  client.notices = []
  client.on('notice', (n) => client.notices.push(n.message))
  client.on('error', () => {}) // the running query is told as well
  client.told = {}
  client.connection.on('parameterStatus', (m) => { client.told[m.parameterName] = m.parameterValue })
  await client.connect()
  return client
}

const column = (result) => result.rows.map((r) => r.version)
const one = async (c, id) => (await c.query(ONE, [id])).rows[0].version
const withClient = async (more, use) => {
  const c = await connect(more)
  try {
    return await use(c)
  } finally {
    await c.end()
  }
}

async function read(c, t) {
  for (let i = 1; i <= 10; i++) {
    t.exchange(await one(c, i))
    if (i % 3 === 0) await nap()
  }
}

async function big(c, t) {
  const { rows } = await c.query('SELECT body, version FROM big ORDER BY id')
  for (const { body } of rows) assert(body.length === megabyte && body === body[0].repeat(megabyte), 'a row came back changed')
  t.same(rows.map((r) => r.version), 3)
}

const common = [
  [dialect.signIn, async (_, t) => {
    for (const user of dialect.roles) t.exchange(await withClient({ user }, (c) => one(c, 1)))
  }],
  ['wrong password', async () => wants('28P01', connect({ password: 'wrong' }))],
  ['TLS, reads and 1 MB rows', async (_, t) => withClient({ ssl: { rejectUnauthorized: false } }, (c) => read(c, t).then(() => big(c, t)))],
  ['read', read],
  ['read after idling', async (c, t) => { await sleep(120); await read(c, t) }],
  ['unprepared read', async (c, t) => {
    for (let i = 0; i < 6; i++) t.same(column(await c.query('SELECT version FROM items WHERE id < 4')), 3)
  }],
  ['200 rows', async (c, t) => t.same(column(await c.query('SELECT version FROM items WHERE id > $1', [0])), 200)],
  ['queued queries', async (c, t) => {
    const got = await Promise.all(Array.from({ length: 12 }, (_, i) => one(c, i + 1)))
    got.forEach((v) => t.exchange(v))
  }],
  ['types and NULLs', async (c, t) => {
    const { rows: [r] } = await c.query('SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = $1 AND $2::text IS NULL', [6, null])
    t.exchange(r.version)
    assert(r.name === 'item 6' && (materialize ? Number(r.price) === 7.5 : r.price === '7.50') && r.note === null && r.tags[1] === 'b,"6' && r.doc.id === 6 && r.raw.equals(Buffer.from([0, 0, 0, 6])) &&
      r.made.getTime() === 1709208360000 && r.flag === null && r.ratio === 6 / 7, JSON.stringify(r))
  }],
  ['binary results', async (c, t) => {
    const { rows: [r] } = await c.query({ text: 'SELECT id, note, ratio, version FROM items WHERE id = $1', values: [14], binary: true })
    t.exchange(r.version)
    assert(r.id === 14 && r.note === null && r.ratio === 2, JSON.stringify(r))
  }],
  ['prepared statement kept for life', async (c, t) => {
    for (let i = 1; i <= 5; i++) {
      t.exchange((await c.query({ name: 'kept', text: ONE, values: [i] })).rows[0].version)
      await nap()
    }
  }],
  ['error and recovery', async (c, t) => {
    for (const [sql, code] of [['SELECT 1/0', dialect.division], ['SELECT * FROM no_such_table', dialect.missing], ['SELEC', '42601']]) {
      await wants(code, c.query(sql))
      t.exchange(await one(c, 1))
    }
    await wants(dialect.division, c.query('SELECT 1/$1::int', [0]))
    t.exchange(await one(c, 1))
  }],
  ['several statements in one query', async (c, t) => {
    const [a, , b] = await c.query(`SELECT version FROM items WHERE id = 1; ${dialect.wait}; SELECT version FROM items WHERE id = 2`)
    t.same([...column(a), ...column(b)], 2)
  }],
  ['1 MB rows', big],
  ['COPY out', async (c, t) => {
    let text = ''
    await pipeline(c.query(copyTo('COPY (SELECT version FROM items) TO STDOUT')), new Writable({ write(chunk, _, done) { text += chunk; done() } }))
    t.same(text.trim().split('\n'), 200)
  }],
  ['COPY in refused by the server', async (c, t) => {
    const bad = [`${run}\tnumber\n`, `${run}\t1\n`.repeat(20000)]
    await wants(dialect.badCopy, pipeline(Readable.from(bad), c.query(copyFrom('COPY sink (run, n) FROM STDIN'))))
    await read(c, t)
  }],
  ['cancel', async (c, t) => {
    const began = Date.now()
    const sleeping = wants('57014', c.query(dialect.sleep))
    await sleep(dialect.soon)
    await cancel(c)
    await sleeping
    assert(Date.now() - began < 5000, 'the cancel was slow')
    await read(c, t)
  }],
  ['pool', async (_, t) => {
    const pool = new pg.Pool({ ...settings, max: 3, maxUses: 5 })
    try {
      await Promise.all(Array.from({ length: 5 }, async () => {
        for (let i = 1; i <= 4; i++) {
          t.exchange(await one(pool, i))
          await nap()
        }
        const c = await pool.connect()
        try {
          await c.query('BEGIN')
          const a = await one(c, 1)
          await nap()
          t.transaction(a, await one(c, 2))
          await c.query('COMMIT')
        } finally {
          c.release()
        }
      }))
    } finally {
      await pool.end()
    }
  }],
]

const onPostgres = [
  ['transaction', async (c, t) => {
    await c.query('BEGIN')
    const seen = [await one(c, 1)]
    await nap()
    seen.push((await c.query('INSERT INTO sink (run, n) VALUES ($1, 1) RETURNING version', [run])).rows[0].version)
    await nap()
    seen.push(await one(c, 2))
    await c.query('COMMIT')
    t.transaction(...seen)
  }],
  ['failed transaction and savepoint', async (c, t) => {
    await c.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    const a = await one(c, 1)
    await c.query('SAVEPOINT s')
    await wants('22012', c.query('SELECT 1/0'))
    await nap()
    await wants('25P02', c.query(ONE, [1]))
    await c.query('ROLLBACK TO s')
    t.transaction(a, await one(c, 2))
    await c.query('ROLLBACK')
    await read(c, t)
  }],
  ['notices', async (c, t) => {
    c.notices.length = 0
    const { rows: [r] } = await c.query('SELECT speak($1) AS version', [3])
    t.same([r.version, ...c.notices.map((n) => n.replace('said by ', ''))], 4)
  }],
  ['cursor (portal read in parts)', async (c, t) => {
    const cursor = c.query(new Cursor('SELECT version FROM items ORDER BY id'))
    const seen = []
    for (let part; (part = await cursor.read(40)).length > 0; await nap()) seen.push(...part.map((r) => r.version))
    await cursor.close()
    t.same(seen, 200)
    const early = c.query(new Cursor('SELECT version FROM items'))
    t.exchange((await early.read(5))[0].version)
    await early.close()
    await read(c, t)
  }],
  ['query stream', async (c, t) => {
    const seen = []
    for await (const row of c.query(new QueryStream('SELECT version FROM items WHERE id > $1', [0], { batchSize: 50 }))) {
      seen.push(row.version)
      if (seen.length % 50 === 0) await nap()
    }
    t.same(seen, 200)
  }],
  ['LISTEN and NOTIFY', async (c) => {
    const channel = `news_${c.processID}`
    const heard = []
    const hear = (n) => heard.push(n.payload)
    c.on('notification', hear)
    await c.query(`LISTEN ${channel}`)
    await withClient({}, async (other) => {
      for (let i = 0; i < 3; i++) {
        await nap()
        await other.query('SELECT pg_notify($1, $2)', [channel, String(i)])
      }
    })
    for (const end = Date.now() + 10000; heard.length < 3 && Date.now() < end;) await sleep(10)
    await c.query(`UNLISTEN ${channel}`)
    c.off('notification', hear)
    assert(heard.join() === '0,1,2', `heard ${heard}`)
  }],
  ['own SET search_path, RESET', async (c, t) => {
    await c.query('SET search_path = prod, public')
    await read(c, t)
    await c.query('RESET search_path')
    await read(c, t)
  }],
  ['DISCARD ALL', async (c, t) => {
    await c.query('DISCARD TEMP; RESET ALL')
    await read(c, t)
    await withClient({}, async (fresh) => { await fresh.query('DISCARD ALL'); await read(fresh, t) })
  }],
  ['COPY in', async (c, t) => {
    await c.query('BEGIN')
    const lines = Array.from({ length: 6 }, () => `${run}\t3\thello\n`.repeat(50))
    await pipeline(Readable.from((async function* () { for (const l of lines) { yield l; await sleep(5) } })()), c.query(copyFrom('COPY sink (run, n, body) FROM STDIN')))
    t.same(column(await c.query(MINE, [run, 3])), 300)
    await c.query('COMMIT')
  }],
]

const withOutside = (use) => withClient({ options: options(outside) }, use)
const landed = async (t, name, want) => t.landed(await withOutside(async (c) => (await c.query(COUNT, [name])).rows[0]), want)
const arm = async (c) => {
  const { rows: [r] } = await c.query(SETTINGS)
  return armOf(r.cluster, r.path)
}
const backHome = async (c) => {
  await c.query('SET cluster = prod')
  await c.query('SET search_path = prod')
}
const afterReset = async (c, t) => {
  if (dialect.restores) await read(c, t)
  else await wants(dialect.missing, one(c, 1))
  await backHome(c)
  await read(c, t)
}

// What only Materialize has, or does differently.
const onMaterialize = [
  ['settings as the server and the client see them', async (_, t) => withClient({}, async (c) => {
    for (let i = 0; i < 4; i++) {
      t.exchange(await arm(c))
      assert(c.told.cluster === 'prod' && c.told.search_path === 'prod', JSON.stringify(c.told))
      await nap()
    }
  })],
  ['transaction', async (c, t) => {
    await c.query('BEGIN')
    const seen = [await one(c, 1)]
    await nap()
    seen.push(await arm(c))
    await nap()
    seen.push(await one(c, 2))
    await c.query('COMMIT')
    t.transaction(...seen)
  }],
  ['failed transaction', async (c, t) => {
    await c.query('BEGIN')
    await one(c, 1)
    await wants(dialect.division, c.query('SELECT 1/0'))
    await nap()
    await wants('25P02', c.query(ONE, [1]))
    await c.query('ROLLBACK')
    await read(c, t)
  }],
  ['write transaction', async (c, t) => {
    const name = nextRun()
    await c.query('BEGIN')
    for (let n = 0; n < 3; n++) {
      await c.query('INSERT INTO sink (run, n) VALUES ($1, $2)', [name, n])
      await nap()
    }
    await c.query('COMMIT')
    await landed(t, name, 3)
  }],
  ['notices', async (c, t) => {
    c.notices.length = 0
    for (let i = 0; i < 3; i++) {
      await c.query('COMMIT')
      await read(c, t)
    }
    assert(c.notices.length === 3 && c.notices.every((n) => n === 'there is no transaction in progress'), c.notices.join())
  }],
  ['cursor in a transaction (portal read in parts)', async (c, t) => {
    await c.query('BEGIN')
    const cursor = c.query(new Cursor('SELECT version FROM items ORDER BY id'))
    const seen = []
    for (let part; (part = await cursor.read(40)).length > 0; await nap()) seen.push(...part.map((r) => r.version))
    await cursor.close()
    seen.push(await one(c, 1))
    await c.query('COMMIT')
    t.same(seen, 201)
  }],
  ['query stream in a transaction', async (c, t) => {
    await c.query('BEGIN')
    const seen = []
    for await (const row of c.query(new QueryStream('SELECT version FROM items WHERE id > $1', [0], { batchSize: 50 }))) {
      seen.push(row.version)
      if (seen.length % 50 === 0) await nap()
    }
    await c.query('COMMIT')
    t.same(seen, 200)
  }],
  ['COPY in', async (c, t) => {
    const name = nextRun()
    const lines = Array.from({ length: 6 }, () => `${name}\t3\thello\n`.repeat(50))
    await pipeline(Readable.from((async function* () { for (const l of lines) { yield l; await sleep(5) } })()), c.query(copyFrom('COPY sink (run, n, body) FROM STDIN')))
    await landed(t, name, 300)
  }],
  ['SUBSCRIBE by a cursor', async (c, t) => {
    await c.query('BEGIN')
    await c.query('DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)')
    const seen = []
    for (let i = 0; i < 3; i++) seen.push(...column(await c.query("FETCH ALL c WITH (timeout = '120ms')")))
    await c.query('COMMIT')
    assert(seen.length > 0, 'no changes')
    t.transaction(...seen)
  }],
  // Cancelled once it has given something, for a stream may have to wait for its turn.
  ['SUBSCRIBE, row by row, cancelled', async (c, t) => {
    const seen = []
    let asked
    const query = new pg.Query('SUBSCRIBE (SELECT n, version FROM news)')
    query.on('row', (r) => { if (seen.push(r.version) === 3) asked = cancel(c) })
    const ended = wants('57014', new Promise((done, failed) => query.on('end', done).on('error', failed)))
    c.query(query)
    await ended
    await asked
    t.exchange(...seen)
    await read(c, t)
  }],
  ['COPY of a SUBSCRIBE, cancelled', async (c, t) => {
    let text = ''
    let asked
    const take = new Writable({ write(chunk, _, done) { text += chunk; asked ??= cancel(c); done() } })
    await wants('57014', pipeline(c.query(copyTo('COPY (SUBSCRIBE (SELECT n, version FROM news)) TO STDOUT')), take))
    await asked
    t.exchange(...text.trim().split('\n').map((l) => l.split('\t').pop()))
    await read(c, t)
  }],
  ['own SET of cluster and search_path', async (c, t) => {
    for (const text of ['SET search_path = prod, public', 'SET cluster = prod', 'SET schema = prod']) {
      await c.query(text)
      await read(c, t)
    }
    assert(c.told.cluster === 'prod' && c.told.search_path === 'prod', JSON.stringify(c.told))
  }],
  ['own SET of other names and back', async (c, t) => {
    await c.query('SET search_path = public')
    await c.query('SET cluster = quickstart')
    const { rows: [r] } = await c.query(SETTINGS)
    assert(r.cluster === 'quickstart' && r.path === 'public', JSON.stringify(r))
    await wants(dialect.missing, one(c, 1))
    await backHome(c)
    await read(c, t)
  }],
  ['RESET', async (c, t) => {
    await c.query('RESET cluster')
    await c.query('RESET search_path')
    await afterReset(c, t)
  }],
  ['DISCARD ALL', async (_, t) => withClient({}, async (fresh) => {
    await fresh.query('DISCARD ALL')
    await afterReset(fresh, t)
  })],
]

// node-postgres has no call for it in public: a second client sends the request.
function cancel(client) {
  return new Promise((done, failed) => {
    const other = new pg.Connection({ stream: undefined })
    other.on('error', failed)
    other.on('connect', () => other.cancel(client.processID, client.secretKey))
    other.stream.on('close', done)
    other.connect(place.port, place.host)
  })
}

const version = createRequire(import.meta.url)('pg/package.json').version
await work(new Tally('node-postgres', version), choose(common, onPostgres, onMaterialize), connect, (c) => c.end())
