package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// LoadOptions says where a configuration comes from.
type LoadOptions struct {
	// File is the path of the YAML file; empty for none.
	File string
	// FileRequired makes a missing file a fault; else the defaults stand.
	FileRequired bool
	// Environ are the environment variables as NAME=value; nil means those of the
	// process, an empty list none.
	Environ []string
	// Set are the values of --set flags, path=value, later ones winning.
	Set []string
}

// Report says how a configuration came about.
type Report struct {
	// File is the file that was read, empty when there was none.
	File string `json:"file,omitempty"`
	// Origins lists every value that was given, with its source, in the order of
	// paths. Keys that are not in it have their defaults.
	Origins []Origin `json:"origins"`
	// Notes are things that are allowed and worth a sentence.
	Notes []Note `json:"notes,omitempty"`
}

// Origin is where one value came from.
type Origin struct {
	Path  string `json:"path"`
	Where string `json:"where"`
}

// Note is a sentence about something that is allowed.
type Note struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// String is the note on one line.
func (n Note) String() string { return n.Path + ": " + n.Text }

// Load builds the configuration. The error is a *Faults with everything that was
// found; then the Config is nil, the Report is not.
func Load(opts LoadOptions) (*Config, *Report, error) {
	c := newCollector()
	report := &Report{}
	var data []byte
	if opts.File != "" {
		var err error
		data, err = readFile(opts.File)
		switch {
		case err == nil:
			report.File = opts.File
		case opts.FileRequired || !errors.Is(err, fs.ErrNotExist):
			c.addAt(origin{where: opts.File}, "", "", "cannot be read: "+causeOf(err), "name the configuration with --config, or copy deploy.yaml, the annotated reference, and keep what you need")
		}
	}
	cfg, err := load(c, opts, data, report)
	return cfg, report, err
}

// load is Load after the file was read.
func load(c *collector, opts LoadOptions, data []byte, report *Report) (*Config, error) {
	file := map[string]any{}
	if doc := parseFile(c, opts.File, data); doc != nil {
		if value, ok := fileReader(c, opts.File).value(rootSchema(), doc, ""); ok {
			file = value.(map[string]any)
		}
	}
	env := environmentOf(opts.Environ)
	v, err := merge(c, file, envTree(c, env), opts.Set)
	if err != nil {
		return nil, internalFault(err)
	}
	cfg, err := decode(c, v)
	if err != nil {
		return nil, internalFault(err)
	}
	cfg.Control.environ = slices.Clone(opts.Environ)
	checkEnv(c, env, cfg.Control.PasswordEnv)
	validate(c, cfg)
	checkFiles(c, cfg)
	report.Origins = c.originList()
	report.Notes = notes(cfg)
	if err := c.result(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// internalFault is a mistake of this package: the schema let something through that
// does not fit the types.
func internalFault(err error) error {
	return &Faults{All: []Fault{{Problem: err.Error(), Remedy: "please report this with your configuration, it is a mistake of mzcanary"}}}
}

// originList is every leaf that was given.
func (c *collector) originList() []Origin {
	inner := map[string]bool{}
	for path := range c.origins {
		for p := parentPath(path); p != ""; p = parentPath(p) {
			inner[p] = true
		}
	}
	list := []Origin{}
	for _, path := range sortedKeys(c.origins) {
		if !inner[path] {
			list = append(list, Origin{Path: path, Where: c.origins[path].where})
		}
	}
	return list
}

// readFile reads a file that should be small.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	return data, errors.Join(err, f.Close())
}

// causeOf is an error of the file system without the path, which stands before it.
func causeOf(err error) string {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err.Error()
	}
	return fmt.Sprint(err)
}
