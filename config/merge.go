package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// merge lays the layers over each other: default, file, environment, --set.
func merge(c *collector, file, env map[string]any, set []string) (*viper.Viper, error) {
	v := viper.New()
	setDefaults(v, reflect.ValueOf(Default()))
	for _, layer := range []map[string]any{file, env} {
		if err := v.MergeConfigMap(layer); err != nil {
			return nil, fmt.Errorf("merge configuration: %w", err)
		}
	}
	t := &setter{c: c, v: v}
	for _, flag := range set {
		t.apply(flag)
	}
	return v, nil
}

// setDefaults gives viper the leaves of a value as defaults.
func setDefaults(v *viper.Viper, value reflect.Value) {
	var leaves func(path string, node any)
	leaves = func(path string, node any) {
		if m, ok := node.(map[string]any); ok {
			for key, inner := range m {
				leaves(joinPath(path, key), inner)
			}
			return
		}
		v.SetDefault(path, node)
	}
	leaves("", tree(value))
}

// decode makes the merged layers a Config.
func decode(c *collector, v *viper.Viper) (*Config, error) {
	list, _ := v.Get("deployments").([]any)
	deployments := make([]Deployment, len(list))
	for i, item := range list {
		m, _ := item.(map[string]any)
		if err := decodeDeployment(c, m, fmt.Sprintf("deployments[%d]", i), &deployments[i]); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		deployments = nil
	}
	v.Set("deployments", deployments)
	var cfg Config
	if err := v.UnmarshalExact(&cfg); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	return &cfg, nil
}

// decodeDeployment merges one entry over the defaults of a deployment.
func decodeDeployment(c *collector, m map[string]any, path string, into *Deployment) error {
	if rollout, ok := m["rollout"].(map[string]any); ok {
		if plan, ok := rollout["plan"]; ok {
			rollout["plan"] = resolvePlan(c, plan, path+".rollout.plan")
		}
	}
	dropEmptyLists(m)
	v := viper.New()
	setDefaults(v, reflect.ValueOf(DefaultDeployment()))
	if err := v.MergeConfigMap(m); err != nil {
		return fmt.Errorf("merge %s: %w", path, err)
	}
	if err := v.UnmarshalExact(into); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

// dropEmptyLists leaves empty lists to the defaults, which are empty too: an
// explicit [] and an absent key then give the same value, nil.
func dropEmptyLists(m map[string]any) {
	for key, value := range m {
		switch value := value.(type) {
		case []any:
			if len(value) == 0 {
				delete(m, key)
			}
		case map[string]any:
			dropEmptyLists(value)
		}
	}
}

// putPath puts a value into nested maps.
func putPath(m map[string]any, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		next, ok := m[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[key] = next
		}
		m = next
	}
	m[keys[len(keys)-1]] = value
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
