package sim

import (
	"strconv"
	"strings"
)

// behaviour holds what changed between Materialize versions, so that code asks for the behaviour and not for numbers.
// A version that cannot be parsed behaves like the newest.
type behaviour struct {
	// resetToStartup: RESET and DISCARD ALL restore the start-up value instead of the role's or system's (26.33).
	resetToStartup bool
	// discardDurable: DISCARD ALL takes effect at once instead of with the next transaction's commit (26.36).
	discardDurable bool
	// announceLocalEnd: the end of SET LOCAL in an implicit transaction sends ParameterStatus (26.37).
	announceLocalEnd bool
	// droppedTexts: a stream whose relation goes ends with 42704 "relation '…' was dropped" (26.32).
	droppedTexts bool
	// evaluationCodes: evaluation errors carry class 22 codes instead of XX000 (26.29).
	evaluationCodes bool
	// unsupportedCode: unsupported features are 0A000 instead of XX000 (26.34).
	unsupportedCode bool
	// strayCopyIgnored: copy messages outside COPY are ignored instead of starting a drain to Sync (26.33).
	strayCopyIgnored bool
	// writesSpanPipeline: extended-protocol writes stay staged until Sync (26.37).
	writesSpanPipeline bool
	// environmentID: the welcome text says "Environment ID" where it said "Org ID" (26.24 at the latest).
	environmentID bool
}

// release is a version with its behaviour.
type release struct {
	version   string
	behaviour behaviour
}

func newRelease(version string) *release { return &release{version, behaviourOf(version)} }

func behaviourOf(version string) behaviour {
	major, minor := parseVersion(version)
	at := func(m int) bool { return major > 26 || major == 26 && minor >= m }
	return behaviour{
		resetToStartup:     at(33),
		discardDurable:     at(36),
		announceLocalEnd:   at(37),
		droppedTexts:       at(32),
		evaluationCodes:    at(29),
		unsupportedCode:    at(34),
		strayCopyIgnored:   at(33),
		writesSpanPipeline: at(37),
		environmentID:      at(24),
	}
}

// parseVersion reads "v26.4.0-dev.0 (4c45b0938)" as 26, 4.
func parseVersion(version string) (major, minor int) {
	v := strings.TrimPrefix(strings.TrimSpace(version), "v")
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return 1 << 20, 0
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return 1 << 20, 0
	}
	return major, minor
}

// shortVersion is the version without its commit: "v26.4.0-dev.0".
func shortVersion(version string) string {
	short, _, _ := strings.Cut(version, " ")
	return short
}
