//! The Rust part of the compatibility suite: tokio-postgres, which pipelines freely.

mod checks;
mod materialize;
mod tally;

use checks::Session;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::{Done, Tally};

const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20); // for one check; only reached when something hangs

/// The version in Cargo.toml, which pins it.
fn version() -> &'static str {
    let pins = include_str!("../Cargo.toml");
    pins.lines().find_map(|l| l.strip_prefix("tokio-postgres = \"=")).map_or("unknown", |v| v.trim_end_matches('"'))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let tally = Arc::new(Tally::default());
    let seconds: f64 = std::env::var("COMPAT_SECONDS").expect("COMPAT_SECONDS").parse().expect("COMPAT_SECONDS");
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let workers: Vec<_> = (0..WORKERS).map(|w| tokio::spawn(worker(w, end, tally.clone()))).collect();
    for w in workers {
        w.await.expect("a worker panicked");
    }
    tally.print("tokio-postgres", version());
}

/// Goes through the checks until the time is over, each at least once. A session
/// whose check failed is replaced.
async fn worker(w: usize, end: Instant, tally: Arc<Tally>) {
    let names = checks::names();
    let mut session: Option<Session> = None;
    let mut i = 0;
    while i < names.len().div_ceil(WORKERS) || Instant::now() < end {
        let name = names[(i + w * names.len() / WORKERS) % names.len()];
        i += 1;
        if session.is_none() {
            match within(Session::open()).await {
                Ok(s) => {
                    tally.checked("connect", &Ok(()));
                    session = Some(s);
                }
                Err(e) => {
                    tally.checked("connect", &Err(e));
                    continue;
                }
            }
        }
        let s = session.as_mut().expect("opened above");
        let outcome: Done = within(s.run(name, &tally)).await;
        tally.checked(name, &outcome);
        if outcome.is_err() {
            session = None;
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, tally::Fault>>) -> Result<T, tally::Fault> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| format!("no end after {PATIENCE:?}"))?
}
