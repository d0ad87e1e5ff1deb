package proxy

import (
	"bytes"

	"mzcanary/router"
)

// A statement's text is read as PostgreSQL's scanner reads it, as far as needed
// to tell names from literals and comments. The text may end anywhere.

// sqlToken is a piece of SQL text.
type sqlToken uint8

const (
	tokenEnd sqlToken = iota
	tokenName
	tokenQuoted  // a name in double quotes
	tokenLiteral // a string or a number
	tokenOther   // one byte of punctuation
)

// sqlText walks over the tokens of a text; space and comments lie between them.
type sqlText struct {
	text  []byte
	at    int  // behind the present token
	start int  // of the present token
	space bool // something lay before it
}

func (t *sqlText) next() sqlToken {
	t.space = t.skipSpace()
	t.start = t.at
	if t.at >= len(t.text) {
		return tokenEnd
	}
	c := t.text[t.at]
	switch {
	case c == '\'':
		t.quoted('\'', false)
		return tokenLiteral
	case c == '"':
		t.quoted('"', false)
		return tokenQuoted
	case c == '$':
		return t.dollar()
	case c >= '0' && c <= '9':
		for t.at < len(t.text) && (nameByte(t.text[t.at]) || t.text[t.at] == '.') {
			t.at++
		}
		return tokenLiteral
	case nameByte(c):
		return t.name()
	}
	t.at++
	return tokenOther
}

// name also takes the literals that begin with a letter: E'…', B'…', X'…', N'…'.
func (t *sqlText) name() sqlToken {
	for t.at < len(t.text) && (nameByte(t.text[t.at]) || t.text[t.at] == '$') {
		t.at++
	}
	if t.at-t.start != 1 || t.at >= len(t.text) || t.text[t.at] != '\'' {
		return tokenName
	}
	switch t.text[t.start] | 0x20 {
	case 'e':
		t.quoted('\'', true)
	case 'b', 'x', 'n':
		t.quoted('\'', false)
	default:
		return tokenName
	}
	return tokenLiteral
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9' || c >= 0x80
}

// quoted goes behind the closing quote; a doubled one is none.
func (t *sqlText) quoted(q byte, backslash bool) {
	for t.at++; t.at < len(t.text); t.at++ {
		switch {
		case backslash && t.text[t.at] == '\\':
			t.at++
		case t.text[t.at] != q:
		case t.at+1 < len(t.text) && t.text[t.at+1] == q:
			t.at++
		default:
			t.at++
			return
		}
	}
	t.at = len(t.text) // the escape at the end may lead beyond it
}

// dollar takes $1, $$…$$ and $tag$…$tag$.
func (t *sqlText) dollar() sqlToken {
	t.at++
	for t.at < len(t.text) && nameByte(t.text[t.at]) {
		t.at++
	}
	if t.at >= len(t.text) || t.text[t.at] != '$' || t.at > t.start+1 && t.text[t.start+1] >= '0' && t.text[t.start+1] <= '9' {
		return tokenOther // a parameter
	}
	t.at++
	tag := t.text[t.start:t.at]
	for ; t.at+len(tag) <= len(t.text); t.at++ {
		if string(t.text[t.at:t.at+len(tag)]) == string(tag) {
			t.at += len(tag)
			return tokenLiteral
		}
	}
	t.at = len(t.text)
	return tokenLiteral
}

func (t *sqlText) skipSpace() (any bool) {
	for ; t.at < len(t.text); any = true {
		c := t.text[t.at]
		var follows byte
		if t.at+1 < len(t.text) {
			follows = t.text[t.at+1]
		}
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			t.at++
		case c == '-' && follows == '-':
			for t.at < len(t.text) && t.text[t.at] != '\n' {
				t.at++
			}
		case c == '/' && follows == '*':
			t.comment()
		default:
			return any
		}
	}
	return any
}

