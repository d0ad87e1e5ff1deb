package sql

import (
	"fmt"
	"strings"
	"time"
)

var dateTimeLayouts = []string{
	"2006-1-2 15:04:05.999999999", "2006-1-2T15:04:05.999999999", "2006-1-2 15:04", "2006-1-2T15:04", "2006-1-2",
}

// parseTime reads a date with an optional time and zone; what is the type's
// name for the error.
func parseTime(s, what string) (time.Time, error) {
	text := strings.TrimSpace(s)
	body, offset := splitZone(text)
	for _, layout := range dateTimeLayouts {
		if t, err := time.Parse(layout, body); err == nil {
			return t.Add(-offset).Truncate(time.Microsecond).UTC(), nil
		}
	}
	return time.Time{}, evalError("22007", "invalid input syntax for type %s: Invalid %s string: %s", what, what, rustQuote(s))
}

// splitZone cuts a trailing "Z", "UTC" or "+hh[:mm]" off.
func splitZone(s string) (body string, offset time.Duration) {
	for _, utc := range []string{"Z", "z", " UTC", " utc", " GMT"} {
		if b, ok := strings.CutSuffix(s, utc); ok {
			return b, 0
		}
	}
	i := strings.LastIndexAny(s, "+-")
	if i < 0 || !strings.Contains(s[:i], ":") {
		return s, 0
	}
	var h, m int
	zone := strings.ReplaceAll(s[i+1:], ":", "")
	n, err := 0, error(nil)
	if len(zone) <= 2 {
		n, err = fmt.Sscanf(zone, "%d", &h)
	} else {
		n, err = fmt.Sscanf(zone, "%2d%2d", &h, &m)
	}
	if n == 0 || err != nil {
		return s, 0
	}
	offset = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if s[i] == '-' {
		offset = -offset
	}
	return strings.TrimSpace(s[:i]), offset
}

// formatTime prints a timestamp with as many digits as it has.
func formatTime(t time.Time) string {
	s := t.UTC().Format("2006-01-02 15:04:05")
	if f := t.Nanosecond() / 1000; f != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
	}
	return s
}

func midnight(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// extractTime is EXTRACT(field FROM t) as a numeric.
func extractTime(field string, t time.Time) (Numeric, error) {
	sec := func(perSecond int64) (Numeric, error) {
		micros := int64(t.Second())*microsPerSecond + int64(t.Nanosecond()/1000)
		return NumericFromInt(micros * perSecond).Quo(NumericFromInt(microsPerSecond))
	}
	_, week := t.ISOWeek()
	switch strings.TrimSuffix(field, "s") {
	case "epoch":
		return NumericFromInt(t.UnixMicro()).Quo(NumericFromInt(microsPerSecond))
	case "year":
		return NumericFromInt(int64(t.Year())), nil
	case "quarter":
		return NumericFromInt(int64(t.Month()+2) / 3), nil
	case "month":
		return NumericFromInt(int64(t.Month())), nil
	case "week":
		return NumericFromInt(int64(week)), nil
	case "day":
		return NumericFromInt(int64(t.Day())), nil
	case "dow":
		return NumericFromInt(int64(t.Weekday())), nil
	case "isodow":
		return NumericFromInt(int64(t.Weekday()+6)%7 + 1), nil
	case "doy":
		return NumericFromInt(int64(t.YearDay())), nil
	case "hour":
		return NumericFromInt(int64(t.Hour())), nil
	case "minute":
		return NumericFromInt(int64(t.Minute())), nil
	case "second":
		return sec(1)
	case "millisecond":
		return sec(1000)
	case "microsecond":
		return sec(1_000_000)
	}
	return Numeric{}, refuse("EXTRACT(%s FROM a time) is not supported", field)
}

// extractInterval is EXTRACT(field FROM iv) as a numeric.
func extractInterval(field string, iv Interval) (Numeric, error) {
	micros := func(v, unit int64) (Numeric, error) { return NumericFromInt(v).Quo(NumericFromInt(unit)) }
	switch strings.TrimSuffix(field, "s") {
	case "epoch":
		// A year counts 365.25 days, a month 30.
		years, months := int64(iv.Months/12), int64(iv.Months%12)
		days := years*36525 + (months*30+int64(iv.Days))*100
		return micros(days*(microsPerDay/100)+iv.Micros, microsPerSecond)
	case "year":
		return NumericFromInt(int64(iv.Months / 12)), nil
	case "month":
		return NumericFromInt(int64(iv.Months % 12)), nil
	case "day":
		return NumericFromInt(int64(iv.Days)), nil
	case "hour":
		return NumericFromInt(iv.Micros / microsPerHour), nil
	case "minute":
		return NumericFromInt(iv.Micros / microsPerMinute % 60), nil
	case "second":
		return micros(iv.Micros%microsPerMinute, microsPerSecond)
	case "millisecond":
		return micros(iv.Micros%microsPerMinute, 1000)
	case "microsecond":
		return NumericFromInt(iv.Micros % microsPerMinute), nil
	}
	return Numeric{}, refuse("EXTRACT(%s FROM an interval) is not supported", field)
}

// truncTime is date_trunc.
func truncTime(field string, t time.Time) (time.Time, error) {
	y, m, d := t.Date()
	date := func(y int, m time.Month, d int) (time.Time, error) {
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC), nil
	}
	switch strings.TrimSuffix(field, "s") {
	case "microsecond":
		return t.Truncate(time.Microsecond), nil
	case "millisecond":
		return t.Truncate(time.Millisecond), nil
	case "second":
		return t.Truncate(time.Second), nil
	case "minute":
		return t.Truncate(time.Minute), nil
	case "hour":
		return t.Truncate(time.Hour), nil
	case "day":
		return date(y, m, d)
	case "week":
		return date(y, m, d-int(t.Weekday()+6)%7)
	case "month":
		return date(y, m, 1)
	case "quarter":
		return date(y, (m-1)/3*3+1, 1)
	case "year":
		return date(y, 1, 1)
	}
	return time.Time{}, refuse("date_trunc(%q, …) is not supported", field)
}
