import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;

/** pgjdbc on its own and under HikariCP. A worker keeps one connection in each of the ways people set it up. */
public final class Jdbc implements AutoCloseable {
    private static final String ONE = "SELECT version FROM items WHERE id = ?";
    static final String RUN = System.getenv("COMPAT_RUN");
    private static final int MEGABYTE = 1 << 20;

    // What differs between the servers.
    static final boolean MATERIALIZE = "materialize".equals(System.getenv("COMPAT_SERVER"));
    static final String DIVISION = MATERIALIZE ? System.getenv("COMPAT_DIVISION") : "22012";
    static final String MISSING = MATERIALIZE ? "XX000" : "42P01";
    static final String SLEEP = MATERIALIZE ? "SELECT version FROM slow" : "SELECT pg_sleep(8)"; // eight seconds unless it is cancelled

    final Connection plain, autosave;

    Jdbc() throws SQLException {
        plain = connect();
        autosave = connect("autosave", MATERIALIZE ? "never" : "always"); // Materialize has no savepoints
    }

    @Override public void close() throws SQLException {
        try (autosave) {
            plain.close();
        }
    }

    static String url() { return "jdbc:postgresql://%s:%s/%s".formatted(System.getenv("COMPAT_HOST"), System.getenv("COMPAT_PORT"), System.getenv("COMPAT_DATABASE")); }

    static Properties properties(String... more) {
        var p = new Properties();
        p.setProperty("user", System.getenv("COMPAT_USER"));
        p.setProperty("password", System.getenv("COMPAT_PASSWORD"));
        p.setProperty("currentSchema", "prod");
        if (MATERIALIZE) p.setProperty("options", "-c cluster=prod");
        p.setProperty("sslmode", "disable");
        p.setProperty("loginTimeout", "15");
        p.setProperty("socketTimeout", "20");
        for (int i = 0; i < more.length; i += 2) p.setProperty(more[i], more[i + 1]);
        return p;
    }

    static Connection connect(String... more) throws SQLException { return DriverManager.getConnection(url(), properties(more)); }

    static String one(Connection c, int id) throws SQLException {
        try (var s = c.prepareStatement(ONE)) {
            s.setInt(1, id);
            try (var r = s.executeQuery()) {
                Tally.require(r.next(), "no row");
                return r.getString(1);
            }
        }
    }

    static List<String> versions(ResultSet r) throws SQLException {
        var all = new ArrayList<String>();
        while (r.next()) all.add(r.getString("version"));
        return all;
    }

    static void read(Connection c, Tally t) throws Exception {
        for (int i = 1; i <= 10; i++) {
            t.exchange(one(c, i));
            if (i % 3 == 0) Tally.nap();
        }
    }

    static void run(Connection c, String sql) throws SQLException {
        try (var s = c.createStatement()) {
            s.execute(sql);
        }
    }

    interface Work { void on(Connection c) throws Exception; }

    /** Without autocommit: BEGIN goes before the first statement in one batch of messages. */
    static void inTransaction(Connection c, Work work) throws Exception {
        c.setAutoCommit(false);
        try {
            work.on(c);
            c.commit();
        } finally {
            c.rollback();
            c.setAutoCommit(true);
        }
    }

    static void transaction(Connection c, Tally t) throws Exception {
        var seen = new ArrayList<String>();
        inTransaction(c, x -> {
            seen.add(one(x, 1));
            Tally.nap();
            try (var s = x.prepareStatement("INSERT INTO sink (run, n) VALUES (?, 1) RETURNING version")) {
                s.setString(1, RUN);
                try (var r = s.executeQuery()) {
                    r.next();
                    seen.add(r.getString(1));
                }
            }
            Tally.nap();
            seen.add(one(x, 2));
        });
        t.transaction(seen);
    }

    static void big(Connection c, Tally t) throws SQLException {
        var seen = new ArrayList<String>();
        try (var s = c.createStatement(); var r = s.executeQuery("SELECT body, version FROM big ORDER BY id")) {
            while (r.next()) {
                var body = r.getString(1);
                Tally.require(body.length() == MEGABYTE && body.chars().allMatch(x -> x == body.charAt(0)), "a row came back changed");
                seen.add(r.getString(2));
            }
        }
        t.same(seen, 3);
    }

    void signIn(Tally t) throws SQLException {
        for (var user : MATERIALIZE ? List.of(System.getenv("COMPAT_USER")) : List.of("compat_trust", "compat_password", "compat_md5", "compat_scram")) {
            try (var c = connect("user", user)) {
                t.exchange(one(c, 1));
            }
        }
    }

