package sql

import (
	"math/big"
	"strings"
)

// numericDigits is how many significant digits the server's numeric has.
const numericDigits = 39

// Numeric is a decimal number, coefficient × 10^-scale. Its zero value is 0.
// It is immutable.
type Numeric struct {
	coef  *big.Int // nil: 0
	scale int      // ≥ 0
}

// NumericFromInt is n as a Numeric.
func NumericFromInt(n int64) Numeric { return Numeric{coef: big.NewInt(n)} }

// ParseNumeric reads a decimal number with an optional exponent.
func ParseNumeric(s string) (Numeric, error) {
	text := strings.TrimSpace(s)
	bad := evalError("22P02", "invalid input syntax for type numeric: %s", rustQuote(s))
	mantissa, exp := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		e, ok := new(big.Int).SetString(text[i+1:], 10)
		if !ok || !e.IsInt64() || e.Int64() > 1000 || e.Int64() < -1000 {
			return Numeric{}, bad
		}
		exp = int(e.Int64())
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	digits := whole + frac
	if strings.TrimLeft(digits, "+-") == "" || strings.ContainsAny(frac, "+-") || strings.Contains(digits, "_") {
		return Numeric{}, bad
	}
	coef, ok := new(big.Int).SetString(digits, 10)
	if !ok {
		return Numeric{}, bad
	}
	n := Numeric{coef: coef, scale: len(frac) - exp}
	if n.scale < 0 {
		n.coef.Mul(n.coef, pow10(-n.scale))
		n.scale = 0
	}
	return n.fit()
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func (n Numeric) big() *big.Int {
	if n.coef == nil {
		return new(big.Int)
	}
	return n.coef
}

// String prints the number without an exponent.
func (n Numeric) String() string {
	s := n.big().String()
	if n.scale == 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	if pad := n.scale + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	return sign + s[:len(s)-n.scale] + "." + s[len(s)-n.scale:]
}

// Sign is -1, 0 or 1.
func (n Numeric) Sign() int { return n.big().Sign() }

// Cmp compares two numbers.
func (n Numeric) Cmp(m Numeric) int {
	a, b, _ := align(n, m)
	return a.Cmp(b)
}

func align(n, m Numeric) (a, b *big.Int, scale int) {
	a, b = n.big(), m.big()
	switch {
	case n.scale < m.scale:
		a = new(big.Int).Mul(a, pow10(m.scale-n.scale))
	case m.scale < n.scale:
		b = new(big.Int).Mul(b, pow10(n.scale-m.scale))
	}
	return a, b, max(n.scale, m.scale)
}

// Add is n + m.
func (n Numeric) Add(m Numeric) (Numeric, error) {
	a, b, scale := align(n, m)
	return Numeric{new(big.Int).Add(a, b), scale}.fit()
}

// Sub is n - m.
func (n Numeric) Sub(m Numeric) (Numeric, error) {
	a, b, scale := align(n, m)
	return Numeric{new(big.Int).Sub(a, b), scale}.fit()
}

// Mul is n × m.
func (n Numeric) Mul(m Numeric) (Numeric, error) {
	return Numeric{new(big.Int).Mul(n.big(), m.big()), n.scale + m.scale}.fit()
}

// Quo is n / m with as many digits as the server keeps.
func (n Numeric) Quo(m Numeric) (Numeric, error) {
	if m.Sign() == 0 {
		return Numeric{}, errDivision()
	}
	// Enough digits that rounding to numericDigits afterwards is exact.
	extra := numericDigits + 2 + len(m.big().String()) + m.scale
	num := new(big.Int).Mul(n.big(), pow10(extra))
	q := new(big.Int).Quo(num, m.big())
	res := Numeric{q, n.scale + extra - m.scale}
	return res.fit()
}

// Mod is the remainder of n / m with the sign of n.
func (n Numeric) Mod(m Numeric) (Numeric, error) {
	if m.Sign() == 0 {
		return Numeric{}, errDivision()
	}
	a, b, scale := align(n, m)
	return Numeric{new(big.Int).Rem(a, b), scale}.fit()
}

// fit rounds to the digits the server keeps and drops trailing zeros of the
// fraction.
func (n Numeric) fit() (Numeric, error) {
	if over := len(new(big.Int).Abs(n.big()).String()) - numericDigits; over > 0 {
		if over > n.scale {
			return Numeric{}, evalError("22003", "value out of range: overflow")
		}
		n = n.Round(n.scale - over)
	}
	return n.trim(), nil
}

func (n Numeric) trim() Numeric {
	coef, scale := n.big(), n.scale
	ten, r := big.NewInt(10), new(big.Int)
	for scale > 0 {
		q := new(big.Int)
		if q.QuoRem(coef, ten, r); r.Sign() != 0 {
			break
		}
		coef, scale = q, scale-1
	}
	return Numeric{coef, scale}
}

// Round is n with exactly scale digits after the point, which may be negative
// for tens and hundreds; ties go away from zero.
func (n Numeric) Round(scale int) Numeric {
	if scale >= n.scale {
		return Numeric{new(big.Int).Mul(n.big(), pow10(scale-n.scale)), scale}
	}
	unit := pow10(n.scale - scale)
	q, r := new(big.Int).QuoRem(n.big(), unit, new(big.Int))
	if r.Abs(r).Lsh(r, 1).Cmp(unit) >= 0 {
		q.Add(q, big.NewInt(int64(n.Sign())))
	}
	if scale < 0 {
		return Numeric{q.Mul(q, pow10(-scale)), 0}
	}
	return Numeric{q, scale}
}

// Int64 is the number rounded to an integer; ok false: out of range.
func (n Numeric) Int64() (i int64, ok bool) {
	r := n.Round(0).big()
	return r.Int64(), r.IsInt64()
}

// Float64 is the nearest float.
func (n Numeric) Float64() float64 {
	f, _ := new(big.Rat).SetFrac(n.big(), pow10(n.scale)).Float64()
	return f
}

func errDivision() *Error { return evalError("22012", "division by zero") }

// truncate drops the fraction.
func (n Numeric) truncate() Numeric {
	return Numeric{coef: new(big.Int).Quo(n.big(), pow10(n.scale))}
}
