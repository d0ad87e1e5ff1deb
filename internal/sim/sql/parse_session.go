package sql

import (
	"strconv"
	"strings"
)

// settings parses SET, RESET, SHOW and DISCARD.
func (p *parser) settings() (nodeSetter, string) {
	switch p.next().text {
	case "SET":
		return p.set(), "SET"
	case "RESET":
		if p.word("SCHEMA") {
			return &Reset{Name: "search_path"}, "RESET"
		}
		return &Reset{Name: p.anyWord()}, "RESET"
	case "SHOW":
		return p.show(), "SELECT"
	default:
		return p.discard()
	}
}

func (p *parser) set() nodeSetter {
	local := false
	if !p.settingFollows() {
		switch {
		case p.word("LOCAL"):
			local = true
		case p.word("SESSION", "CHARACTERISTICS"):
			p.expectWord("AS", "TRANSACTION")
			return &SetTransaction{Session: true, Modes: p.transactionModes()}
		case p.word("SESSION"):
		}
	}
	switch {
	case p.word("TRANSACTION"):
		return &SetTransaction{Modes: p.transactionModes()}
	case p.word("TIME", "ZONE"):
		s := &Set{Local: local, Name: "timezone"}
		p.setValues(s)
		return s
	case !p.settingFollows() && p.word("NAMES"):
		return &Set{Local: local, Name: "client_encoding", Values: []string{p.settingValue()}}
	case p.word("SCHEMA"):
		s := &Set{Local: local, Name: "search_path"}
		if !p.accept(tokEq) {
			p.word("TO")
		}
		if p.word("DEFAULT") {
			s.Default = true
		} else {
			s.Values = []string{p.settingValue()}
		}
		return s
	}
	s := &Set{Local: local, Name: p.anyWord()}
	if !p.accept(tokEq) && !p.word("TO") {
		p.expected("equals sign or TO")
	}
	p.setValues(s)
	return s
}

// settingFollows says whether the next word is itself the setting's name.
func (p *parser) settingFollows() bool {
	t := p.peekN(1)
	return t.kind == tokEq || t.kind == tokKeyword && t.text == "TO"
}

func (p *parser) setValues(s *Set) {
	if p.word("DEFAULT") {
		s.Default = true
		return
	}
	s.Values = p.settingValues()
}

func (p *parser) settingValues() []string {
	list := []string{p.settingValue()}
	for p.accept(tokComma) {
		list = append(list, p.settingValue())
	}
	return list
}

// settingValue is a literal or an identifier.
func (p *parser) settingValue() string {
	t := p.peek()
	switch t.kind {
	case tokString, tokNumber:
		p.i++
		return t.text
	case tokOp:
		if (t.text == "-" || t.text == "+") && p.peekN(1).kind == tokNumber {
			p.i++
			return strings.TrimPrefix(t.text, "+") + p.next().text
		}
	case tokIdent, tokKeyword:
		return p.anyWord()
	}
	p.expected("variable value")
	return ""
}

// shown are the plural words after SHOW that list objects.
var shown = [][]string{
	{"DATABASES"}, {"SCHEMAS"}, {"CLUSTERS"}, {"CLUSTER", "REPLICAS"}, {"TABLES"}, {"VIEWS"}, {"MATERIALIZED", "VIEWS"},
	{"INDEXES"}, {"SOURCES"}, {"SINKS"}, {"SECRETS"}, {"CONNECTIONS"}, {"TYPES"}, {"ROLES"}, {"OBJECTS"}, {"COLUMNS"},
	{"PRIVILEGES"}, {"CREATE"},
}

func (p *parser) show() nodeSetter {
	if t := p.peekN(1); t.kind != tokEOF && t.kind != tokSemicolon || p.atPlural() {
		for _, words := range shown {
			if p.word(words...) {
				return p.showObjects(strings.Join(words, " "))
			}
		}
	}
	switch {
	case p.word("TIME", "ZONE"):
		return &Show{Name: "timezone"}
	case p.word("TRANSACTION", "ISOLATION", "LEVEL"):
		return &Show{Name: "transaction_isolation"}
	}
	return &Show{Name: p.anyWord()}
}

func (p *parser) atPlural() bool {
	for _, words := range shown {
		if len(words) == 1 && p.atWord(words[0]) {
			return true
		}
	}
	return false
}

func (p *parser) showObjects(what string) nodeSetter {
	s := &ShowObjects{What: what}
	if what == "CREATE" {
		p.refuse("SHOW CREATE is not supported")
	}
	if p.word("FROM") {
		s.From = p.name()
	}
	if p.word("LIKE") {
		s.Like = p.stringLiteral()
	}
	if !p.at(tokSemicolon) && !p.at(tokEOF) {
		p.refuse("SHOW %s with further clauses is not supported", what)
	}
	return s
}

func (p *parser) discard() (nodeSetter, string) {
	switch {
	case p.word("ALL"):
		return &Discard{}, "DISCARD ALL"
	case p.word("TEMP"), p.word("TEMPORARY"):
		return &Discard{Temp: true}, "DISCARD TEMP"
	case p.atWord("PLANS"), p.atWord("SEQUENCES"):
		panic(&Error{Code: "XX000", NewCode: "0A000", Message: "DISCARD " + strings.ToUpper(p.anyWord()) + " not yet supported"})
	}
	p.oneOf("ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY")
	return nil, ""
}

