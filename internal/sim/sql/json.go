package sql

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// ParseJSON reads JSON text into its canonical form.
func ParseJSON(s string) (JSON, error) {
	v, err := decodeJSON(s)
	if err != nil {
		return "", evalError("22P02", "invalid input syntax for type jsonb: %s: %s", err.Error(), rustQuote(s))
	}
	return encodeJSON(v), nil
}

// decodeJSON gives the value behind a text, numbers as json.Number.
func decodeJSON(s string) (any, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, &json.SyntaxError{}
	}
	return v, nil
}

// value is the decoded form of a canonical text, which cannot fail.
func (j JSON) value() any {
	v, err := decodeJSON(string(j))
	if err != nil {
		return nil
	}
	return v
}

// encodeJSON prints compactly with sorted keys (as encoding/json does) and
// without HTML escapes; numbers lose needless zeros and exponents.
func encodeJSON(v any) JSON {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(plainNumbers(v)); err != nil {
		return "null"
	}
	return JSON(strings.TrimSuffix(b.String(), "\n"))
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := ParseNumeric(v.String()); err == nil {
			return json.Number(n.String())
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}

// toJSON makes the JSON of a value.
func toJSON(v Value, t Type) any {
	switch v := v.(type) {
	case nil:
		return nil
	case bool:
		return v
	case JSON:
		return v.value()
	case []Value:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = toJSON(e, *t.Elem)
		}
		return list
	case int64, float64, Numeric:
		return json.Number(EncodeText(v, t))
	default:
		return string(EncodeText(v, t))
	}
}

// jsonGet is j -> key with a key or an index; ok false: there is none.
func jsonGet(j JSON, key Value) (any, bool) {
	switch v := j.value().(type) {
	case map[string]any:
		k, isKey := key.(string)
		e, ok := v[k]
		return e, isKey && ok
	case []any:
		i, isIndex := key.(int64)
		if i < 0 {
			i += int64(len(v))
		}
		if !isIndex || i < 0 || i >= int64(len(v)) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}

// jsonText is what ->> gives: strings bare, null as NULL, the rest as JSON.
func jsonText(v any) Value {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return v
	default:
		return string(encodeJSON(v))
	}
}

// jsonRemove is j - key.
func jsonRemove(j JSON, key Value) Value {
	switch v := j.value().(type) {
	case map[string]any:
		if k, ok := key.(string); ok {
			delete(v, k)
			return encodeJSON(v)
		}
	case []any:
		if i, ok := key.(int64); ok {
			if i < 0 {
				i += int64(len(v))
			}
			if i >= 0 && i < int64(len(v)) {
				v = slices.Delete(v, int(i), int(i)+1)
			}
			return encodeJSON(v)
		}
		if k, ok := key.(string); ok {
			return encodeJSON(slices.DeleteFunc(v, func(e any) bool { return e == k }))
		}
	}
	return nil
}

// jsonContains is a @> b.
func jsonContains(a, b any) bool {
	switch b := b.(type) {
	case map[string]any:
		m, ok := a.(map[string]any)
		if !ok {
			return false
		}
		for k, e := range b {
			if have, ok := m[k]; !ok || !jsonContains(have, e) {
				return false
			}
		}
		return true
	case []any:
		l, ok := a.([]any)
		if !ok {
			return false
		}
		for _, e := range b {
			if !slices.ContainsFunc(l, func(have any) bool { return jsonContains(have, e) }) {
				return false
			}
		}
		return true
	default:
		if l, ok := a.([]any); ok {
			return slices.ContainsFunc(l, func(have any) bool { return encodeJSON(have) == encodeJSON(b) })
		}
		return encodeJSON(a) == encodeJSON(b)
	}
}

// jsonTypeName is jsonb_typeof.
func jsonTypeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}
