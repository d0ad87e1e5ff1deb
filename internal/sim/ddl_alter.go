package sim

import (
	"strconv"
	"strings"

	"mzcanary/internal/sim/sql"
)

func (x *ddl) alterOwner(st *sql.AlterOwner) error {
	to, err := x.findRole(st.Owner)
	if err != nil {
		return err
	}
	switch st.Kind {
	case sql.KindSchema:
		s, err := x.findSchema(st.Name)
		if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
			return err
		}
		if err := x.mayGive(x.ownedSchema(s), to); err != nil {
			return err
		}
		c := *s
		c.acl, c.owner = s.acl.reowned(s.owner, to.id), to.id
		x.schemas[s.id] = &c
	case sql.KindCluster:
		s, err := x.findCluster(st.Name.Item())
		if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
			return err
		}
		if err := x.mayGive(x.ownedCluster(s), to); err != nil {
			return err
		}
		c := *s
		c.acl, c.owner = s.acl.reowned(s.owner, to.id), to.id
		x.clusters[s.id] = &c
	case sql.KindDatabase:
		s := x.databaseByName(st.Name.Item())
		if s == nil {
			return x.skip(failf("XX000", "unknown database '%s'", st.Name.Item()), st.IfExists, st.Kind, st.Name.Item())
		}
		if err := x.mayGive(owned{"DATABASE", s.name, s.owner}, to); err != nil {
			return err
		}
		c := *s
		c.acl, c.owner = s.acl.reowned(s.owner, to.id), to.id
		x.databases[s.id] = &c
	default:
		o, err := x.findObject(st.Kind, st.Name)
		if err := x.skip(err, st.IfExists, st.Kind, st.Name.Item()); err != nil {
			return err
		}
		if err := x.mayGive(x.ownedObject(o), to); err != nil {
			return err
		}
		c := *o
		c.acl, c.owner = o.acl.reowned(o.owner, to.id), to.id
		x.objects[o.id] = &c
	}
	x.event("alter", strings.ToLower(strings.ReplaceAll(string(st.Kind), " ", "-")), map[string]any{"name": st.Name.String(), "new_owner_id": to.id})
	return nil
}

// mayGive wants the actor to own the thing and to be a member of who gets it.
func (x *ddl) mayGive(thing owned, to *role) error {
	if err := x.mustOwn(thing); err != nil {
		return err
	}
	if !x.superuser() && !x.grantees(x.by.role)[to.id] {
		return failf("42501", "must be a member of %q", to.name)
	}
	return nil
}

func (x *ddl) alterCluster(st *sql.AlterClusterSet) error {
	c, err := x.findCluster(st.Name)
	if err := x.skip(err, st.IfExists, sql.KindCluster, st.Name); err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedCluster(c)); err != nil {
		return err
	}
	if c.system() {
		return failf("XX000", "system cluster '%s' cannot be modified", c.name)
	}
	if !c.managed {
		return refuse("ALTER CLUSTER … SET of an unmanaged cluster is not supported")
	}
	if len(st.Reset) > 0 {
		return refuse("ALTER CLUSTER … RESET is not supported")
	}
	for _, o := range st.Options {
		switch o.Name {
		case "SIZE":
			own := *x.clusters[c.id]
			own.size = o.Value
			x.clusters[c.id] = &own
			factor := own.factor
			x.setFactor(c.id, 0)
			x.setFactor(c.id, factor)
		case "REPLICATION FACTOR":
			n, err := strconv.Atoi(o.Value)
			if err != nil || n < 0 {
				return failf("XX000", "invalid REPLICATION FACTOR: %s", o.Value)
			}
			x.setFactor(c.id, n)
		default:
			return refuse("cluster option %s is not supported", o.Name)
		}
	}
	x.event("alter", "cluster", map[string]any{"id": c.id, "name": c.name})
	return nil
}

func (x *ddl) alterRole(st *sql.AlterRole) error {
	r, err := x.findRole(st.Role)
	if err != nil {
		return err
	}
	if err := x.needSystem(privCreateRole); err != nil {
		return err
	}
	own := *r
	for _, o := range st.Options {
		switch o.Name {
		case "SUPERUSER", "NOSUPERUSER":
			if !x.superuser() {
				return failf("42501", "permission denied to alter superuser role")
			}
			own.super = o.Name == "SUPERUSER"
		case "LOGIN", "NOLOGIN":
			own.login = o.Name == "LOGIN"
		case "INHERIT":
		default:
			return refuse("ALTER ROLE option %s is not supported", o.Name)
		}
	}
	x.roles[r.id] = &own
	x.event("alter", "role", map[string]any{"id": r.id, "name": r.name})
	return nil
}