// cursors parses prepared statements and cursors in their SQL forms.
func (p *parser) cursors() (nodeSetter, string) {
	switch p.next().text {
	case "PREPARE":
		s := &Prepare{Name: p.ident()}
		if p.at(tokLParen) {
			p.refuse("PREPARE with parameter types is not supported")
		}
		p.expectWord("AS")
		s.Statement = p.statement()
		return s, "PREPARE"
	case "EXECUTE":
		s := &Execute{Name: p.ident()}
		if p.accept(tokLParen) && !p.accept(tokRParen) {
			s.Args = p.exprList()
			p.expect(tokRParen)
		}
		return s, "EXECUTE"
	case "DEALLOCATE":
		p.word("PREPARE")
		if p.word("ALL") {
			return &Deallocate{All: true}, "DEALLOCATE ALL"
		}
		return &Deallocate{Name: p.ident()}, "DEALLOCATE"
	case "DECLARE":
		return p.declare(), "DECLARE CURSOR"
	case "FETCH":
		return p.fetch(), "FETCH"
	default:
		return &CloseCursor{Cursor: p.ident()}, "CLOSE CURSOR"
	}
}

func (p *parser) declare() *Declare {
	s := &Declare{Cursor: p.ident()}
	p.expectWord("CURSOR")
	if p.word("WITHOUT") {
		p.expectWord("HOLD")
	}
	p.expectWord("FOR")
	s.Statement = p.statement()
	switch s.Statement.(type) {
	case *Select, *Subscribe:
	default:
		p.refuse("DECLARE CURSOR FOR %s is not supported", s.Statement.Tag())
	}
	return s
}

func (p *parser) fetch() *Fetch {
	s := &Fetch{Count: 1}
	p.word("FORWARD")
	switch {
	case p.word("ALL"):
		s.All = true
	case p.at(tokNumber):
		t := p.next()
		n, err := strconv.Atoi(t.text)
		if err != nil {
			p.fail(t, "Could not parse '"+t.text+"' as u64")
		}
		s.Count = n
	}
	_ = p.word("FROM") || p.word("IN")
	s.Cursor = p.ident()
	if p.word("WITH") {
		for _, o := range p.optionList() {
			if o.Name != "TIMEOUT" {
				p.refuse("FETCH option %s is not supported", o.Name)
			}
			s.Timeout = o.Value
		}
	}
	return s
}

// optionList reads "(NAME [=] value, …)".
func (p *parser) optionList() []Option {
	p.expect(tokLParen)
	var list []Option
	for !p.accept(tokRParen) {
		list = append(list, p.option())
		if !p.accept(tokComma) {
			p.expect(tokRParen)
			break
		}
	}
	return list
}

// option reads one "NAME [=] value"; the name is one or more words.
func (p *parser) option() Option {
	var words []string
	for t := p.peek(); t.kind == tokKeyword && t.text != "TRUE" && t.text != "FALSE" || t.kind == tokIdent; t = p.peek() {
		words = append(words, strings.ToUpper(t.text))
		p.i++
	}
	if len(words) == 0 {
		p.expected("option name")
	}
	o := Option{Name: strings.Join(words, " ")}
	eq := p.accept(tokEq)
	switch t := p.peek(); {
	case t.kind == tokString, t.kind == tokNumber:
		o.Value = t.text
		p.i++
	case t.kind == tokKeyword && (t.text == "TRUE" || t.text == "FALSE"):
		o.Value = strings.ToLower(t.text)
		p.i++
	case t.kind == tokLParen || t.kind == tokLBracket:
		o.Value = p.balanced()
	case eq:
		o.Value = p.anyWord()
		for t := p.peek(); t.kind == tokKeyword || t.kind == tokIdent; t = p.peek() {
			o.Value += " " + strings.ToLower(t.text)
			p.i++
		}
		if p.at(tokLParen) {
			o.Value += p.balanced()
		}
	case len(words) > 1 && !p.at(tokComma) && !p.at(tokRParen):
		p.expected("option value")
	}
	// FORMAT csv: the value may follow without an equals sign as a word.
	if !eq && o.Value == "" && len(words) == 2 && optionsOfOneWord[words[0]] {
		o = Option{Name: words[0], Value: strings.ToLower(words[1])}
	}
	return o
}

// optionsOfOneWord may be followed by a word as their value.
var optionsOfOneWord = map[string]bool{"FORMAT": true, "HEADER": true, "SNAPSHOT": true, "PROGRESS": true, "MANAGED": true, "SIZE": true, "SCHEDULE": true}

// balanced reads a bracketed group and returns its source.
func (p *parser) balanced() string {
	start, depth := p.i, 0
	for {
		switch t := p.peek(); t.kind {
		case tokEOF:
			p.expected("right parenthesis")
		case tokLParen, tokLBracket:
			depth++
		case tokRParen, tokRBracket:
			depth--
		}
		p.i++
		if depth == 0 {
			return p.source(start)
		}
	}
}
