package router

import (
	"errors"
	"fmt"
	"strings"
)

// Settings are the two values that decide what a session reads.
type Settings struct {
	// Cluster is the name as it is, unquoted. Empty on servers that have none.
	Cluster string `json:"cluster,omitempty"`
	// Path holds the schemas of search_path in order, unquoted.
	Path []string `json:"search_path"`
}

// Equal reports whether both settings name the same cluster and the same
// schemas in the same order.
func (s Settings) Equal(o Settings) bool {
	if s.Cluster != o.Cluster || len(s.Path) != len(o.Path) {
		return false
	}
	for i, name := range s.Path {
		if o.Path[i] != name {
			return false
		}
	}
	return true
}

func (s Settings) String() string {
	if s.Cluster == "" {
		return "search_path=" + FormatPath(s.Path)
	}
	return "cluster=" + QuoteIdent(s.Cluster) + " search_path=" + FormatPath(s.Path)
}

var errUnterminated = errors.New("a quoted name is not closed")

// ParsePath reads a search_path as servers report it: names separated by commas,
// unquoted ones folded to lower case, quoted ones kept. Unlike the server's own
// start-up parser it refuses anything that follows a name: `prod-deploy` means
// `prod` to the server, and silently reading production is what must not happen.
func ParsePath(text string) ([]string, error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return nil, nil
	}
	var path []string
	for {
		name, after, err := cutName(rest)
		if err != nil {
			return nil, fmt.Errorf("search_path %q: %w", text, err)
		}
		path = append(path, name)
		after = strings.TrimSpace(after)
		if after == "" {
			return path, nil
		}
		if after[0] != ',' {
			return nil, fmt.Errorf("search_path %q: %q follows a name; quote names that are not plain", text, after)
		}
		rest = strings.TrimSpace(after[1:])
	}
}

func cutName(s string) (name, rest string, err error) {
	if s == "" {
		return "", "", errors.New("a name is missing")
	}
	if s[0] != '"' {
		end := 0
		for end < len(s) && isPlain(s[end], end == 0) {
			end++
		}
		if end == 0 {
			return "", "", fmt.Errorf("%q is not a name", s)
		}
		return strings.ToLower(s[:end]), s[end:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '"' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		return b.String(), s[i+1:], nil
	}
	return "", "", errUnterminated
}

// isPlain says whether a byte may stand in an unquoted name. Bytes above ASCII
// are letters to both servers.
func isPlain(c byte, first bool) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0x80:
		return true
	case c >= '0' && c <= '9', c == '$':
		return !first
	}
	return false
}

// FormatPath writes a search_path with every name quoted. Quoting always is the
// only form that both servers read back as the names that were meant.
func FormatPath(path []string) string {
	quoted := make([]string, len(path))
	for i, name := range path {
		quoted[i] = QuoteIdent(name)
	}
	return strings.Join(quoted, ", ")
}

// QuoteIdent writes one name as a quoted SQL identifier.
func QuoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}
