package sql

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"
)

// Interval is a span of time in the three parts SQL keeps apart.
type Interval struct {
	Months int32
	Days   int32
	Micros int64
}

const (
	microsPerSecond = int64(1_000_000)
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
)

// IntervalOf is a duration as an interval without months and days.
func IntervalOf(d time.Duration) Interval { return Interval{Micros: d.Microseconds()} }

// units by their singular, plural and short spellings.
var intervalUnits = map[string]Interval{
	"year": {Months: 12}, "y": {Months: 12}, "yr": {Months: 12}, "month": {Months: 1}, "mon": {Months: 1},
	"decade": {Months: 120}, "century": {Months: 1200}, "week": {Days: 7}, "w": {Days: 7}, "day": {Days: 1}, "d": {Days: 1},
	"hour": {Micros: microsPerHour}, "h": {Micros: microsPerHour}, "hr": {Micros: microsPerHour},
	"minute": {Micros: microsPerMinute}, "m": {Micros: microsPerMinute}, "min": {Micros: microsPerMinute},
	"second": {Micros: microsPerSecond}, "s": {Micros: microsPerSecond}, "sec": {Micros: microsPerSecond},
	"millisecond": {Micros: 1000}, "ms": {Micros: 1000}, "microsecond": {Micros: 1}, "us": {Micros: 1},
}

func intervalUnit(w string) (Interval, bool) {
	if u, ok := intervalUnits[w]; ok {
		return u, true
	}
	if w == "centuries" {
		w = "century"
	}
	u, ok := intervalUnits[strings.TrimSuffix(w, "s")]
	return u, ok
}

// parseInterval reads "1 day 02:03:04.5", "24 hours", "1s", "-5 minutes".
func parseInterval(s string) (Interval, *Error) {
	bad := evalError("22007", "invalid input syntax for type interval: %s", rustQuote(s))
	fields := intervalFields(strings.ToLower(s))
	var iv Interval
	ago := len(fields) > 0 && fields[len(fields)-1] == "ago"
	if ago {
		fields = fields[:len(fields)-1]
	}
	if len(fields) == 0 {
		return iv, bad
	}
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		if strings.Contains(f, ":") {
			micros, ok := parseClock(f)
			if !ok {
				return iv, bad
			}
			iv.Micros += micros
			continue
		}
		n, err := ParseNumeric(f)
		if err != nil {
			return iv, bad
		}
		unit := Interval{Micros: microsPerSecond}
		if i+1 < len(fields) {
			u, ok := intervalUnit(fields[i+1])
			switch {
			case ok:
				unit = u
				i++
			case strings.Contains(fields[i+1], ":"):
				unit = Interval{Days: 1}
			default:
				return iv, bad
			}
		}
		if !iv.addScaled(n, unit) {
			return iv, bad
		}
	}
	if ago {
		iv = iv.neg()
	}
	return iv, nil
}

// intervalFields splits at spaces and between a number and its unit.
func intervalFields(s string) []string {
	var out []string
	for f := range strings.FieldsSeq(s) {
		i := 0
		for i < len(f) && strings.IndexByte("+-.0123456789:", f[i]) >= 0 {
			i++
		}
		if i > 0 && i < len(f) {
			out = append(out, f[:i], f[i:])
		} else {
			out = append(out, f)
		}
	}
	return out
}

func parseClock(s string) (micros int64, ok bool) {
	sign := int64(1)
	if s[0] == '-' || s[0] == '+' {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, false
	}
	scales := []int64{microsPerHour, microsPerMinute, microsPerSecond}
	for i, part := range parts {
		n, err := ParseNumeric(part)
		if err != nil || n.Sign() < 0 || i < 2 && n.scale > 0 {
			return 0, false
		}
		v, ok := scaleMicros(n, scales[i])
		if !ok || i > 0 && v >= 60*scales[i] {
			return 0, false
		}
		micros += v
	}
	return sign * micros, true
}

