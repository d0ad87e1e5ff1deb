package sql

import (
	"strconv"
	"strings"
)

// Precedences, as in PostgreSQL's grammar.
const (
	precNone = iota
	precOr
	precAnd
	precNot
	precIs
	precCompare
	precLike
	precOther
	precPlus
	precTimes
	precZone
	precUnary
	precPostfix
)

func (p *parser) expr() Expr { return p.exprPrec(precNone) }

func (p *parser) exprList() []Expr {
	list := []Expr{p.expr()}
	for p.accept(tokComma) {
		list = append(list, p.expr())
	}
	return list
}

// exprPrec parses an expression whose operators bind tighter than min.
func (p *parser) exprPrec(min int) Expr {
	p.enter()
	defer p.leave()
	start := p.i
	e := p.prefix()
	for {
		e.setText(p.source(start))
		if _, star := e.(*starExpr); star {
			return e
		}
		prec := p.infixPrec()
		if prec <= min {
			return e
		}
		e = p.infix(e, prec)
	}
}

// infixPrec is the precedence of the operator ahead; 0 when there is none.
func (p *parser) infixPrec() int {
	t := p.peek()
	switch t.kind {
	case tokEq:
		return precCompare
	case tokStar:
		return precTimes
	case tokDoubleColon, tokLBracket:
		return precPostfix
	case tokOp:
		switch t.text {
		case "<", ">", "<=", ">=", "<>":
			return precCompare
		case "+", "-":
			return precPlus
		case "/", "%":
			return precTimes
		}
		return precOther
	case tokKeyword:
		switch t.text {
		case "OR":
			return precOr
		case "AND":
			return precAnd
		case "IS", "ISNULL", "NOTNULL":
			return precIs
		case "IN", "LIKE", "ILIKE", "BETWEEN":
			return precLike
		case "NOT":
			if n := p.peekN(1); n.kind == tokKeyword && (n.text == "IN" || n.text == "LIKE" || n.text == "ILIKE" || n.text == "BETWEEN") {
				return precLike
			}
		case "AT", "COLLATE":
			return precZone
		}
	}
	return precNone
}

func (p *parser) infix(l Expr, prec int) Expr {
	t := p.next()
	switch t.kind {
	case tokDoubleColon:
		return &castExpr{x: l, t: p.typeName()}
	case tokLBracket:
		e := &subscriptExpr{x: l, index: p.expr()}
		if p.at(tokColon) {
			p.refuse("slices are not supported")
		}
		p.expect(tokRBracket)
		return e
	case tokEq, tokStar, tokOp:
		return p.operator(l, t.text, prec)
	}
	switch t.text {
	case "AND", "OR":
		return &binaryExpr{op: t.text, l: l, r: p.exprPrec(prec)}
	case "ISNULL":
		return &isExpr{x: l, what: "NULL"}
	case "NOTNULL":
		return &isExpr{x: l, what: "NULL", not: true}
	case "IS":
		return p.is(l)
	case "AT":
		p.expectWord("TIME", "ZONE")
		return &callExpr{name: Name{"timezone"}, args: []Expr{p.exprPrec(prec), l}}
	case "COLLATE":
		p.refuse("COLLATE is not supported")
	}
	not := t.text == "NOT"
	if not {
		t = p.next()
	}
	switch t.text {
	case "IN":
		return p.in(l, not)
	case "BETWEEN":
		e := &betweenExpr{x: l, lo: p.exprPrec(precLike), not: not}
		p.expectWord("AND")
		e.hi = p.exprPrec(precLike)
		return e
	default:
		e := &likeExpr{x: l, pattern: p.exprPrec(precLike), fold: t.text == "ILIKE", not: not}
		if p.word("ESCAPE") {
			e.escape = p.exprPrec(precLike)
		}
		return e
	}
}

// operator parses the right side of a binary operator, ANY and ALL included.
func (p *parser) operator(l Expr, op string, prec int) Expr {
	if p.atWord("ANY") || p.atWord("SOME") || p.atWord("ALL") {
		all := p.next().text == "ALL"
		p.expect(tokLParen)
		e := &quantExpr{l: l, op: op, all: all}
		if p.queryAhead(0) {
			e.query = p.query()
		} else {
			e.r = p.expr()
		}
		p.expect(tokRParen)
		return e
	}
	return &binaryExpr{op: op, l: l, r: p.exprPrec(prec)}
}

