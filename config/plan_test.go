package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPresets(t *testing.T) {
	want := []string{
		"canary-10-5m: 10% for 5m → promote",
		"canary-10-10m: 10% for 10m → promote",
		"canary-10-15m: 10% for 15m → promote",
		"canary-10-30m: 10% for 30m → promote",
		"linear-10-1m: 10% for 1m → 20% for 1m → 30% for 1m → 40% for 1m → 50% for 1m → 60% for 1m → 70% for 1m → 80% for 1m → 90% for 1m → promote",
		"linear-10-2m: 10% for 2m → 20% for 2m → 30% for 2m → 40% for 2m → 50% for 2m → 60% for 2m → 70% for 2m → 80% for 2m → 90% for 2m → promote",
		"linear-10-3m: 10% for 3m → 20% for 3m → 30% for 3m → 40% for 3m → 50% for 3m → 60% for 3m → 70% for 3m → 80% for 3m → 90% for 3m → promote",
		"linear-10-10m: 10% for 10m → 20% for 10m → 30% for 10m → 40% for 10m → 50% for 10m → 60% for 10m → 70% for 10m → 80% for 10m → 90% for 10m → promote",
		"all-at-once: promote",
		"safe-ramp: 1% until safe, within 30m → 5% until safe, within 30m → 10% until safe, within 30m → 25% until safe, within 30m → 50% until safe, within 30m → promote",
	}
	var got []string
	for _, p := range Presets() {
		got = append(got, p.Name+": "+p.Plan.String())
		if p.Plan.Name != p.Name || p.Sentence == "" {
			t.Errorf("preset %+v", p)
		}
		if p.Plan.ProvesNothing() != (p.Name == "all-at-once") || p.Plan.SendsTraffic() != (p.Name != "all-at-once") {
			t.Errorf("%s: proves nothing %v, sends traffic %v", p.Name, p.Plan.ProvesNothing(), p.Plan.SendsTraffic())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("presets are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPresetNames lists the names of the AWS documentation, and none twice.
func TestPresetNames(t *testing.T) {
	for _, name := range []string{
		"CodeDeployDefault.LambdaCanary10Percent5Minutes", "CodeDeployDefault.LambdaCanary10Percent10Minutes",
		"CodeDeployDefault.LambdaCanary10Percent15Minutes", "CodeDeployDefault.LambdaCanary10Percent30Minutes",
		"CodeDeployDefault.LambdaLinear10PercentEvery1Minute", "CodeDeployDefault.LambdaLinear10PercentEvery2Minutes",
		"CodeDeployDefault.LambdaLinear10PercentEvery3Minutes", "CodeDeployDefault.LambdaLinear10PercentEvery10Minutes",
		"CodeDeployDefault.LambdaAllAtOnce",
		"CodeDeployDefault.ECSLinear10PercentEvery1Minutes", "CodeDeployDefault.ECSLinear10PercentEvery3Minutes",
		"CodeDeployDefault.ECSCanary10Percent5Minutes", "CodeDeployDefault.ECSCanary10Percent15Minutes", "CodeDeployDefault.ECSAllAtOnce",
		"Canary10Percent5Minutes", "Canary10Percent30Minutes", "Linear10PercentEvery1Minute", "Linear10PercentEvery10Minutes", "AllAtOnce",
		"canary-10-5m", "linear-10-1m", "all-at-once", "safe-ramp",
	} {
		if plan, err := ResolvePlan(name); err != nil || len(plan.Steps) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	owner := map[string]string{}
	for _, p := range Presets() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if owner[name] != "" {
				t.Errorf("%s names %s and %s", name, owner[name], p.Name)
			}
			owner[name] = p.Name
		}
	}
}

func TestResolvePlanFromFile(t *testing.T) {
	t.Chdir(t.TempDir())
	const text = "steps:\n  - {weight: 0, approve: {within: 4h}}\n  - {weight: 0.5%, bake: 2m}\n  - {weight: 10%, until: safe, within: 30m}\n  - {promote: {}}\n"
	for name, content := range map[string]string{
		"good.yaml": text, "all-at-once": text,
		"bad.yaml":   "steps: [{weight: 101%, bake: 2}]\nname: x\n",
		"words.yaml": "just words",
		"empty.yaml": "",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := ResolvePlan("good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Plan{Name: "good.yaml", Steps: []Step{
		{Kind: StepWeight, Weight: 0, Approve: Approve{Within: 4 * time.Hour}},
		{Kind: StepWeight, Weight: 50, Bake: 2 * time.Minute},
		{Kind: StepWeight, Weight: 1000, Until: UntilSafe, Within: 30 * time.Minute},
		{Kind: StepPromote},
	}}
	if plan.Name != want.Name || !slices.Equal(plan.Steps, want.Steps) {
		t.Errorf("plan is %+v, want %+v", plan, want)
	}
	if plan, err := ResolvePlan("all-at-once"); err != nil || len(plan.Steps) != 1 {
		t.Errorf("the preset does not win over a file of its name: %+v %v", plan, err)
	}
	if plan, err := ResolvePlan("./all-at-once"); err != nil || len(plan.Steps) != 4 {
		t.Errorf("a path is taken for a preset: %+v %v", plan, err)
	}
	for name, want := range map[string]string{
		"canary10percent5minutes": `plan: canary10percent5minutes is neither a preset nor a file; did you mean "Canary10Percent5Minutes"?`,
		"plans/none.yaml":         "plan: plans/none.yaml cannot be read as a plan: no such file or directory; name a preset, or a file with steps: [...]",
		".":                       "plan: . cannot be read as a plan: is a directory; name a preset, or a file with steps: [...]",
		"":                        `plan: "" is neither a preset nor a file; use canary-10-5m, `,
		"words.yaml":              `words.yaml:1: plan: "just words" is not a preset; use canary-10-5m, `,
		"empty.yaml":              "plan: has no steps; ",
		"bad.yaml": "bad.yaml:1: plan.steps: ends without promote; add {promote: {}}; to have a person decide, put {weight: ..., approve: {within: 4h}} before it\n" +
			"bad.yaml:1: plan.steps[0].weight: 101% is more than everybody; write a weight from 0% to 100%\n" +
			"bad.yaml:1: plan.steps[0].bake: 2 has no unit; write 2s, 2m or 2h for seconds, minutes or hours\n" +
			"bad.yaml:2: plan.name: is an unknown key; the key of that name is deployments[].name",
	} {
		_, err := ResolvePlan(name)
		if _, ok := errors.AsType[*Faults](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%q reported:\n%v\nwant:\n%s", name, err, want)
		}
	}
}

func TestParseWeight(t *testing.T) {
	for text, want := range map[string]uint16{
		"0": 0, "0%": 0, "1%": 100, "0.5%": 50, "0.01%": 1, "12.34%": 1234, "100%": 10000, "100.00%": 10000, "007%": 700,
	} {
		if got, err := ParseWeight(text); err != nil || got != want {
			t.Errorf("ParseWeight(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "is not a weight", "10": "has no % sign", "%": "is not a weight", "-1%": "is negative", "100.01%": "more than everybody", "101%": "more than everybody",
		"99999999999999999999%": "more than everybody", "1e2%": "is not a weight", "0.001%": "finer", "1.%": "is not a weight", "+1%": "is not a weight",
		".5%": "is not a weight", "NaN%": "is not a weight", "ten%": "is not a weight", "1 %": "is not a weight",
	} {
		if got, err := ParseWeight(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseWeight(%q) = %d, %v, want %q", text, got, err, want)
		}
	}
	for points := range uint16(10001) {
		if got, err := ParseWeight(FormatWeight(points)); err != nil || got != points {
			t.Fatalf("%d prints as %s and reads as %d, %v", points, FormatWeight(points), got, err)
		}
	}
}

func TestDurationsReadAsPrinted(t *testing.T) {
	for text, want := range map[string]string{"90s": "1m30s", "3600s": "1h", "10m": "10m", "600ms": "600ms", "1h10m": "1h10m", "0s": "0s", "10h0m5s": "10h0m5s"} {
		d, bad := parseDuration(text)
		if bad != nil || formatDuration(d) != want {
			t.Errorf("%s prints as %s, %v, want %s", text, formatDuration(d), bad, want)
		}
		if again, bad := parseDuration(formatDuration(d)); bad != nil || again != d {
			t.Errorf("%s reads back as %v, %v", text, again, bad)
		}
	}
}
