package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Preset is a plan with a name.
type Preset struct {
	// Name is the short name, such as canary-10-5m.
	Name string
	// Aliases are the names AWS CodeDeploy, SAM and CDK give it; all are accepted
	// wherever Name is.
	Aliases []string
	// Sentence says what it does and when it is done.
	Sentence string
	Plan     Plan
}

// Presets lists every preset, in the order of the documentation. The AWS names are
// those of "Predefined deployment configurations" in the CodeDeploy user guide.
func Presets() []Preset {
	var all []Preset
	for _, minutes := range []int{5, 10, 15, 30} {
		all = append(all, canaryPreset(minutes))
	}
	for _, minutes := range []int{1, 2, 3, 10} {
		all = append(all, linearPreset(minutes))
	}
	return append(all, allAtOnce(), safeRamp())
}

// canaryPreset is AWS's TimeBasedCanary: ten per cent at once, the rest later.
func canaryPreset(minutes int) Preset {
	bake := time.Duration(minutes) * time.Minute
	sam := fmt.Sprintf("Canary10Percent%dMinutes", minutes)
	aliases := []string{sam, "CodeDeployDefault.Lambda" + sam}
	if minutes == 5 || minutes == 15 {
		aliases = append(aliases, "CodeDeployDefault.ECS"+sam)
	}
	name := fmt.Sprintf("canary-10-%dm", minutes)
	return Preset{
		Name:     name,
		Aliases:  aliases,
		Sentence: fmt.Sprintf("10%% at once, promotion %d minutes later", minutes),
		Plan: Plan{Name: name, Steps: []Step{
			{Kind: StepWeight, Weight: 1000, Bake: bake},
			{Kind: StepPromote},
		}},
	}
}

// linearPreset is AWS's TimeBasedLinear. AWS texts count its duration as nine or as
// ten intervals; here it is nine: the promotion stands where the tenth increment,
// 100 %, would be.
func linearPreset(minutes int) Preset {
	bake := time.Duration(minutes) * time.Minute
	sam := fmt.Sprintf("Linear10PercentEvery%dMinute", minutes)
	if minutes != 1 {
		sam += "s"
	}
	aliases := []string{sam, "CodeDeployDefault.Lambda" + sam}
	switch minutes {
	case 1: // the ECS name has a plural where Lambda's has none
		aliases = append(aliases, sam+"s", "CodeDeployDefault.ECS"+sam+"s")
	case 3:
		aliases = append(aliases, "CodeDeployDefault.ECS"+sam)
	}
	name := fmt.Sprintf("linear-10-%dm", minutes)
	plan := Plan{Name: name}
	for percent := uint16(10); percent < 100; percent += 10 {
		plan.Steps = append(plan.Steps, Step{Kind: StepWeight, Weight: percent * 100, Bake: bake})
	}
	plan.Steps = append(plan.Steps, Step{Kind: StepPromote})
	return Preset{
		Name:    name,
		Aliases: aliases,
		Sentence: fmt.Sprintf("10%% at once, 10%% more every %s up to 90%% at minute %d, promotion at minute %d",
			minuteWords(minutes), 8*minutes, 9*minutes),
		Plan: plan,
	}
}

func minuteWords(n int) string {
	if n == 1 {
		return "minute"
	}
	return fmt.Sprintf("%d minutes", n)
}

func allAtOnce() Preset {
	return Preset{
		Name:     "all-at-once",
		Aliases:  []string{"AllAtOnce", "CodeDeployDefault.LambdaAllAtOnce", "CodeDeployDefault.ECSAllAtOnce"},
		Sentence: "promotion as soon as the new version is ready; proves nothing about it under traffic",
		Plan:     Plan{Name: "all-at-once", Steps: []Step{{Kind: StepPromote}}},
	}
}

// safeRampWithin is how long each step of safe-ramp waits for the judge before
// on_undecided decides.
const safeRampWithin = 30 * time.Minute

func safeRamp() Preset {
	plan := Plan{Name: "safe-ramp"}
	for _, weight := range []uint16{100, 500, 1000, 2500, 5000} {
		plan.Steps = append(plan.Steps, Step{Kind: StepWeight, Weight: weight, Until: UntilSafe, Within: safeRampWithin})
	}
	plan.Steps = append(plan.Steps, Step{Kind: StepPromote})
	return Preset{
		Name:     "safe-ramp",
		Sentence: "1%, 5%, 10%, 25%, 50%, each until judged safe (30 minutes each, then on_undecided decides), then promotion",
		Plan:     plan,
	}
}

// findPreset looks a preset up by its short name or an AWS name, exactly as spelled.
func findPreset(name string) (Plan, bool) {
	for _, p := range Presets() {
		if p.Name == name || slices.Contains(p.Aliases, name) {
			return p.Plan, true
		}
	}
	return Plan{}, false
}

// mustPreset is for names written in this package.
func mustPreset(name string) Plan {
	plan, ok := findPreset(name)
	if !ok {
		panic("config: no preset " + name)
	}
	return plan
}

// presetRemedy names the nearest preset, or all of them.
func presetRemedy(name string) string {
	var names, short []string
	for _, p := range Presets() {
		names = append(append(names, p.Name), p.Aliases...)
		short = append(short, p.Name)
	}
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "use " + strings.Join(short, ", ") + ", or steps: [...]"
}
