package sql

// Option is one "NAME = value" of a parenthesised option list; Value is ""
// when only the name was given.
type Option struct {
	Name  string // upper-cased, words joined by one space
	Value string
}

// Definitions.
type (
	// CreateDatabase is CREATE DATABASE.
	CreateDatabase struct {
		node
		IfNotExists bool
		Name        string
	}

	// CreateSchema is CREATE SCHEMA.
	CreateSchema struct {
		node
		IfNotExists bool
		Name        Name // one or two parts
	}

	// CreateCluster is CREATE CLUSTER in its managed and unmanaged forms.
	CreateCluster struct {
		node
		IfNotExists       bool
		Name              string
		Size              string
		ReplicationFactor int  // -1 when not given
		Unmanaged         bool // REPLICAS (…) was given
		Replicas          []Replica
		Options           []Option // all that were written, in order
	}

	// Replica is one replica of an unmanaged cluster.
	Replica struct {
		Name    string
		Size    string
		Options []Option
	}

	// CreateClusterReplica is CREATE CLUSTER REPLICA c.r (…).
	CreateClusterReplica struct {
		node
		Cluster string
		Replica Replica
	}

	// CreateTable is CREATE TABLE with plain columns.
	CreateTable struct {
		node
		Temporary   bool
		IfNotExists bool
		Name        Name
		Columns     []Column
	}

	// CreateView is CREATE VIEW.
	CreateView struct {
		node
		Temporary   bool
		OrReplace   bool
		IfNotExists bool
		Name        Name
		Columns     []string // names given to the columns; may be empty
		Query       *Query
	}

	// CreateMaterializedView is CREATE MATERIALIZED VIEW.
	CreateMaterializedView struct {
		node
		OrReplace   bool
		IfNotExists bool
		Name        Name
		Columns     []string
		Cluster     string // "" the session's
		Query       *Query
	}

	// CreateIndex is CREATE INDEX or CREATE DEFAULT INDEX.
	CreateIndex struct {
		node
		IfNotExists bool
		Name        string // "" the server makes one up
		Default     bool
		Cluster     string // "" the session's
		On          Name
		Keys        []IndexKey
	}

	// IndexKey is one key of an index: a column, or an expression's text.
	IndexKey struct {
		Column string
		Expr   string // set when Column is ""
	}

	// CreateRole is CREATE ROLE.
	CreateRole struct {
		node
		Name    string
		Options []Option
	}

	// CreateObject is CREATE SOURCE, SINK, SECRET, CONNECTION or TYPE: only
	// its name, cluster and what a sink reads.
	CreateObject struct {
		node
		Kind        Kind
		IfNotExists bool
		Name        Name
		Cluster     string
		From        Name // of a sink
	}

	// Drop is DROP of any kind.
	Drop struct {
		node
		Kind     Kind
		IfExists bool
		Names    []Name
		Cascade  bool
	}
)

// Alterations.
type (
	// AlterSwap is ALTER SCHEMA or CLUSTER … SWAP WITH ….
	AlterSwap struct {
		node
		Kind     Kind // KindSchema or KindCluster
		IfExists bool
		Name     Name
		With     string
	}

	// AlterRename is ALTER … RENAME TO ….
	AlterRename struct {
		node
		Kind     Kind
		IfExists bool
		Name     Name
		To       string
	}

	// AlterOwner is ALTER … OWNER TO ….
	AlterOwner struct {
		node
		Kind     Kind
		IfExists bool
		Name     Name
		Owner    string
	}

	// AlterClusterSet is ALTER CLUSTER … SET (…), or with Reset RESET (…).
	AlterClusterSet struct {
		node
		IfExists bool
		Name     string
		Options  []Option
		Reset    []string
	}

	// AlterRoleSet is ALTER ROLE … SET or RESET.
	AlterRoleSet struct {
		node
		Role    string
		Name    string
		Values  []string
		Default bool // TO DEFAULT, or RESET
	}

	// AlterRole is ALTER ROLE with attributes.
	AlterRole struct {
		node
		Role    string
		Options []Option
	}

	// AlterSystem is ALTER SYSTEM SET or RESET.
	AlterSystem struct {
		node
		Name    string // "" with RESET ALL
		Values  []string
		Default bool
	}

	// AlterSinkFrom is ALTER SINK … SET FROM ….
	AlterSinkFrom struct {
		node
		IfExists bool
		Name     Name
		From     Name
	}

	// Comment is COMMENT ON … IS ….
	Comment struct {
		node
		Kind    Kind
		Name    Name
		Comment *string // nil: IS NULL
	}
)

// Privileges.
type (
	// Grant is GRANT or REVOKE of privileges.
	Grant struct {
		node
		Revoke     bool
		Privileges []string // "SELECT", "USAGE", …; empty with All
		All        bool     // ALL [PRIVILEGES]
		Kind       Kind
		Names      []Name
		// AllIn is set for ALL TABLES IN SCHEMA s and its like: Names is
		// then empty and In names where.
		AllIn  bool
		InKind Kind // KindSchema, KindDatabase; "" everywhere
		In     []Name
		Roles  []string // "PUBLIC" for PUBLIC
	}

	// GrantRole is GRANT or REVOKE of membership.
	GrantRole struct {
		node
		Revoke  bool
		Roles   []string
		Members []string
	}

	// AlterDefaultPrivileges is ALTER DEFAULT PRIVILEGES.
	AlterDefaultPrivileges struct {
		node
		ForRoles   []string // empty: the session's role; "ALL ROLES" for all
		InKind     Kind
		In         []Name
		Revoke     bool
		Privileges []string
		All        bool
		Kind       Kind
		Roles      []string
	}
)
