package sql

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads up to the closing quote; a doubled quote is one of them.
func (l *lexer) quoted(q byte, unterminated string) (string, *Error) {
	start := l.pos
	l.pos++
	var b strings.Builder
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		l.pos++
		if c == q {
			if l.peekAt(0) != q {
				return b.String(), nil
			}
			l.pos++
		}
		b.WriteByte(c)
	}
	return "", l.fail(start, unterminated)
}

// stringLiteral reads '…' and its continuations: literals separated by white
// space that holds a line end are one.
func (l *lexer) stringLiteral() (token, *Error) {
	s, err := l.quoted('\'', "unterminated quoted string")
	for err == nil {
		save := l.pos
		if e := l.skipSpace(); e != nil || l.peekAt(0) != '\'' || !strings.Contains(l.src[save:l.pos], "\n") {
			l.pos = save
			break
		}
		var more string
		more, err = l.quoted('\'', "unterminated quoted string")
		s += more
	}
	return token{kind: tokString, text: s}, err
}

// extendedString reads E'…' with its backslash escapes.
func (l *lexer) extendedString() (token, *Error) {
	start := l.pos
	l.pos++
	var b strings.Builder
	for l.pos < len(l.src) {
		c := l.src[l.pos]
		l.pos++
		switch {
		case c == '\'' && l.peekAt(0) == '\'':
			l.pos++
			b.WriteByte('\'')
		case c == '\'':
			return token{kind: tokString, text: b.String()}, nil
		case c == '\\' && l.pos < len(l.src):
			if err := l.escape(&b); err != nil {
				return token{}, err
			}
		default:
			b.WriteByte(c)
		}
	}
	return token{}, l.fail(start, "unterminated quoted string")
}

func (l *lexer) escape(b *strings.Builder) *Error {
	start := l.pos - 1
	c := l.src[l.pos]
	l.pos++
	switch c {
	case 'b':
		b.WriteByte('\b')
	case 'f':
		b.WriteByte('\f')
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'u', 'U':
		n := 4
		if c == 'U' {
			n = 8
		}
		if l.pos+n > len(l.src) {
			return l.fail(start, "missing unicode escape digits")
		}
		v, err := strconv.ParseUint(l.src[l.pos:l.pos+n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(v)) {
			return l.fail(start, "invalid unicode escape")
		}
		l.pos += n
		b.WriteRune(rune(v))
	default:
		b.WriteByte(c)
	}
	return nil
}

func (l *lexer) digits() {
	for isDigit(l.peekAt(0)) {
		l.pos++
	}
}

func (l *lexer) number() (token, *Error) {
	start := l.pos
	l.digits()
	if l.peekAt(0) == '.' && l.peekAt(1) != '.' {
		l.pos++
		l.digits()
	}
	if c := l.peekAt(0); c == 'e' || c == 'E' {
		save := l.pos
		l.pos++
		if c := l.peekAt(0); c == '+' || c == '-' {
			l.pos++
		}
		if !isDigit(l.peekAt(0)) {
			l.pos = save
		}
		l.digits()
	}
	return token{kind: tokNumber, text: l.src[start:l.pos]}, nil
}

// dollar reads a parameter or a dollar-quoted string.
func (l *lexer) dollar() (token, *Error) {
	start := l.pos
	if isDigit(l.peekAt(1)) {
		l.pos++
		l.digits()
		n, err := strconv.Atoi(l.src[start+1 : l.pos])
		if err != nil || n > 65535 {
			return token{}, l.fail(start, "parameter number out of range")
		}
		return token{kind: tokParam, text: strconv.Itoa(n)}, nil
	}
	tagEnd := strings.IndexByte(l.src[start+1:], '$')
	if tagEnd >= 0 {
		tag := l.src[start : start+tagEnd+2]
		if inner := tag[1 : len(tag)-1]; inner == "" || bareIdent(strings.ToLower(inner)) {
			body := l.src[start+len(tag):]
			if end := strings.Index(body, tag); end >= 0 {
				l.pos = start + len(tag) + end + len(tag)
				return token{kind: tokString, text: body[:end]}, nil
			}
			return token{}, l.fail(start, "unterminated dollar-quoted string")
		}
	}
	return token{}, l.fail(start, "Unexpected character in input: $")
}
