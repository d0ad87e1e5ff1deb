package config

import (
	"slices"
	"strings"
)

// Fault is one thing that is wrong, in words a person can act on.
type Fault struct {
	// Where is the file and line, the environment variable or the flag the value
	// came from; empty for a default.
	Where string `json:"where,omitempty"`
	// Path is the key, as in deployments[0].promote.gather.
	Path string `json:"path,omitempty"`
	// Value is what was found, empty when there is nothing to show or it might be a
	// secret.
	Value string `json:"value,omitempty"`
	// Problem continues the sentence that path and value begin.
	Problem string `json:"problem"`
	// Remedy says what to write instead.
	Remedy string `json:"remedy"`

	order int
}

// String is the fault on one line.
func (f Fault) String() string {
	var b strings.Builder
	if f.Where != "" {
		b.WriteString(f.Where + ": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	if f.Value != "" {
		b.WriteString(f.Value + " ")
	}
	b.WriteString(f.Problem)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// Faults is every fault of a configuration, together.
type Faults struct {
	All []Fault `json:"faults"`
}

// Error prints one fault a line.
func (f *Faults) Error() string {
	lines := make([]string, len(f.All))
	for i, fault := range f.All {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// collector gathers faults. A path is reported once: later rules are silent about
// a key that is already known to be wrong, and about everything under it.
type collector struct {
	list    []Fault
	faulted map[string]bool
	// origins says where the value at a path came from.
	origins map[string]origin
}

type origin struct {
	where string
	// order is the place in the file, so that faults read from top to bottom;
	// environment and flags follow.
	order int
}

func newCollector() *collector {
	return &collector{faulted: map[string]bool{}, origins: map[string]origin{}}
}

// add reports a fault of the key at path.
func (c *collector) add(path, value, problem, remedy string) {
	if !c.ok(path) {
		return
	}
	c.faulted[path] = true
	from := c.originOf(path)
	c.list = append(c.list, Fault{Where: from.where, Path: path, Value: value, Problem: problem, Remedy: remedy, order: from.order})
}

// addAt reports a fault that has a place of its own, such as an unknown key.
func (c *collector) addAt(from origin, path, value, problem, remedy string) {
	c.list = append(c.list, Fault{Where: from.where, Path: path, Value: value, Problem: problem, Remedy: remedy, order: from.order})
}

// ok reports whether none of the paths, nor a key around one of them, has a fault.
func (c *collector) ok(paths ...string) bool {
	for _, path := range paths {
		for p := path; p != ""; p = parentPath(p) {
			if c.faulted[p] {
				return false
			}
		}
	}
	return true
}

// originOf is where the value at path came from: its own origin, or that of the
// nearest key around it.
func (c *collector) originOf(path string) origin {
	for p := path; p != ""; p = parentPath(p) {
		if from, ok := c.origins[p]; ok {
			return from
		}
	}
	return origin{}
}

// result is nil or a *Faults in the order of the file.
func (c *collector) result() error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b Fault) int { return a.order - b.order })
	return &Faults{All: c.list}
}

// parentPath cuts the last key or index off a path.
func parentPath(path string) string {
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