func (x *ddl) alterRoleSet(st *sql.AlterRoleSet) error {
	r, err := x.findRole(st.Role)
	if err != nil {
		return err
	}
	if r.id != x.by.role {
		if err := x.needSystem(privCreateRole); err != nil {
			return err
		}
	}
	def := findVar(st.Name)
	if def == nil {
		return errUnknownVar(st.Name)
	}
	own := *r
	own.vars = map[string]value{}
	for k, v := range r.vars {
		own.vars[k] = v
	}
	if st.Default {
		delete(own.vars, def.name)
	} else {
		v, err := def.parse(st.Values, false)
		if err != nil {
			return err
		}
		own.vars[def.name] = v
	}
	x.roles[r.id] = &own
	x.event("alter", "role", map[string]any{"id": r.id, "name": r.name})
	x.notice("00000", "variable %q was updated for %q, this will have no effect on the current session", def.name, r.name)
	return nil
}

func (x *ddl) alterSystem(st *sql.AlterSystem) error {
	if !x.superuser() {
		return failf("42501", "permission denied to alter system")
	}
	if st.Name == "" {
		clear(x.systemVars)
		x.touched = true
		return nil
	}
	def := findVar(st.Name)
	if def == nil {
		return refuse("ALTER SYSTEM knows session variables only, not %s", st.Name)
	}
	if st.Default {
		delete(x.systemVars, def.name)
	} else {
		v, err := def.parse(st.Values, false)
		if err != nil {
			return err
		}
		x.systemVars[def.name] = v
	}
	x.touched = true
	return nil
}

func (x *ddl) alterSink(st *sql.AlterSinkFrom) error {
	o, err := x.findObject(sql.KindSink, st.Name)
	if err := x.skip(err, st.IfExists, sql.KindSink, st.Name.Item()); err != nil {
		return err
	}
	from, err := x.lookup(x.by.scope, st.From)
	if err != nil {
		return err
	}
	if err := x.mustOwn(x.ownedObject(o)); err != nil {
		return err
	}
	own := *o
	own.deps, own.on = []string{from.id}, from.id
	x.objects[o.id] = &own
	x.event("alter", "sink", x.itemDetails(&own))
	return nil
}

func (x *ddl) commentOn(st *sql.Comment) error {
	var key commentKey
	var thing owned
	switch st.Kind {
	case sql.KindSchema:
		s, err := x.findSchema(st.Name)
		if err != nil {
			return err
		}
		key.kind, key.id, thing = "schema", s.id, x.ownedSchema(s)
	case sql.KindCluster:
		c, err := x.findCluster(st.Name.Item())
		if err != nil {
			return err
		}
		key.kind, key.id, thing = "cluster", c.id, x.ownedCluster(c)
	case sql.KindDatabase:
		d := x.databaseByName(st.Name.Item())
		if d == nil {
			return failf("XX000", "unknown database '%s'", st.Name.Item())
		}
		key.kind, key.id, thing = "database", d.id, owned{"DATABASE", d.name, d.owner}
	case sql.KindRole:
		r, err := x.findRole(st.Name.Item())
		if err != nil {
			return err
		}
		if err := x.needSystem(privCreateRole); err != nil {
			return err
		}
		key.kind, key.id, thing = "role", r.id, owned{"ROLE", r.name, x.by.role}
	case sql.KindColumn:
		o, err := x.lookup(x.by.scope, st.Name[:len(st.Name)-1])
		if err != nil {
			return err
		}
		i := columnIndex(o, st.Name.Item())
		if i < 0 {
			return failf("XX000", "column %q does not exist", st.Name.String())
		}
		key, thing = commentKey{"", o.id, i + 1}, x.ownedObject(o)
	default:
		o, err := x.findObject(st.Kind, st.Name)
		if err != nil {
			return err
		}
		key.id, thing = o.id, x.ownedObject(o)
	}
	if err := x.mustOwn(thing); err != nil {
		return err
	}
	x.comment(key, strings.ToLower(strings.ReplaceAll(string(st.Kind), " ", "-")), st.Comment)
	return nil
}
