package sql

import "strings"

// Statement is one parsed statement.
type Statement interface {
	// Text is the statement's slice of the source, without the semicolon.
	Text() string
	// String prints the statement as the server re-prints it in errors such
	// as "… cannot be run inside a transaction block".
	String() string
	// Tag is the command tag; kinds whose tag carries a count give it
	// without ("SELECT", "INSERT 0", "FETCH", "COPY").
	Tag() string
	statement()
}

// node holds what all statements have.
type node struct {
	text, printed, tag string
}

func (n *node) Text() string   { return n.text }
func (n *node) String() string { return n.printed }
func (n *node) Tag() string    { return n.tag }
func (n *node) statement()     {}
func (n *node) setNode(v node) { *n = v }

// Name is a possibly qualified name of one to three parts (database, schema,
// item), quoting resolved and unquoted parts lower-cased.
type Name []string

// Item is the last part.
func (n Name) Item() string { return n[len(n)-1] }

// String prints the name as Materialize prints names in "unknown catalog
// item": parts joined by dots, quoted only where needed.
func (n Name) String() string {
	parts := make([]string, len(n))
	for i, p := range n {
		parts[i] = QuoteIdent(p)
	}
	return strings.Join(parts, ".")
}

// Kind names a kind of object in the words of SQL; it is what tags and
// messages print.
type Kind string

// The kinds of objects statements name.
const (
	KindDatabase         Kind = "DATABASE"
	KindSchema           Kind = "SCHEMA"
	KindCluster          Kind = "CLUSTER"
	KindClusterReplica   Kind = "CLUSTER REPLICA" // Name is cluster, replica
	KindTable            Kind = "TABLE"           // in GRANT: any relation
	KindView             Kind = "VIEW"
	KindMaterializedView Kind = "MATERIALIZED VIEW"
	KindIndex            Kind = "INDEX"
	KindSource           Kind = "SOURCE"
	KindSink             Kind = "SINK"
	KindSecret           Kind = "SECRET"
	KindConnection       Kind = "CONNECTION"
	KindType             Kind = "TYPE"
	KindRole             Kind = "ROLE"
	KindColumn           Kind = "COLUMN" // COMMENT only: the last part of Name is the column
	KindSystem           Kind = "SYSTEM" // GRANT … ON SYSTEM
)

// Queries and writes.
type (
	// Select is a query as a statement, VALUES and TABLE included.
	Select struct {
		node
		Query *Query
	}

	// Insert adds the rows of a query (VALUES is one). See [Insert.Plan].
	Insert struct {
		node
		Table   Name
		Columns []string // empty: all, in order
		Query   *Query   // nil: DEFAULT VALUES
		// Returning is refused by the parser: Materialize has it, the
		// simulator does not.
	}

	// Update changes rows. See [Update.Plan].
	Update struct {
		node
		Table Name
		Alias string
		Set   []Assignment
		Where Expr // nil: all
	}

	// Assignment is one "column = value" of an UPDATE.
	Assignment struct {
		Column string
		Value  Expr
	}

	// Delete removes rows. See [Delete.Plan].
	Delete struct {
		node
		Table Name
		Alias string
		Where Expr // nil: all
	}

	// Copy is COPY in either direction. Exactly one of Relation, Query and
	// Subscribe is set; From only with Relation.
	Copy struct {
		node
		From      bool // FROM STDIN; else TO STDOUT
		Relation  Name
		Columns   []string
		Query     *Query
		Subscribe *Subscribe
		Format    string // "text", "csv", "binary", lower-cased; default "text"
		Delimiter string // "" when not given
		Null      string // meaning only when NullSet
		NullSet   bool
		Header    bool
	}

	// Subscribe streams the changes of a relation or query.
	Subscribe struct {
		node
		Relation   Name   // nil when Query is set
		Query      *Query // nil when Relation is set
		NoSnapshot bool   // WITH (SNAPSHOT = false)
		Progress   bool   // WITH (PROGRESS)
		AsOf       Expr   // nil: now
		UpTo       Expr   // nil: for ever
	}

	// Explain is EXPLAIN TIMESTAMP FOR query; other forms are refused by the
	// parser.
	Explain struct {
		node
		Query *Query
	}
)

// Transactions.
type (
	// Begin is BEGIN or START TRANSACTION.
	Begin struct {
		node
		Modes TransactionModes
	}

	// TransactionModes holds what BEGIN and SET TRANSACTION can say.
	TransactionModes struct {
		Isolation string // "SERIALIZABLE", "STRICT SERIALIZABLE", …; "" not given
		ReadOnly  bool
		ReadWrite bool
	}

	// SetTransaction is SET TRANSACTION, or with Session SET SESSION
	// CHARACTERISTICS AS TRANSACTION.
	SetTransaction struct {
		node
		Session bool
		Modes   TransactionModes
	}

	// Commit is COMMIT or END.
	Commit struct {
		node
		Chain bool
	}

	// Rollback is ROLLBACK or ABORT.
	Rollback struct {
		node
		Chain bool
	}
)

// Settings.
type (
	// Set changes a setting. SET SCHEMA is rewritten to search_path, SET TIME
	// ZONE to timezone, SET NAMES to client_encoding, as the server's parser
	// does.
	Set struct {
		node
		Local bool
		// Name is as spelled with identifiers folded (unquoted lower-cased,
		// quoted kept); a server reports the new value by ParameterStatus
		// exactly when Name equals the setting's canonical name.
		Name    string
		Values  []string // one per comma-separated value, quoting resolved
		Default bool     // SET x TO DEFAULT
	}

	// Reset restores a setting. RESET ALL is a setting named "all".
	Reset struct {
		node
		Name string
	}

	// Show reads a setting; Name is lower-cased unless it was quoted.
	// SHOW ALL has the name "all", SHOW SCHEMA "schema".
	Show struct {
		node
		Name string
	}

	// ShowObjects is SHOW CLUSTERS, SHOW SCHEMAS, SHOW VIEWS and so on.
	ShowObjects struct {
		node
		What string // "CLUSTERS", "SCHEMAS", "MATERIALIZED VIEWS", …
		From Name   // FROM schema or database, IN CLUSTER not included
		Like string // "" when not given
	}

	// Discard is DISCARD ALL, or DISCARD TEMP when Temp.
	Discard struct {
		node
		Temp bool
	}
)

// Prepared statements and cursors.
type (
	// Prepare is the SQL form of preparing.
	Prepare struct {
		node
		Name      string
		Statement Statement
	}

	// Execute runs what Prepare made; evaluate Args with [EvalArgs].
	Execute struct {
		node
		Name string
		Args []Expr
	}

	// Deallocate drops one prepared statement, or all.
	Deallocate struct {
		node
		Name string
		All  bool
	}

	// Declare opens a cursor; Statement is a *Select or a *Subscribe.
	Declare struct {
		node
		Cursor    string
		Statement Statement
	}

	// Fetch reads from a cursor.
	Fetch struct {
		node
		Cursor  string
		Count   int  // 1 when not given
		All     bool // FETCH ALL
		Timeout string
	}

	// CloseCursor closes a cursor.
	CloseCursor struct {
		node
		Cursor string
	}
)
