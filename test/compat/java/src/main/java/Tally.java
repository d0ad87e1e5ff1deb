import java.io.PrintWriter;
import java.io.StringWriter;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a driver saw, and the loop that lets workers go through the checks. */
final class Tally {
    interface Run<S> { void run(S session, Tally t) throws Exception; }
    interface Open<S> { S open() throws Exception; }
    record Check<S>(String name, Run<S> run) {}

    private static final int WORKERS = 3;
    private static final class Checked { boolean ok = true; int runs; String detail = ""; }

    private final String driver, version;
    private final Map<String, Checked> checks = new LinkedHashMap<>();
    private int exchanges, older, newer, mixed, strange, transactions, errors;

    Tally(String driver, String version) { this.driver = driver; this.version = version; }

    /** Takes the versions of all answers of one exchange. */
    synchronized void exchange(List<String> versions) {
        exchanges++;
        if (versions.isEmpty()) return;
        var kinds = new HashSet<>(versions);
        if (!kinds.stream().allMatch(v -> v.equals("old") || v.equals("new"))) strange++;
        else if (kinds.size() > 1) mixed++;
        else if (kinds.contains("old")) older++;
        else newer++;
    }

    void exchange(String version) { exchange(List.of(version)); }

    /** Takes one version per exchange of a transaction. */
    synchronized void transaction(List<String> versions) {
        versions.forEach(this::exchange);
        transactions++;
        if (new HashSet<>(versions).size() > 1) mixed++;
    }

    /** Rows that must all be of one version. */
    void same(List<String> versions, int want) {
        exchange(versions);
        require(versions.size() == want, versions.size() + " rows instead of " + want);
    }

    synchronized void checked(String name, Throwable error) {
        var c = checks.computeIfAbsent(name, n -> new Checked());
        c.runs++;
        if (error == null) return;
        errors++;
        if (!c.ok) return;
        var trace = new StringWriter();
        error.printStackTrace(new PrintWriter(trace));
        c.ok = false;
        c.detail = trace.toString().substring(0, Math.min(1500, trace.toString().length()));
    }

    static void require(boolean ok, String what) { if (!ok) throw new AssertionError(what); }

    static void nap() throws InterruptedException { Thread.sleep(25); }

    interface Statement { void run() throws Exception; }

    /** Turns one expected SQLSTATE into none. */
    static void wants(String code, Statement statement) throws Exception {
        try {
            statement.run();
        } catch (SQLException e) {
            for (SQLException x = e; x != null; x = x.getNextException()) if (code.equals(x.getSQLState())) return;
            throw new AssertionError(e.getSQLState() + " (" + e.getMessage() + ") instead of " + code, e);
        }
        throw new AssertionError("no error instead of " + code);
    }

    /** Lets workers go through the checks until the time is over, each check at least once. */
    <S extends AutoCloseable> void work(List<Check<S>> list, Open<S> open) throws InterruptedException {
        var end = System.nanoTime() + (long) (Double.parseDouble(System.getenv("COMPAT_SECONDS")) * 1e9);
        var threads = new ArrayList<Thread>();
        for (int w = 0; w < WORKERS; w++) {
            int start = w * list.size() / WORKERS;
            var thread = new Thread(() -> worker(list, open, start, end));
            thread.start();
            threads.add(thread);
        }
        for (var t : threads) t.join();
        System.out.println(json());
    }

    private <S extends AutoCloseable> void worker(List<Check<S>> list, Open<S> open, int start, long end) {
        int rounds = (list.size() + WORKERS - 1) / WORKERS;
        S session = null;
        for (int i = 0; i < rounds || System.nanoTime() < end; i++) {
            var check = list.get((i + start) % list.size());
            var doing = "connect";
            try {
                if (session == null) {
                    session = open.open();
                    checked(doing, null);
                }
                doing = check.name();
                check.run().run(session, this);
                checked(doing, null);
            } catch (Throwable e) {
                checked(doing, e);
                quietly(session);
                session = null;
            }
        }
        quietly(session);
    }

    private static void quietly(AutoCloseable session) {
        try {
            if (session != null) session.close();
        } catch (Exception ignored) {
            // it failed already, and that was counted
        }
    }

    private String json() {
        var list = new ArrayList<String>();
        checks.forEach((name, c) -> list.add("{\"name\":%s,\"ok\":%s,\"runs\":%d,\"detail\":%s}".formatted(quote(name), c.ok, c.runs, quote(c.detail))));
        return ("{\"driver\":%s,\"version\":%s,\"checks\":[%s],\"exchanges\":%d,\"old\":%d,\"new\":%d,\"mixed\":%d,\"strange\":%d,\"transactions\":%d,\"errors\":%d}")
            .formatted(quote(driver), quote(version), String.join(",", list), exchanges, older, newer, mixed, strange, transactions, errors);
    }

    private static String quote(String s) {
        var b = new StringBuilder("\"");
        for (char c : s.toCharArray()) {
            if (c == '"' || c == '\\') b.append('\\').append(c);
            else if (c < ' ') b.append("\\u%04x".formatted((int) c));
            else b.append(c);
        }
        return b.append('"').toString();
    }
}
