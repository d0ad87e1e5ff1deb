package sql

// query parses a query expression with its WITH, ORDER BY, LIMIT and OFFSET.
func (p *parser) query() *Query {
	p.enter()
	defer p.leave()
	start := p.i
	q := &Query{}
	if p.word("WITH") {
		q.with = p.ctes()
	}
	q.body = p.setExpr(0)
	if p.word("ORDER", "BY") {
		q.orderBy = p.orderBy()
	}
	p.limits(q)
	switch {
	case p.atWord("AS", "OF"):
		p.refuse("SELECT … AS OF is not supported")
	case p.atWord("OPTIONS"):
		p.refuse("query hints are not supported")
	}
	q.text = p.source(start)
	return q
}

func (p *parser) limits(q *Query) {
	for {
		switch {
		case p.word("LIMIT"):
			if p.word("ALL") {
				q.limit = nil
			} else {
				q.limit = p.expr()
			}
		case p.word("OFFSET"):
			q.offset = p.expr()
			_ = p.word("ROWS") || p.word("ROW")
		case p.atWord("FETCH"):
			p.next()
			_ = p.word("FIRST") || p.word("NEXT")
			q.limit = p.expr()
			_ = p.word("ROWS") || p.word("ROW")
			p.expectWord("ONLY")
		default:
			return
		}
	}
}

func (p *parser) ctes() []cte {
	if p.atWord("MUTUALLY") || p.atWord("RECURSIVE") {
		p.refuse("WITH … RECURSIVE is not supported")
	}
	var list []cte
	for {
		c := cte{name: p.ident(), columns: p.columnList()}
		p.expectWord("AS")
		p.expect(tokLParen)
		c.query = p.query()
		p.expect(tokRParen)
		list = append(list, c)
		if !p.accept(tokComma) {
			return list
		}
	}
}

// setExpr parses set operations; INTERSECT binds tighter than the others.
func (p *parser) setExpr(minPrec int) setExpr {
	p.enter()
	defer p.leave()
	left := p.setPrimary()
	for {
		op, prec := "", 0
		switch {
		case p.atWord("UNION"):
			op, prec = "UNION", 1
		case p.atWord("EXCEPT"):
			op, prec = "EXCEPT", 1
		case p.atWord("INTERSECT"):
			op, prec = "INTERSECT", 2
		}
		if op == "" || prec <= minPrec {
			return left
		}
		p.next()
		all := p.word("ALL")
		if !all {
			p.word("DISTINCT")
		}
		left = &setOp{op: op, all: all, l: left, r: p.setExpr(prec)}
	}
}

func (p *parser) setPrimary() setExpr {
	switch {
	case p.word("SELECT"):
		return p.selectBody()
	case p.word("VALUES"):
		return p.values()
	case p.word("TABLE"):
		name := p.name()
		return &selectBody{items: []selectItem{{expr: &starExpr{}}}, from: []tableExpr{&tableRef{name: name}}}
	case p.accept(tokLParen):
		q := p.query()
		p.expect(tokRParen)
		return q
	}
	p.expected("SELECT, VALUES, or a subquery in the query body")
	return nil
}

func (p *parser) values() *valuesBody {
	v := &valuesBody{}
	for {
		p.expect(tokLParen)
		v.rows = append(v.rows, p.exprList())
		p.expect(tokRParen)
		if !p.accept(tokComma) {
			return v
		}
	}
}

func (p *parser) selectBody() *selectBody {
	s := &selectBody{}
	if p.word("DISTINCT") {
		s.distinct = true
		if p.word("ON") {
			p.expect(tokLParen)
			s.distinctOn = p.exprList()
			p.expect(tokRParen)
		}
	} else {
		p.word("ALL")
	}
	if !p.selectListEnds() {
		for {
			s.items = append(s.items, p.selectItem())
			if !p.accept(tokComma) {
				break
			}
		}
	}
	if p.word("FROM") {
		for {
			s.from = append(s.from, p.tableJoins())
			if !p.accept(tokComma) {
				break
			}
		}
	}
	if p.word("WHERE") {
		s.where = p.expr()
	}
	if p.word("GROUP", "BY") {
		s.groupBy = p.exprList()
	}
	if p.word("HAVING") {
		s.having = p.expr()
	}
	if p.atWord("WINDOW") || p.atWord("QUALIFY") {
		p.refuse("%s is not supported", p.next().text)
	}
	return s
}

// selectListEnds allows the empty select list.
func (p *parser) selectListEnds() bool {
	return p.at(tokEOF) || p.at(tokSemicolon) || p.at(tokRParen) || p.atWord("FROM") || p.atWord("WHERE")
}