    void simpleMode(Tally t) throws Exception {
        for (var mode : List.of("simple", "extendedForPrepared", "extendedCacheEverything")) {
            try (var c = connect("preferQueryMode", mode)) {
                read(c, t);
            }
        }
    }

    /** The fifth execution makes a named statement on the server; it stays over moves. */
    void serverPrepared(Tally t) throws Exception {
        try (var s = plain.prepareStatement(ONE)) {
            for (int i = 1; i <= 12; i++) {
                s.setInt(1, i);
                try (var r = s.executeQuery()) {
                    r.next();
                    t.exchange(r.getString(1));
                }
                Tally.nap();
            }
        }
    }

    void types(Tally t) throws SQLException {
        for (int round = 0; round < 7; round++) { // from the fifth on results are binary
            try (var s = plain.prepareStatement("SELECT name, price, note, tags, doc, raw, made, flag, ratio, version FROM items WHERE id = ? AND ?::text IS NULL")) {
                s.setInt(1, 6);
                s.setNull(2, Types.VARCHAR);
                try (var r = s.executeQuery()) {
                    r.next();
                    t.exchange(r.getString("version"));
                    Tally.require(r.getString(1).equals("item 6") && r.getBigDecimal(2).doubleValue() == 7.5 && r.getString(3) == null
                        && Arrays.equals((Object[]) r.getArray(4).getArray(), new Object[] {"a6", "b,\"6"}) && r.getString(5).equals(MATERIALIZE ? "{\"id\":6,\"n\":null}" : "{\"n\": null, \"id\": 6}")
                        && Arrays.equals(r.getBytes(6), new byte[] {0, 0, 0, 6}) && r.getTimestamp(7).getTime() == 1709208360000L
                        && r.getObject(8) == null && r.getDouble(9) == 6 / 7.0, "row 6 came back changed");
                }
            }
        }
    }

    /** autosave=always sends SAVEPOINT as a simple Query inside the unsynced batch, so that an error leaves the transaction alive. */
    void autosaved(Tally t) throws Exception {
        var seen = new ArrayList<String>();
        inTransaction(autosave, c -> {
            seen.add(one(c, 1));
            Tally.wants("22012", () -> run(c, "SELECT 1/0"));
            Tally.nap();
            seen.add(one(c, 2));
            Tally.wants("42P01", () -> run(c, "SELECT * FROM no_such_table"));
            seen.add(one(c, 3));
        });
        t.transaction(seen);
    }

    void failedTransaction(Tally t) throws Exception {
        var seen = new ArrayList<String>();
        inTransaction(plain, c -> {
            seen.add(one(c, 1));
            var mark = c.setSavepoint();
            Tally.wants("22012", () -> run(c, "SELECT 1/0"));
            Tally.nap();
            Tally.wants("25P02", () -> run(c, "SELECT 1"));
            c.rollback(mark);
            seen.add(one(c, 2));
        });
        t.transaction(seen);
        read(plain, t);
    }

    void recovery(Connection c, Tally t) throws Exception {
        for (var e : List.of(List.of("SELECT 1/0", DIVISION), List.of("SELECT * FROM no_such_table", MISSING), List.of("SELEC", "42601"))) {
            Tally.wants(e.get(1), () -> run(c, e.get(0)));
            t.exchange(one(c, 1));
        }
    }

    void several(Tally t) throws SQLException {
        try (var s = plain.createStatement()) {
            var seen = new ArrayList<String>();
            boolean rows = s.execute("SELECT version FROM items WHERE id = 1; SELECT 'old' AS version FROM pg_sleep(0.03) WHERE false; SELECT version FROM items WHERE id = 2");
            for (; rows || s.getUpdateCount() != -1; rows = s.getMoreResults()) seen.addAll(versions(s.getResultSet()));
            t.same(seen, 2);
        }
    }

    /** A fetch size without autocommit reads a portal in parts: Execute with a limit, resumed. */
    void fetchSize(Tally t) throws Exception {
        var seen = new ArrayList<String>();
        inTransaction(plain, c -> {
            try (var s = c.createStatement()) {
                s.setFetchSize(40);
                try (var r = s.executeQuery("SELECT version FROM items ORDER BY id")) {
                    while (r.next()) {
                        seen.add(r.getString(1));
                        if (seen.size() % 40 == 0) Tally.nap();
                    }
                }
            }
        });
        Tally.require(seen.size() == 200, seen.size() + " rows instead of 200");
        t.exchange(seen);
        t.transaction(seen.subList(0, 1));
    }

    void batches(Connection c, Tally t) throws Exception {
        inTransaction(c, x -> batch(x, t));
        try (var s = c.prepareStatement("INSERT INTO sink (run, n) VALUES (?, 3)")) { // outside a transaction
            for (int i = 0; i < 50; i++) {
                s.setString(1, RUN);
                s.addBatch();
            }
            Tally.require(s.executeBatch().length == 50, "the batch is short");
            t.exchange(List.of());
        }
    }

