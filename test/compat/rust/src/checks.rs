//! The checks, each on a long-lived session.

use crate::tally::{Done, Fault, Tally, nap, require, wants};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt, future::join_all, pin_mut};
use std::env::var;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage, Statement};

pub const ONE: &str = "SELECT version FROM items WHERE id = $1";
const MINE: &str = "SELECT version FROM sink WHERE run = $1 AND n = $2 AND xmin = pg_current_xact_id()::xid";
const MEGABYTE: usize = 1 << 20;

const COMMON: &[&str] = &[
    "wrong password",
    "TLS, reads and 1 MB rows",
    "read",
    "read after idling",
    "simple protocol",
    "several statements in one query",
    "200 rows",
    "pipelined queries",
    "pipelined with errors",
    "types and NULLs, binary",
    "unnamed statement (query_typed)",
    "prepared statement kept for life",
    "pipelined transaction",
    "failed transaction",
    "error and recovery",
    "portal read in parts",
    "stream of rows",
    "1 MB rows",
    "COPY out",
    "COPY in refused by the server",
    "COPY in given up by the client",
    "cancel",
];

const ON_POSTGRES: &[&str] = &[
    "transaction",
    "savepoint after an error",
    "notices",
    "COPY in",
    "COPY, binary",
    "LISTEN and NOTIFY",
    "DISCARD ALL",
    "sign in with trust, password, md5, scram",
];

/// The checks for the server that this is.
pub fn names() -> Vec<&'static str> {
    let more = if materialize() { crate::materialize::NAMES } else { ON_POSTGRES };
    COMMON.iter().chain(more).copied().collect()
}

pub fn materialize() -> bool {
    setting("SERVER") == "materialize"
}

pub fn setting(name: &str) -> String {
    var(format!("COMPAT_{name}")).expect("set by the runner")
}

/// The SQLSTATE of a division by zero.
pub fn division() -> String {
    if materialize() { setting("DIVISION") } else { "22012".into() }
}

/// The first where the server is PostgreSQL, the second on Materialize.
fn either(postgres: &'static str, on_materialize: &'static str) -> &'static str {
    if materialize() { on_materialize } else { postgres }
}


pub struct Session {
    pub client: Client,
    pub kept: Statement,
    pub heard: UnboundedReceiver<AsyncMessage>,
}

pub fn config() -> Config {
    let mut c = Config::new();
    c.host(setting("HOST")).port(setting("PORT").parse().expect("a port")).dbname(setting("DATABASE")).user(setting("USER")).password(setting("PASSWORD"));
    c.options(either("-csearch_path=prod", "-csearch_path=prod -ccluster=prod")).connect_timeout(Duration::from_secs(15));
    c
}

pub fn run() -> String {
    setting("RUN")
}

pub async fn connect(c: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = c.connect(NoTls).await?;
    tokio::spawn(connection); // ends with the client
    Ok(client)
}

pub async fn version(c: &Client, id: i32) -> Result<String, tokio_postgres::Error> {
    Ok(c.query_one(ONE, &[&id]).await?.get(0))
}

pub async fn read(c: &Client, t: &Tally) -> Done {
    for id in 1..=10 {
        t.exchange(&[version(c, id).await?]);
        if id % 3 == 0 {
            nap().await;
        }
    }
    Ok(())
}

async fn big(c: &Client, t: &Tally) -> Done {
    let rows = c.query("SELECT body, version FROM big ORDER BY id", &[]).await?;
    let mut seen = vec![];
    for r in rows {
        let body: String = r.get(0);
        require(body.len() == MEGABYTE && body.bytes().all(|b| b == body.as_bytes()[0]), "a row came back changed")?;
        seen.push(r.get::<_, String>(1));
    }
    t.same(&seen, 3)
}

impl Session {
    pub async fn open() -> Result<Session, Fault> {
        let (client, mut connection) = config().connect(NoTls).await?;
        let (tell, heard) = unbounded_channel();
        tokio::spawn(async move {
            let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
            while let Some(Ok(m)) = messages.next().await {
                let _ = tell.send(m); // nobody listens once the session is over
            }
        });
        let kept = client.prepare(ONE).await?;
        Ok(Session { client, kept, heard })
    }

