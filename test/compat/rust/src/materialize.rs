//! What only Materialize has, or does differently.

use crate::checks::{self, ONE, Session, config, connect, read, setting, simple, version};
use crate::tally::{Done, Fault, Tally, nap, require, wants};
use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client, NoTls};

pub const NAMES: &[&str] = &[
    "sign in by the server's kind",
    "settings as the server sees them",
    "read transaction",
    "write transaction",
    "COPY in, text",
    "warnings",
    "own SET of cluster and search_path",
    "own SET of other names and back",
    "RESET",
    "DISCARD ALL on Materialize",
    "SUBSCRIBE by a cursor",
    "SUBSCRIBE, row by row, cancelled",
    "COPY of a SUBSCRIBE, cancelled",
];

static SERIAL: AtomicU32 = AtomicU32::new(0);

fn next_run() -> String {
    format!("{}-{}", checks::run(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// The version that a pair of settings means; half a move is none.
fn arm_of(cluster: &str, path: &str) -> String {
    match (cluster, path) {
        ("prod", "prod") => "old".into(),
        ("prod_deploy", "prod_deploy") => "new".into(),
        _ => format!("cluster {cluster} with search_path {path}"),
    }
}

async fn arm(c: &Client) -> Result<String, Fault> {
    let row = c.query_one("SELECT current_setting('cluster'), current_setting('search_path')", &[]).await?;
    Ok(arm_of(row.get(0), row.get(1)))
}

/// Counts what was written under a name, on a session that belongs to neither version: all of it must be in one.
async fn landed(t: &Tally, run: &str, want: i64) -> Done {
    let c = connect(config().options("-csearch_path=public -ccluster=quickstart")).await?;
    let row = c.query_one("SELECT (SELECT count(*) FROM prod.sink WHERE run = $1), (SELECT count(*) FROM prod_deploy.sink WHERE run = $1)", &[&run]).await?;
    let (old, new): (i64, i64) = (row.get(0), row.get(1));
    let mut seen = vec![];
    if old > 0 {
        seen.push("old");
    }
    if new > 0 {
        seen.push("new");
    }
    t.exchange(&seen);
    require(old + new == want, &format!("{} rows were written instead of {want}", old + new))
}

async fn home(c: &Client) -> Done {
    c.batch_execute("SET cluster = prod").await?;
    Ok(c.batch_execute("SET search_path = prod").await?)
}

/// What RESET and DISCARD ALL leave: what the session started with, or, on older servers connected directly, nothing of it.
async fn after_reset(c: &Client, t: &Tally) -> Done {
    if setting("RESETS") == "startup" {
        read(c, t).await?;
    } else {
        wants("XX000", version(c, 1).await)?;
    }
    home(c).await?;
    read(c, t).await
}

/// Cancels what runs. To be called once it has given something: a stream may have to wait for its turn.
fn cancel(c: &Client) -> tokio::task::JoinHandle<Result<(), tokio_postgres::Error>> {
    let token = c.cancel_token();
    tokio::spawn(async move { token.cancel_query(NoTls).await })
}

impl Session {
    pub async fn on_materialize(&mut self, name: &str, t: &Tally) -> Done {
        let c = &self.client;
        match name {
            "sign in by the server's kind" => {
                t.exchange(&[version(&connect(&config()).await?, 1).await?]);
                Ok(())
            }
            "settings as the server sees them" => {
                for _ in 0..4 {
                    let seen = simple(c, "SHOW cluster; SHOW search_path").await?;
                    t.exchange(&[arm_of(&seen[0], &seen[1])]);
                    t.exchange(&[arm(c).await?]);
                    nap().await;
                }
                Ok(())
            }
            "read transaction" => {
                let tx = self.client.transaction().await?;
                let mut seen: Vec<String> = vec![tx.query_one(ONE, &[&1i32]).await?.get(0)];
                nap().await;
                seen.push(arm(tx.client()).await?);
                nap().await;
                seen.push(tx.query_one(&self.kept, &[&2i32]).await?.get(0));
                tx.commit().await?;
                t.transaction(&seen);
                Ok(())
            }
            "write transaction" => {
                let run = next_run();
                let tx = self.client.transaction().await?;
                for n in 0..3i32 {
                    tx.execute("INSERT INTO sink (run, n) VALUES ($1, $2)", &[&run, &n]).await?;
                    nap().await;
                }
                tx.commit().await?;
                landed(t, &run, 3).await
            }
            "COPY in, text" => {
                let run = next_run();
                {
                    let sink = c.copy_in("COPY sink (run, n, body) FROM STDIN").await?;
                    pin_mut!(sink);
                    for _ in 0..4 {
                        sink.send(Bytes::from(format!("{run}\t3\thello\n").repeat(50))).await?;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    require(sink.finish().await? == 200, "not all copied")?;
                }
                landed(t, &run, 200).await
            }
            "warnings" => self.warnings(t).await,
            "own SET of cluster and search_path" => {
                for sql in ["SET search_path = prod, public", "SET cluster = prod", "SET schema = prod"] {
                    c.batch_execute(sql).await?;
                    read(c, t).await?;
                }
                Ok(())
            }
            "own SET of other names and back" => {
                c.batch_execute("SET search_path = public").await?;
                c.batch_execute("SET cluster = quickstart").await?;
                for _ in 0..3 {
                    let has = arm(c).await?;
                    require(has == "cluster quickstart with search_path public", &has)?;
                    wants("XX000", version(c, 1).await)?;
                    nap().await;
                }
                home(c).await?;
                read(c, t).await
            }
            "RESET" => {
                c.batch_execute("RESET cluster").await?;
                c.batch_execute("RESET search_path").await?;
                after_reset(c, t).await
            }
            "DISCARD ALL on Materialize" => {
                c.batch_execute("DISCARD ALL").await?;
                c.clear_type_cache();
                after_reset(c, t).await?;
                self.kept = self.client.prepare(ONE).await?;
                Ok(())
            }
            "SUBSCRIBE by a cursor" => {
                let tx = self.client.transaction().await?;
                tx.batch_execute("DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)").await?;
                let mut seen: Vec<String> = vec![];
                for _ in 0..3 {
                    for row in tx.query("FETCH ALL c WITH (timeout = '120ms')", &[]).await? {
                        seen.push(row.get("version"));
                    }
                }
                tx.commit().await?;
                require(!seen.is_empty(), "no changes")?;
                t.transaction(&seen);
                Ok(())
            }
            "SUBSCRIBE, row by row, cancelled" => {
                let mut asked = None;
                let rows = c.query_raw("SUBSCRIBE (SELECT n, version FROM news)", Vec::<i32>::new()).await?;
                pin_mut!(rows);
                let mut seen: Vec<String> = vec![];
                let ended = loop {
                    match rows.try_next().await {
                        Ok(Some(row)) => {
                            seen.push(row.get("version"));
                            if seen.len() == 3 {
                                asked = Some(cancel(c));
                            }
                        }
                        Ok(None) => break Ok(()),
                        Err(e) => break Err(e),
                    }
                };
                wants("57014", ended)?;
                asked.ok_or("no changes")?.await??;
                t.exchange(&seen);
                read(c, t).await
            }
            "COPY of a SUBSCRIBE, cancelled" => {
                let mut asked = None;
                let out = c.copy_out("COPY (SUBSCRIBE (SELECT n, version FROM news)) TO STDOUT").await?;
                pin_mut!(out);
                let mut text = vec![];
                let ended = loop {
                    match out.try_next().await {
                        Ok(Some(part)) => {
                            text.extend_from_slice(&part);
                            asked = asked.or_else(|| Some(cancel(c)));
                        }
                        Ok(None) => break Ok(()),
                        Err(e) => break Err(e),
                    }
                };
                wants("57014", ended)?;
                asked.ok_or("no changes")?.await??;
                let text = String::from_utf8(text)?;
                t.exchange(&text.lines().map(|l| l.rsplit('\t').next().unwrap_or(l)).collect::<Vec<_>>());
                read(c, t).await
            }
            _ => Err(format!("no check {name}").into()),
        }
    }

    async fn warnings(&mut self, t: &Tally) -> Done {
        while self.heard.try_recv().is_ok() {}
        for _ in 0..3 {
            self.client.batch_execute("COMMIT").await?;
            read(&self.client, t).await?;
        }
        for _ in 0..3 {
            match self.heard.recv().await {
                Some(AsyncMessage::Notice(n)) => require(n.message() == "there is no transaction in progress", n.message())?,
                _ => return Err("a warning got lost".into()),
            }
        }
        require(self.heard.try_recv().is_err(), "a notice out of nowhere")
    }
}