    private static void batch(Connection x, Tally t) throws SQLException {
        try (var s = x.prepareStatement("INSERT INTO sink (run, n) VALUES (?, 2)", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 300; i++) {
                s.setString(1, RUN);
                s.addBatch();
            }
            Tally.require(s.executeBatch().length == 300, "the batch is short");
            t.same(versions(s.getGeneratedKeys()), 300);
        }
    }

    void batchError(Tally t) throws Exception {
        try (var s = plain.prepareStatement("INSERT INTO sink (run, n) VALUES (?, 1 / ?::int)")) {
            for (int i = 5; i >= 0; i--) {
                s.setString(1, RUN);
                s.setInt(2, i);
                s.addBatch();
            }
            Tally.wants(DIVISION, s::executeBatch);
        }
        read(plain, t);
    }

    void copyOut(Tally t) throws Exception {
        var out = new StringWriter();
        plain.unwrap(PGConnection.class).getCopyAPI().copyOut("COPY (SELECT version FROM items) TO STDOUT", out);
        t.same(Arrays.asList(out.toString().split("\n")), 200);
    }

    void copyIn(Tally t) throws Exception {
        inTransaction(plain, c -> {
            var api = c.unwrap(PGConnection.class).getCopyAPI();
            Tally.require(api.copyIn("COPY sink (run, n, body) FROM STDIN", new StringReader((RUN + "\t4\thello\n").repeat(300))) == 300, "not all copied");
            Tally.nap();
            try (var s = c.prepareStatement("SELECT version FROM sink WHERE run = ? AND n = 4 AND xmin = pg_current_xact_id()::xid")) {
                s.setString(1, RUN);
                try (var r = s.executeQuery()) {
                    t.same(versions(r), 300);
                }
            }
        });
    }

    void copyInBad(Tally t) throws Exception {
        var api = plain.unwrap(PGConnection.class).getCopyAPI();
        Tally.wants(MATERIALIZE ? "22P04" : "22P02", () -> api.copyIn("COPY sink (run, n) FROM STDIN", new StringReader(RUN + "\tnumber\n" + (RUN + "\t1\n").repeat(20000))));
        read(plain, t);
    }

    void cancel(Tally t) throws Exception {
        long began = System.nanoTime();
        try (var s = plain.createStatement()) {
            var later = CompletableFuture.delayedExecutor(MATERIALIZE ? 150 : 60, TimeUnit.MILLISECONDS);
            var asked = CompletableFuture.runAsync(() -> {
                try {
                    s.cancel();
                } catch (SQLException e) {
                    throw new IllegalStateException(e);
                }
            }, later);
            Tally.wants("57014", () -> s.execute(SLEEP));
            asked.get(5, TimeUnit.SECONDS);
        }
        try (var s = plain.createStatement()) {
            s.setQueryTimeout(1);
            Tally.wants("57014", () -> s.execute(SLEEP));
        }
        Tally.require(System.nanoTime() - began < 6e9, "the cancel was slow");
        read(plain, t);
    }

    void notices(Tally t) throws SQLException {
        try (var s = plain.createStatement(); var r = s.executeQuery("SELECT speak(3) AS version")) {
            var seen = new ArrayList<>(versions(r));
            for (var w = s.getWarnings(); w != null; w = w.getNextWarning()) seen.add(w.getMessage().replace("said by ", ""));
            t.same(seen, 4);
        }
    }

    void listen(Tally t) throws Exception {
        var pg = plain.unwrap(PGConnection.class);
        var channel = "news_" + pg.getBackendPID();
        run(plain, "LISTEN " + channel);
        for (int i = 0; i < 3; i++) {
            Tally.nap();
            run(autosave, "NOTIFY %s, '%d'".formatted(channel, i));
            var got = pg.getNotifications(10000);
            Tally.require(got != null && got.length == 1 && got[0].getParameter().equals(String.valueOf(i)), "a notification got lost");
        }
        run(plain, "UNLISTEN " + channel);
    }

    /** setSchema sends SET SESSION search_path. */
    void schema(Tally t) throws Exception {
        plain.setSchema("prod");
        read(plain, t);
        run(plain, "RESET search_path");
        read(plain, t);
    }

    void metadata(Tally t) throws Exception {
        Tally.require(plain.isValid(5), "not valid");
        var seen = new ArrayList<String>();
        try (var r = plain.getMetaData().getColumns(null, "prod", "items", null)) {
            while (r.next()) seen.add(r.getString("COLUMN_NAME"));
        }
        Tally.require(seen.size() == 11 && seen.contains("version"), "columns " + seen);
        read(plain, t);
    }

