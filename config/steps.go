package config

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// ResolvePlan gives the plan of a preset, by its short or AWS name, or of a file
// that holds `steps: [...]`. A path with a slash is never taken for a preset. The
// error is a *Faults.
func ResolvePlan(nameOrFile string) (Plan, error) {
	if plan, ok := findPreset(nameOrFile); ok {
		return plan, nil
	}
	c := newCollector()
	data, err := readFile(nameOrFile)
	if err != nil {
		problem, remedy := "is neither a preset nor a file", presetRemedy(nameOrFile)
		if !os.IsNotExist(err) || strings.ContainsRune(nameOrFile, '/') {
			problem, remedy = "cannot be read as a plan: "+causeOf(err), "name a preset, or a file with steps: [...]"
		}
		c.add("plan", shown(nameOrFile), problem, remedy)
		return Plan{}, c.result()
	}
	plan := planOfFile(c, nameOrFile, data)
	if err := c.result(); err != nil {
		return Plan{}, err
	}
	plan.Name = nameOrFile
	return plan, nil
}

func planOfFile(c *collector, file string, data []byte) Plan {
	doc := parseFile(c, file, data)
	if doc == nil {
		return Plan{}
	}
	s := rootSchema().field("deployments").elem.field("rollout").field("plan")
	value, ok := fileReader(c, file).value(s, doc, "plan")
	if !ok {
		return Plan{}
	}
	return resolvePlan(c, value, "plan")
}

// resolvePlan turns what stands at a plan key into a Plan: the name of a preset, or
// a mapping with steps. On a fault the plan is not to be used.
func resolvePlan(c *collector, value any, path string) Plan {
	switch value := value.(type) {
	case Plan:
		return value
	case string:
		if plan, ok := findPreset(value); ok {
			return plan
		}
		c.add(path, shown(value), "is not a preset", presetRemedy(value))
	case map[string]any:
		steps, _ := value["steps"].([]any)
		if len(steps) == 0 {
			c.add(path, "", "has no steps", "write steps: [{weight: 10%, bake: 5m}, {promote: {}}], or name a preset")
			return Plan{}
		}
		return planOfSteps(c, steps, path+".steps")
	}
	return Plan{}
}

func planOfSteps(c *collector, list []any, path string) Plan {
	plan := Plan{Name: "steps"}
	last := uint16(0)
	for i, item := range list {
		keys, _ := item.(map[string]any)
		at := fmt.Sprintf("%s[%d]", path, i)
		step := stepOf(c, keys, at)
		if step.Kind == StepPromote && i != len(list)-1 {
			c.add(at, "promote", "is not the last step", "nothing can follow the swap: move it to the end")
		}
		if step.Kind == StepWeight && c.ok(at, at+".weight") {
			if step.Weight < last {
				c.add(at+".weight", FormatWeight(step.Weight), "is less than the weight before it, "+FormatWeight(last),
					"let weights rise; taking traffic back is what rollback does")
			}
			last = max(last, step.Weight)
		}
		plan.Steps = append(plan.Steps, step)
	}
	end := fmt.Sprintf("%s[%d]", path, len(list)-1)
	if plan.Steps[len(list)-1].Kind != StepPromote && c.ok(end) {
		c.add(path, "", "ends without promote", "add {promote: {}}; to have a person decide, put {weight: ..., approve: {within: 4h}} before it")
	}
	return plan
}

// stepOf reads one step. Exactly one condition ends a weight: with two, the second
// is a step of its own at the same weight, and the plan shows which one it is in.
func stepOf(c *collector, keys map[string]any, path string) Step {
	has := func(key string) bool {
		_, ok := keys[key]
		return ok || !c.ok(path+"."+key)
	}
	if has("promote") {
		if len(keys) > 1 {
			c.add(path, "", "promotes and does something else", "make {promote: {}} a step of its own")
		}
		return Step{Kind: StepPromote}
	}
	if !has("weight") {
		c.add(path, "", "has neither weight nor promote", "write {weight: 10%, bake: 5m} or {promote: {}}")
		return Step{}
	}
	step := Step{Kind: StepWeight}
	step.Weight, _ = keys["weight"].(uint16)
	step.Bake, _ = keys["bake"].(time.Duration)
	if until, ok := keys["until"].(string); ok {
		step.Until = Until(until)
	}
	step.Within, _ = keys["within"].(time.Duration)
	approve, _ := keys["approve"].(map[string]any)
	step.Approve.Within, _ = approve["within"].(time.Duration)
	checkCondition(c, step, has, path)
	return step
}

func checkCondition(c *collector, step Step, has func(string) bool, path string) {
	var conditions []string
	for _, key := range []string{"bake", "until", "approve"} {
		if has(key) {
			conditions = append(conditions, key)
		}
	}
	switch {
	case len(conditions) == 0:
		c.add(path, FormatWeight(step.Weight), "has no condition that ends it", "add bake: 5m, or until: safe and within: 30m, or approve: {within: 4h}")
		return
	case len(conditions) > 1:
		c.add(path, strings.Join(conditions, " and "), "end one step", "make two steps of the same weight, one condition each")
		return
	}
	if has("within") && !has("until") {
		remedy := "leave it out"
		if has("approve") {
			remedy = "write approve: {within: 4h}"
		}
		c.add(path+".within", formatDuration(step.Within), "belongs to until: safe", remedy)
	}
	switch {
	case has("bake") && step.Bake == 0:
		c.add(path+".bake", "0s", "shows nothing", "write a duration above zero, such as 5m")
	case has("until") && step.Within == 0:
		c.add(path+".within", "", "is missing or zero", "say how long to wait for the judge, such as within: 30m")
	case has("approve") && step.Approve.Within == 0:
		c.add(path+".approve.within", "", "is missing or zero", "say when the approval expires, such as within: 4h")
	}
	if step.Weight == 0 && !has("approve") && c.ok(path+".weight") {
		c.add(path+".weight", "0%", "has nobody on the canary to judge by", "at weight 0 a step waits for a person: approve: {within: 4h}")
	}
}