func (p *parser) is(l Expr) Expr {
	not := p.word("NOT")
	if p.word("DISTINCT") {
		p.expectWord("FROM")
		return &distinctExpr{l: l, r: p.exprPrec(precIs), not: not}
	}
	for _, w := range []string{"NULL", "TRUE", "FALSE", "UNKNOWN"} {
		if p.word(w) {
			return &isExpr{x: l, what: w, not: not}
		}
	}
	if not {
		p.expected("NULL, NOT NULL, TRUE, NOT TRUE, FALSE, NOT FALSE, UNKNOWN, NOT UNKNOWN, DISTINCT FROM, NOT DISTINCT FROM after IS NOT")
	}
	p.expected("NULL, NOT NULL, TRUE, NOT TRUE, FALSE, NOT FALSE, UNKNOWN, NOT UNKNOWN, DISTINCT FROM, NOT DISTINCT FROM after IS")
	return nil
}

func (p *parser) in(l Expr, not bool) Expr {
	p.expect(tokLParen)
	e := &inExpr{x: l, not: not}
	if p.queryAhead(0) {
		e.query = p.query()
	} else {
		e.list = p.exprList()
	}
	p.expect(tokRParen)
	return e
}

func (p *parser) prefix() Expr {
	t := p.peek()
	switch t.kind {
	case tokNumber:
		p.i++
		return &litExpr{value: numberLit(t.text)}
	case tokString:
		p.i++
		return &litExpr{value: t.text}
	case tokHex:
		p.refuse("hex string literals are not supported")
	case tokParam:
		p.i++
		n, _ := strconv.Atoi(t.text) // the lexer has checked it
		if n == 0 {
			p.fail(t, "there is no parameter $0")
		}
		return &paramExpr{n: n}
	case tokOp:
		if t.text == "-" || t.text == "+" || t.text == "~" {
			p.i++
			return &unaryExpr{op: t.text, x: p.exprPrec(precUnary)}
		}
	case tokLParen:
		return p.parenthesised()
	case tokKeyword:
		if e := p.keywordPrefix(t); e != nil {
			return e
		}
		if reserved[t.text] && !(p.peekN(1).kind == tokLParen && (t.text == "LEFT" || t.text == "RIGHT")) {
			break
		}
		return p.identPrefix()
	case tokIdent:
		return p.identPrefix()
	}
	p.expected("an expression")
	return nil
}

// keywordPrefix parses what starts with a keyword of the grammar; nil: the
// keyword is a name here.
func (p *parser) keywordPrefix(t token) Expr {
	paren := p.peekN(1).kind == tokLParen
	switch t.text {
	case "NULL":
		p.i++
		return &litExpr{}
	case "TRUE", "FALSE":
		p.i++
		return &litExpr{value: t.text == "TRUE"}
	case "NOT":
		p.i++
		if p.atWord("EXISTS") {
			return &unaryExpr{op: "NOT", x: p.exprPrec(precNot)}
		}
		return &unaryExpr{op: "NOT", x: p.exprPrec(precNot)}
	case "CASE":
		p.i++
		return p.caseWhen()
	case "CAST":
		if paren {
			return p.cast()
		}
	case "EXISTS":
		if paren {
			p.i += 2
			e := &existsExpr{query: p.query()}
			p.expect(tokRParen)
			return e
		}
	case "ARRAY", "LIST":
		if n := p.peekN(1); n.kind == tokLBracket || n.kind == tokLParen && p.queryAhead(2) {
			return p.arrayOrList(t.text)
		}
	case "ROW":
		if paren {
			p.i += 2
			e := &rowExpr{}
			if !p.at(tokRParen) {
				e.elems = p.exprList()
			}
			p.expect(tokRParen)
			return e
		}
	case "INTERVAL":
		if p.peekN(1).kind == tokString {
			return p.interval()
		}
	case "NULLIF", "GREATEST", "LEAST":
		if paren {
			return p.sameType(strings.ToLower(t.text))
		}
	case "EXTRACT":
		if paren {
			return p.extract()
		}
	case "POSITION":
		if paren {
			p.i += 2
			sub := p.exprPrec(precLike)
			p.expectWord("IN")
			e := &callExpr{name: Name{"position"}, args: []Expr{sub, p.expr()}}
			p.expect(tokRParen)
			return e
		}
	case "SUBSTRING":
		if paren {
			return p.substring()
		}
	case "TRIM":
		if paren {
			return p.trim()
		}
	case "MAP":
		if p.peekN(1).kind == tokLBracket {
			p.refuse("maps are not supported")
		}
	}
	return nil
}

func (p *parser) parenthesised() Expr {
	p.expect(tokLParen)
	if p.queryAhead(0) && p.isSubquery() {
		e := &subqueryExpr{query: p.query()}
		p.expect(tokRParen)
		return e
	}
	start := p.i
	e := p.expr()
	if p.at(tokComma) {
		row := &rowExpr{elems: []Expr{e}}
		for p.accept(tokComma) {
			row.elems = append(row.elems, p.expr())
		}
		row.setText(p.source(start))
		e = row
	}
	p.expect(tokRParen)
	return p.fields(e)
}

