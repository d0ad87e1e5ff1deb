package proxy

import (
	"strconv"
	"strings"
)

// Strays says what a server does with CopyData, CopyDone and CopyFail outside
// COPY.
type Strays uint8

// The reactions.
const (
	StraysUnknown Strays = iota // a session that sends one cannot be tracked further
	StraysIgnored               // PostgreSQL, Materialize from 26.33
	StraysDrained               // Materialize before: everything is discarded until a Sync
)

// Traits are the differences between servers that matter for knowing where a
// session is and what it has.
type Traits struct {
	// Materialize speaks of cluster and reports search_path; PostgreSQL has no
	// cluster and reports search_path from version 18 on.
	Materialize bool
	Strays      Strays
	// CopyReadsAll: a COPY FROM STDIN fails only after its CopyDone or CopyFail
	// was read, so every Sync before that was ignored.
	CopyReadsAll bool
	// ReportsPath: a change of search_path by SET is told by ParameterStatus.
	ReportsPath bool
	// ReportsAll: every change is told before ReadyForQuery, whatever made it
	// (PostgreSQL 18). Otherwise DISCARD ALL and RESET say nothing reliable.
	ReportsAll bool
	// ReportsEnd: the end of an implicit transaction tells what it took back
	// (Materialize from 26.37).
	ReportsEnd bool
}

// TraitsOf reads them from the parameters of the login: lookup gives the value
// of a ParameterStatus and whether there was one.
func TraitsOf(lookup func(name string) (string, bool)) Traits {
	if version, ok := lookup("mz_version"); ok {
		major, minor := twoNumbers(strings.TrimPrefix(version, "v"))
		since := func(n int) bool { return major > 26 || major == 26 && minor >= n }
		t := Traits{Materialize: true, CopyReadsAll: true, ReportsPath: true, Strays: StraysDrained, ReportsEnd: since(37)}
		switch {
		case major == 0:
			t.Strays = StraysUnknown
		case since(33):
			t.Strays = StraysIgnored
		}
		return t
	}
	_, reports := lookup("search_path")
	return Traits{Strays: StraysIgnored, ReportsPath: reports, ReportsAll: reports}
}

// tellsTraits tells the parameters that TraitsOf asks for.
func tellsTraits(name []byte) bool {
	return string(name) == "mz_version" || string(name) == "search_path"
}

// twoNumbers reads "26.4.0-dev" as 26 and 4; what is no number is 0.
func twoNumbers(version string) (major, minor int) {
	parts := strings.SplitN(version, ".", 3)
	major, _ = strconv.Atoi(parts[0])
	if len(parts) > 1 {
		minor, _ = strconv.Atoi(parts[1])
	}
	return major, minor
}
