package sql

// nodeSetter is what every statement embeds through node.
type nodeSetter interface {
	Statement
	setNode(node)
}

// statement parses one statement and gives it its text and tag.
func (p *parser) statement() Statement {
	start := p.i
	s, tag := p.statementBody()
	s.setNode(node{text: p.source(start), printed: p.reprint(start), tag: tag})
	return s
}

func (p *parser) statementBody() (nodeSetter, string) {
	t := p.peek()
	if t.kind == tokLParen {
		return &Select{Query: p.query()}, "SELECT"
	}
	if t.kind != tokKeyword {
		p.expected("a keyword at the beginning of a statement")
	}
	switch t.text {
	case "SELECT", "WITH", "VALUES", "TABLE":
		return &Select{Query: p.query()}, "SELECT"
	case "INSERT":
		return p.insert(), "INSERT 0"
	case "UPDATE":
		return p.update(), "UPDATE"
	case "DELETE":
		return p.delete(), "DELETE"
	case "COPY":
		return p.copy(), "COPY"
	case "SUBSCRIBE", "TAIL":
		return p.subscribe(), "SUBSCRIBE"
	case "EXPLAIN":
		return p.explain(), "SELECT"
	case "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT":
		return p.transaction()
	case "SET", "RESET", "SHOW", "DISCARD":
		return p.settings()
	case "PREPARE", "EXECUTE", "DEALLOCATE", "DECLARE", "FETCH", "CLOSE":
		return p.cursors()
	case "CREATE":
		return p.create()
	case "DROP":
		return p.drop()
	case "ALTER":
		return p.alter()
	case "COMMENT":
		return p.comment(), "COMMENT"
	case "GRANT", "REVOKE":
		return p.grant()
	case "REASSIGN", "VALIDATE":
		p.refuse("%s is not supported", t.text)
	}
	p.fail(t, "Unexpected keyword "+t.text+" at the beginning of a statement")
	return nil, ""
}

func (p *parser) transaction() (nodeSetter, string) {
	switch p.next().text {
	case "BEGIN":
		_ = p.word("TRANSACTION") || p.word("WORK")
		return &Begin{Modes: p.transactionModes()}, "BEGIN"
	case "START":
		p.expectWord("TRANSACTION")
		return &Begin{Modes: p.transactionModes()}, "START TRANSACTION"
	case "COMMIT", "END":
		return &Commit{Chain: p.chain()}, "COMMIT"
	default:
		return &Rollback{Chain: p.chain()}, "ROLLBACK"
	}
}

func (p *parser) chain() bool {
	_ = p.word("TRANSACTION") || p.word("WORK")
	if !p.word("AND") {
		return false
	}
	if p.word("NO") {
		p.expectWord("CHAIN")
		return false
	}
	p.expectWord("CHAIN")
	return true
}

func (p *parser) transactionModes() TransactionModes {
	var m TransactionModes
	for {
		switch {
		case p.word("ISOLATION"):
			p.expectWord("LEVEL")
			m.Isolation = p.isolation()
		case p.word("READ", "ONLY"):
			m.ReadOnly, m.ReadWrite = true, false
		case p.word("READ", "WRITE"):
			m.ReadOnly, m.ReadWrite = false, true
		default:
			return m
		}
		p.accept(tokComma)
	}
}

func (p *parser) isolation() string {
	switch {
	case p.word("READ", "UNCOMMITTED"):
		return "READ UNCOMMITTED"
	case p.word("READ", "COMMITTED"):
		return "READ COMMITTED"
	case p.word("REPEATABLE", "READ"):
		return "REPEATABLE READ"
	case p.word("SERIALIZABLE"):
		return "SERIALIZABLE"
	case p.word("STRICT", "SERIALIZABLE"):
		return "STRICT SERIALIZABLE"
	}
	p.expected("isolation level")
	return ""
}

func (p *parser) insert() *Insert {
	p.expectWord("INSERT", "INTO")
	s := &Insert{Table: p.name()}
	if p.at(tokLParen) && !p.queryAhead(1) {
		s.Columns = p.columnList()
	}
	if p.word("DEFAULT") {
		p.expectWord("VALUES")
	} else {
		s.Query = p.query()
	}
	if p.word("RETURNING") {
		p.refuse("INSERT … RETURNING is not supported")
	}
	return s
}

// queryAhead says whether the token n ahead starts a query.
func (p *parser) queryAhead(n int) bool {
	for p.peekN(n).kind == tokLParen {
		n++
	}
	t := p.peekN(n)
	return t.kind == tokKeyword && (t.text == "SELECT" || t.text == "WITH" || t.text == "VALUES" || t.text == "TABLE")
}

