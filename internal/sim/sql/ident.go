package sql

import "strings"

// QuoteIdent quotes a name the way the server prints names: bare when it
// would fold to itself and is no reserved word, else in double quotes.
func QuoteIdent(s string) string {
	if bareIdent(s) && !isReserved(s) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// bareIdent says whether s, unquoted, is one identifier that folds to itself.
func bareIdent(s string) bool {
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c == '_', c >= 0x80:
		case i > 0 && (c >= '0' && c <= '9' || c == '$'):
		default:
			return false
		}
	}
	return s != ""
}
