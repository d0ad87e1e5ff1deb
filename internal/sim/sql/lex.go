package sql

import (
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokKeyword
	tokIdent
	tokString
	tokHex
	tokNumber
	tokParam
	tokOp
	tokStar
	tokEq
	tokLParen
	tokRParen
	tokLBracket
	tokRBracket
	tokDot
	tokComma
	tokColon
	tokDoubleColon
	tokSemicolon
)

// token is one lexeme; text is the upper-cased keyword, the folded identifier,
// the value of a literal or the operator itself. pos and end are byte offsets.
type token struct {
	kind     tokenKind
	quoted   bool // identifier in double quotes
	asIdent  bool // the parser took a keyword as an identifier
	text     string
	pos, end int
}

// String names the token as syntax errors do.
func (t token) String() string {
	switch t.kind {
	case tokEOF:
		return "EOF"
	case tokKeyword:
		return t.text
	case tokIdent:
		return "identifier " + rustQuote(t.text)
	case tokString:
		return "string literal " + rustQuote(t.text)
	case tokHex:
		return "hex string literal " + rustQuote(t.text)
	case tokNumber:
		return "number " + rustQuote(t.text)
	case tokParam:
		return "parameter " + rustQuote("$"+t.text)
	case tokOp:
		return "operator " + rustQuote(t.text)
	default:
		return punctuation[t.kind]
	}
}

var punctuation = [...]string{
	tokStar: "star", tokEq: "equals sign", tokLParen: "left parenthesis", tokRParen: "right parenthesis",
	tokLBracket: "left square bracket", tokRBracket: "right square bracket", tokDot: "dot", tokComma: "comma",
	tokColon: "colon", tokDoubleColon: "double colon", tokSemicolon: "semicolon", tokNumber: "literal unsigned integer",
	tokString: "literal string", tokIdent: "identifier",
}

// rustQuote quotes as the server's error texts do.
func rustQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case '\n':
			b.WriteString(`\n`)
		case '\t':
			b.WriteString(`\t`)
		case '\r':
			b.WriteString(`\r`)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// lexer splits a text into tokens.
type lexer struct {
	src string
	pos int
}

// lex returns the tokens of src, a tokEOF last.
func lex(src string) ([]token, *Error) {
	l := &lexer{src: src}
	tokens := make([]token, 0, len(src)/4+2)
	for {
		if err := l.skipSpace(); err != nil {
			return nil, err
		}
		start := l.pos
		if start >= len(src) {
			return append(tokens, token{kind: tokEOF, pos: start, end: start}), nil
		}
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		t.pos, t.end = start, l.pos
		tokens = append(tokens, t)
	}
}

func (l *lexer) fail(pos int, message string) *Error {
	return syntaxError(l.src, pos, message)
}

// syntaxError counts the position in characters, as the protocol wants it.
func syntaxError(src string, pos int, message string) *Error {
	return &Error{Code: "42601", Message: message, Position: utf8.RuneCountInString(src[:pos]) + 1}
}

func (l *lexer) skipSpace() *Error {
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		switch {
		case strings.IndexByte(" \t\n\r\f\v", rest[0]) >= 0:
			l.pos++
		case strings.HasPrefix(rest, "--"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.pos += n
		case strings.HasPrefix(rest, "/*"):
			if err := l.blockComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// blockComment skips a comment, which may contain others.
func (l *lexer) blockComment() *Error {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch rest := l.src[l.pos:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			l.pos += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return l.fail(start, "unterminated multiline comment")
}

func (l *lexer) next() (token, *Error) {
	c := l.src[l.pos]
	switch {
	case (c == 'e' || c == 'E') && l.peekAt(1) == '\'':
		l.pos++
		return l.extendedString()
	case (c == 'x' || c == 'X') && l.peekAt(1) == '\'':
		l.pos++
		s, err := l.quoted('\'', "unterminated hex string")
		return token{kind: tokHex, text: s}, err
	case isIdentStart(c):
		return l.word(), nil
	case c == '"':
		start := l.pos
		s, err := l.quoted('"', "unterminated quoted identifier")
		if err == nil && s == "" {
			err = l.fail(start, "zero-length delimited identifier")
		}
		return token{kind: tokIdent, text: s, quoted: true}, err
	case c == '\'':
		return l.stringLiteral()
	case c >= '0' && c <= '9', c == '.' && isDigit(l.peekAt(1)):
		return l.number()
	case c == '$':
		return l.dollar()
	default:
		return l.punctuation()
	}
}

func (l *lexer) peekAt(n int) byte {
	if l.pos+n < len(l.src) {
		return l.src[l.pos+n]
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

func (l *lexer) word() token {
	start := l.pos
	for l.pos < len(l.src) && isIdentPart(l.src[l.pos]) {
		l.pos++
	}
	w := l.src[start:l.pos]
	if up := strings.ToUpper(w); keywords[up] {
		return token{kind: tokKeyword, text: up}
	}
	return token{kind: tokIdent, text: strings.ToLower(w)}
}

var singles = map[byte]tokenKind{
	'(': tokLParen, ')': tokRParen, ',': tokComma, ';': tokSemicolon, '[': tokLBracket, ']': tokRBracket, '.': tokDot,
}

func (l *lexer) punctuation() (token, *Error) {
	c := l.src[l.pos]
	if k, ok := singles[c]; ok {
		l.pos++
		return token{kind: k, text: string(c)}, nil
	}
	if c == ':' {
		l.pos++
		if l.peekAt(0) == ':' {
			l.pos++
			return token{kind: tokDoubleColon, text: "::"}, nil
		}
		return token{kind: tokColon, text: ":"}, nil
	}
	if op := l.operator(); op != "" {
		switch op {
		case "*":
			return token{kind: tokStar, text: op}, nil
		case "=":
			return token{kind: tokEq, text: op}, nil
		}
		return token{kind: tokOp, text: op}, nil
	}
	r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	return token{}, l.fail(l.pos, "unexpected character in input: "+string(r))
}

// operator reads the longest operator, as PostgreSQL does: it ends before a
// comment, and keeps a trailing + or - only beside one of ~!@#%^&|`?.
func (l *lexer) operator() string {
	start, end := l.pos, l.pos
	for end < len(l.src) && strings.IndexByte("+-*/<>=~!@#%^&|`?", l.src[end]) >= 0 {
		if rest := l.src[end:]; strings.HasPrefix(rest, "--") || strings.HasPrefix(rest, "/*") {
			break
		}
		end++
	}
	for end-start > 1 && (l.src[end-1] == '+' || l.src[end-1] == '-') && !strings.ContainsAny(l.src[start:end], "~!@#%^&|`?") {
		end--
	}
	l.pos = end
	if op := l.src[start:end]; op != "!=" {
		return op
	}
	return "<>"
}
