package sim

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"mzcanary/internal/sim/sql"
)

// varKind is what values a setting takes.
type varKind int

const (
	varText varKind = iota
	varBool
	varInt
	varInterval
	varIdents // an identifier list: search_path
	varEnum   // one of varDef.words
	varFixed  // cannot be changed
)

// varDef describes one setting.
type varDef struct {
	name  string // canonical
	kind  varKind
	def   string
	words []string
	// login says that ParameterStatus reports the value at login, in the order of this table.
	login bool
}

// varTable is every setting the simulator knows; the first fourteen are reported at login in this order.
var varTable = []varDef{
	{name: "application_name", login: true},
	{name: "client_encoding", kind: varEnum, def: "UTF8", words: []string{"UTF8", "UTF-8", "unicode"}, login: true},
	{name: "DateStyle", kind: varEnum, def: "ISO, MDY", words: []string{"ISO, MDY", "ISO", "MDY"}, login: true},
	{name: "integer_datetimes", kind: varFixed, def: "on", login: true},
	{name: "server_version", kind: varFixed, def: "9.5.0", login: true},
	{name: "standard_conforming_strings", kind: varEnum, def: "on", words: []string{"on"}, login: true},
	{name: "TimeZone", kind: varEnum, def: "UTC", words: []string{"UTC", "GMT", "Etc/UTC"}, login: true},
	{name: "IntervalStyle", kind: varEnum, def: "postgres", words: []string{"postgres"}, login: true},
	{name: "cluster", def: "quickstart", login: true},
	{name: "cluster_replica", login: true},
	{name: "default_cluster_replication_factor", kind: varFixed, def: "1", login: true},
	{name: "database", def: "materialize", login: true},
	{name: "search_path", kind: varIdents, def: "public", login: true},
	{name: "mz_version", kind: varFixed, login: true},
	{name: "auto_route_catalog_queries", kind: varBool, def: "on"},
	{name: "client_min_messages", kind: varEnum, def: "notice",
		words: []string{"debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"}},
	{name: "current_object_missing_warnings", kind: varBool, def: "on"},
	{name: "emit_plan_insights_notice", kind: varBool, def: "off"},
	{name: "emit_timestamp_notice", kind: varBool, def: "off"},
	{name: "emit_trace_id_notice", kind: varBool, def: "off"},
	{name: "extra_float_digits", kind: varInt, def: "3"},
	{name: "idle_in_transaction_session_timeout", kind: varInterval, def: "2 min"},
	{name: "is_superuser", kind: varFixed, def: "off"},
	{name: "max_identifier_length", kind: varFixed, def: "255"},
	{name: "max_query_result_size", kind: varText, def: "1GB"},
	{name: "real_time_recency", kind: varBool, def: "off"},
	{name: "server_version_num", kind: varFixed, def: "90500"},
	{name: "sql_safe_updates", kind: varBool, def: "off"},
	{name: "statement_logging_sample_rate", kind: varText, def: "0.01"},
	{name: "statement_timeout", kind: varInterval, def: "1 min"},
	{name: "transaction_isolation", kind: varEnum, def: "strict serializable",
		words: []string{"strict serializable", "serializable", "read uncommitted", "read committed", "repeatable read", "strong session serializable"}},
	{name: "welcome_message", kind: varBool, def: "on"},
}

// value is a setting's value; list is set for identifier lists only.
type value struct {
	text string
	list []string
}

func identList(list []string) value {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = sql.QuoteIdent(s)
	}
	return value{text: strings.Join(quoted, ", "), list: list}
}

func findVar(name string) *varDef {
	for i := range varTable {
		if strings.EqualFold(varTable[i].name, name) {
			return &varTable[i]
		}
	}
	return nil
}

func errUnknownVar(name string) error {
	return &sql.Error{Code: "42704", Message: "unrecognized configuration parameter " + strconv.Quote(name)}
}

