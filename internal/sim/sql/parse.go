package sql

import (
	"strings"
)

// maxBatchBytes is the longest text a server takes in one Query or Parse.
const maxBatchBytes = 1_000_000

// maxNesting bounds the depth of expressions and queries.
const maxNesting = 128

// Parse splits and parses the text of a whole simple Query. Text without a
// statement gives none. A syntax error is an *Error 42601 with its Position,
// and then nothing of the text may run.
func Parse(text string) ([]Statement, error) {
	if len(text) > maxBatchBytes {
		return nil, &Error{Code: "54000", Message: "statement batch size cannot exceed 976.6 KiB"}
	}
	p, lexErr := newParser(text)
	if lexErr != nil {
		return nil, lexErr
	}
	var statements []Statement
	err := p.catch(func() {
		for {
			for p.accept(tokSemicolon) {
			}
			if p.peek().kind == tokEOF {
				return
			}
			statements = append(statements, p.statement())
			if !p.at(tokSemicolon) && !p.at(tokEOF) {
				p.expected("end of statement")
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return statements, nil
}

// ParseQuery parses one query, such as the definition of a view.
func ParseQuery(text string) (*Query, error) {
	p, lexErr := newParser(text)
	if lexErr != nil {
		return nil, lexErr
	}
	var q *Query
	err := p.catch(func() {
		q = p.query()
		p.accept(tokSemicolon)
		if !p.at(tokEOF) {
			p.expected("end of statement")
		}
	})
	if err != nil {
		return nil, err
	}
	return q, nil
}

// SplitIdents reads an identifier list the way start-up values of search_path
// are read: "a, \"B\"" is a and B, and, as the server does, whatever follows
// an identifier up to the end is ignored ("prod-deploy" is prod).
func SplitIdents(s string) ([]string, error) {
	p, lexErr := newParser(s)
	if lexErr != nil {
		return nil, lexErr
	}
	var names []string
	err := p.catch(func() {
		if p.at(tokEOF) {
			return
		}
		names = append(names, p.ident())
		for p.accept(tokComma) {
			names = append(names, p.ident())
		}
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// parser walks the tokens of one text. Its methods raise syntax errors by
// panicking with *Error; catch is the only place that recovers.
type parser struct {
	src    string
	tokens []token
	i      int
	depth  int
}

func newParser(src string) (*parser, *Error) {
	tokens, err := lex(src)
	if err != nil {
		return nil, err
	}
	return &parser{src: src, tokens: tokens}, nil
}

func (p *parser) catch(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*Error)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	f()
	return nil
}

// enter guards recursion; call leave when done.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.peek(), "statement exceeds nested expression limit of 128")
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) peek() token { return p.tokens[p.i] }

func (p *parser) peekN(n int) token { return p.tokens[min(p.i+n, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if t.kind != tokEOF {
		p.i++
	}
	return t
}

func (p *parser) at(k tokenKind) bool { return p.peek().kind == k }

func (p *parser) accept(k tokenKind) bool {
	if p.at(k) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(k tokenKind) token {
	if !p.at(k) {
		p.expected(punctuation[k])
	}
	return p.next()
}

// atWord says whether the tokens ahead are these keywords, or unquoted
// identifiers of that spelling.
func (p *parser) atWord(words ...string) bool {
	for n, w := range words {
		t := p.peekN(n)
		switch {
		case t.kind == tokKeyword && t.text == w:
		case t.kind == tokIdent && !t.quoted && strings.EqualFold(t.text, w):
		default:
			return false
		}
	}
	return true
}

func (p *parser) word(words ...string) bool {
	if p.atWord(words...) {
		p.i += len(words)
		return true
	}
	return false
}

func (p *parser) expectWord(words ...string) {
	for _, w := range words {
		if !p.word(w) {
			p.expected(w)
		}
	}
}

// oneOf takes the first of the words that is next, or fails as the server
// does for a choice of keywords.
func (p *parser) oneOf(words ...string) string {
	for _, w := range words {
		if p.word(w) {
			return w
		}
	}
	p.expected("one of " + strings.Join(words, " or "))
	return ""
}

func (p *parser) fail(t token, message string) {
	panic(syntaxError(p.src, t.pos, message))
}

func (p *parser) expected(what string) {
	p.fail(p.peek(), "Expected "+what+", found "+p.peek().String())
}

// refuse stops at syntax that the server has and the simulator has not.
func (p *parser) refuse(format string, args ...any) { panic(refuse(format, args...)) }

// ident reads one identifier.
func (p *parser) ident() string {
	t := p.peek()
	switch {
	case t.kind == tokIdent:
		p.i++
		return t.text
	case t.kind == tokKeyword && !reserved[t.text]:
		return p.anyWord()
	}
	p.expected("identifier")
	return ""
}

// anyWord reads an identifier where even reserved keywords are names.
func (p *parser) anyWord() string {
	t := p.peek()
	switch t.kind {
	case tokIdent:
		p.i++
		return t.text
	case tokKeyword:
		p.tokens[p.i].asIdent = true
		p.i++
		return strings.ToLower(t.text)
	}
	p.expected("identifier")
	return ""
}

// name reads a name of one to three parts.
func (p *parser) name() Name {
	n := Name{p.ident()}
	for len(n) < 3 && p.accept(tokDot) {
		n = append(n, p.anyWord())
	}
	return n
}

func (p *parser) names() []Name {
	list := []Name{p.name()}
	for p.accept(tokComma) {
		list = append(list, p.name())
	}
	return list
}

func (p *parser) idents() []string {
	list := []string{p.ident()}
	for p.accept(tokComma) {
		list = append(list, p.ident())
	}
	return list
}

// columnList reads an optional parenthesised list of names.
func (p *parser) columnList() []string {
	if !p.accept(tokLParen) {
		return nil
	}
	list := p.idents()
	p.expect(tokRParen)
	return list
}

func (p *parser) stringLiteral() string {
	if !p.at(tokString) {
		p.expected("literal string")
	}
	return p.next().text
}

func (p *parser) ifExists() bool {
	if p.word("IF") {
		p.expectWord("EXISTS")
		return true
	}
	return false
}

func (p *parser) ifNotExists() bool {
	if p.word("IF") {
		p.expectWord("NOT", "EXISTS")
		return true
	}
	return false
}

// skipStatement passes over the rest of a statement that needs no meaning.
func (p *parser) skipStatement() {
	for depth := 0; !p.at(tokEOF); p.i++ {
		switch p.peek().kind {
		case tokLParen:
			depth++
		case tokRParen:
			depth--
		case tokSemicolon:
			if depth <= 0 {
				return
			}
		}
	}
}

// source is the text of the tokens from start up to the current one.
func (p *parser) source(start int) string {
	if p.i <= start {
		return ""
	}
	return p.src[p.tokens[start].pos:p.tokens[p.i-1].end]
}

// reprint prints the tokens from start as the server prints statements.
func (p *parser) reprint(start int) string {
	var b strings.Builder
	for i := start; i < p.i; i++ {
		t := p.tokens[i]
		if i > start && p.spaceBefore(i) {
			b.WriteByte(' ')
		}
		switch {
		case t.kind == tokKeyword && t.asIdent:
			b.WriteString(QuoteIdent(strings.ToLower(t.text)))
		case t.kind == tokIdent:
			b.WriteString(QuoteIdent(t.text))
		case t.kind == tokString:
			b.WriteString("'" + strings.ReplaceAll(t.text, "'", "''") + "'")
		case t.kind == tokHex:
			b.WriteString("x'" + t.text + "'")
		case t.kind == tokParam:
			b.WriteString("$" + t.text)
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()
}

func (p *parser) spaceBefore(i int) bool {
	prev, t := p.tokens[i-1], p.tokens[i]
	switch t.kind {
	case tokDot, tokComma, tokRParen, tokRBracket, tokLBracket, tokDoubleColon:
		return false
	case tokLParen: // a call's parenthesis stays where the source has it
		return prev.end != t.pos && prev.kind != tokLParen
	}
	switch prev.kind {
	case tokDot, tokLParen, tokLBracket, tokDoubleColon:
		return false
	}
	return true
}
