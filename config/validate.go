package config

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Validate checks a configuration that was built in code, by the rules Load uses;
// files are not looked at. The error is a *Faults.
func (c *Config) Validate() error {
	found := newCollector()
	checkValues(found, reflect.ValueOf(*c), "")
	validate(found, c)
	return found.result()
}

// checkValues finds what the schema refuses in a file and code can still build:
// negative durations, and words that are none of an enumeration.
func checkValues(c *collector, v reflect.Value, path string) {
	switch value := v.Interface().(type) {
	case time.Duration:
		if value < 0 {
			c.add(path, value.String(), "is negative", "use a duration of zero or more")
		}
		return
	case Plan: // made by ResolvePlan
		return
	case enumerated:
		word := v.String()
		switch value.(type) {
		case Arm, ObjectKind: // missing, they have a rule of their own
			if word == "" {
				return
			}
		}
		if !slices.Contains(value.values(), word) {
			c.add(path, shown(word), "is not known here", "use "+alternatives(value.values()))
		}
		return
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			checkValues(c, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if key := v.Type().Field(i).Tag.Get("mapstructure"); key != "" {
				checkValues(c, v.Field(i), joinPath(path, key))
			}
		}
	}
}

// validate finds values out of range and contradictions.
func validate(c *collector, cfg *Config) {
	checkAddresses(c, cfg)
	checkTLS(c, cfg)
	checkControl(c, cfg)
	checkLimits(c, cfg)
	required(c, "state.dir", cfg.State.Dir, "name a directory, such as ./mzcanary-state")
	for i := range cfg.Deployments {
		checkDeployment(c, cfg, i)
	}
	checkAcross(c, cfg)
}

func checkLimits(c *collector, cfg *Config) {
	above(c, "upstream.dial_timeout", cfg.Upstream.DialTimeout, "5s")
	above(c, "limits.startup", cfg.Limits.Startup, "30s")
	atLeastOne(c, "limits.max_sessions", cfg.Limits.MaxSessions, "write the most sessions the proxy may carry, such as 10000")
	const perUser = "limits.per_user"
	if c.ok(perUser, "limits.max_sessions") && cfg.Limits.PerUser > cfg.Limits.MaxSessions {
		c.add(perUser, fmt.Sprint(cfg.Limits.PerUser), fmt.Sprintf("is more than limits.max_sessions, %d, and limits nothing", cfg.Limits.MaxSessions),
			"write less, or 0 for no limit per user")
	}
}

// above asks for a duration above zero.
func above(c *collector, path string, d time.Duration, example string) {
	if d <= 0 {
		c.add(path, formatDuration(d), "leaves no time at all", "write a duration above zero, such as "+example)
	}
}

func atLeastOne(c *collector, path string, n int, remedy string) {
	if n < 1 {
		c.add(path, fmt.Sprint(n), "is less than one", remedy)
	}
}

func required(c *collector, path, value, remedy string) {
	if value == "" {
		c.add(path, "", "is empty", remedy)
	}
}

// notes are sentences about what is allowed and easily overlooked.
func notes(cfg *Config) []Note {
	var list []Note
	add := func(path, text string) { list = append(list, Note{Path: path, Text: text}) }
	if len(cfg.Deployments) == 0 {
		add("deployments", "there are none: every session is relayed untouched")
	}
	if !loopback(cfg.Upstream.Address) && cfg.Upstream.TLS.Mode == TLSDisable {
		add("upstream.tls.mode", "disable sends passwords and rows over the network in the clear")
	}
	if !loopback(cfg.Listen.Address) && !cfg.Listen.TLS.Required {
		add("listen.tls.required", "clients from other machines may connect without TLS")
	}
	for i, d := range cfg.Deployments {
		at := fmt.Sprintf("deployments[%d]", i)
		if d.Rollout.Plan.ProvesNothing() {
			add(at+".rollout.plan", d.Rollout.Plan.Name+" asks for no evidence under traffic: it proves nothing about the new version")
		}
		if !d.Promote.Fence {
			add(at+".promote.fence", "false: the old version keeps the deploy name, and cleanup is by hand (mzcanary rollout cleanup)")
		}
		if d.Window.For == 0 {
			add(at+".window.for", "0s: there is no time in which a rollback could swap back")
		}
	}
	return list
}
