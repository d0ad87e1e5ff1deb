package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/router"
)

// decode reads what we send with somebody else's codec.
func decode(t *testing.T, b []byte) []pgproto3.FrontendMessage {
	t.Helper()
	backend := pgproto3.NewBackend(bytes.NewReader(b), nil)
	var all []pgproto3.FrontendMessage
	for {
		m, err := backend.Receive()
		if err != nil {
			return all
		}
		switch m := m.(type) {
		case *pgproto3.Parse:
			all = append(all, &pgproto3.Parse{Name: m.Name, Query: m.Query})
		case *pgproto3.Bind:
			all = append(all, &pgproto3.Bind{DestinationPortal: m.DestinationPortal, PreparedStatement: m.PreparedStatement})
		case *pgproto3.Execute:
			all = append(all, &pgproto3.Execute{Portal: m.Portal})
		case *pgproto3.Close:
			all = append(all, &pgproto3.Close{ObjectType: m.ObjectType, Name: m.Name})
		case *pgproto3.Query:
			all = append(all, &pgproto3.Query{String: m.String})
		default:
			all = append(all, m)
		}
	}
}

func TestI4I5MaterializeUnit(t *testing.T) {
	want := router.Settings{Cluster: `c"x`, Path: []string{"prod-deploy", "public"}}
	for _, c := range []struct {
		cluster, path bool
		sql           string
	}{
		{true, true, `SET cluster = "c""x"; SET search_path = "prod-deploy", "public"`},
		{true, false, `SET cluster = "c""x"`},
		{false, true, `SET search_path = "prod-deploy", "public"`},
	} {
		u := MaterializeUnit([]byte(nil), want, c.cluster, c.path)
		got := decode(t, u.Bytes)
		if len(got) != 1 || got[0].(*pgproto3.Query).String != c.sql {
			t.Errorf("%+v", got)
		}
	}
	if got := decode(t, MaterializeUnit(nil, router.Settings{}, true, true).Bytes); got[0].(*pgproto3.Query).String != "SET search_path = ''" {
		t.Errorf("%+v", got[0])
	}
}

func TestI4I15PostgresUnit(t *testing.T) {
	names := NewUnitNames()
	first, second := names.Next(), names.Next()
	if first == second || NewUnitNames().Next() == first {
		t.Fatal("a reserved name came twice")
	}
	got := decode(t, PostgresUnit(nil, first, router.Settings{Path: []string{"a", `"`}}).Bytes)
	if len(got) != 6 {
		t.Fatalf("%d messages", len(got))
	}
	if p := got[0].(*pgproto3.Parse); p.Name != first || p.Query != `SET search_path TO "a", """"` {
		t.Errorf("%+v", p)
	}
	if b := got[1].(*pgproto3.Bind); b.DestinationPortal != first || b.PreparedStatement != first {
		t.Errorf("%+v", b)
	}
	if e := got[2].(*pgproto3.Execute); e.Portal != first {
		t.Errorf("%+v", e)
	}
	if s, p := got[3].(*pgproto3.Close), got[4].(*pgproto3.Close); s.ObjectType != 'S' || p.ObjectType != 'P' || s.Name != first {
		t.Errorf("%+v %+v", s, p)
	}
	if _, ok := got[5].(*pgproto3.Sync); !ok {
		t.Errorf("%+v", got[5])
	}
}

// answer is one message of the server and what must happen to it.
type answer struct {
	kind byte
	body string
	want Action
}

func fields(severity, code, text string) string {
	return "S" + severity + "\x00C" + code + "\x00M" + text + "\x00\x00"
}

func status(name, value string) string { return name + "\x00" + value + "\x00" }

