package sql

import (
	"strconv"
	"strings"
)

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
