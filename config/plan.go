package config

import (
	"strings"
	"time"
)

// Plan is the ordered list a rollout goes through.
type Plan struct {
	// Name is the preset's, the file's, or "steps" for steps written in place.
	Name string
	// Steps has at least one element; the last one, and only that, promotes.
	Steps []Step
}

// StepKind is what a step begins with.
type StepKind uint8

const (
	// StepWeight sets a weight and then waits for one condition.
	StepWeight StepKind = iota + 1
	// StepPromote is the swap. It is always the last step.
	StepPromote
)

func (k StepKind) String() string {
	switch k {
	case StepWeight:
		return "weight"
	case StepPromote:
		return "promote"
	}
	return "none"
}

// Until is what the judge must say for a step to end.
type Until string

// UntilSafe ends a step when the judge says safe.
const UntilSafe Until = "safe"

func (Until) values() []string { return []string{"safe"} }

// Step is one element of a plan. A weight step ends by exactly one condition:
// Bake, Until or Approve.
type Step struct {
	Kind StepKind
	// Weight is the share of units on the canary in basis points, 0 to 10,000.
	Weight uint16
	// Bake is how long the weight stands; then the step passes if nothing regressed
	// and the minimum was met. Above zero when it is the condition.
	Bake time.Duration
	// Until waits for the judge, at most for Within.
	Until  Until
	Within time.Duration
	// Approve waits for a person.
	Approve Approve
}

// Approve is a step that waits for a person.
type Approve struct {
	// Within is when the approval expires. Above zero when a person is asked.
	Within time.Duration `mapstructure:"within"`
}

// Asked reports whether the step waits for a person.
func (a Approve) Asked() bool { return a.Within > 0 }

// String is the step in one line, "10% for 5m", "promote".
func (s Step) String() string {
	if s.Kind == StepPromote {
		return "promote"
	}
	w := FormatWeight(s.Weight)
	switch {
	case s.Approve.Asked():
		return w + " until approved, within " + formatDuration(s.Approve.Within)
	case s.Until != "":
		return w + " until " + string(s.Until) + ", within " + formatDuration(s.Within)
	}
	return w + " for " + formatDuration(s.Bake)
}

// String is the plan in one line.
func (p Plan) String() string {
	steps := make([]string, len(p.Steps))
	for i, s := range p.Steps {
		steps[i] = s.String()
	}
	return strings.Join(steps, " → ")
}

// SendsTraffic reports whether any step puts units on the canary before the swap.
func (p Plan) SendsTraffic() bool {
	for _, s := range p.Steps {
		if s.Kind == StepWeight && s.Weight > 0 {
			return true
		}
	}
	return false
}

// ProvesNothing reports whether the plan reaches the swap without any step that
// asks for evidence of the new version under traffic.
func (p Plan) ProvesNothing() bool {
	for _, s := range p.Steps {
		if s.Kind == StepWeight && s.Weight > 0 && (s.Bake > 0 || s.Until != "") {
			return false
		}
	}
	return true
}
