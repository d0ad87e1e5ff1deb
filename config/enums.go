package config

import "log/slog"

// Kind is the kind of server upstream.
type Kind string

// The kinds of server. PostgreSQL has schemas only.
const (
	KindMaterialize Kind = "materialize"
	KindPostgres    Kind = "postgres"
)

// TLSMode is how the server's certificate is checked, as libpq's sslmode.
type TLSMode string

// The modes: no TLS, TLS without proof, a trusted certificate, and one that also
// carries the server's name.
const (
	TLSDisable    TLSMode = "disable"
	TLSRequire    TLSMode = "require"
	TLSVerifyCA   TLSMode = "verify-ca"
	TLSVerifyFull TLSMode = "verify-full"
)

// ClientAuth says what is asked of clients' certificates.
type ClientAuth string

// Nothing, that one that is shown comes from the right authority, or that one is
// shown.
const (
	ClientAuthNone     ClientAuth = "none"
	ClientAuthOptional ClientAuth = "optional"
	ClientAuthRequire  ClientAuth = "require"
)

// ObjectKind is the kind of object an ObjectPair renames.
type ObjectKind string

// The kinds of object.
const (
	ObjectTable            ObjectKind = "table"
	ObjectView             ObjectKind = "view"
	ObjectMaterializedView ObjectKind = "materialized_view"
	ObjectIndex            ObjectKind = "index"
)

// UnitKey is what sticks to an arm.
type UnitKey string

// The keys.
const (
	KeyConnection      UnitKey = "connection"
	KeyUser            UnitKey = "user"
	KeyApplicationName UnitKey = "application_name"
	KeyDatabase        UnitKey = "database"
	KeyClientAddress   UnitKey = "client_address"
)

// Arm is one of the two versions.
type Arm string

// The arms.
const (
	ArmStable Arm = "stable"
	ArmCanary Arm = "canary"
)

// LiveSessions says whether a changed weight moves sessions that already run.
type LiveSessions string

// Move them at their next boundary, or let them keep their arm.
const (
	LiveSessionsMove LiveSessions = "move"
	LiveSessionsKeep LiveSessions = "keep"
)

// ClientSet is what happens when a client sets cluster or search_path itself.
type ClientSet string

// Map its live names like any others, or release the session from management.
const (
	ClientSetMap     ClientSet = "map"
	ClientSetRelease ClientSet = "release"
)

// QualifiedNames is what happens to a canary session that names a live schema
// explicitly.
type QualifiedNames string

// Pin the session to stable, or only count it.
const (
	QualifiedPinStable QualifiedNames = "pin_stable"
	QualifiedCount     QualifiedNames = "count"
)

// OnRegress is what the verdict regress does.
type OnRegress string

// Roll back, go back to the last safe weight, or pause.
const (
	RegressRollback OnRegress = "rollback"
	RegressStepBack OnRegress = "step_back"
	RegressPause    OnRegress = "pause"
)

// OnUndecided is what happens when a step's time is over without a verdict.
type OnUndecided string

// Wait on, ask a person, or roll back.
const (
	UndecidedWait     OnUndecided = "wait"
	UndecidedAsk      OnUndecided = "ask"
	UndecidedRollback OnUndecided = "rollback"
)

// OnInsufficient is what happens when no verdict can be reached with the units
// there are.
type OnInsufficient string

// Wait on, ask a person, or roll back. Never go on.
const (
	InsufficientAsk      OnInsufficient = "ask"
	InsufficientWait     OnInsufficient = "wait"
	InsufficientRollback OnInsufficient = "rollback"
)

// Method is how the names change hands.
type Method string

// Three renames per pair by SWAP, or two that reach the fenced state at once.
const (
	MethodSwap   Method = "swap"
	MethodRename Method = "rename"
)

// Stragglers is what happens to sessions that never reach a boundary.
type Stragglers string

// Wait for them, or end them with 57P01 after the last attempt.
const (
	StragglersWait      Stragglers = "wait"
	StragglersTerminate Stragglers = "terminate"
)

// DrainThen is what happens to sessions still on the old version at the deadline.
type DrainThen string

// End them with 57P01, or wait for a person.
const (
	DrainTerminate DrainThen = "terminate"
	DrainWait      DrainThen = "wait"
)

// Level is the least severe log record that is written.
type Level string

// The levels.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Slog is the level as log/slog counts it.
func (l Level) Slog() slog.Level {
	switch l {
	case LevelDebug:
		return slog.LevelDebug
	case LevelWarn:
		return slog.LevelWarn
	case LevelError:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Format is the form of log records.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// enumerated is a string type whose values are listed: the schema refuses others.
type enumerated interface{ values() []string }

func (Kind) values() []string { return []string{"materialize", "postgres"} }
func (TLSMode) values() []string {
	return []string{"disable", "require", "verify-ca", "verify-full"}
}
func (ClientAuth) values() []string { return []string{"none", "optional", "require"} }
func (ObjectKind) values() []string {
	return []string{"table", "view", "materialized_view", "index"}
}
func (UnitKey) values() []string {
	return []string{"connection", "user", "application_name", "database", "client_address"}
}
func (Arm) values() []string            { return []string{"stable", "canary"} }
func (LiveSessions) values() []string   { return []string{"move", "keep"} }
func (ClientSet) values() []string      { return []string{"map", "release"} }
func (QualifiedNames) values() []string { return []string{"pin_stable", "count"} }
func (OnRegress) values() []string      { return []string{"rollback", "step_back", "pause"} }
func (OnUndecided) values() []string    { return []string{"wait", "ask", "rollback"} }
func (OnInsufficient) values() []string { return []string{"ask", "wait", "rollback"} }
func (Method) values() []string         { return []string{"swap", "rename"} }
func (Stragglers) values() []string     { return []string{"wait", "terminate"} }
func (DrainThen) values() []string      { return []string{"terminate", "wait"} }
func (Level) values() []string          { return []string{"debug", "info", "warn", "error"} }
func (Format) values() []string         { return []string{"text", "json"} }
