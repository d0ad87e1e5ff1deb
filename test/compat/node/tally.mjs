// What a driver saw, and the loop that lets workers go through the checks.

export const place = {
  host: process.env.COMPAT_HOST,
  port: Number(process.env.COMPAT_PORT),
  database: process.env.COMPAT_DATABASE,
  user: process.env.COMPAT_USER,
  password: process.env.COMPAT_PASSWORD,
}
export const run = process.env.COMPAT_RUN

// What differs between the servers.
const env = process.env
export const materialize = env.COMPAT_SERVER === 'materialize'
export const dialect = materialize
  ? {
      roles: [place.user], signIn: "sign in by the server's kind", live: { search_path: 'prod', cluster: 'prod' },
      sleep: 'SELECT version FROM slow', wait: 'SELECT version FROM pause WHERE id = 1', // eight seconds unless it is cancelled; 30 ms
      soon: 150, // ms until that is done
      division: env.COMPAT_DIVISION, missing: 'XX000', badCopy: '22P04',
      // COPY messages that come when no COPY runs make the server deaf until a Sync.
      drains: env.COMPAT_DIVISION === 'XX000',
      restores: env.COMPAT_RESETS === 'startup', // RESET and DISCARD ALL give back what the session started with
    }
  : {
      roles: ['compat_trust', 'compat_password', 'compat_md5', 'compat_scram'], signIn: 'sign in with trust, password, md5, scram', live: { search_path: 'prod' },
      sleep: 'SELECT pg_sleep(8)', wait: 'SELECT pg_sleep(0.03)', soon: 60, division: '22012', missing: '42P01', badCopy: '22P02',
    }
export const options = (settings) => Object.entries(settings).map(([k, v]) => `-c${k}=${v}`).join(' ')
export const outside = { search_path: 'public', cluster: 'quickstart' } // of a session that belongs to no version

// The version that a pair of settings means; half a move is none.
export function armOf(cluster, path) {
  if (cluster === 'prod' && path === 'prod') return 'old'
  if (cluster === 'prod_deploy' && path === 'prod_deploy') return 'new'
  return `cluster ${cluster} with search_path ${path}`
}
export const SETTINGS = "SELECT current_setting('cluster') AS cluster, current_setting('search_path') AS path"

// Numbers what is written, so that it can be counted.
let serial = 0
export const nextRun = () => `${run}-${++serial}`
export const COUNT = 'SELECT (SELECT count(*) FROM prod.sink WHERE run = $1)::int4 AS old, (SELECT count(*) FROM prod_deploy.sink WHERE run = $1)::int4 AS fresh'

// The checks for the server that this is: common ones first.
export const choose = (common, postgres, mz) => [...common, ...(materialize ? mz : postgres)]
export const megabyte = 1 << 20

const seconds = Number(process.env.COMPAT_SECONDS)
const workers = 3
const patience = 20_000 // for one check; only reached when something hangs

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))
// As long as an application thinks between two statements: the weight may flip.
export const nap = () => sleep(25)

export class Tally {
  constructor(driver, version) {
    this.result = { driver, version, checks: [], exchanges: 0, old: 0, new: 0, mixed: 0, strange: 0, transactions: 0, errors: 0 }
  }

  // Takes the versions of all answers of one exchange.
  exchange(...versions) {
    const r = this.result
    r.exchanges++
    if (versions.length === 0) return
    if (versions.some((v) => v !== 'old' && v !== 'new')) r.strange++
    else if (versions.some((v) => v !== versions[0])) r.mixed++
    else r[versions[0]]++
  }

  // Takes one version per exchange of a transaction.
  transaction(...versions) {
    for (const v of versions) this.exchange(v)
    this.result.transactions++
    if (versions.some((v) => v !== versions[0])) this.result.mixed++
  }

  // Rows that must all be of one version.
  same(versions, want) {
    this.exchange(...versions)
    if (versions.length !== want) throw new Error(`${versions.length} rows instead of ${want}`)
  }

  // What was written must be in one version; counted on a session that belongs to none.
  landed({ old, fresh }, want) {
    this.exchange(...(old ? ['old'] : []), ...(fresh ? ['new'] : []))
    if (old + fresh !== want) throw new Error(`${old + fresh} rows were written instead of ${want}`)
  }

  checked(name, error) {
    let c = this.result.checks.find((c) => c.name === name)
    if (!c) this.result.checks.push((c = { name, ok: true, runs: 0, detail: '' }))
    c.runs++
    if (error === undefined) return
    this.result.errors++
    if (c.ok) Object.assign(c, { ok: false, detail: String(error?.stack ?? error).slice(0, 1500) })
  }
}

// Turns one expected SQLSTATE into none.
export async function wants(code, promise) {
  let answer
  try {
    answer = await promise
  } catch (e) {
    if (e.code === code) return
    throw new Error(`${e.code} (${e.message}) instead of ${code}`, { cause: e })
  }
  throw new Error(`no error instead of ${code}: ${JSON.stringify(answer)?.slice(0, 100)}`)
}

export function assert(ok, what) {
  if (!ok) throw new Error(what)
}

async function within(promise, name) {
  let timer
  const late = new Promise((_, no) => (timer = setTimeout(() => no(new Error(`${name}: no end after ${patience} ms`)), patience)))
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

// Workers go through [name, async (session, tally)] until the time is over, each
// check at least once. A session whose check failed is replaced.
export async function work(tally, checks, connect, close) {
  const end = Date.now() + seconds * 1000
  const rounds = Math.ceil(checks.length / workers)
  const quietly = (session) => within(Promise.resolve(close(session)), 'close').catch(() => {}) // what failed was counted
  async function worker(w) {
    let session
    for (let i = 0; i < rounds || Date.now() < end; i++) {
      const [name, check] = checks[(i + Math.floor((w * checks.length) / workers)) % checks.length]
      let doing = 'connect'
      try {
        if (!session) {
          session = await within(connect(), doing)
          tally.checked(doing)
        }
        doing = name
        await within(check(session, tally), name)
        tally.checked(name)
      } catch (e) {
        tally.checked(doing, e)
        if (session) await quietly(session)
        session = undefined
      }
    }
    if (session) await quietly(session)
  }
  await Promise.all(Array.from({ length: workers }, (_, w) => worker(w)))
  process.stdout.write(JSON.stringify(tally.result) + '\n', () => process.exit(0))
}