func (p *parser) update() *Update {
	p.expectWord("UPDATE")
	s := &Update{Table: p.name(), Alias: p.writeAlias()}
	p.expectWord("SET")
	for {
		column := p.ident()
		p.expect(tokEq)
		s.Set = append(s.Set, Assignment{Column: column, Value: p.expr()})
		if !p.accept(tokComma) {
			break
		}
	}
	if p.word("WHERE") {
		s.Where = p.expr()
	}
	return s
}

func (p *parser) delete() *Delete {
	p.expectWord("DELETE", "FROM")
	s := &Delete{Table: p.name(), Alias: p.writeAlias()}
	if p.word("USING") {
		p.refuse("DELETE … USING is not supported")
	}
	if p.word("WHERE") {
		s.Where = p.expr()
	}
	return s
}

func (p *parser) writeAlias() string {
	if p.word("AS") {
		return p.ident()
	}
	if p.at(tokIdent) {
		return p.ident()
	}
	return ""
}

func (p *parser) explain() *Explain {
	p.expectWord("EXPLAIN")
	if !p.word("TIMESTAMP") {
		p.refuse("only EXPLAIN TIMESTAMP is supported")
	}
	if p.word("AS") {
		if p.oneOf("TEXT", "JSON") == "JSON" {
			p.refuse("EXPLAIN TIMESTAMP AS JSON is not supported")
		}
	}
	p.expectWord("FOR")
	return &Explain{Query: p.query()}
}

func (p *parser) subscribe() *Subscribe {
	_ = p.word("SUBSCRIBE") || p.word("TAIL")
	s := &Subscribe{}
	p.word("TO")
	if p.at(tokLParen) {
		p.next()
		s.Query = p.query()
		p.expect(tokRParen)
	} else {
		s.Relation = p.name()
	}
	if p.atWord("ENVELOPE") || p.atWord("WITHIN") {
		p.refuse("SUBSCRIBE … %s is not supported", p.next().text)
	}
	for {
		switch {
		case p.word("WITH"):
			p.subscribeOptions(s)
		case p.word("AS", "OF"):
			if p.word("AT", "LEAST") {
				p.refuse("AS OF AT LEAST is not supported")
			}
			s.AsOf = p.expr()
		case p.word("UP", "TO"):
			s.UpTo = p.expr()
		default:
			return s
		}
	}
}

func (p *parser) subscribeOptions(s *Subscribe) {
	for _, o := range p.optionList() {
		on := o.Value == "" || o.Value == "true" || o.Value == "on" || o.Value == "1"
		switch o.Name {
		case "SNAPSHOT":
			s.NoSnapshot = !on
		case "PROGRESS":
			s.Progress = on
		default:
			p.refuse("SUBSCRIBE option %s is not supported", o.Name)
		}
	}
}

func (p *parser) copy() *Copy {
	p.expectWord("COPY")
	s := &Copy{Format: "text"}
	if p.at(tokLParen) {
		p.copySource(s)
		p.expectWord("TO")
	} else {
		s.Relation = p.name()
		s.Columns = p.columnList()
		s.From = p.oneOf("FROM", "TO") == "FROM"
	}
	if s.From {
		p.copyEnd("STDIN")
	} else {
		p.copyEnd("STDOUT")
	}
	p.word("WITH")
	if p.at(tokLParen) {
		p.copyOptions(s)
	}
	return s
}

func (p *parser) copySource(s *Copy) {
	p.expect(tokLParen)
	if p.atWord("SUBSCRIBE") || p.atWord("TAIL") {
		start := p.i
		s.Subscribe = p.subscribe()
		s.Subscribe.setNode(node{text: p.source(start), printed: p.reprint(start), tag: "SUBSCRIBE"})
	} else {
		s.Query = p.query()
	}
	p.expect(tokRParen)
}

func (p *parser) copyEnd(want string) {
	if !p.word(want) {
		p.refuse("COPY is supported with STDIN and STDOUT only")
	}
}

func (p *parser) copyOptions(s *Copy) {
	for _, o := range p.optionList() {
		switch o.Name {
		case "FORMAT":
			s.Format = o.Value
		case "DELIMITER":
			s.Delimiter = o.Value
		case "NULL":
			s.Null, s.NullSet = o.Value, true
		case "HEADER":
			s.Header = o.Value == "" || o.Value == "true" || o.Value == "on" || o.Value == "1"
		default:
			p.refuse("COPY option %s is not supported", o.Name)
		}
	}
	if s.Format != "text" && s.Format != "csv" && s.Format != "binary" {
		p.refuse("COPY format %q is not supported", s.Format)
	}
	if len(s.Delimiter) > 1 {
		panic(planError("COPY delimiter must be a single one-byte character"))
	}
}