// parse reads the values of SET, or one flat text of a start-up packet.
func (d *varDef) parse(values []string, flat bool) (value, error) {
	if d.kind == varIdents {
		return d.parseIdents(values, flat)
	}
	bad := func(what string) (value, error) {
		return value{}, &sql.Error{Code: "22023", Message: "parameter " + strconv.Quote(d.name) + " requires a " + strconv.Quote(what) + " value"}
	}
	text := strings.Join(values, ", ")
	switch d.kind {
	case varFixed:
		if strings.EqualFold(text, d.def) {
			return value{text: d.def}, nil
		}
		return value{}, &sql.Error{Code: "55P02", Message: "parameter " + strconv.Quote(d.name) + " cannot be changed"}
	case varBool:
		switch strings.ToLower(text) {
		case "on", "t", "true", "yes", "1":
			return value{text: "on"}, nil
		case "off", "f", "false", "no", "0":
			return value{text: "off"}, nil
		}
		return bad("boolean")
	case varInt:
		if _, err := strconv.Atoi(text); err != nil {
			return bad("integer")
		}
	case varInterval:
		if _, err := parseTimeout(text); err != nil {
			return bad("duration")
		}
	case varEnum:
		for _, w := range d.words {
			if strings.EqualFold(w, text) {
				return value{text: d.canonicalWord(w)}, nil
			}
		}
		return value{}, &sql.Error{Code: "22023", Message: "invalid value for parameter " + strconv.Quote(d.name) + ": " + strconv.Quote(text),
			Hint: "Available values: " + strings.Join(d.words, ", ") + "."}
	}
	if len(values) != 1 {
		return value{}, &sql.Error{Code: "22023", Message: "parameter " + strconv.Quote(d.name) + " cannot have value list: expects a single value"}
	}
	return value{text: text}, nil
}

// canonicalWord maps spellings of the same value to the one that is reported.
func (d *varDef) canonicalWord(word string) string {
	switch d.name {
	case "client_encoding", "DateStyle", "TimeZone":
		return d.def
	}
	return word
}

// parseIdents reads search_path: SQL values are one schema each, a flat text is split as the server splits it,
// which stops silently at what it does not expect ("prod-deploy" is "prod").
func (d *varDef) parseIdents(values []string, flat bool) (value, error) {
	if !flat {
		return identList(slices.Clone(values)), nil
	}
	list, err := sql.SplitIdents(values[0])
	if err != nil {
		return value{}, &sql.Error{Code: "22023", Message: "parameter " + strconv.Quote(d.name) + ` requires a "identifier list" value`}
	}
	return identList(list), nil
}

// settings are the variables of one session. The value that counts is, from the top:
//
//	local    SET LOCAL, gone at the end of the transaction
//	staged   SET in the transaction that is open, kept at its commit
//	session  SET of earlier transactions; start-up values before 26.33
//	defaults what RESET restores: compiled, system, role, and from 26.33 the start-up value
type settings struct {
	local, staged, session map[string]*value // a nil *value means "the default"
	defaults               map[string]value
	// silent are variables whose local value came by BEGIN, not by SET: its end is not announced.
	silent map[string]bool
}

func newSettings(version string) *settings {
	s := &settings{
		local: map[string]*value{}, staged: map[string]*value{}, session: map[string]*value{},
		defaults: make(map[string]value, len(varTable)), silent: map[string]bool{},
	}
	for _, d := range varTable {
		v := value{text: d.def}
		if d.kind == varIdents {
			v = identList([]string{d.def})
		}
		s.defaults[d.name] = v
	}
	s.defaults["mz_version"] = value{text: version}
	return s
}

// get takes the canonical name.
func (s *settings) get(name string) value {
	for _, layer := range []map[string]*value{s.local, s.staged, s.session} {
		if v, ok := layer[name]; ok {
			if v == nil {
				break
			}
			return *v
		}
	}
	return s.defaults[name]
}

func (s *settings) set(name string, v *value, local bool) {
	if local {
		s.local[name] = v
		return
	}
	delete(s.local, name)
	s.staged[name] = v
}

// resetAll stages the default for every variable; with durable it takes effect whatever the transaction does.
func (s *settings) resetAll(durable bool) {
	if durable {
		clear(s.local)
		clear(s.staged)
		clear(s.session)
		return
	}
	for _, d := range varTable {
		s.set(d.name, nil, false)
	}
}

// change is a variable whose value moved at a transaction's end.
type change struct{ name, text string }

// end finishes the transaction's layers and lists what changed by it, by name.
func (s *settings) end(commit bool) []change {
	if len(s.local) == 0 && len(s.staged) == 0 {
		return nil
	}
	before := map[string]string{}
	for name := range s.local {
		before[name] = s.get(name).text
	}
	for name := range s.staged {
		before[name] = s.get(name).text
	}
	if commit {
		maps.Copy(s.session, s.staged)
	}
	clear(s.local)
	clear(s.staged)
	var changed []change
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if now := s.get(name).text; now != before[name] && !s.silent[name] {
			changed = append(changed, change{name, now})
		}
	}
	clear(s.silent)
	return changed
}
