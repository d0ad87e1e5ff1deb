//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// results are the samples of every measure, in the order in which they came.
type results struct {
	rows  []*row
	notes []*row   // single values that explain the rows
	why   []string // what could not be measured
}

// row is one measure.
type row struct {
	name, unit string
	samples    map[string][]float64 // by proxy
}

func find(rows *[]*row, name, unit string) *row {
	for _, r := range *rows {
		if r.name == name {
			return r
		}
	}
	r := &row{name: name, unit: unit, samples: map[string][]float64{}}
	*rows = append(*rows, r)
	return r
}

func (rs *results) add(name, unit, proxy string, value float64) {
	r := find(&rs.rows, name, unit)
	r.samples[proxy] = append(r.samples[proxy], value)
}

func (rs *results) note(name, unit string, value float64) {
	r := find(&rs.notes, name, unit)
	r.samples[""] = append(r.samples[""], value)
}

// cannot says why a proxy has no value in a row.
func (rs *results) cannot(row, proxy, why string) {
	line := fmt.Sprintf("%s of %s: not measured: %s", row, proxy, why)
	if !slices.Contains(rs.why, line) {
		rs.why = append(rs.why, line)
	}
}

// same repeats the last sample of connect/from in connect/to: the proxy does the same in both.
func (rs *results) same(to, from, proxy string) {
	for _, r := range rs.rows {
		kind, name, _ := strings.Cut(r.name, "/")
		if values := r.samples[proxy]; name == from && len(values) > 0 && slices.Contains([]string{"connect", "rate", "sleeps"}, kind) {
			rs.add(kind+"/"+to, r.unit, proxy, values[len(values)-1])
		}
	}
}

func (r *row) median(proxy string) (float64, bool) {
	list := slices.Sorted(slices.Values(r.samples[proxy]))
	switch n := len(list); {
	case n == 0:
		return 0, false
	case n%2 == 1:
		return list[n/2], true
	default:
		return (list[n/2-1] + list[n/2]) / 2, true
	}
}

// print writes medians, and ratios of mzcanary to the others.
func (rs *results) print(w io.Writer) error {
	proxies := []string{"mzcanary", "before", "pgbouncer", "haproxy"}
	proxies = slices.DeleteFunc(proxies, func(p string) bool {
		return !slices.ContainsFunc(rs.rows, func(r *row) bool { return len(r.samples[p]) > 0 })
	})
	var out strings.Builder
	fmt.Fprintf(&out, "%-22s %-14s", "measure", "unit")
	for _, p := range proxies {
		fmt.Fprintf(&out, " %10s", p)
	}
	for _, p := range proxies[1:] {
		fmt.Fprintf(&out, " %11s", "/"+p)
	}
	out.WriteByte('\n')
	for _, r := range rs.rows {
		r.print(&out, proxies)
	}
	for _, r := range rs.notes {
		v, _ := r.median("")
		fmt.Fprintf(&out, "%s: %.1f %s\n", r.name, v, r.unit)
	}
	for _, line := range rs.why {
		out.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (r *row) print(out *strings.Builder, proxies []string) {
	fmt.Fprintf(out, "%-22s %-14s", r.name, r.unit)
	for _, p := range proxies {
		if v, ok := r.median(p); ok {
			fmt.Fprintf(out, " %10.*f", digits(v), v)
		} else {
			fmt.Fprintf(out, " %10s", "-")
		}
	}
	ours, _ := r.median(proxies[0])
	for _, p := range proxies[1:] {
		if v, ok := r.median(p); ok && v > 0 && ours > 0 { // an added latency may be lost in the noise
			fmt.Fprintf(out, " %11.2f", ours/v)
		} else {
			fmt.Fprintf(out, " %11s", "-")
		}
	}
	out.WriteByte('\n')
}

// digits behind the point: what a median of a few samples can mean.
func digits(v float64) int {
	if -10 < v && v < 10 {
		return 2
	}
	return 1
}