    void hikari(Tally t) throws Exception {
        var config = new HikariConfig();
        config.setJdbcUrl(url());
        config.setDataSourceProperties(properties("autosave", MATERIALIZE ? "never" : "always", "prepareThreshold", "2"));
        config.setSchema("prod");
        config.setMaximumPoolSize(3);
        config.setConnectionTimeout(15000);
        config.setConnectionTestQuery("SELECT 1");
        try (var pool = new HikariDataSource(config)) {
            var uses = new ArrayList<CompletableFuture<Void>>();
            for (int w = 0; w < 5; w++) uses.add(CompletableFuture.runAsync(() -> use(pool, t)));
            for (var u : uses) u.get(15, TimeUnit.SECONDS);
        }
    }

    private static void use(HikariDataSource pool, Tally t) {
        try {
            for (int i = 0; i < 4; i++) {
                try (var c = pool.getConnection()) {
                    if (i % 2 == 0 && MATERIALIZE) JdbcMaterialize.transaction(c, t);
                    else if (i % 2 == 0) transaction(c, t);
                    else t.exchange(one(c, i));
                }
            }
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    public static void main(String[] args) throws Exception {
        var checks = new ArrayList<Tally.Check<Jdbc>>();
        add(checks, MATERIALIZE ? "sign in by the server's kind" : "sign in with trust, password, md5, scram", Jdbc::signIn);
        add(checks, "wrong password", (s, t) -> Tally.wants("28P01", () -> connect("password", "wrong").close()));
        add(checks, "TLS, reads and 1 MB rows", (s, t) -> { try (var c = connect("sslmode", "require")) { read(c, t); big(c, t); } });
        add(checks, "read", (s, t) -> read(s.plain, t));
        add(checks, "read after idling", (s, t) -> { Thread.sleep(120); read(s.plain, t); });
        add(checks, "simple mode and the cached ones", Jdbc::simpleMode);
        add(checks, "server-prepared statement", Jdbc::serverPrepared);
        add(checks, "200 rows", (s, t) -> { try (var st = s.plain.createStatement(); var r = st.executeQuery("SELECT version FROM items")) { t.same(versions(r), 200); } });
        add(checks, "types and NULLs, text and binary", Jdbc::types);
        add(checks, "error and recovery", (s, t) -> { s.recovery(s.plain, t); s.recovery(s.autosave, t); });
        add(checks, "fetch size (portal read in parts)", Jdbc::fetchSize);
        add(checks, "batch with an error", Jdbc::batchError);
        add(checks, "1 MB rows", (s, t) -> big(s.plain, t));
        add(checks, "COPY out", Jdbc::copyOut);
        add(checks, "COPY in refused by the server", Jdbc::copyInBad);
        add(checks, "cancel, by call and by timeout", Jdbc::cancel);
        add(checks, "HikariCP pool", Jdbc::hikari);
        if (MATERIALIZE) JdbcMaterialize.add(checks);
        else addPostgres(checks);
        var version = org.postgresql.util.DriverInfo.DRIVER_VERSION + ", HikariCP " + jarVersion();
        new Tally("pgjdbc", version).work(checks, Jdbc::new);
    }

    private static void addPostgres(List<Tally.Check<Jdbc>> checks) {
        add(checks, "transaction", (s, t) -> transaction(s.plain, t));
        add(checks, "transaction, autosave=always", (s, t) -> transaction(s.autosave, t));
        add(checks, "errors survived by autosave=always", Jdbc::autosaved);
        add(checks, "failed transaction and savepoint", Jdbc::failedTransaction);
        add(checks, "several statements in one query", Jdbc::several);
        add(checks, "batches", (s, t) -> { s.batches(s.plain, t); s.batches(s.autosave, t); });
        add(checks, "COPY in", Jdbc::copyIn);
        add(checks, "notices", Jdbc::notices);
        add(checks, "LISTEN and NOTIFY", Jdbc::listen);
        add(checks, "setSchema, RESET", Jdbc::schema);
        add(checks, "metadata", Jdbc::metadata);
    }

    interface Step { void run(Jdbc s, Tally t) throws Exception; }

    static void add(List<Tally.Check<Jdbc>> checks, String name, Step step) { checks.add(new Tally.Check<>(name, step::run)); }

    /** The jar's name ends in its version. */
    private static String jarVersion() {
        var jar = HikariDataSource.class.getProtectionDomain().getCodeSource().getLocation().getPath();
        return jar.substring(jar.lastIndexOf('-') + 1).replace(".jar", "");
    }
}
