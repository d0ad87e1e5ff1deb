//! What a driver saw. Workers share one Tally.

use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

pub type Fault = Box<dyn std::error::Error + Send + Sync>;
pub type Done = Result<(), Fault>;

#[derive(Default)]
struct Counts {
    checks: Vec<(String, bool, u64, String)>,
    exchanges: u64,
    old: u64,
    new: u64,
    mixed: u64,
    strange: u64,
    transactions: u64,
    errors: u64,
}

#[derive(Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// Takes the versions of all answers of one exchange.
    pub fn exchange<S: AsRef<str>>(&self, versions: &[S]) {
        let kinds: HashSet<&str> = versions.iter().map(AsRef::as_ref).collect();
        let mut c = self.0.lock().unwrap();
        c.exchanges += 1;
        if kinds.iter().any(|k| *k != "old" && *k != "new") {
            c.strange += 1;
        } else if kinds.len() > 1 {
            c.mixed += 1;
        } else if kinds.contains("old") {
            c.old += 1;
        } else if kinds.contains("new") {
            c.new += 1;
        }
    }

    /// Takes one version per exchange of a transaction.
    pub fn transaction<S: AsRef<str>>(&self, versions: &[S]) {
        for v in versions {
            self.exchange(&[v.as_ref()]);
        }
        let mut c = self.0.lock().unwrap();
        c.transactions += 1;
        c.mixed += u64::from(versions.iter().any(|v| v.as_ref() != versions[0].as_ref()));
    }

    /// Rows that must all be of one version.
    pub fn same<S: AsRef<str>>(&self, versions: &[S], want: usize) -> Done {
        self.exchange(versions);
        require(versions.len() == want, &format!("{} rows instead of {want}", versions.len()))
    }

    pub fn checked(&self, name: &str, outcome: &Done) {
        let mut c = self.0.lock().unwrap();
        let i = c.checks.iter().position(|k| k.0 == name).unwrap_or_else(|| {
            c.checks.push((name.into(), true, 0, String::new()));
            c.checks.len() - 1
        });
        c.checks[i].2 += 1;
        if let Err(e) = outcome {
            c.errors += 1;
            if c.checks[i].1 {
                c.checks[i].1 = false;
                c.checks[i].3 = explain(e.as_ref());
            }
        }
    }

    pub fn print(&self, driver: &str, version: &str) {
        let c = self.0.lock().unwrap();
        let checks: Vec<Value> = c.checks.iter().map(|k| json!({"name": k.0, "ok": k.1, "runs": k.2, "detail": k.3})).collect();
        println!(
            "{}",
            json!({"driver": driver, "version": version, "checks": checks, "exchanges": c.exchanges, "old": c.old, "new": c.new,
                "mixed": c.mixed, "strange": c.strange, "transactions": c.transactions, "errors": c.errors})
        );
    }
}

fn explain(e: &(dyn std::error::Error + 'static)) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        text += &format!(": {c}");
        cause = c.source();
    }
    text
}

pub fn require(ok: bool, what: &str) -> Done {
    if ok { Ok(()) } else { Err(what.into()) }
}

/// Turns one expected SQLSTATE into none.
pub fn wants<T>(code: &str, outcome: Result<T, tokio_postgres::Error>) -> Done {
    match outcome {
        Ok(_) => Err(format!("no error instead of {code}").into()),
        Err(e) if e.code().is_some_and(|c| c.code() == code) => Ok(()),
        Err(e) => Err(format!("{} instead of {code}", explain(&e)).into()),
    }
}

/// As long as an application thinks between two statements: the weight may flip.
pub async fn nap() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}
