package sim

import (
	"fmt"
	"strings"

	"mzcanary/internal/sim/sql"
)

// Function implements sql.Resolver: the functions whose answer depends on the session or on the moment.
func (r *resolver) Function(name string, args []sql.Value) (sql.Value, bool, error) {
	if r.eval != nil {
		r.eval.volatile = true
	}
	if v, ok := r.moment(name); ok {
		return v, true, nil
	}
	se := r.session
	if se == nil {
		return nil, false, nil
	}
	switch name {
	case "current_user", "current_role", "session_user", "user":
		return se.user, true, nil
	case "current_database", "current_catalog":
		return se.vars.get("database").text, true, nil
	case "pg_backend_pid", "connection_id":
		return int64(se.id), true, nil
	case "mz_session_id":
		return se.uuid, true, nil
	case "mz_is_superuser":
		role := r.cat.roles[se.role]
		return role != nil && role.super, true, nil
	case "current_schema":
		if s := r.cat.firstSchema(se.scope()); s != nil {
			return s.name, true, nil
		}
		return nil, true, nil
	case "current_schemas":
		return r.currentSchemas(len(args) > 0 && args[0] == true), true, nil
	case "current_setting":
		return r.currentSetting(args)
	case "pg_get_userbyid":
		if who := r.roleArg(args[0]); who != nil {
			return who.name, true, nil
		}
		return fmt.Sprintf("unknown (OID=%v)", args[0]), true, nil
	case "pg_cancel_backend":
		return r.cancelBackend(args)
	case "has_database_privilege", "has_schema_privilege", "has_cluster_privilege", "has_table_privilege",
		"has_system_privilege", "has_connection_privilege", "has_secret_privilege", "has_type_privilege", "pg_has_role", "mz_has_role", "has_role":
		return r.privilegeFunction(name, args)
	}
	return nil, false, nil
}

// moment answers what depends on the time and the server alone.
func (r *resolver) moment(name string) (sql.Value, bool) {
	s := r.server
	if s == nil {
		return nil, false
	}
	switch name {
	case "now", "current_timestamp", "transaction_timestamp", "statement_timestamp":
		return r.eval.now.UTC(), true
	case "mz_now":
		return int64(max(r.eval.data.ts, uint64(r.eval.now.UnixMilli()))), true
	case "version":
		return "PostgreSQL 9.5.0 on x86_64-unknown-linux-gnu (Materialize " + shortVersion(s.version()) + ")", true
	case "mz_version":
		return s.version(), true
	case "mz_version_num":
		major, minor := parseVersion(s.version())
		return int64(major*100_000 + minor*1000), true
	case "is_rbac_enabled":
		return true, true
	case "pg_is_in_recovery":
		return false, true
	case "mz_environment_id":
		return environmentID, true
	case "mz_uptime":
		d := r.eval.now.Sub(s.startTime())
		return sql.Interval{Micros: d.Microseconds()}, true
	case "pg_postmaster_start_time":
		return s.startTime().UTC(), true
	}
	return nil, false
}

// environmentID of the simulated organisation.
const environmentID = "mzcanary-local-az1-6d7a6361-6e61-4279-8000-000000000001-0"

func (r *resolver) currentSchemas(implicit bool) sql.Value {
	out := []sql.Value{}
	if implicit {
		for _, s := range implicitSchemas {
			out = append(out, s)
		}
	}
	sc := r.session.scope()
	for _, name := range sc.path {
		if r.cat.pathSchema(sc, name) != nil {
			out = append(out, name)
		}
	}
	return out
}

func (r *resolver) currentSetting(args []sql.Value) (sql.Value, bool, error) {
	name, _ := args[0].(string)
	d := findVar(name)
	if d == nil {
		if len(args) > 1 && args[1] == true {
			return nil, true, nil
		}
		return nil, true, errUnknownVar(name)
	}
	return r.session.vars.get(d.name).text, true, nil
}