func (p *parser) selectItem() selectItem {
	if p.accept(tokStar) {
		return selectItem{expr: &starExpr{}}
	}
	item := selectItem{expr: p.expr()}
	if _, star := item.expr.(*starExpr); star {
		return item
	}
	if p.word("AS") {
		item.alias = p.anyWord()
	} else if p.aliasAhead() {
		item.alias = p.anyWord()
	}
	return item
}

// aliasAhead says whether the next token is an alias without AS.
func (p *parser) aliasAhead() bool {
	t := p.peek()
	switch t.kind {
	case tokIdent:
		return true
	case tokKeyword:
		return !reserved[t.text] && !aliasStop[t.text]
	}
	return false
}

func (p *parser) tableJoins() tableExpr {
	p.enter()
	defer p.leave()
	left := p.tablePrimary()
	for {
		j := &tableJoin{l: left}
		switch {
		case p.word("CROSS", "JOIN"):
			j.r = p.tablePrimary()
			left = j
			continue
		case p.word("NATURAL"):
			j.natural = true
		}
		kind, ok := p.joinKind()
		if !ok {
			if j.natural {
				p.expected("one of JOIN or INNER or LEFT or RIGHT or FULL")
			}
			return left
		}
		j.kind = kind
		j.r = p.tablePrimary()
		switch {
		case j.natural:
		case p.word("ON"):
			j.on = p.expr()
		case p.word("USING"):
			j.using = p.columnList()
			if j.using == nil {
				p.expect(tokLParen)
			}
		default:
			p.expected("ON, or USING after JOIN")
		}
		left = j
	}
}

func (p *parser) joinKind() (joinKind, bool) {
	kind := joinInner
	switch {
	case p.word("JOIN"):
		return joinInner, true
	case p.word("INNER"):
	case p.word("LEFT"):
		kind = joinLeft
	case p.word("RIGHT"):
		kind = joinRight
	case p.word("FULL"):
		kind = joinFull
	default:
		return 0, false
	}
	if kind != joinInner {
		p.word("OUTER")
	}
	p.expectWord("JOIN")
	return kind, true
}

func (p *parser) tablePrimary() tableExpr {
	lateral := p.word("LATERAL")
	if p.at(tokLParen) {
		if p.queryAhead(1) && !p.parenthesisedJoin() {
			p.next()
			sub := &tableSub{query: p.query(), lateral: lateral}
			p.expect(tokRParen)
			sub.alias = p.tableAlias()
			return sub
		}
		p.next()
		t := p.tableJoins()
		p.expect(tokRParen)
		if p.atWord("AS") || p.aliasAheadOfTable() {
			p.refuse("an alias of a parenthesised join is not supported")
		}
		return t
	}
	if p.atWord("ROWS", "FROM") {
		p.refuse("ROWS FROM is not supported")
	}
	start := p.i
	name := p.name()
	if p.at(tokLParen) {
		call := p.call(name)
		call.setText(p.source(start))
		f := &tableFunc{call: call}
		if p.word("WITH") {
			p.expectWord("ORDINALITY")
			f.ordinality = true
		}
		f.alias = p.tableAlias()
		return f
	}
	return &tableRef{name: name, alias: p.tableAlias()}
}

// parenthesisedJoin says whether "((SELECT …) AS a JOIN …)" is ahead: the
// group inside ends with something a query cannot go on with.
func (p *parser) parenthesisedJoin() bool {
	if p.peekN(1).kind != tokLParen {
		return false
	}
	depth, i := 0, p.i+1
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
	if t.kind == tokIdent {
		return true
	}
	return t.kind == tokKeyword && (!reserved[t.text] || t.text == "AS" || t.text == "CROSS" || t.text == "JOIN" ||
		t.text == "LEFT" || t.text == "RIGHT" || t.text == "FULL" || t.text == "INNER" || t.text == "NATURAL")
}

func (p *parser) aliasAheadOfTable() bool {
	t := p.peek()
	return t.kind == tokIdent || t.kind == tokKeyword && !reserved[t.text] && !aliasStop[t.text]
}

func (p *parser) tableAlias() tableAlias {
	var a tableAlias
	if p.word("AS") {
		if p.atWord("OF") { // AS OF belongs to the query
			p.i--
			return a
		}
		a.name = p.ident()
	} else if p.aliasAheadOfTable() {
		a.name = p.ident()
	}
	if a.name != "" {
		a.columns = p.columnList()
	}
	return a
}

func (p *parser) orderBy() []OrderBy {
	var list []OrderBy
	for {
		o := OrderBy{Expr: p.expr()}
		if p.word("DESC") {
			o.Desc = true
		} else {
			p.word("ASC")
		}
		o.NullsFirst = o.Desc
		if p.word("NULLS") {
			o.NullsFirst = p.oneOf("FIRST", "LAST") == "FIRST"
		}
		list = append(list, o)
		if !p.accept(tokComma) {
			return list
		}
	}
}