// scaleMicros is n × unit; ok false: out of range.
func scaleMicros(n Numeric, unit int64) (int64, bool) {
	p, err := n.Mul(NumericFromInt(unit))
	if err != nil {
		return 0, false
	}
	return p.Int64()
}

// addScaled adds n units; fractions of months become days of a 30-day month,
// fractions of days become hours.
func (iv *Interval) addScaled(n Numeric, unit Interval) bool {
	switch {
	case unit.Months != 0:
		return iv.addParts(n, int64(unit.Months), &iv.Months, func(rest Numeric) bool {
			return iv.addScaled(rest, Interval{Days: 30})
		})
	case unit.Days != 0:
		return iv.addParts(n, int64(unit.Days), &iv.Days, func(rest Numeric) bool {
			return iv.addScaled(rest, Interval{Micros: microsPerDay})
		})
	}
	v, ok := scaleMicros(n, unit.Micros)
	iv.Micros += v
	return ok
}

func (iv *Interval) addParts(n Numeric, unit int64, part *int32, fraction func(Numeric) bool) bool {
	total, err := n.Mul(NumericFromInt(unit))
	if err != nil {
		return false
	}
	whole := Numeric{coef: new(big.Int).Quo(total.big(), pow10(total.scale))}
	w, ok := whole.Int64()
	sum := w + int64(*part)
	if !ok || sum > math.MaxInt32 || sum < math.MinInt32 {
		return false
	}
	*part = int32(sum)
	rest, err := total.Sub(whole)
	if err != nil {
		return false
	}
	return rest.Sign() == 0 || fraction(rest)
}

func (iv Interval) neg() Interval { return Interval{-iv.Months, -iv.Days, -iv.Micros} }

func (iv Interval) add(o Interval) Interval {
	return Interval{iv.Months + o.Months, iv.Days + o.Days, iv.Micros + o.Micros}
}

// span orders intervals: a month counts 30 days, a day 24 hours.
func (iv Interval) span() *big.Int {
	days := big.NewInt(int64(iv.Months)*30 + int64(iv.Days))
	return days.Mul(days, big.NewInt(microsPerDay)).Add(days, big.NewInt(iv.Micros))
}

// String prints the interval in PostgreSQL's style: "1 day 02:03:04.5".
func (iv Interval) String() string {
	var parts []string
	unit := func(n int32, name string) {
		if n == 0 {
			return
		}
		if n != 1 {
			name += "s"
		}
		sign := ""
		if n > 0 && len(parts) > 0 && parts[len(parts)-1][0] == '-' {
			sign = "+"
		}
		parts = append(parts, fmt.Sprintf("%s%d %s", sign, n, name))
	}
	unit(iv.Months/12, "year")
	unit(iv.Months%12, "month")
	unit(iv.Days, "day")
	if iv.Micros != 0 || len(parts) == 0 {
		m, sign := iv.Micros, ""
		switch {
		case m < 0:
			m, sign = -m, "-"
		case len(parts) > 0 && parts[len(parts)-1][0] == '-':
			sign = "+"
		}
		clock := fmt.Sprintf("%s%02d:%02d:%02d", sign, m/microsPerHour, m/microsPerMinute%60, m/microsPerSecond%60)
		if f := m % microsPerSecond; f != 0 {
			clock += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
		}
		parts = append(parts, clock)
	}
	return strings.Join(parts, " ")
}

// addTo is t plus the interval; a day that the month lacks becomes its last.
func (iv Interval) addTo(t time.Time) time.Time {
	if iv.Months != 0 {
		y, m, d := t.Date()
		first := time.Date(y, m+time.Month(iv.Months), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
		last := first.AddDate(0, 1, -1).Day()
		t = first.AddDate(0, 0, min(d, last)-1)
	}
	return t.AddDate(0, 0, int(iv.Days)).Add(time.Duration(iv.Micros) * time.Microsecond)
}
