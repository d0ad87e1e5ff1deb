package config

import "time"

// Deployment is a named set of pairs that are released together.
type Deployment struct {
	// Name begins with a letter and holds letters, digits, _ and -: it stands in
	// paths, labels and file names.
	Name     string       `mapstructure:"name"`
	Database string       `mapstructure:"database"`
	Schemas  []Pair       `mapstructure:"schemas"`
	Clusters []Pair       `mapstructure:"clusters"`
	Objects  []ObjectPair `mapstructure:"objects"`
	// Accept lists findings of preflight that are accepted by name.
	Accept  []string `mapstructure:"accept"`
	Routing Routing  `mapstructure:"routing"`
	Rollout Rollout  `mapstructure:"rollout"`
	Promote Promote  `mapstructure:"promote"`
	Window  Window   `mapstructure:"window"`
	Drain   Drain    `mapstructure:"drain"`
}

// Pair is a live name and the name its new version is built under, both as they
// are: unquoted, case-sensitive.
type Pair struct {
	Live   string `mapstructure:"live"`
	Deploy string `mapstructure:"deploy"`
}

// ObjectPair is a pair inside a schema, promoted by renames. Names are
// schema.object.
type ObjectPair struct {
	Kind   ObjectKind `mapstructure:"kind"`
	Live   string     `mapstructure:"live"`
	Deploy string     `mapstructure:"deploy"`
}

// Routing says which sessions follow the weight, and how.
type Routing struct {
	Key            UnitKey        `mapstructure:"key"`
	Pins           []Pin          `mapstructure:"pins"`
	LiveSessions   LiveSessions   `mapstructure:"live_sessions"`
	ClientSet      ClientSet      `mapstructure:"client_set"`
	QualifiedNames QualifiedNames `mapstructure:"qualified_names"`
	Defaults       Defaults       `mapstructure:"defaults"`
}

// Pin puts the sessions that match every property given on one arm.
type Pin struct {
	User            string `mapstructure:"user"`
	ApplicationName string `mapstructure:"application_name"`
	Database        string `mapstructure:"database"`
	Arm             Arm    `mapstructure:"arm"`
}

// Defaults are the settings of clients that ask for nothing, when those should be
// managed. The zero value leaves them unmanaged.
type Defaults struct {
	SearchPath []string `mapstructure:"search_path"`
	Cluster    string   `mapstructure:"cluster"`
}

// Empty reports whether clients that ask for nothing stay unmanaged.
func (d Defaults) Empty() bool { return len(d.SearchPath) == 0 && d.Cluster == "" }

// Rollout is how a new version earns its traffic.
type Rollout struct {
	Plan           Plan           `mapstructure:"plan"`
	Minimum        Minimum        `mapstructure:"minimum"`
	Ready          Ready          `mapstructure:"ready"`
	Judge          Judge          `mapstructure:"judge"`
	OnRegress      OnRegress      `mapstructure:"on_regress"`
	OnUndecided    OnUndecided    `mapstructure:"on_undecided"`
	OnInsufficient OnInsufficient `mapstructure:"on_insufficient"`
	OnRollback     OnRollback     `mapstructure:"on_rollback"`
}

// Minimum is what each arm must have seen for a timed step to pass.
type Minimum struct {
	Units     int `mapstructure:"units"`
	Exchanges int `mapstructure:"exchanges"`
}

// Ready is the strict readiness of the deploy clusters.
type Ready struct {
	// MaxLag is how far an object may be behind, and behind its live twin.
	MaxLag time.Duration `mapstructure:"max_lag"`
	// Within is how long a rollout waits for readiness before it expires.
	Within time.Duration `mapstructure:"within"`
	// Poll is the time from one sample to the next.
	Poll time.Duration `mapstructure:"poll"`
	// Consecutive is how many good samples in a row are ready.
	Consecutive int `mapstructure:"consecutive"`
	// AllReplicas asks for hydration on every replica instead of one.
	AllReplicas bool `mapstructure:"all_replicas"`
	// Probe bounds one probing SELECT through the canary's own settings.
	Probe time.Duration `mapstructure:"probe"`
}

// Judge sets the statistics.
type Judge struct {
	// Alpha is the probability of a false regress per rollout, above 0 and at most 0.5.
	Alpha float64 `mapstructure:"alpha"`
}

// OnRollback bounds what never reaches a boundary by itself.
type OnRollback struct {
	// CancelAfter is when statements hanging on the canary are cancelled upstream.
	CancelAfter time.Duration `mapstructure:"cancel_after"`
	// EndStreamsAfter is when streams on the canary are ended with 57P01.
	EndStreamsAfter time.Duration `mapstructure:"end_streams_after"`
}

// Promote is the cut-over.
type Promote struct {
	Method Method `mapstructure:"method"`
	// Fence renames the old version in the swap's own transaction.
	Fence bool `mapstructure:"fence"`
	// Gather is how long sessions may take to reach their boundary.
	Gather time.Duration `mapstructure:"gather"`
	// MaxStall bounds how long a session is held, from first gate closed to release.
	MaxStall time.Duration `mapstructure:"max_stall"`
	// ReleaseSpread is over how long a release wakes the sessions that wait.
	ReleaseSpread time.Duration `mapstructure:"release_spread"`
	Attempts      int           `mapstructure:"attempts"`
	// Patience is how long an attempt is put off because of long transactions.
	Patience   time.Duration `mapstructure:"patience"`
	Stragglers Stragglers    `mapstructure:"stragglers"`
}

// Window is the time after the swap in which a rollback swaps back.
type Window struct {
	For time.Duration `mapstructure:"for"`
}

// Drain is how the old version is left.
type Drain struct {
	For  time.Duration `mapstructure:"for"`
	Then DrainThen     `mapstructure:"then"`
}
