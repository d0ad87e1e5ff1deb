package config

import (
	"reflect"
	"time"
)

// kind is the form a key's value takes in YAML.
type kind uint8

const (
	kindString kind = iota + 1
	kindBool
	kindInt
	kindNumber
	kindDuration
	kindWeight
	kindPlan   // the name of a preset, or {steps: [...]}
	kindStruct // a mapping with the keys in fields
	kindList   // a sequence whose elements are elem
)

// String says what to write, for messages.
func (k kind) String() string {
	return [...]string{"", "text", "true or false", "a whole number", "a number", "a duration",
		"a weight", "the name of a preset or steps", "a mapping", "a list"}[k]
}

// scalar reports whether the value is one word: only such keys have an environment
// variable.
func (k kind) scalar() bool { return k < kindPlan }

// schema describes the value of one key.
type schema struct {
	key    string
	kind   kind
	enum   []string // the only values of a kindString, nil for any text
	fields []schema // of a kindStruct, in the order of the Go type
	elem   *schema  // of a kindList
}

// field finds a key by its exact spelling.
func (s *schema) field(key string) *schema {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	return nil
}

func (s *schema) keys() []string {
	keys := make([]string, len(s.fields))
	for i, f := range s.fields {
		keys[i] = f.key
	}
	return keys
}

// walk visits every key below s with its path; list elements have the path "key[]".
func (s *schema) walk(path string, visit func(path string, s *schema)) {
	for i := range s.fields {
		f := &s.fields[i]
		f.walkSelf(joinPath(path, f.key), visit)
	}
}

func (s *schema) walkSelf(path string, visit func(path string, s *schema)) {
	visit(path, s)
	switch s.kind {
	case kindStruct, kindPlan:
		s.walk(path, visit)
	case kindList:
		s.elem.walk(path+"[]", visit)
	}
}

// stepKeys is one step as it is written; Step is what becomes of it.
type stepKeys struct {
	Weight  uint16        `mapstructure:"weight"`
	Bake    time.Duration `mapstructure:"bake"`
	Until   Until         `mapstructure:"until"`
	Within  time.Duration `mapstructure:"within"`
	Approve Approve       `mapstructure:"approve"`
	Promote struct{}      `mapstructure:"promote"`
}

// planKeys is a plan as it is written when it is not the name of a preset.
type planKeys struct {
	Steps []stepKeys `mapstructure:"steps"`
}

// schemaOf reads the schema off a Go type, so that type and file cannot disagree.
func schemaOf(key string, t reflect.Type) schema {
	s := schema{key: key}
	switch {
	case t == reflect.TypeFor[Plan]():
		s = schemaOf(key, reflect.TypeFor[planKeys]())
		s.kind = kindPlan
	case t == reflect.TypeFor[time.Duration]():
		s.kind = kindDuration
	case t.Kind() == reflect.Uint16:
		s.kind = kindWeight
	case t.Kind() == reflect.String:
		s.kind = kindString
		if e, ok := reflect.Zero(t).Interface().(enumerated); ok {
			s.enum = e.values()
		}
	case t.Kind() == reflect.Bool:
		s.kind = kindBool
	case t.Kind() == reflect.Int:
		s.kind = kindInt
	case t.Kind() == reflect.Float64:
		s.kind = kindNumber
	case t.Kind() == reflect.Slice:
		s.kind = kindList
		elem := schemaOf("", t.Elem())
		s.elem = &elem
	case t.Kind() == reflect.Struct:
		s.kind = kindStruct
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("mapstructure"); key != "" {
				s.fields = append(s.fields, schemaOf(key, t.Field(i).Type))
			}
		}
	default:
		panic("config: no form in YAML for " + t.String())
	}
	return s
}

// rootSchema is the schema of the whole file.
func rootSchema() *schema {
	s := schemaOf("", reflect.TypeFor[Config]())
	return &s
}

// tree turns a value into the nested maps viper merges: keys in lower case, leaves
// as typed values. It is used for defaults, whose lists are empty.
func tree(v reflect.Value) any {
	t := v.Type()
	if t == reflect.TypeFor[Plan]() || t.Kind() != reflect.Struct {
		return v.Interface()
	}
	m := map[string]any{}
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("mapstructure"); key != "" {
			m[key] = tree(v.Field(i))
		}
	}
	return m
}
