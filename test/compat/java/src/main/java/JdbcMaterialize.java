import java.io.StringReader;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;

/** What only Materialize has, or does differently. */
final class JdbcMaterialize {
    private static final boolean RESTORES = "startup".equals(System.getenv("COMPAT_RESETS")); // RESET gives back what the session started with
    private static final String SETTINGS = "SELECT current_setting('cluster'), current_setting('search_path')";
    private static final AtomicInteger SERIAL = new AtomicInteger();

    private JdbcMaterialize() {}

    static void add(List<Tally.Check<Jdbc>> checks) {
        Jdbc.add(checks, "settings as the server and the client see them", JdbcMaterialize::settings);
        Jdbc.add(checks, "transaction", (s, t) -> transaction(s.plain, t));
        Jdbc.add(checks, "failed transaction", JdbcMaterialize::failedTransaction);
        Jdbc.add(checks, "several statements in one query", JdbcMaterialize::several);
        Jdbc.add(checks, "write transaction", JdbcMaterialize::writeTransaction);
        Jdbc.add(checks, "batches", JdbcMaterialize::batches);
        Jdbc.add(checks, "COPY in", JdbcMaterialize::copyIn);
        Jdbc.add(checks, "notices", JdbcMaterialize::notices);
        Jdbc.add(checks, "setSchema, own SET of cluster", JdbcMaterialize::ownNames);
        Jdbc.add(checks, "own SET of other names and back", JdbcMaterialize::otherNames);
        Jdbc.add(checks, "DISCARD ALL", JdbcMaterialize::discard);
        Jdbc.add(checks, "SUBSCRIBE by a cursor", JdbcMaterialize::subscribe);
        Jdbc.add(checks, "isValid", (s, t) -> { Tally.require(s.plain.isValid(5), "not valid"); Jdbc.read(s.plain, t); });
    }

    /** The version that a pair of settings means; half a move is none. */
    private static String armOf(String cluster, String path) {
        if (cluster.equals("prod") && path.equals("prod")) return "old";
        if (cluster.equals("prod_deploy") && path.equals("prod_deploy")) return "new";
        return "cluster " + cluster + " with search_path " + path;
    }

    private static String arm(Connection c) throws SQLException {
        try (var s = c.prepareStatement(SETTINGS); var r = s.executeQuery()) {
            r.next();
            return armOf(r.getString(1), r.getString(2));
        }
    }

    private static String nextRun() { return Jdbc.RUN + "-" + SERIAL.incrementAndGet(); }

    /** Counts what was written under a name, on a session that belongs to neither version: all of it must be in one. */
    private static void landed(Tally t, String run, int want) throws SQLException {
        var p = new Properties();
        p.putAll(Jdbc.properties("currentSchema", "public", "options", "-c cluster=quickstart"));
        try (var c = java.sql.DriverManager.getConnection(Jdbc.url(), p);
             var s = c.prepareStatement("SELECT (SELECT count(*) FROM prod.sink WHERE run = ?), (SELECT count(*) FROM prod_deploy.sink WHERE run = ?)")) {
            s.setString(1, run);
            s.setString(2, run);
            try (var r = s.executeQuery()) {
                r.next();
                int old = r.getInt(1), fresh = r.getInt(2);
                var seen = new ArrayList<String>();
                if (old > 0) seen.add("old");
                if (fresh > 0) seen.add("new");
                t.exchange(seen);
                Tally.require(old + fresh == want, (old + fresh) + " rows were written instead of " + want);
            }
        }
    }

    private static void told(Connection c, String cluster, String path) throws SQLException {
        var pg = c.unwrap(PGConnection.class);
        var got = pg.getParameterStatus("cluster") + " " + pg.getParameterStatus("search_path");
        Tally.require(got.equals(cluster + " " + path), "the client was told of " + got);
    }

    /** What the server says is one arm's; what the client was told is what it asked for. */
    static void settings(Jdbc s, Tally t) throws Exception {
        try (var c = Jdbc.connect()) {
            for (int i = 0; i < 4; i++) {
                t.exchange(arm(c));
                told(c, "prod", "prod");
                Tally.nap();
            }
        }
    }

    static void transaction(Connection c, Tally t) throws Exception {
        var seen = new ArrayList<String>();
        Jdbc.inTransaction(c, x -> {
            seen.add(Jdbc.one(x, 1));
            Tally.nap();
            seen.add(arm(x));
            Tally.nap();
            seen.add(Jdbc.one(x, 2));
        });
        t.transaction(seen);
    }

