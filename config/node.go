package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// reader compares YAML nodes with the schema. What fits becomes the nested maps
// that viper merges, with typed leaves; what does not becomes a fault.
type reader struct {
	c *collector
	// from says where a node came from.
	from func(*yaml.Node) origin
}

// maxFileSize is far above any real configuration, and keeps a wrong path (a core
// file, a device) from filling the memory.
const maxFileSize = 1 << 20

// orderAfterFile sorts faults of environment and flags behind those of the file.
const orderAfterFile = 1 << 40

func fileReader(c *collector, file string) *reader {
	return &reader{c: c, from: func(n *yaml.Node) origin {
		return origin{where: fmt.Sprintf("%s:%d", file, n.Line), order: n.Line<<12 + min(n.Column, 1<<12-1)}
	}}
}

// namedReader is for values that come from one variable or flag.
func namedReader(c *collector, where string) *reader {
	return &reader{c: c, from: func(*yaml.Node) origin { return origin{where: where, order: orderAfterFile} }}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parseFile reads one YAML document. An empty file is an empty mapping.
func parseFile(c *collector, file string, data []byte) *yaml.Node {
	fail := func(line, problem, remedy string) *yaml.Node {
		where := file
		if line != "" {
			where += ":" + line
		}
		c.addAt(origin{where: where}, "", "", problem, remedy)
		return nil
	}
	if len(data) > maxFileSize {
		return fail("", "is larger than 1 MiB", "is this the configuration?")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	} else if err != nil {
		m := yamlLine.FindStringSubmatch(err.Error())
		if m == nil {
			return fail("", "is not YAML: "+err.Error(), "correct the file")
		}
		return fail(m[1], "is not YAML: "+strings.TrimPrefix(err.Error(), m[0]), "look at this line and the one before it")
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		line := ""
		if second.Line > 0 {
			line = strconv.Itoa(second.Line)
		}
		return fail(line, "holds a second YAML document", "keep everything in one, without ---")
	}
	return doc.Content[0]
}

// value turns a node into the value of a key. ok is false when nothing could be
// made of it; the fault is then recorded.
func (r *reader) value(s *schema, n *yaml.Node, path string) (value any, ok bool) {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if path != "" {
		r.c.origins[path] = r.from(n)
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return r.nothing(s, n, path)
	}
	switch s.kind {
	case kindStruct:
		if n.Kind == yaml.MappingNode {
			return r.mapping(s, n, path), true
		}
	case kindPlan:
		if n.Kind == yaml.MappingNode {
			return r.mapping(s, n, path), true
		}
		if n.Kind == yaml.ScalarNode {
			return n.Value, true
		}
		if n.Kind == yaml.SequenceNode {
			return r.misfit(n, path, "is a list", "write {steps: [...]}, or the name of a preset")
		}
	case kindList:
		if n.Kind == yaml.SequenceNode {
			return r.sequence(s, n, path), true
		}
	default:
		if n.Kind == yaml.ScalarNode {
			value, bad := s.scalarValue(n)
			if bad != nil {
				return r.misfit(n, path, bad.problem, bad.remedy)
			}
			return value, true
		}
	}
	return r.misfit(n, path, "is "+formOf(n)+", not "+s.kind.String(), r.formRemedy(s))
}

// nothing is a key without a value: an empty list or mapping, but no scalar.
func (r *reader) nothing(s *schema, n *yaml.Node, path string) (any, bool) {
	switch s.kind {
	case kindStruct:
		return map[string]any{}, true
	case kindList:
		return []any{}, true
	}
	return r.misfit(n, path, "has no value", "write "+s.kind.String()+", or leave the key out for the default")
}

func (r *reader) misfit(n *yaml.Node, path, problem, remedy string) (any, bool) {
	value := ""
	if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		value = shown(n.Value)
	}
	if path == "control" || path == "control.password_env" {
		// Someone may have put the password itself there.
		value, remedy = "", "name an environment variable in control.password_env, or a file in control.password_file"
	}
	if path == "" {
		path = "the file"
	}
	r.c.addAt(r.from(n), path, value, problem, remedy)
	r.c.faulted[path] = true
	return nil, false
}

func formOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "one word"
}

