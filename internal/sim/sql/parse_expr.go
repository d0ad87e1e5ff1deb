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
	switch t.text {
	case "NULL":
		p.i++
		return &litExpr{}
	case "TRUE", "FALSE":
		p.i++
		return &litExpr{value: t.text == "TRUE"}
	case "NOT":
		p.i++
		return &unaryExpr{op: "NOT", x: p.exprPrec(precNot)}
	case "CASE":
		p.i++
		return p.caseWhen()
	case "INTERVAL":
		if p.peekN(1).kind == tokString {
			return p.interval()
		}
	case "ARRAY", "LIST":
		if n := p.peekN(1); n.kind == tokLBracket || n.kind == tokLParen && p.queryAhead(2) {
			return p.arrayOrList(t.text)
		}
	case "MAP":
		if p.peekN(1).kind == tokLBracket {
			p.refuse("maps are not supported")
		}
	}
	if p.peekN(1).kind == tokLParen {
		return p.keywordCall(t)
	}
	return nil
}

// keywordCall parses the calls that have a grammar of their own; nil: an
// ordinary function.
func (p *parser) keywordCall(t token) Expr {
	switch t.text {
	case "CAST":
		return p.cast()
	case "EXISTS":
		p.i += 2
		e := &existsExpr{query: p.query()}
		p.expect(tokRParen)
		return e
	case "ROW":
		p.i += 2
		e := &rowExpr{}
		if !p.at(tokRParen) {
			e.elems = p.exprList()
		}
		p.expect(tokRParen)
		return e
	case "NULLIF", "GREATEST", "LEAST":
		return p.sameType(strings.ToLower(t.text))
	case "EXTRACT":
		return p.extract()
	case "POSITION":
		p.i += 2
		sub := p.exprPrec(precLike)
		p.expectWord("IN")
		e := &callExpr{name: Name{"position"}, args: []Expr{sub, p.expr()}}
		p.expect(tokRParen)
		return e
	case "SUBSTRING":
		return p.substring()
	case "TRIM":
		return p.trim()
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
