package router

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Arm is one of the two versions a session can be on.
type Arm uint8

const (
	// Stable is the version in production. It is the zero value: whatever is
	// unclear is served by production.
	Stable Arm = iota
	// Canary is the new version.
	Canary
)

// Arms lists both arms in the order of their values, for tables indexed by Arm.
var Arms = [2]Arm{Stable, Canary}

func (a Arm) String() string {
	if a == Canary {
		return "canary"
	}
	return "stable"
}

// ParseArm accepts "stable" and "canary".
func ParseArm(s string) (Arm, error) {
	switch s {
	case "stable":
		return Stable, nil
	case "canary":
		return Canary, nil
	}
	return Stable, fmt.Errorf("arm %q is neither stable nor canary", s)
}

// Weight is the share of units on the canary in basis points: 0 is nobody,
// 10,000 is everybody.
type Weight uint16

// Full is the weight that puts every unit on the canary.
const Full Weight = 10_000

// String prints a weight as a percentage, "25%" or "0.5%".
func (w Weight) String() string {
	return strconv.FormatFloat(float64(w)/100, 'f', -1, 64) + "%"
}

// Fraction is the weight as a number in [0,1].
func (w Weight) Fraction() float64 { return float64(w) / float64(Full) }

// ParseWeight reads "20%", "0.05%" or a plain number of per cent such as "20".
// Finer steps than a basis point (0.01 %) are refused rather than rounded.
func ParseWeight(s string) (Weight, error) {
	text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%"))
	percent, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(percent) {
		return 0, fmt.Errorf("weight %q is not a percentage such as 20%% or 0.5%%", s)
	}
	if percent < 0 || percent > 100 {
		return 0, fmt.Errorf("weight %q is outside 0%% to 100%%", s)
	}
	points := percent * 100
	if math.Abs(points-math.Round(points)) > 1e-6 {
		return 0, fmt.Errorf("weight %q is finer than 0.01%%, the smallest step", s)
	}
	return Weight(math.Round(points)), nil
}

// MarshalText lets JSON carry weights as "25%".
func (w Weight) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (w *Weight) UnmarshalText(b []byte) error {
	v, err := ParseWeight(string(b))
	if err != nil {
		return err
	}
	*w = v
	return nil
}

// MarshalText lets JSON carry arms by name.
func (a Arm) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (a *Arm) UnmarshalText(b []byte) error {
	v, err := ParseArm(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}
