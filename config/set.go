package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// setter applies --set flags over what viper has merged so far. viper replaces
// lists whole, so a path into a list changes a copy of the list and sets that.
type setter struct {
	c *collector
	v *viper.Viper
}

// apply sets one path=value.
func (t *setter) apply(flag string) {
	path, text, ok := strings.Cut(flag, "=")
	if !ok {
		t.fail(shownKey(flag), "has no =", "write --set path=value, such as --set listen.address=127.0.0.1:6865")
		return
	}
	segments := splitPath(path)
	if segments == nil {
		t.fail(shown(path), "is not a path", "write keys with dots and list places as .0 or [0]: deployments.0.rollout.plan=safe-ramp")
		return
	}
	if segments[0] == "deployments" {
		t.setDeployments(segments[1:], text)
		return
	}
	s := t.descend(rootSchema(), segments, "")
	if s == nil {
		return
	}
	path = strings.Join(segments, ".")
	if value, ok := t.read(s, text, path); ok {
		setLeaves(t.v, path, value)
	}
}

func (t *setter) fail(path, problem, remedy string) {
	t.c.addAt(origin{where: "--set", order: orderAfterFile}, path, "", problem, remedy)
}

// splitPath cuts a.0.b and a[0].b into a, 0, b; nil when a part is empty.
func splitPath(path string) []string {
	path = strings.ReplaceAll(strings.ReplaceAll(path, "[", "."), "]", "")
	segments := strings.Split(path, ".")
	for _, segment := range segments {
		if segment == "" {
			return nil
		}
	}
	return segments
}

// descend follows keys through mappings; nil, with a fault, when one is unknown.
func (t *setter) descend(s *schema, segments []string, path string) *schema {
	for _, key := range segments {
		next := s.field(key)
		if next == nil {
			remedy := "no keys are inside " + path
			if len(s.fields) > 0 {
				remedy = unknownRemedy(s, key, path)
			}
			t.fail(joinPath(path, shownKey(key)), "is an unknown key", remedy)
			return nil
		}
		s, path = next, joinPath(path, key)
	}
	return s
}

// read turns the text of a flag into the value of a key: as it stands for a scalar,
// as YAML for a list or a mapping.
func (t *setter) read(s *schema, text, path string) (any, bool) {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if !s.kind.scalar() {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) == 0 {
			t.fail(path, "is not YAML for "+s.kind.String(), "write it in one line, such as [{live: prod, deploy: prod_deploy}]")
			return nil, false
		}
		node = doc.Content[0]
	}
	return namedReader(t.c, "--set "+path).value(s, node, path)
}

// setDeployments changes one place in the list of deployments, or all of it.
func (t *setter) setDeployments(segments []string, text string) {
	s := rootSchema().field("deployments")
	list, _ := t.v.Get("deployments").([]any)
	if changed, ok := t.setIn(s, list, segments, text, "deployments"); ok {
		t.v.Set("deployments", changed)
	}
}

// setIn gives the value at path with the place that segments name changed.
func (t *setter) setIn(s *schema, at any, segments []string, text, path string) (any, bool) {
	if len(segments) == 0 {
		for under := range t.c.origins { // what stood here is replaced
			if strings.HasPrefix(under, path+".") || strings.HasPrefix(under, path+"[") {
				delete(t.c.origins, under)
			}
		}
		return t.read(s, text, path)
	}
	switch s.kind {
	case kindStruct, kindPlan:
		next := t.descend(s, segments[:1], path)
		if next == nil {
			return nil, false
		}
		m, isMap := at.(map[string]any)
		if !isMap {
			if name, ok := at.(string); ok {
				t.fail(path, "is the preset "+shown(name)+" and has no steps to change", "set the whole plan: "+path+"={steps: [...]}")
				return nil, false
			}
			m = map[string]any{}
		}
		value, ok := t.setIn(next, m[next.key], segments[1:], text, joinPath(path, next.key))
		if ok {
			m[next.key] = value
		}
		return m, ok
	case kindList:
		list, _ := at.([]any)
		i, ok := t.place(list, segments[0], path)
		if !ok {
			return nil, false
		}
		if i == len(list) {
			list = append(list, nil)
		}
		value, ok := t.setIn(s.elem, list[i], segments[1:], text, fmt.Sprintf("%s[%d]", path, i))
		if ok {
			list[i] = value
		}
		return list, ok
	}
	t.fail(joinPath(path, shownKey(segments[0])), "is an unknown key", "no keys are inside "+path)
	return nil, false
}

// place finds an element by number, the next free one included, or a deployment by
// its name.
func (t *setter) place(list []any, segment, path string) (int, bool) {
	if i, err := strconv.Atoi(segment); err == nil {
		if i >= 0 && i <= len(list) {
			return i, true
		}
		t.fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("is outside the list, which has %d entries", len(list)),
			fmt.Sprintf("places count from 0; %s[%d] adds one", path, len(list)))
		return 0, false
	}
	var names []string
	for i, item := range list {
		m, _ := item.(map[string]any)
		name, _ := m["name"].(string)
		if name == segment {
			return i, true
		}
		names = append(names, name)
	}
	remedy := "name a place by its number, from 0"
	if path == "deployments" && len(names) > 0 {
		remedy = "the deployments are " + strings.Join(names, ", ")
	}
	t.fail(joinPath(path, shownKey(segment)), "is not in the list", remedy)
	return 0, false
}

// setLeaves sets every leaf of a value, so that setting a mapping leaves the keys
// it does not name as they are.
func setLeaves(v *viper.Viper, path string, value any) {
	if m, ok := value.(map[string]any); ok {
		for key, inner := range m {
			setLeaves(v, joinPath(path, key), inner)
		}
		return
	}
	v.Set(path, value)
}