    pub async fn run(&mut self, name: &str, t: &Tally) -> Done {
        let c = &self.client;
        match name {
            "sign in with trust, password, md5, scram" => {
                for user in ["compat_trust", "compat_password", "compat_md5", "compat_scram"] {
                    t.exchange(&[version(&connect(config().user(user)).await?, 1).await?]);
                }
                Ok(())
            }
            "wrong password" => wants("28P01", connect(config().password("wrong")).await.map(|_| ())),
            "TLS, reads and 1 MB rows" => {
                let accept = native_tls::TlsConnector::builder().danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true).build()?;
                let tls = postgres_native_tls::MakeTlsConnector::new(accept);
                let (client, connection) = config().ssl_mode(tokio_postgres::config::SslMode::Require).connect(tls).await?;
                tokio::spawn(connection);
                read(&client, t).await?;
                big(&client, t).await
            }
            "read" => read(c, t).await,
            "read after idling" => {
                tokio::time::sleep(Duration::from_millis(120)).await;
                read(c, t).await
            }
            "simple protocol" => {
                for _ in 0..5 {
                    t.same(&simple(c, "SELECT version FROM items WHERE id < 4").await?, 3)?;
                }
                Ok(())
            }
            "several statements in one query" => {
                let sql = either(
                    "SELECT version FROM items WHERE id = 1; SELECT version FROM items, pg_sleep(0.03) WHERE id = 2",
                    "SELECT version FROM items WHERE id = 1; SELECT version FROM pause WHERE id = 2",
                );
                t.same(&simple(c, sql).await?, 2)
            }
            "200 rows" => {
                let rows = c.query("SELECT version FROM items WHERE id > $1", &[&0i32]).await?;
                t.same(&rows.iter().map(|r| r.get(0)).collect::<Vec<String>>(), 200)
            }
            "pipelined queries" => self.pipelined(t).await,
            "pipelined with errors" => self.pipelined_errors(t).await,
            "types and NULLs, binary" => self.types(t).await,
            "unnamed statement (query_typed)" => {
                for id in 1..=5i32 {
                    let rows = c.query_typed(ONE, &[(&id, Type::INT4)]).await?;
                    t.exchange(&[rows[0].get::<_, String>(0)]);
                    nap().await;
                }
                Ok(())
            }
            "prepared statement kept for life" => {
                for id in 1..=5i32 {
                    t.exchange(&[c.query_one(&self.kept, &[&id]).await?.get::<_, String>(0)]);
                    nap().await;
                }
                Ok(())
            }
            "transaction" => self.transaction(t).await,
            "pipelined transaction" => self.pipelined_transaction(t).await,
            "savepoint after an error" => self.savepoint(t).await,
            "failed transaction" => {
                let tx = self.client.transaction().await?;
                wants(&division(), tx.batch_execute("SELECT 1/0").await)?;
                nap().await;
                wants("25P02", tx.query_one(ONE, &[&1i32]).await)?;
                tx.rollback().await?;
                read(&self.client, t).await
            }
            "error and recovery" => {
                for (sql, code) in [("SELECT 1/0", &*division()), ("SELECT * FROM no_such_table", either("42P01", "XX000")), ("SELEC", "42601")] {
                    wants(code, c.simple_query(sql).await)?;
                    wants(code, c.query(sql, &[]).await)?;
                    t.exchange(&[version(c, 1).await?]);
                }
                Ok(())
            }
            "portal read in parts" => self.portal(t).await,
            "stream of rows" => {
                let rows = c.query_raw("SELECT version FROM items ORDER BY id", Vec::<i32>::new()).await?;
                pin_mut!(rows);
                let mut seen: Vec<String> = vec![];
                while let Some(r) = rows.try_next().await? {
                    seen.push(r.get(0));
                    if seen.len() % 50 == 0 {
                        nap().await;
                    }
                }
                t.same(&seen, 200)
            }
            "1 MB rows" => big(c, t).await,
            "notices" => self.notices(t).await,
            "COPY out" => {
                let parts: Vec<Bytes> = c.copy_out("COPY (SELECT version FROM items) TO STDOUT").await?.try_collect().await?;
                let text = String::from_utf8(parts.concat())?;
                t.same(&text.lines().collect::<Vec<_>>(), 200)
            }
            "COPY in" => self.copy_in(t).await,
            "COPY, binary" => self.copy_binary(t).await,
            "COPY in refused by the server" => {
                let sink = c.copy_in("COPY sink (run, n) FROM STDIN").await?;
                pin_mut!(sink);
                let bad = format!("{r}\tnumber\n{}", format!("{r}\t1\n", r = run()).repeat(20000), r = run());
                wants(either("22P02", "22P04"), async { sink.send(Bytes::from(bad)).await?; sink.finish().await }.await)?;
                read(c, t).await
            }
            "COPY in given up by the client" => {
                {
                    let sink = c.copy_in("COPY sink (run, n) FROM STDIN").await?;
                    pin_mut!(sink);
                    sink.send(Bytes::from(format!("{}\t1\n", run()))).await?;
                } // dropping it sends CopyFail
                read(c, t).await
            }
            "cancel" => {
                let (token, began) = (c.cancel_token(), Instant::now());
                let asked = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(if materialize() { 150 } else { 60 })).await;
                    token.cancel_query(NoTls).await
                });
                wants("57014", c.batch_execute(either("SELECT pg_sleep(8)", "SELECT version FROM slow")).await)?;
                asked.await??;
                require(began.elapsed() < Duration::from_secs(5), "the cancel was slow")?;
                read(c, t).await
            }
            "LISTEN and NOTIFY" => self.listen().await,
            "DISCARD ALL" => {
                c.batch_execute("DISCARD ALL").await?;
                c.clear_type_cache();
                self.kept = c.prepare(ONE).await?;
                read(&self.client, t).await
            }
            _ => self.on_materialize(name, t).await,
        }
    }

    /// Forty exchanges under way at once.
    async fn pipelined(&self, t: &Tally) -> Done {
        let ids: Vec<i32> = (1..=40).collect();
        let asked = ids.iter().map(|id| async move { self.client.query_one(&self.kept, &[id]).await });
        for row in join_all(asked).await {
            t.exchange(&[row?.get::<_, String>(0)]);
        }
        Ok(())
    }

    async fn pipelined_errors(&self, t: &Tally) -> Done {
        let divide = self.client.prepare("SELECT (1 / $1::int)::text").await?;
        let ids: Vec<i32> = (0..12).collect();
        let divide = &divide;
        let asked = ids.iter().map(|i| async move {
            if i % 4 == 2 { self.client.query_one(divide, &[&0i32]).await } else { self.client.query_one(&self.kept, &[&(i + 1)]).await }
        });
        for (i, row) in join_all(asked).await.into_iter().enumerate() {
            if i % 4 == 2 {
                wants(&division(), row)?;
            } else {
                t.exchange(&[row?.get::<_, String>(0)]);
            }
        }
        Ok(())
    }

    async fn types(&self, t: &Tally) -> Done {
        let none: Option<&str> = None;
        let row = self
            .client
            .query_one(
                "SELECT name, price::float8, note, tags, doc::text, raw, extract(epoch FROM made)::float8, flag, ratio, version FROM items WHERE id = $1 AND $2::text IS NULL",
                &[&6i32, &none],
            )
            .await?;
        t.exchange(&[row.get::<_, String>(9)]);
        let tags: Vec<String> = row.get(3);
        let raw: Vec<u8> = row.get(5);
        require(
            row.get::<_, &str>(0) == "item 6"
                && row.get::<_, f64>(1) == 7.5
                && row.get::<_, Option<&str>>(2).is_none()
                && tags == ["a6", "b,\"6"]
                && row.get::<_, &str>(4) == either("{\"n\": null, \"id\": 6}", "{\"id\":6,\"n\":null}")
                && raw == [0, 0, 0, 6]
                && row.get::<_, f64>(6) == 1709208360.0
                && row.get::<_, Option<bool>>(7).is_none()
                && row.get::<_, f64>(8) == 6.0 / 7.0,
            "row 6 came back changed",
        )
    }

    async fn transaction(&mut self, t: &Tally) -> Done {
        let tx = self.client.transaction().await?;
        let a: String = tx.query_one(ONE, &[&1i32]).await?.get(0);
        nap().await;
        let b: String = tx.query_one("INSERT INTO sink (run, n) VALUES ($1, 1) RETURNING version", &[&run()]).await?.get(0);
        nap().await;
        let c: String = tx.query_one(&self.kept, &[&2i32]).await?.get(0);
        tx.commit().await?;
        t.transaction(&[a, b, c]);
        Ok(())
    }

    /// BEGIN, the reads and COMMIT are sent without waiting for one another.
    async fn pipelined_transaction(&self, t: &Tally) -> Done {
        let c = &self.client;
        let (begun, a, b, ended) = tokio::join!(
            c.batch_execute("BEGIN"),
            c.query_one(&self.kept, &[&1i32]),
            c.query_one(&self.kept, &[&2i32]),
            c.batch_execute("COMMIT"),
        );
        begun?;
        ended?;
        t.transaction(&[a?.get::<_, String>(0), b?.get::<_, String>(0)]);
        Ok(())
    }

    async fn savepoint(&mut self, t: &Tally) -> Done {
        let mut tx = self.client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
        let a: String = tx.query_one(ONE, &[&1i32]).await?.get(0);
        let inner = tx.savepoint("s").await?;
        wants("22012", inner.batch_execute("SELECT 1/0").await)?;
        inner.rollback().await?;
        nap().await;
        let b: String = tx.query_one(ONE, &[&2i32]).await?.get(0);
        tx.commit().await?;
        t.transaction(&[a, b]);
        Ok(())
    }

    async fn portal(&mut self, t: &Tally) -> Done {
        let tx = self.client.transaction().await?;
        let portal = tx.bind("SELECT version FROM items ORDER BY id", &[]).await?;
        let mut seen: Vec<String> = vec![];
        loop {
            let rows = tx.query_portal(&portal, 40).await?;
            if rows.is_empty() {
                break;
            }
            let part: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
            t.exchange(&part);
            seen.push(part[0].clone());
            nap().await;
        }
        tx.commit().await?;
        require(seen.len() == 5, &format!("{} parts instead of 5", seen.len()))?;
        t.transaction(&seen);
        Ok(())
    }

    async fn notices(&mut self, t: &Tally) -> Done {
        while self.heard.try_recv().is_ok() {}
        let mut seen: Vec<String> = vec![self.client.query_one("SELECT speak(3)", &[]).await?.get(0)];
        while seen.len() < 4 {
            if let Some(AsyncMessage::Notice(n)) = self.heard.recv().await {
                seen.push(n.message().replace("said by ", ""));
            }
        }
        t.same(&seen, 4)
    }

    async fn copy_in(&mut self, t: &Tally) -> Done {
        let tx = self.client.transaction().await?;
        {
            let sink = tx.copy_in("COPY sink (run, n, body) FROM STDIN").await?;
            pin_mut!(sink);
            for _ in 0..6 {
                sink.send(Bytes::from(format!("{}\t3\thello\n", run()).repeat(50))).await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            require(sink.finish().await? == 300, "not all copied")?;
        }
        let rows = tx.query(MINE, &[&run(), &3i32]).await?;
        t.same(&rows.iter().map(|r| r.get(0)).collect::<Vec<String>>(), 300)?;
        Ok(tx.commit().await?)
    }

    async fn copy_binary(&mut self, t: &Tally) -> Done {
        let tx = self.client.transaction().await?;
        {
            let sink = tx.copy_in("COPY sink (run, n) FROM STDIN (FORMAT binary)").await?;
            let writer = BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::INT4]);
            pin_mut!(writer);
            let name = run();
            for _ in 0..100 {
                let row: [&(dyn ToSql + Sync); 2] = [&name, &4i32];
                writer.as_mut().write(&row).await?;
            }
            require(writer.finish().await? == 100, "not all copied")?;
        }
        let rows = tx.query(MINE, &[&run(), &4i32]).await?;
        t.same(&rows.iter().map(|r| r.get(0)).collect::<Vec<String>>(), 100)?;
        tx.commit().await?;
        let out = BinaryCopyOutStream::new(self.client.copy_out("COPY (SELECT version FROM items) TO STDOUT (FORMAT binary)").await?, &[Type::TEXT]);
        let rows: Vec<_> = out.try_collect().await?;
        t.same(&rows.iter().map(|r| r.get(0)).collect::<Vec<String>>(), 200)
    }

    async fn listen(&mut self) -> Done {
        let pid: i32 = self.client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let channel = format!("news_{pid}");
        self.client.batch_execute(&format!("LISTEN {channel}")).await?;
        let other = connect(&config()).await?;
        for i in 0..3 {
            nap().await;
            other.batch_execute(&format!("NOTIFY {channel}, '{i}'")).await?;
            loop {
                match self.heard.recv().await {
                    Some(AsyncMessage::Notification(n)) => {
                        require(n.payload() == i.to_string(), "a wrong notification")?;
                        break;
                    }
                    Some(_) => continue,
                    None => return Err("the connection ended".into()),
                }
            }
        }
        Ok(self.client.batch_execute(&format!("UNLISTEN {channel}")).await?)
    }
}

/// The first column of all rows of a simple Query.
pub async fn simple(c: &Client, sql: &str) -> Result<Vec<String>, Fault> {
    let mut seen = vec![];
    for m in c.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(r) = m {
            seen.push(r.get(0).unwrap_or("NULL").to_string());
        }
    }
    Ok(seen)
}