    static void failedTransaction(Jdbc s, Tally t) throws Exception {
        Jdbc.inTransaction(s.plain, c -> {
            Jdbc.one(c, 1);
            Tally.wants(Jdbc.DIVISION, () -> Jdbc.run(c, "SELECT 1/0"));
            Tally.nap();
            Tally.wants("25P02", () -> Jdbc.run(c, "SELECT 1"));
            c.rollback();
        });
        Jdbc.read(s.plain, t);
    }

    static void several(Jdbc s, Tally t) throws SQLException {
        try (var st = s.plain.createStatement()) {
            var seen = new ArrayList<String>();
            boolean rows = st.execute("SELECT version FROM items WHERE id = 1; SELECT version FROM pause WHERE id = 1; SELECT version FROM items WHERE id = 2");
            for (; rows || st.getUpdateCount() != -1; rows = st.getMoreResults()) seen.addAll(Jdbc.versions(st.getResultSet()));
            t.same(seen, 3);
        }
    }

    static void writeTransaction(Jdbc s, Tally t) throws Exception {
        var run = nextRun();
        Jdbc.inTransaction(s.plain, c -> {
            for (int n = 0; n < 3; n++) {
                Jdbc.run(c, "INSERT INTO sink (run, n) VALUES ('" + run + "', " + n + ")");
                Tally.nap();
            }
        });
        landed(t, run, 3);
    }

    static void batches(Jdbc s, Tally t) throws Exception {
        var run = nextRun();
        try (var st = s.plain.prepareStatement("INSERT INTO sink (run, n) VALUES (?, 3)")) {
            for (int i = 0; i < 100; i++) {
                st.setString(1, run);
                st.addBatch();
            }
            Tally.require(st.executeBatch().length == 100, "the batch is short");
        }
        landed(t, run, 100);
    }

    static void copyIn(Jdbc s, Tally t) throws Exception {
        var run = nextRun();
        var api = s.plain.unwrap(PGConnection.class).getCopyAPI();
        Tally.require(api.copyIn("COPY sink (run, n, body) FROM STDIN", new StringReader((run + "\t4\thello\n").repeat(200))) == 200, "not all copied");
        landed(t, run, 200);
    }

    static void notices(Jdbc s, Tally t) throws Exception {
        for (int i = 0; i < 3; i++) {
            try (var st = s.plain.createStatement()) {
                st.execute("COMMIT");
                var w = st.getWarnings();
                Tally.require(w != null && w.getMessage().equals("there is no transaction in progress") && w.getNextWarning() == null, "warned of " + w);
            }
            Jdbc.read(s.plain, t);
        }
    }

    /** setSchema sends SET SESSION search_path. */
    static void ownNames(Jdbc s, Tally t) throws Exception {
        s.plain.setSchema("prod");
        Jdbc.read(s.plain, t);
        Jdbc.run(s.plain, "SET cluster = prod");
        Jdbc.read(s.plain, t);
        told(s.plain, "prod", "prod");
    }

    static void otherNames(Jdbc s, Tally t) throws Exception {
        Jdbc.run(s.plain, "SET search_path = public");
        Jdbc.run(s.plain, "SET cluster = quickstart");
        for (int i = 0; i < 3; i++) {
            Tally.require(arm(s.plain).equals("cluster quickstart with search_path public"), "it has " + arm(s.plain));
            Tally.wants(Jdbc.MISSING, () -> Jdbc.run(s.plain, "SELECT version FROM items"));
            Tally.nap();
        }
        Jdbc.run(s.plain, "SET cluster = prod");
        Jdbc.run(s.plain, "SET search_path = prod");
        Jdbc.read(s.plain, t);
    }

    /** On a connection of its own: pgjdbc does not forget its server-prepared statements. */
    static void discard(Jdbc s, Tally t) throws Exception {
        try (var c = Jdbc.connect("prepareThreshold", "0")) {
            Jdbc.run(c, "DISCARD ALL");
            if (RESTORES) Jdbc.read(c, t);
            else Tally.wants(Jdbc.MISSING, () -> Jdbc.one(c, 1));
            Jdbc.run(c, "SET cluster = prod");
            Jdbc.run(c, "SET search_path = prod");
            Jdbc.read(c, t);
        }
    }

    static void subscribe(Jdbc s, Tally t) throws Exception {
        var seen = new ArrayList<String>();
        Jdbc.inTransaction(s.plain, c -> {
            Jdbc.run(c, "DECLARE c CURSOR FOR SUBSCRIBE (SELECT n, version FROM news)");
            for (int i = 0; i < 3; i++) {
                try (var st = c.createStatement(); var r = st.executeQuery("FETCH ALL c WITH (timeout = '120ms')")) {
                    seen.addAll(Jdbc.versions(r));
                }
            }
        });
        Tally.require(!seen.isEmpty(), "no changes");
        t.transaction(seen);
    }
}
