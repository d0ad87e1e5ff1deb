package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// misfit says why a word is not a value of its key.
type misfit struct{ problem, remedy string }

// scalarValue turns one word into the typed value of its key.
func (s *schema) scalarValue(n *yaml.Node) (any, *misfit) {
	switch s.kind {
	case kindString:
		return s.text(n)
	case kindBool:
		switch n.Value {
		case "true", "false":
			return n.Value == "true", nil
		}
		return nil, &misfit{"is neither true nor false", "write true or false"}
	case kindInt:
		return wholeNumber(n.Value)
	case kindNumber:
		x, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, &misfit{"is not a number", "write a number such as 0.01"}
		}
		return x, nil
	case kindDuration:
		d, bad := parseDuration(n.Value)
		return d, bad
	case kindWeight:
		w, bad := parseWeight(n.Value)
		return w, bad
	}
	return nil, &misfit{"is one word", "write " + s.kind.String()}
}

func (s *schema) text(n *yaml.Node) (any, *misfit) {
	if s.enum != nil {
		if slices.Contains(s.enum, n.Value) {
			return n.Value, nil
		}
		remedy := "use " + alternatives(s.enum)
		if near := nearest(n.Value, s.enum); near != "" && len(s.enum) > 1 {
			remedy = fmt.Sprintf("did you mean %q? It is %s", near, alternatives(s.enum))
		}
		return nil, &misfit{"is not known here", remedy}
	}
	if tag := n.ShortTag(); tag != "!!str" {
		return nil, &misfit{"is " + tagWords(tag) + ", not text", "put it in quotes: " + strconv.Quote(n.Value)}
	}
	if !utf8.ValidString(n.Value) || strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, &misfit{"holds control characters", "write it without them"}
	}
	return n.Value, nil
}

func tagWords(tag string) string {
	switch tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a truth value"
	case "!!timestamp":
		return "a date"
	}
	return "of type " + tag
}

// alternatives writes "a, b or c".
func alternatives(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func wholeNumber(text string) (any, *misfit) {
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return nil, &misfit{"is too large", "write a smaller number"}
	case err != nil:
		return nil, &misfit{"is not a whole number", "write digits only, such as 10"}
	case n < 0:
		return nil, &misfit{"is negative", "write zero or more"}
	}
	return n, nil
}

// parseDuration reads a duration with its unit. A bare number is refused: Go would
// take 2 for two nanoseconds, and nobody means that.
func parseDuration(text string) (time.Duration, *misfit) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		digits := strings.TrimPrefix(text, "-")
		return 0, &misfit{"has no unit", fmt.Sprintf("write %ss, %sm or %sh for seconds, minutes or hours", digits, digits, digits)}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		remedy := "write a number and ms, s, m or h, such as 500ms, 30s or 1h30m"
		if days, ok := strings.CutSuffix(text, "d"); ok {
			if n, err := strconv.ParseUint(days, 10, 16); err == nil {
				remedy = fmt.Sprintf("days are written in hours: %dh", n*24)
			}
		}
		return 0, &misfit{"is not a duration", remedy}
	}
	if d < 0 {
		return 0, &misfit{"is negative", "write a duration of zero or more, such as " + formatDuration(-d)}
	}
	return d, nil
}

// formatDuration prints 5m0s as 5m, so that what is printed is what is written.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseWeight reads a weight as plans write it, "10%" or "0.5%" with at most two
// decimals, or a bare 0, and gives it in basis points, 0 to 10,000.
func ParseWeight(text string) (uint16, error) {
	w, bad := parseWeight(text)
	if bad != nil {
		return 0, fmt.Errorf("weight %q %s; %s", text, bad.problem, bad.remedy)
	}
	return w, nil
}

func parseWeight(text string) (uint16, *misfit) {
	if text == "0" {
		return 0, nil
	}
	digits, isPercent := strings.CutSuffix(text, "%")
	if !isPercent {
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			return 0, &misfit{"has no % sign", "write " + text + "%"}
		}
		return 0, &misfit{"is not a weight", "write a percentage such as 10% or 0.5%"}
	}
	whole, decimals, _ := strings.Cut(digits, ".")
	if !allDigits(whole) || (decimals != "" && !allDigits(decimals)) || strings.HasSuffix(digits, ".") {
		if strings.HasPrefix(digits, "-") {
			return 0, &misfit{"is negative", "write a weight from 0% to 100%"}
		}
		return 0, &misfit{"is not a weight", "write a percentage such as 10% or 0.5%"}
	}
	if len(decimals) > 2 {
		return 0, &misfit{"is finer than a hundredth of a per cent", "write at most two decimals"}
	}
	// At most three digits of per cent and two decimals: it fits.
	whole = strings.TrimLeft(whole, "0")
	points, err := strconv.Atoi("0" + whole + (decimals + "00")[:2])
	if len(whole) > 3 || err != nil || points > 10_000 {
		return 0, &misfit{"is more than everybody", "write a weight from 0% to 100%"}
	}
	return uint16(points), nil
}

func allDigits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// FormatWeight prints basis points as a percentage, 50 as "0.5%".
func FormatWeight(points uint16) string {
	return strconv.FormatFloat(float64(points)/100, 'f', -1, 64) + "%"
}
