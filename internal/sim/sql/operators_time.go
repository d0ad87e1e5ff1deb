package sql

import "time"

// timeArithmetic handles dates, times and intervals; nil: not those.
func (p *planner) timeArithmetic(op string, l, r *typed) *typed {
	isTime := func(x *typed) bool {
		return x.typ.OID == OIDTimestamp || x.typ.OID == OIDTimestamptz || x.typ.OID == OIDDate
	}
	isIv := func(x *typed) bool { return x.typ.OID == OIDInterval }
	num := func(x *typed) bool { return x.typ.class() == classNumber }
	switch {
	case isTime(l) && isTime(r) && op == "-":
		return p.timeDifference(l, r)
	case isTime(l) && r.untyped() && op == "-":
		return p.timeDifference(l, p.decide(r, l.typ))
	case isTime(l) && (isIv(r) || r.untyped() && op == "+") && (op == "+" || op == "-"):
		return p.timePlus(l, p.orInterval(r), op == "-")
	case (isIv(l) || l.untyped()) && isTime(r) && op == "+":
		return p.timePlus(r, p.orInterval(l), false)
	case l.typ.OID == OIDDate && r.typ.isInteger() && (op == "+" || op == "-"):
		return strict(Date, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
			days := a[1].(int64)
			if op == "-" {
				days = -days
			}
			return a[0].(time.Time).AddDate(0, 0, int(days)), nil
		})
	case (isIv(l) || l.untyped()) && (isIv(r) || r.untyped()) && (isIv(l) || isIv(r)) && (op == "+" || op == "-"):
		return strict(IntervalT, []*typed{p.orInterval(l), p.orInterval(r)}, func(_ *env, a []Value) (Value, error) {
			b := a[1].(Interval)
			if op == "-" {
				b = b.neg()
			}
			return a[0].(Interval).add(b), nil
		})
	case isIv(l) && num(r) && (op == "*" || op == "/"):
		return p.scaleInterval(l, r, op)
	case num(l) && isIv(r) && op == "*":
		return p.scaleInterval(r, l, op)
	}
	return nil
}

func (p *planner) orInterval(x *typed) *typed {
	if x.untyped() {
		return p.decide(x, IntervalT)
	}
	return x
}

func (p *planner) timePlus(t, iv *typed, minus bool) *typed {
	out := t.typ
	if out.OID == OIDDate {
		out = Timestamp
	}
	return strict(out, []*typed{t, iv}, func(_ *env, a []Value) (Value, error) {
		d := a[1].(Interval)
		if minus {
			d = d.neg()
		}
		return d.addTo(a[0].(time.Time)), nil
	})
}

func (p *planner) timeDifference(l, r *typed) *typed {
	if l.typ.OID == OIDDate && r.typ.OID == OIDDate {
		return strict(Int4, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
			return int64(a[0].(time.Time).Sub(a[1].(time.Time)) / (24 * time.Hour)), nil
		})
	}
	return strict(IntervalT, []*typed{l, r}, func(_ *env, a []Value) (Value, error) {
		micros := a[0].(time.Time).UnixMicro() - a[1].(time.Time).UnixMicro()
		return Interval{Days: int32(micros / microsPerDay), Micros: micros % microsPerDay}, nil
	})
}

func (p *planner) scaleInterval(iv, n *typed, op string) *typed {
	n = convert(n, NumericT, findCast(n.typ, NumericT, castExplicit))
	return strict(IntervalT, []*typed{iv, n}, func(_ *env, a []Value) (Value, error) {
		by := a[1].(Numeric)
		if op == "/" {
			var err error
			if by, err = NumericFromInt(1).Quo(by); err != nil {
				return nil, err
			}
		}
		x := a[0].(Interval)
		var out Interval
		for _, part := range []Interval{{Months: x.Months}, {Days: x.Days}, {Micros: x.Micros}} {
			if part != (Interval{}) && !out.addScaled(by, part) {
				return nil, evalError("22008", "interval out of range")
			}
		}
		return out, nil
	})
}
