package armstats

import "bytes"

// Classify reads the SQLSTATE and the primary message of the error that ended an
// exchange. The code alone is not enough: Materialize answers XX000 to a typing
// mistake, to a view poisoned by its data and to an internal fault alike. It
// allocates nothing and keeps neither slice.
//
// What it cannot know is when a failure ended the connection as well: Connect
// and Lost are the relay's to say.
func Classify(code, message []byte) Class {
	if len(code) != 5 {
		return Other
	}
	switch string(code) {
	case "00000":
		return OK
	case "57014":
		return ofCancel(message)
	case "28000", "28P01", "MZ010", "MZ011":
		return Neutral // the login was the client's mistake
	case "42501":
		if hasPrefix(message, "unauthorized login") {
			return Neutral
		}
		return Arm // grants that were not copied to the new version
	case "P0002", "42P01", "3F000":
		return Arm // not readable at any time; relation missing; schema missing
	case "42704":
		return armIf(hasSuffix(message, " was dropped"))
	case "25000":
		return armIf(contains(message, "timedomain") || contains(message, "active cluster has been dropped"))
	case "25006":
		if hasPrefix(message, "cannot write in read-only mode") {
			return Server
		}
		return Other
	case "0A000":
		return armIf(contains(message, "has no replicas available") ||
			hasPrefix(message, "cached plan must not change result type") ||
			hasSuffix(message, " was removed")) // up to 26.4: cluster u36 was removed
	case "53200":
		if hasPrefix(message, "SUBSCRIBE fell behind") {
			return Other // a slow reader
		}
		return Server
	case "08P01", "57P05":
		return Other // malformed Bind; the server's idle timeout
	case "XX000":
		return ofInternal(message)
	}
	switch string(code[:2]) {
	case "XX", "53", "57", "58", "08":
		return Server
	}
	return Other
}

// ofCancel splits 57014. A statement timeout is the arm being slow.
func ofCancel(message []byte) Class {
	switch {
	case hasSuffix(message, "due to user request"), hasPrefix(message, "COPY from stdin failed"):
		return Neutral
	}
	return Arm
}

// internalPrefixes splits XX000 by how the message begins. What is not listed is
// unknown, and unknown is compared between the arms like a client's mistake.
var internalPrefixes = [...]struct {
	prefix string
	class  Class
}{
	{"unknown catalog item '", Arm},
	{"unknown schema '", Arm},
	{"unknown database '", Arm},
	{"unknown cluster '", Arm},
	{"query could not complete because ", Arm},
	{"subscribe has been terminated because underlying ", Arm},
	{"copy has been terminated because underlying ", Arm},
	{"Evaluation error: ", Arm},
	{"target replica failed or was dropped", Arm},
	{"internal error: ", Server},
	{"internal transform error", Server},
	{"exceeded recursion limit of ", Server},
	{"OIDC group-to-role sync failed", Server},
}

func ofInternal(message []byte) Class {
	for _, p := range internalPrefixes {
		if hasPrefix(message, p.prefix) {
			return p.class
		}
	}
	// "collection u5 does not exist", but not "collection" in a planner's sentence
	// about a user's own words.
	if hasPrefix(message, "collection ") {
		return Server
	}
	return Other
}

func armIf(yes bool) Class {
	if yes {
		return Arm
	}
	return Other
}

// These compare bytes with a constant without converting either to the heap.

func hasPrefix(b []byte, p string) bool { return len(b) >= len(p) && string(b[:len(p)]) == p }

func hasSuffix(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }

func contains(b []byte, s string) bool {
	for len(b) >= len(s) {
		i := bytes.IndexByte(b, s[0])
		if i < 0 || len(b)-i < len(s) {
			return false
		}
		if string(b[i:i+len(s)]) == s {
			return true
		}
		b = b[i+1:]
	}
	return false
}
