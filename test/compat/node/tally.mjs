// What a driver saw, and the loop that lets workers go through the checks.

export const place = {
  host: process.env.COMPAT_HOST,
  port: Number(process.env.COMPAT_PORT),
  database: process.env.COMPAT_DATABASE,
  user: process.env.COMPAT_USER,
  password: process.env.COMPAT_PASSWORD,
}
export const run = process.env.COMPAT_RUN
export const roles = ['compat_trust', 'compat_password', 'compat_md5', 'compat_scram']
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