// comment goes behind a block comment; they nest.
func (t *sqlText) comment() {
	depth := 0
	for t.at < len(t.text) {
		c := t.text[t.at]
		var follows byte
		if t.at+1 < len(t.text) {
			follows = t.text[t.at+1]
		}
		switch {
		case c == '/' && follows == '*':
			depth++
			t.at++
		case c == '*' && follows == '/':
			depth--
			t.at++
		}
		t.at++
		if depth == 0 {
			return
		}
	}
	t.at = len(t.text)
}

// namesSchema tells whether text names a live schema of the pairs explicitly:
// schema.name, or database.schema.name with the session's database. A column of
// a table whose alias is the schema's name looks the same, and counts.
// It allocates nothing.
func namesSchema(text []byte, pairs []router.Pair, database string) bool {
	if !mayNameSchema(text, pairs) {
		return false
	}
	t := sqlText{text: text}
	// place is how many names, joined by dots, lie before the present token, with
	// the dot; ours says that the only one is the database.
	place, ours := 0, false
	for {
		kind := t.next()
		switch kind {
		case tokenEnd:
			return false
		case tokenName, tokenQuoted:
		default:
			place = 0
			continue
		}
		name := t.text[t.start:t.at]
		if !t.dotFollows() {
			place = 0
			continue
		}
		if place == 0 || place == 1 && ours {
			for i := range pairs {
				if isName(name, kind, pairs[i].Live) {
					return true
				}
			}
		}
		ours = place == 0 && isName(name, kind, database)
		place++
	}
}

// mayNameSchema is the quick look before: is there a dot with the end of a live
// name, a quoted name or a comment before it?
func mayNameSchema(text []byte, pairs []router.Pair) bool {
	dots := false
	for at := 0; ; at++ {
		i := bytes.IndexByte(text[at:], '.')
		if i < 0 {
			break
		}
		dots = true
		at += i
		before := bytes.TrimRight(text[:at], " \t\n\v\f\r")
		if n := len(before); n > 0 && before[n-1] == '"' {
			return true
		}
		for k := range pairs {
			if live := pairs[k].Live; len(before) >= len(live) && isName(before[len(before)-len(live):], tokenName, live) {
				return true
			}
		}
	}
	return dots && (bytes.Contains(text, lineComment) || bytes.Contains(text, blockComment))
}

var lineComment, blockComment = []byte("--"), []byte("/*")

// dotFollows takes the dot behind a name, if there is one.
func (t *sqlText) dotFollows() bool {
	was := *t
	if t.next() == tokenOther && t.text[t.start] == '.' {
		return true
	}
	*t = was
	return false
}

// isName compares a token with a name as the server would: unquoted ones are
// folded to lower case, in quotes a doubled quote is one.
func isName(word []byte, kind sqlToken, name string) bool {
	if kind == tokenName {
		if len(word) != len(name) {
			return false
		}
		for i, c := range word {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c != name[i] {
				return false
			}
		}
		return true
	}
	if len(word) < 2 || word[len(word)-1] != '"' {
		return false
	}
	word = word[1 : len(word)-1]
	n := 0
	for i := 0; i < len(word); i++ {
		if word[i] == '"' {
			i++
		}
		if n >= len(name) || i >= len(word) || word[i] != name[n] {
			return false
		}
		n++
	}
	return n == len(name)
}

// normalise appends text without its literals and comments, cut where dst is
// full: what may be shown of a statement.
func normalise(dst, text []byte) []byte {
	t := sqlText{text: text}
	for {
		kind := t.next()
		if kind == tokenEnd {
			return dst
		}
		piece := t.text[t.start:t.at]
		if kind == tokenLiteral {
			piece = []byte{'?'}
		}
		if t.space && len(dst) > 0 {
			piece = append([]byte{' '}, piece...)
		}
		if len(dst)+len(piece) > cap(dst) {
			return dst
		}
		dst = append(dst, piece...)
	}
}