// cancelBackend is pg_cancel_backend: true when there was somebody.
func (r *resolver) cancelBackend(args []sql.Value) (sql.Value, bool, error) {
	pid, _ := args[0].(int64)
	if uint32(pid) == r.session.id {
		return nil, true, errCanceled()
	}
	s := r.server
	s.mu.Lock()
	target := s.sessions[uint32(pid)]
	s.mu.Unlock()
	if target == nil {
		return false, true, nil
	}
	me := r.cat.roles[r.session.role]
	if !me.super && !r.cat.grantees(me.id)[target.role] {
		name := ""
		if other := r.cat.roles[target.role]; other != nil {
			name = other.name
		}
		return nil, true, failf("42501", "must be a member of %q", name)
	}
	target.cancelStatement(errCanceled())
	return true, true, nil
}

// privilegeFunction is has_…_privilege([role,] thing, privilege) and pg_has_role([role,] role, kind).
func (r *resolver) privilegeFunction(name string, args []sql.Value) (sql.Value, bool, error) {
	for _, a := range args {
		if a == nil {
			return nil, true, nil
		}
	}
	who := r.cat.roles[r.session.role]
	rest := args
	full := 3
	if name == "has_system_privilege" {
		full = 2
	}
	if len(args) == full {
		if who = r.roleArg(args[0]); who == nil {
			return nil, true, failf("XX000", "role %q does not exist", args[0])
		}
		rest = args[1:]
	}
	wanted, _ := rest[len(rest)-1].(string)
	if strings.HasSuffix(name, "has_role") || name == "has_role" {
		other := r.roleArg(rest[0])
		if other == nil {
			return nil, true, failf("XX000", "role %q does not exist", rest[0])
		}
		return who.super || r.cat.grantees(who.id)[other.id], true, nil
	}
	list, err := r.privilegeList(name, rest)
	if err != nil {
		return nil, true, err
	}
	if who.super {
		return true, true, nil
	}
	have := list.of(r.cat.grantees(who.id))
	for part := range strings.SplitSeq(wanted, ",") {
		p, ok := privilegeByName(strings.TrimSpace(part))
		if !ok {
			return nil, true, failf("22023", "unrecognized privilege type: %q", strings.TrimSpace(part))
		}
		if have&p != 0 {
			return true, true, nil
		}
	}
	return false, true, nil
}

// privilegeList finds the access list a has_…_privilege function asks about, by name or oid.
func (r *resolver) privilegeList(name string, rest []sql.Value) (acl, error) {
	c := r.cat
	text, _ := rest[0].(string)
	oid, byOID := rest[0].(int64)
	switch name {
	case "has_system_privilege":
		return c.systemAcl, nil
	case "has_database_privilege":
		for _, d := range c.databases {
			if byOID && d.oid == oid || !byOID && d.name == text {
				return d.acl, nil
			}
		}
		return nil, failf("XX000", "database %q does not exist", text)
	case "has_cluster_privilege":
		if cl := c.clusterByName(text); cl != nil {
			return cl.acl, nil
		}
		return nil, failf("XX000", "cluster %q does not exist", text)
	case "has_schema_privilege":
		for _, s := range c.schemas {
			if byOID && s.oid == oid {
				return s.acl, nil
			}
		}
		names, err := sql.SplitIdents(strings.ReplaceAll(text, ".", ","))
		if err != nil || len(names) == 0 || len(names) > 2 {
			return nil, failf("XX000", "schema %q does not exist", text)
		}
		s, err := c.lookupSchema(r.session.scope(), names)
		if err != nil {
			return nil, failf("XX000", "schema %q does not exist", text)
		}
		return s.acl, nil
	}
	for _, o := range c.objects {
		if byOID && o.oid == oid {
			return o.acl, nil
		}
	}
	names, err := sql.SplitIdents(strings.ReplaceAll(text, ".", ","))
	if err != nil || len(names) == 0 || len(names) > 3 {
		return nil, failf("XX000", "relation %q does not exist", text)
	}
	o, err := c.lookup(r.session.scope(), names)
	if err != nil {
		return nil, err
	}
	return o.acl, nil
}

func (r *resolver) roleArg(v sql.Value) *role {
	switch v := v.(type) {
	case string:
		return r.cat.roleByName(v)
	case int64:
		for _, role := range r.cat.roles {
			if role.oid == v {
				return role
			}
		}
	}
	return nil
}
