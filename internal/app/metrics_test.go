package app_test

import (
	"fmt"
	"strings"
	"testing"
)

// metrics are the samples of one scrape.
type metrics struct {
	lines   []string
	samples []sample
}

type sample struct {
	name   string
	labels map[string]string
	value  float64
}

func (s sample) matches(name string, labels []string) bool {
	if s.name != name {
		return false
	}
	for _, want := range labels {
		k, v, _ := strings.Cut(want, "=")
		if s.labels[k] != v {
			return false
		}
	}
	return true
}

// scrape reads /metrics. No label of ours needs escapes, so none are read.
func scrape(t *testing.T, p *program) *metrics {
	t.Helper()
	code, body := p.get("/metrics")
	if code != 200 {
		t.Fatalf("metrics: %d %s", code, body)
	}
	m := &metrics{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		series, number, ok := strings.Cut(line, "} ")
		if !ok {
			series, number, _ = strings.Cut(line, " ")
		}
		s := sample{labels: map[string]string{}}
		name, labels, _ := strings.Cut(series, "{")
		s.name = name
		for pair := range strings.SplitSeq(labels, ",") {
			if k, v, ok := strings.Cut(pair, "="); ok {
				s.labels[k] = strings.Trim(v, `"`)
			}
		}
		if _, err := fmt.Sscan(number, &s.value); err != nil {
			t.Fatalf("sample %q: %v", line, err)
		}
		m.lines, m.samples = append(m.lines, line), append(m.samples, s)
	}
	return m
}

// sum adds what matches; found is false when nothing does.
func (m *metrics) sum(name string, labels ...string) (sum float64, found bool) {
	for _, s := range m.samples {
		if s.matches(name, labels) {
			sum, found = sum+s.value, true
		}
	}
	return sum, found
}

func (m *metrics) want(t *testing.T, name string, want float64, labels ...string) {
	t.Helper()
	if got, found := m.sum(name, labels...); !found || got != want {
		t.Errorf("%s%v is %g (there: %t), want %g", name, labels, got, found, want)
	}
}

func (m *metrics) some(t *testing.T, name string, labels ...string) {
	t.Helper()
	if got, _ := m.sum(name, labels...); got <= 0 {
		t.Errorf("%s%v is %g, want some", name, labels, got)
	}
}

func (m *metrics) has(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, found := m.sum(name); !found {
			t.Errorf("%s is missing", name)
		}
	}
}

// counted waits until a metric is as wanted: what is counted at the end of a
// connection is counted after its last byte.
func (p *program) counted(t *testing.T, name string, want float64, labels ...string) {
	t.Helper()
	var got float64
	eventually(t, fmt.Sprintf("%s%v is %g", name, labels, want), func() bool {
		got, _ = scrape(t, p).sum(name, labels...)
		return got == want
	})
}

// bounded: our labels are deployments of the configuration and words of closed
// lists, never anything a client can choose.
func (m *metrics) bounded(t *testing.T, deployments ...string) {
	t.Helper()
	words := map[string]string{
		"deployment":  "|" + strings.Join(deployments, "|") + "|",
		"arm":         "stable|canary",
		"state":       "boundary|busy|streaming|unknown",
		"class":       "ok|neutral|server|arm|other|connect|lost",
		"wasted":      "true|false",
		"certificate": "listener|client_ca|upstream_ca",
	}
	open := map[string]bool{"outcome": true, "kind": true, "phase": true, "cause": true, "reason": true, "le": true} // enums with their own tests
	series := 0
	for _, s := range m.samples {
		if !strings.HasPrefix(s.name, "mzcanary_") {
			continue
		}
		series++
		for label, value := range s.labels {
			if list, known := words[label]; known {
				if !strings.Contains("|"+list+"|", "|"+value+"|") {
					t.Errorf("%s has %s=%q", s.name, label, value)
				}
			} else if !open[label] {
				t.Errorf("%s has the label %s", s.name, label)
			}
		}
	}
	if series > 500 {
		t.Errorf("%d series for one deployment", series)
	}
}
