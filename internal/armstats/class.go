package armstats

import (
	"encoding/json"
	"fmt"
)

// Class says what an exchange ended in, as far as the comparison of the arms is
// concerned. Its String is the label of the metric and the key in JSON.
type Class uint8

const (
	// OK: no error.
	OK Class = iota
	// Neutral: an error that is the client's own doing by its nature (its own
	// cancel, CopyFail, a wrong password). Never evidence.
	Neutral
	// Server: the server is in trouble (internal error, resources, shutdown).
	Server
	// Arm: the version is at fault by the text of the error (unknown cluster, no
	// replicas, an evaluation error, something was dropped, missing grants).
	Arm
	// Other: everything else, client mistakes above all. They say something only
	// when they are more frequent on one arm.
	Other
	// Connect: the connection to the server, or the login on its side, failed.
	Connect
	// Lost: the server's end of the session died during the exchange.
	Lost
)

// NumClasses is the number of classes, for tables indexed by Class.
const NumClasses = 7

var classNames = [NumClasses]string{"ok", "neutral", "server", "arm", "other", "connect", "lost"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Bad reports whether an exchange of this class can be evidence against an arm.
func (c Class) Bad() bool { return c != OK && c != Neutral }

// Metric is one of the questions that the judge asks of the arms. Each class of
// bad exchange belongs to exactly one.
type Metric string

// The metrics that are judged today; latency comes later.
const (
	MetricConnection Metric = "connection"
	MetricServer     Metric = "server"
	MetricOther      Metric = "other"
)

// Metrics lists the metrics in the order in which they are reported.
func Metrics() []Metric { return []Metric{MetricConnection, MetricServer, MetricOther} }

// Metric returns the metric that a bad class counts into, "" for OK and Neutral.
func (c Class) Metric() Metric {
	switch c {
	case Connect:
		return MetricConnection
	case Server, Arm, Lost:
		return MetricServer
	case Other:
		return MetricOther
	}
	return ""
}

// index of a metric in tables, in the order of Metrics.
func (m Metric) index() int {
	switch m {
	case MetricConnection:
		return 0
	case MetricServer:
		return 1
	}
	return 2
}

// Counts is a number of exchanges per class. In JSON it is an object by class
// name, zeroes left out, so that a class added later does not shift the others.
type Counts [NumClasses]uint64

// Total is the number of exchanges of all classes.
func (c Counts) Total() uint64 {
	var n uint64
	for _, v := range c {
		n += v
	}
	return n
}

// Bad keeps the classes that can be evidence and clears the others.
func (c Counts) Bad() Counts {
	c[OK], c[Neutral] = 0, 0
	return c
}

// Of is the number of exchanges that count into one metric.
func (c Counts) Of(m Metric) uint64 {
	var n uint64
	for class, v := range c {
		if Class(class).Metric() == m {
			n += v
		}
	}
	return n
}

// Plus adds two counts.
func (c Counts) Plus(o Counts) Counts {
	for i := range c {
		c[i] += o[i]
	}
	return c
}

// MarshalJSON writes the counts by class name.
func (c Counts) MarshalJSON() ([]byte, error) {
	named := make(map[string]uint64)
	for i, v := range c {
		if v != 0 {
			named[Class(i).String()] = v
		}
	}
	return json.Marshal(named)
}

// UnmarshalJSON is the inverse of MarshalJSON. It refuses names it does not
// know: evidence from a newer version must not be read as less than it is.
func (c *Counts) UnmarshalJSON(b []byte) error {
	var named map[string]uint64
	if err := json.Unmarshal(b, &named); err != nil {
		return err
	}
	*c = Counts{}
	for name, v := range named {
		class, err := parseClass(name)
		if err != nil {
			return err
		}
		c[class] = v
	}
	return nil
}

func parseClass(name string) (Class, error) {
	for i, n := range classNames {
		if n == name {
			return Class(i), nil
		}
	}
	return 0, fmt.Errorf("exchange class %q is unknown", name)
}
