package sql

// Expr is a parsed expression.
type Expr interface {
	// Text is the expression's slice of the source.
	Text() string
	setText(string)
}

type exprNode struct{ text string }

func (e *exprNode) Text() string     { return e.text }
func (e *exprNode) setText(s string) { e.text = s }

type (
	// litExpr is a literal: NULL (nil), bool, a number (numberLit), a string
	// whose type the context decides, or an Interval.
	litExpr struct {
		exprNode
		value Value
	}
	numberLit string

	colExpr struct {
		exprNode
		parts Name
		bare  bool // one unquoted part, so that current_user and its like are functions
	}
	starExpr struct { // in select lists and count(*)
		exprNode
		qualifier Name // empty: *
		of        Expr // (expr).*
	}
	paramExpr struct {
		exprNode
		n int
	}
	unaryExpr struct {
		exprNode
		op string // "-", "+", "NOT", "~"
		x  Expr
	}
	binaryExpr struct {
		exprNode
		op   string // operator, or AND, OR
		l, r Expr
	}
	castExpr struct {
		exprNode
		x Expr
		t typeName
	}
	isExpr struct {
		exprNode
		x    Expr
		what string // NULL, TRUE, FALSE, UNKNOWN
		not  bool
	}
	distinctExpr struct { // l IS [NOT] DISTINCT FROM r
		exprNode
		l, r Expr
		not  bool
	}
	betweenExpr struct {
		exprNode
		x, lo, hi Expr
		not       bool
	}
	inExpr struct {
		exprNode
		x     Expr
		list  []Expr
		query *Query // instead of list
		not   bool
	}
	likeExpr struct {
		exprNode
		x, pattern, escape Expr
		fold, not          bool
	}
	quantExpr struct { // l op ANY (r), l op ALL (r)
		exprNode
		l     Expr
		op    string
		all   bool
		r     Expr   // list or array
		query *Query // instead of r
	}
	existsExpr struct {
		exprNode
		query *Query
	}
	subqueryExpr struct {
		exprNode
		query *Query
		kind  string // "" scalar, ARRAY, LIST
	}
	caseExpr struct {
		exprNode
		operand Expr
		whens   []whenClause
		els     Expr
	}
	callExpr struct {
		exprNode
		name     Name
		args     []Expr
		star     bool // f(*)
		distinct bool
		orderBy  []OrderBy
		filter   Expr
	}
	// sameTypeExpr is COALESCE, GREATEST, LEAST and NULLIF.
	sameTypeExpr struct {
		exprNode
		name string
		args []Expr
	}
	arrayExpr struct {
		exprNode
		list  bool // LIST[…]
		elems []Expr
	}
	subscriptExpr struct {
		exprNode
		x, index Expr
	}
	fieldExpr struct { // (expr).name
		exprNode
		x     Expr
		field string
	}
	rowExpr struct {
		exprNode
		elems []Expr
	}
)

type whenClause struct{ cond, result Expr }

// typeName is a type as written: canonical lower-case name, modifiers, and how
// many "[]" and "list" follow.
type typeName struct {
	name  string
	mods  []int64
	array bool
	lists int
	pos   int
}

// Query is a parsed query expression. It is immutable and may be planned and
// evaluated from several goroutines at once.
type Query struct {
	text    string
	with    []cte
	body    setExpr
	orderBy []OrderBy
	limit   Expr
	offset  Expr
}

// Text is the query's slice of the source.
func (q *Query) Text() string { return q.text }

// OrderBy is one item of an ORDER BY.
type OrderBy struct {
	Expr       Expr
	Desc       bool
	NullsFirst bool // resolved: the default is last ascending, first descending
}

type cte struct {
	name    string
	columns []string
	query   *Query
}

// setExpr is a *selectBody, *setOp, *valuesBody or a parenthesised *Query.
type setExpr any

type (
	selectBody struct {
		distinct   bool
		distinctOn []Expr
		items      []selectItem
		from       []tableExpr
		where      Expr
		groupBy    []Expr
		having     Expr
	}
	selectItem struct {
		expr  Expr
		alias string
	}
	setOp struct {
		op   string // UNION, EXCEPT, INTERSECT
		all  bool
		l, r setExpr
	}
	valuesBody struct{ rows [][]Expr }
)

// tableExpr is a *tableRef, *tableSub, *tableFunc or *tableJoin.
type tableExpr any

type (
	tableAlias struct {
		name    string
		columns []string
	}
	tableRef struct {
		name  Name
		alias tableAlias
	}
	tableSub struct {
		query   *Query
		lateral bool
		alias   tableAlias
	}
	tableFunc struct {
		call       *callExpr
		ordinality bool
		alias      tableAlias
	}
	tableJoin struct {
		kind    joinKind
		l, r    tableExpr
		on      Expr
		using   []string
		natural bool
	}
)

type joinKind uint8

const (
	joinInner joinKind = iota // also CROSS, with on nil
	joinLeft
	joinRight
	joinFull
)
