package armstats

import (
	"encoding/json"
	"testing"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		code, message string
		want          Class
	}{
		{"00000", "", OK},
		{"57014", "canceling statement due to user request", Neutral},
		{"57014", "COPY from stdin failed: stopped", Neutral},
		{"57014", "canceling statement due to statement timeout", Arm},
		{"57014", "canceling statement, provided timeout lapsed", Arm},
		{"28000", "authentication expired", Neutral},
		{"28P01", "invalid password", Neutral},
		{"MZ010", "login blocked", Neutral},
		{"42501", "unauthorized login to user 'mz_system'", Neutral},
		{"42501", `permission denied for SCHEMA "materialize.prod"`, Arm},
		{"42704", `cluster "prod_deploy" was dropped`, Arm},
		{"42704", `unrecognized configuration parameter "x"`, Other},
		{"25000", "Transactions can only reference objects in the same timedomain. See …", Arm},
		{"25000", "the transaction's active cluster has been dropped", Arm},
		{"25000", "transaction blocks of different kinds cannot be mixed", Other},
		{"25006", "cannot write in read-only mode", Server},
		{"25006", "transaction in read-only mode", Other},
		{"0A000", `CLUSTER "prod" has no replicas available to service request`, Arm},
		{"0A000", "cached plan must not change result type", Arm},
		{"0A000", "cluster u36 was removed", Arm},
		{"0A000", "CREATE DOMAIN is not supported", Other},
		{"53200", "result exceeds max size of 1.0 MiB", Server},
		{"53200", "SUBSCRIBE fell behind by 5s", Other},
		{"53000", "creating connection would violate max_connections limit", Server},
		{"53300", "sorry, too many clients already", Server},
		{"57P01", "terminating connection due to administrator command", Server},
		{"57P05", "terminating connection due to idle-session timeout", Other},
		{"58030", "could not read file", Server},
		{"08006", "connection failure", Server},
		{"08P01", "bind message supplies 2 parameters", Other},
		{"P0002", "collection 'u5' is not readable at any timestamp", Arm},
		{"3F000", "no valid schema selected", Arm},
		{"42P01", `relation "answer" does not exist`, Arm},
		{"42601", "Expected end of statement", Other},
		{"40001", "another session modified the catalog", Other},
		{"22012", "division by zero", Other},
		{"XX000", "unknown catalog item 'answer'", Arm},
		{"XX000", "unknown schema 'prod_deploy'", Arm},
		{"XX000", "unknown cluster 'prod_deploy'", Arm},
		{"XX000", "Evaluation error: division by zero", Arm},
		{"XX000", `subscribe has been terminated because underlying relation "a" was dropped`, Arm},
		{"XX000", `query could not complete because relation "a" was dropped`, Arm},
		{"XX000", "SUBSCRIBE fell behind: …", Other},
		{"XX000", "internal error: panic", Server},
		{"XX000", "collection u5 is gone", Server},
		{"XX000", `column "nope" does not exist`, Other},
		{"XX000", "view 'x' already exists", Other},
		{"XX000", "a sentence nobody has seen", Other},
		{"XX001", "invalid page", Server},
		{"", "no code at all", Other},
		{"MZ009", "collection is not readable at any time", Other},
	} {
		if got := Classify([]byte(c.code), []byte(c.message)); got != c.want {
			t.Errorf("%s %q is %v, want %v", c.code, c.message, got, c.want)
		}
	}
}

func TestClassifyAllocatesNothing(t *testing.T) {
	code, message := []byte("XX000"), []byte("a sentence that matches none of the known beginnings at all")
	timedomain := []byte("Transactions can only reference objects in the same timedomain.")
	if n := testing.AllocsPerRun(100, func() {
		Classify(code, message)
		Classify([]byte("25000"), timedomain)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// Every bad class belongs to exactly one metric, and only bad ones do.
func TestClassesAndMetrics(t *testing.T) {
	for c := Class(0); c < NumClasses; c++ {
		if (c.Metric() != "") != c.Bad() {
			t.Errorf("%v: bad %v, metric %q", c, c.Bad(), c.Metric())
		}
		back, err := parseClass(c.String())
		if err != nil || back != c {
			t.Errorf("%v reads back as %v, %v", c, back, err)
		}
	}
	for i, m := range Metrics() {
		if m.index() != i {
			t.Errorf("%s has index %d, want %d", m, m.index(), i)
		}
	}
	all := Counts{1, 2, 4, 8, 16, 32, 64}
	if all.Of(MetricConnection) != 32 || all.Of(MetricServer) != 4+8+64 || all.Of(MetricOther) != 16 {
		t.Errorf("metrics of %v: %d %d %d", all, all.Of(MetricConnection), all.Of(MetricServer), all.Of(MetricOther))
	}
}

func TestCountsJSON(t *testing.T) {
	in := Counts{OK: 5, Lost: 2}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != `{"lost":2,"ok":5}` {
		t.Errorf("written as %s", b)
	}
	var out Counts
	if err := json.Unmarshal(b, &out); err != nil || out != in {
		t.Errorf("read back as %v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"slow":1}`), &out); err == nil {
		t.Error("a class of a newer version was read as nothing")
	}
}