func TestUnitReader(t *testing.T) {
	deploy := router.Settings{Cluster: "prod_deploy", Path: []string{"prod_deploy", "public"}}
	mz := MaterializeUnit(nil, deploy, true, true)
	pg := PostgresUnit(nil, "_x", router.Settings{Path: []string{"prod_deploy"}})
	set := answer{'C', "SET\x00", Swallow}
	cluster := answer{'S', status("cluster", "prod_deploy"), Swallow}
	path := answer{'S', status("search_path", "prod_deploy, public"), Swallow}
	for name, c := range map[string]struct {
		unit    Unit
		answers []answer
		want    Outcome
		code    string
	}{
		"done": {mz, []answer{cluster, set, path, set, {'Z', "I", Finish}}, UnitDone, ""},
		"foreign messages between": {mz, []answer{
			{'N', fields("NOTICE", "00000", `cluster replica prod.r1 changed status to "offline"`), Relay}, cluster,
			{'S', status("TimeZone", "UTC"), Relay}, set, {'A', "....", Relay}, path, set, {'Z', "I", Finish}}, UnitDone, ""},
		"missing cluster was set": {mz, []answer{
			{'N', fields("NOTICE", "MZ007", `cluster "prod_deploy" does not exist`), Swallow}, cluster, set, path, set, {'Z', "I", Finish}}, UnitMissing, "MZ007"},
		"refused, values void": {mz, []answer{cluster, set,
			{'E', fields("ERROR", "42704", "unrecognized"), Swallow}, {'Z', "I", Finish}}, UnitRefused, "42704"},
		"fatal": {mz, []answer{cluster, {'E', fields("FATAL", "57P01", "bye"), Broken}}, UnitFatal, "57P01"},
		"other value": {mz, []answer{cluster, set, {'S', status("search_path", "prod"), Swallow}, set,
			{'Z', "I", Finish}}, UnitDiffers, ""},
		"nothing reported":      {mz, []answer{set, set, {'Z', "I", Finish}}, UnitDiffers, ""},
		"one answer too few":    {mz, []answer{cluster, set, {'Z', "I", Broken}}, UnitConfused, ""},
		"one answer too many":   {mz, []answer{cluster, set, path, set, {'C', "SET\x00", Broken}}, UnitConfused, ""},
		"row":                   {mz, []answer{{'D', "", Broken}}, UnitConfused, ""},
		"other tag":             {mz, []answer{{'C', "SELECT 1\x00", Broken}}, UnitConfused, ""},
		"in a transaction":      {mz, []answer{cluster, set, path, set, {'Z', "T", Broken}}, UnitConfused, ""},
		"quoted report":         {MaterializeUnit(nil, router.Settings{Path: []string{"a-b"}}, false, true), []answer{{'S', status("search_path", `"a-b"`), Swallow}, set, {'Z', "I", Finish}}, UnitDone, ""},
		"unquoted dash is prod": {MaterializeUnit(nil, router.Settings{Path: []string{"prod-deploy"}}, false, true), []answer{{'S', status("search_path", "prod"), Swallow}, set, {'Z', "I", Finish}}, UnitDiffers, ""},
		"foreign value of the part not set": {MaterializeUnit(nil, deploy, true, false), []answer{
			{'S', status("search_path", "x"), Relay}, cluster, set, {'Z', "I", Finish}}, UnitDone, ""},
		"postgres": {pg, []answer{{'1', "", Swallow}, {'2', "", Swallow}, set, {'3', "", Swallow}, {'3', "", Swallow},
			{'Z', "I", Finish}}, UnitDone, ""},
		"postgres 18 reports": {pg, []answer{{'1', "", Swallow}, {'2', "", Swallow}, set, {'3', "", Swallow}, {'3', "", Swallow},
			{'S', status("search_path", "prod_deploy"), Swallow}, {'Z', "I", Finish}}, UnitDone, ""},
		"postgres reports another": {pg, []answer{{'1', "", Swallow}, {'2', "", Swallow}, set, {'3', "", Swallow}, {'3', "", Swallow},
			{'S', status("search_path", "prod"), Swallow}, {'Z', "I", Finish}}, UnitDiffers, ""},
		"postgres refuses":     {pg, []answer{{'E', fields("ERROR", "42601", "no"), Swallow}, {'Z', "I", Finish}}, UnitRefused, "42601"},
		"postgres out of turn": {pg, []answer{{'2', "", Broken}}, UnitConfused, ""},
		"answers after error":  {pg, []answer{{'E', fields("ERROR", "42601", "no"), Swallow}, {'1', "", Broken}}, UnitConfused, "42601"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewUnitReader(c.unit)
			for i, a := range c.answers {
				if r.Outcome() != UnitRunning {
					t.Fatalf("over before message %d", i)
				}
				if got := r.Take(a.kind, []byte(a.body)); got != a.want {
					t.Fatalf("message %d (%c): %v, want %v", i, a.kind, got, a.want)
				}
			}
			if r.Outcome() != c.want || r.Code != c.code {
				t.Fatalf("%v %q, want %v %q", r.Outcome(), r.Code, c.want, c.code)
			}
			if _, seen, _, _ := r.Reported(); seen && c.want == UnitRefused {
				t.Error("values of a refused unit are void")
			}
		})
	}
}