// isSubquery tells "((SELECT …) + 1)" from "((SELECT …) UNION …)": the first
// parenthesised query must be followed by something a query goes on with.
func (p *parser) isSubquery() bool {
	if !p.at(tokLParen) {
		return true
	}
	depth, i := 0, p.i
	for ; p.tokens[i].kind != tokEOF; i++ {
		switch p.tokens[i].kind {
		case tokLParen:
			depth++
		case tokRParen:
			depth--
		}
		if depth == 0 {
			break
		}
	}
	t := p.tokens[min(i+1, len(p.tokens)-1)]
	switch t.kind {
	case tokRParen, tokEOF:
		return true
	case tokKeyword:
		switch t.text {
		case "UNION", "EXCEPT", "INTERSECT", "ORDER", "LIMIT", "OFFSET", "FETCH":
			return true
		}
	}
	return false
}

// fields parses ".name" and ".*" after a parenthesised expression or a call.
func (p *parser) fields(e Expr) Expr {
	for p.at(tokDot) {
		p.next()
		if p.accept(tokStar) {
			return &starExpr{of: e}
		}
		e = &fieldExpr{x: e, field: p.anyWord()}
	}
	return e
}

// identPrefix parses column names, calls and typed literals.
func (p *parser) identPrefix() Expr {
	if lit := p.typedLiteral(); lit != nil {
		return lit
	}
	first := p.peek()
	if first.kind == tokIdent && !first.quoted && first.text == "coalesce" && p.peekN(1).kind == tokLParen {
		return p.sameType("coalesce")
	}
	n := Name{p.anyWord()}
	for p.accept(tokDot) {
		if p.accept(tokStar) {
			return &starExpr{qualifier: n}
		}
		n = append(n, p.anyWord())
		if len(n) > 4 {
			p.fail(first, "qualified name has too many parts")
		}
	}
	if p.at(tokLParen) {
		start := p.i
		call := p.call(n)
		call.setText(p.source(start))
		return p.fields(call)
	}
	return &colExpr{parts: n, bare: len(n) == 1 && !first.quoted}
}

// typedLiteral parses "type 'value'".
func (p *parser) typedLiteral() Expr {
	n := 1
	if p.atWord("DOUBLE", "PRECISION") || p.atWord("CHARACTER", "VARYING") {
		n = 2
	}
	if p.peek().quoted || p.peekN(n).kind != tokString {
		return nil
	}
	t := p.typeName()
	if !p.at(tokString) {
		p.expected("literal string")
	}
	lit := &litExpr{value: p.peek().text}
	lit.setText(p.src[p.peek().pos:p.peek().end])
	p.next()
	return &castExpr{x: lit, t: t}
}

// call parses the arguments of a function from its parenthesis on.
func (p *parser) call(name Name) *callExpr {
	p.expect(tokLParen)
	c := &callExpr{name: name}
	switch {
	case p.accept(tokStar):
		c.star = true
	case p.at(tokRParen):
	default:
		if p.word("DISTINCT") {
			c.distinct = true
		} else {
			p.word("ALL")
		}
		if p.atWord("VARIADIC") {
			p.refuse("VARIADIC is not supported")
		}
		c.args = p.exprList()
		if p.word("ORDER", "BY") {
			c.orderBy = p.orderBy()
		}
	}
	p.expect(tokRParen)
	if p.atWord("FILTER") && p.peekN(1).kind == tokLParen {
		p.i += 2
		p.expectWord("WHERE")
		c.filter = p.expr()
		p.expect(tokRParen)
	}
	if p.atWord("OVER") {
		p.refuse("window functions are not supported")
	}
	if p.atWord("WITHIN", "GROUP") {
		p.refuse("WITHIN GROUP is not supported")
	}
	return c
}

func (p *parser) caseWhen() Expr {
	e := &caseExpr{}
	if !p.atWord("WHEN") {
		e.operand = p.expr()
	}
	for p.word("WHEN") {
		var w whenClause
		w.cond = p.expr()
		p.expectWord("THEN")
		w.result = p.expr()
		e.whens = append(e.whens, w)
	}
	if len(e.whens) == 0 {
		p.expectWord("WHEN")
	}
	if p.word("ELSE") {
		e.els = p.expr()
	}
	p.expectWord("END")
	return e
}

func (p *parser) cast() Expr {
	p.i += 2
	e := &castExpr{x: p.expr()}
	p.expectWord("AS")
	e.t = p.typeName()
	p.expect(tokRParen)
	return e
}

func (p *parser) arrayOrList(kind string) Expr {
	p.i++
	if p.accept(tokLParen) {
		e := &subqueryExpr{query: p.query(), kind: kind}
		p.expect(tokRParen)
		return e
	}
	p.expect(tokLBracket)
	e := &arrayExpr{list: kind == "LIST"}
	if !p.at(tokRBracket) {
		if p.at(tokLBracket) {
			p.refuse("arrays of several dimensions are not supported")
		}
		e.elems = p.exprList()
	}
	p.expect(tokRBracket)
	return e
}