func (r *reader) formRemedy(s *schema) string {
	switch s.kind {
	case kindStruct:
		return "its keys are " + strings.Join(s.keys(), ", ")
	case kindList:
		if s.elem.kind == kindStruct {
			return "write [{" + s.elem.fields[0].key + ": ...}], or - before each entry"
		}
		return "write [one, two], or - before each entry"
	}
	return "write one word"
}

func (r *reader) sequence(s *schema, n *yaml.Node, path string) []any {
	list := make([]any, len(n.Content))
	for i, item := range n.Content {
		value, ok := r.value(s.elem, item, fmt.Sprintf("%s[%d]", path, i))
		if !ok { // a stand-in keeps the places of the others
			value = ""
			if s.elem.kind == kindStruct {
				value = map[string]any{}
			}
		}
		list[i] = value
	}
	return list
}

func (r *reader) mapping(s *schema, n *yaml.Node, path string) map[string]any {
	m := map[string]any{}
	first := map[string]*yaml.Node{} // by folded spelling
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, node := n.Content[i], n.Content[i+1]
		for key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			r.c.addAt(r.from(key), path, "", "has a key that is not one word", "its keys are "+strings.Join(s.keys(), ", "))
			continue
		}
		if key.ShortTag() == "!!merge" {
			r.c.addAt(r.from(key), path, "<<", "merges another mapping", "write its keys here: what holds must be seen in one place")
			continue
		}
		folded := strings.ToLower(key.Value)
		if earlier := first[folded]; earlier != nil {
			r.duplicate(path, earlier, key)
			continue
		}
		first[folded] = key
		field := s.field(key.Value)
		if field == nil {
			r.unknown(s, key, path)
			continue
		}
		if value, ok := r.value(field, node, joinPath(path, field.key)); ok {
			m[field.key] = value
		}
	}
	return m
}

func (r *reader) duplicate(path string, earlier, key *yaml.Node) {
	problem := fmt.Sprintf("is a duplicate key, first in line %d", earlier.Line)
	if earlier.Value != key.Value {
		problem = fmt.Sprintf("is the same key as %s in line %d, only in another case", shownKey(earlier.Value), earlier.Line)
	}
	r.c.addAt(r.from(key), joinPath(path, shownKey(key.Value)), "", problem, "keep one of the two")
}

// unknown reports a key that is not in the schema. Its value is never shown: it may
// be a password.
func (r *reader) unknown(s *schema, key *yaml.Node, path string) {
	full := joinPath(path, shownKey(key.Value))
	r.c.addAt(r.from(key), full, "", "is an unknown key", unknownRemedy(s, key.Value, path))
}

func unknownRemedy(s *schema, key, path string) string {
	folded := strings.ToLower(key)
	for _, word := range []string{"password", "passwd", "secret", "token"} {
		if strings.Contains(folded, word) && s.field(folded) == nil && nearest(key, s.keys()) == "" {
			return "secrets are not written here: set " + DefaultPasswordEnv + ", or name a file in control.password_file"
		}
	}
	if near := nearest(key, s.keys()); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if strings.Contains(key, ".") {
		return "write the keys one inside the other, not with dots"
	}
	var elsewhere []string
	rootSchema().walk("", func(path string, s *schema) {
		if s.key == folded {
			elsewhere = append(elsewhere, path)
		}
	})
	if len(elsewhere) > 0 && len(elsewhere) <= 3 {
		return "the key of that name is " + alternatives(elsewhere)
	}
	if len(s.fields) == 0 {
		return "write {}"
	}
	return "the keys here are " + strings.Join(s.keys(), ", ")
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// shownKey is a key as it may stand in a message.
func shownKey(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return shown(key)
}

var plainWord = regexp.MustCompile(`^[\pL\pN_.:/%+@\[\]-]{1,80}$`)

// mayHoldPassword matches user:password@host, with or without a scheme, and
// connection strings. An e-mail address alone is a common user name.
var mayHoldPassword = regexp.MustCompile(`(?i):.*@|password\s*=`)

// shown is a value as it may stand in a message: quoted where it would be
// misread, cut where it is long, hidden where it looks like an address with a
// password or a connection string.
func shown(value string) string {
	if mayHoldPassword.MatchString(value) {
		return "(a value that may hold a password)"
	}
	if plainWord.MatchString(value) {
		return value
	}
	if runes := []rune(value); len(runes) > 80 {
		value = string(runes[:77]) + "..."
	}
	return strconv.Quote(value)
}