func TestAnswersAreWellFormed(t *testing.T) {
	var b []byte
	failure := Fail(KindNoCanary, "deployment \"shop\"\x00Hinjected", nil)
	b = failure.Append(b)
	b = AppendNotice(b, Notice{Severity: "NOTICE", Code: "00000", Message: "n"})
	b = AppendNegotiate(b, []string{"_pq_.x"})
	b = AppendParameter(b, "a", "b")
	b = AppendBackendKey(b, 7, []byte{1, 2, 3, 4})
	b = AppendReady(b, 'I')
	frontend := pgproto3.NewFrontend(bytes.NewReader(b), nil)
	next := func() pgproto3.BackendMessage {
		m, err := frontend.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	e := next().(*pgproto3.ErrorResponse)
	if e.Severity != "FATAL" || e.SeverityUnlocalized != "FATAL" || e.Code != "08004" || e.Hint != KindNoCanary.Hint() ||
		!strings.HasPrefix(e.Message, "mzcanary: ") || e.Detail != `deployment "shop"` {
		t.Errorf("%+v", e)
	}
	if n := next().(*pgproto3.NoticeResponse); n.Message != "mzcanary: n" {
		t.Errorf("%+v", n)
	}
	if v := next().(*pgproto3.NegotiateProtocolVersion); v.NewestMinorProtocol != Version30 || len(v.UnrecognizedOptions) != 1 {
		t.Errorf("%+v", v)
	}
	if s := next().(*pgproto3.ParameterStatus); s.Name != "a" || s.Value != "b" {
		t.Errorf("%+v", s)
	}
	if k := next().(*pgproto3.BackendKeyData); k.ProcessID != 7 {
		t.Errorf("%+v", k)
	}
	if z := next().(*pgproto3.ReadyForQuery); z.TxStatus != 'I' {
		t.Errorf("%+v", z)
	}
	if x := decode(t, AppendTerminate(nil)); len(x) != 1 {
		t.Error(x)
	}
	if http := string(AppendHTTP(nil)); !strings.HasPrefix(http, "HTTP/1.0 400 ") || !strings.Contains(http, "mzcanary: ") {
		t.Error(http)
	}
}

func TestEveryKindSaysSomething(t *testing.T) {
	labels := map[string]bool{}
	for _, k := range Kinds() {
		if len(k.SQLSTATE()) != 5 || k.Sentence() == "" || k.Label() == "" || labels[k.Label()] {
			t.Errorf("kind %d: %q %q %q", k, k.Label(), k.SQLSTATE(), k.Sentence())
		}
		labels[k.Label()] = true
	}
	if Kind(200).Label() != "internal" {
		t.Error("a number out of range")
	}
}

func TestFields(t *testing.T) {
	f := ParseFields([]byte("SFEHLER\x00VERROR\x00C57014\x00Mtext"))
	if string(f.Severity) != "ERROR" || string(f.Code) != "57014" || string(f.Message) != "text" || f.Fatal() {
		t.Errorf("%q", f)
	}
	if f := ParseFields([]byte("VFATAL\x00SX\x00\x00")); !f.Fatal() || f.Code != nil { // M16
		t.Errorf("%q", f)
	}
	if name, value, ok := ParseParameter([]byte("a\x00b\x00")); !ok || string(name) != "a" || string(value) != "b" {
		t.Error("parameter")
	}
	for _, bad := range []string{"", "a", "a\x00b", "a\x00b\x00c"} {
		if _, _, ok := ParseParameter([]byte(bad)); ok {
			t.Errorf("%q", bad)
		}
	}
	for _, bad := range []string{"", "X", "II"} {
		if _, ok := ParseReady([]byte(bad)); ok {
			t.Errorf("%q", bad)
		}
	}
	if key, ok := ParseBackendKey([]byte("\x00\x00\x00\x07abcd")); !ok || key.PID != 7 || string(key.Secret) != "abcd" {
		t.Error("key")
	}
	for text, want := range map[string]string{
		"FETCH 1 c\x00": "FETCH", " \n-- x\n/* a /* b */ */ fetch all\x00": "fetch", "(SELECT 1)\x00": "SELECT",
		"": "", "-- only": "", "/* open": "", "FETC": "", ";;DISCARD ALL\x00": "DISCARD", "$1\x00": "",
	} {
		if got := string(Keyword([]byte(text))); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	for text, want := range map[string]bool{
		"set search_path = a\x00": true, "SET LOCAL cluster TO a\x00": true, "SET SESSION /* x */ schema 'a'\x00": true, "SET \"cluster\" = a\x00": true,
		"SELECT 1; SET search_path TO a\x00": true, "SET statement_timeout = 1\x00": false, "SET SESSION AUTHORIZATION a\x00": false,
		"SET TIME ZONE 'UTC'\x00": false, "SETTLE search_path\x00": false, "SET\x00": false, "SELECT 'a'\x00": false,
	} {
		if got := IsReset([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if !Prepares([]byte("SELECT 1; prepare s AS SELECT 1\x00")) || Prepares([]byte("SELECT 'prepare '\x00")) {
		t.Error("PREPARE")
	}
	if !IsReset([]byte("/* pool */ discard all\x00")) || !IsReset([]byte("RESET ALL;\x00")) || IsReset([]byte("SELECT 1\x00")) {
		t.Error("reset")
	}
}