func (p *parser) interval() Expr {
	p.i++
	t := p.next()
	text := t.text
	for _, unit := range []string{"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"} {
		if p.word(unit) || p.word(unit+"S") {
			if _, err := strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil || p.atWord("TO") {
				p.refuse("interval qualifiers are supported for plain numbers only")
			}
			text += " " + strings.ToLower(unit)
			break
		}
	}
	iv, err := parseInterval(text)
	if err != nil {
		p.fail(t, strings.TrimPrefix(err.Message, "invalid input syntax for type interval: "))
	}
	return &litExpr{value: iv}
}

func (p *parser) sameType(name string) Expr {
	p.i++
	p.expect(tokLParen)
	e := &sameTypeExpr{name: name, args: p.exprList()}
	p.expect(tokRParen)
	if name == "nullif" && len(e.args) != 2 {
		p.fail(p.tokens[p.i-1], "NULLIF requires exactly two arguments")
	}
	return e
}

func (p *parser) extract() Expr {
	p.i += 2
	var field string
	if p.at(tokString) {
		field = strings.ToLower(p.next().text)
	} else {
		field = p.anyWord()
	}
	p.expectWord("FROM")
	f := &litExpr{value: field}
	f.setText("'" + field + "'")
	e := &callExpr{name: Name{"extract"}, args: []Expr{f, p.expr()}}
	p.expect(tokRParen)
	return e
}

func (p *parser) substring() Expr {
	p.i += 2
	e := &callExpr{name: Name{"substring"}, args: []Expr{p.expr()}}
	if p.accept(tokComma) {
		e.args = append(e.args, p.exprList()...)
	} else {
		if p.word("FROM") {
			e.args = append(e.args, p.expr())
		} else {
			one := &litExpr{value: numberLit("1")}
			one.setText("1")
			e.args = append(e.args, one)
		}
		if p.word("FOR") {
			e.args = append(e.args, p.expr())
		}
	}
	p.expect(tokRParen)
	return e
}

func (p *parser) trim() Expr {
	p.i += 2
	name := "btrim"
	switch {
	case p.word("LEADING"):
		name = "ltrim"
	case p.word("TRAILING"):
		name = "rtrim"
	default:
		p.word("BOTH")
	}
	var args []Expr
	if !p.atWord("FROM") {
		args = p.exprList()
	}
	if p.word("FROM") {
		args = append([]Expr{p.expr()}, args...)
	}
	p.expect(tokRParen)
	return &callExpr{name: Name{name}, args: args}
}

// typeName parses a type as written in casts and column definitions.
func (p *parser) typeName() typeName {
	t := typeName{pos: p.peek().pos}
	switch {
	case p.word("DOUBLE"):
		p.expectWord("PRECISION")
		t.name = "float8"
	case p.word("CHARACTER", "VARYING"):
		t.name = "varchar"
		t.mods = p.typeMods()
	case p.atWord("TIMESTAMP"), p.atWord("TIME"):
		t.name = p.anyWord()
		t.mods = p.typeMods()
		switch {
		case p.word("WITH"):
			p.expectWord("TIME", "ZONE")
			t.name += "tz"
		case p.word("WITHOUT"):
			p.expectWord("TIME", "ZONE")
		}
	default:
		n := p.name()
		t.name = n.Item()
		if len(n) > 1 && n[len(n)-2] != "pg_catalog" && n[len(n)-2] != "mz_catalog" {
			t.name = n.String()
		} else if c, ok := typeSynonyms[t.name]; ok {
			t.name = c
		}
		t.mods = p.typeMods()
	}
	for {
		switch {
		case p.at(tokLBracket) && p.peekN(1).kind == tokRBracket:
			p.i += 2
			t.array = true
		case p.word("LIST"):
			t.lists++
		default:
			return t
		}
	}
}

func (p *parser) typeMods() []int64 {
	if !p.accept(tokLParen) {
		return nil
	}
	var mods []int64
	for {
		t := p.expect(tokNumber)
		n, err := strconv.ParseInt(t.text, 10, 32)
		if err != nil {
			p.fail(t, "Could not parse '"+t.text+"' as i64")
		}
		mods = append(mods, n)
		if !p.accept(tokComma) {
			break
		}
	}
	p.expect(tokRParen)
	return mods
}

// typeSynonyms are the spellings the server's parser rewrites.
var typeSynonyms = map[string]string{
	"int": "int4", "integer": "int4", "bigint": "int8", "smallint": "int2", "real": "float4", "float": "float8",
	"double": "float8", "boolean": "bool", "decimal": "numeric", "dec": "numeric", "char": "bpchar", "character": "bpchar",
	"string": "text", "json": "jsonb",
}
