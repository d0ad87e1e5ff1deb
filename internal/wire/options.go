package wire

import "strings"

// Grammar says how a server reads the start-up parameter `options`.
//
// The two differ in three ways. PostgreSQL (pg_split_opts) splits on every
// white space, Materialize on the space alone. A backslash takes the next
// byte literally in both; a trailing one is dropped. PostgreSQL turns '-' in
// the names of settings into '_', Materialize does not.
type Grammar uint8

// The two grammars.
const (
	GrammarMaterialize Grammar = iota
	GrammarPostgres
)

// Option is one switch of `options`.
type Option struct {
	Setting     bool   // one of -c k=v, -ck=v, --k=v; anything else is kept and not understood
	Name, Value string // of a setting, unescaped
	Start, End  int    // its bytes in the text, both tokens of "-c k=v" included
}

type token struct {
	text       string
	start, end int
}

func (g Grammar) isSpace(c byte) bool {
	if g == GrammarMaterialize {
		return c == ' '
	}
	return c == ' ' || c >= '\t' && c <= '\r'
}

// tokens splits text as the server does and remembers where each came from.
func (g Grammar) tokens(text string) []token {
	var found []token
	for i := 0; i < len(text); {
		if g.isSpace(text[i]) {
			i++
			continue
		}
		start := i
		var b strings.Builder
		for i < len(text) && !g.isSpace(text[i]) {
			if text[i] == '\\' {
				i++
				if i == len(text) {
					break
				}
			}
			b.WriteByte(text[i])
			i++
		}
		found = append(found, token{b.String(), start, i})
	}
	return found
}

// SplitOptions reads the text of `options` as a server with this grammar does.
func SplitOptions(g Grammar, text string) []Option {
	tokens := g.tokens(text)
	var options []Option
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		o := Option{Start: t.start, End: t.end}
		assignment := ""
		switch {
		case t.text == "-c" && i+1 < len(tokens):
			i++
			assignment, o.End = tokens[i].text, tokens[i].end
		case strings.HasPrefix(t.text, "--"):
			assignment = t.text[2:]
		case strings.HasPrefix(t.text, "-c"):
			assignment = t.text[2:]
		}
		if name, value, ok := strings.Cut(assignment, "="); ok && name != "" {
			if g == GrammarPostgres {
				name = strings.ReplaceAll(name, "-", "_")
			}
			o.Setting, o.Name, o.Value = true, name, value
		}
		options = append(options, o)
	}
	return options
}

// StripOptions takes out the settings whose names match, each with one
// neighbouring separator, and leaves every other byte as it was.
func StripOptions(g Grammar, text string, match func(name string) bool) string {
	var out []byte
	from, cut := 0, false
	for _, o := range SplitOptions(g, text) {
		if !o.Setting || !match(o.Name) {
			continue
		}
		start, end := o.Start, o.End
		switch {
		case end < len(text): // the byte behind a switch is its separator
			end++
		case start > from && g.isSpace(text[start-1]) && !escaped(text, start-1):
			start--
		}
		out = append(out, text[from:start]...)
		from, cut = end, true
	}
	if !cut {
		return text
	}
	return string(append(out, text[from:]...))
}

// escaped tells whether the byte at i has an odd number of backslashes before it.
func escaped(text string, i int) bool {
	n := 0
	for i > 0 && text[i-1] == '\\' {
		i--
		n++
	}
	return n%2 == 1
}
