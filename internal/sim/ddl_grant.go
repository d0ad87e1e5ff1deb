package sim

import (
	"maps"
	"slices"
	"strings"

	"mzcanary/internal/sim/sql"
)

// grantable are the privileges a kind of thing has; ALL means these.
func grantable(kind sql.Kind) privilege {
	switch kind {
	case sql.KindTable:
		return privSelect | privInsert | privUpdate | privDelete
	case sql.KindView, sql.KindMaterializedView, sql.KindSource:
		return privSelect
	case sql.KindDatabase, sql.KindSchema, sql.KindCluster:
		return privUsage | privCreate
	case sql.KindSecret, sql.KindConnection, sql.KindType:
		return privUsage
	case sql.KindSystem:
		return privCreateRole | privCreateDB | privCreateCluster
	}
	return 0
}

func privilegesOf(names []string, all bool, kind sql.Kind) (privilege, error) {
	if all {
		return grantable(kind), nil
	}
	var p privilege
	for _, n := range names {
		bit, ok := privilegeByName(n)
		if !ok {
			return 0, refuse("privilege %s is not supported", n)
		}
		if grantable(kind)&bit == 0 {
			return 0, failf("XX000", "invalid privilege types %s for %s", n, kind)
		}
		p |= bit
	}
	return p, nil
}

// granteeIDs reads role names, PUBLIC as publicRole.
func (x *ddl) granteeIDs(names []string) ([]string, error) {
	var ids []string
	for _, n := range names {
		if n == "PUBLIC" {
			ids = append(ids, publicRole)
			continue
		}
		r, err := x.findRole(n)
		if err != nil {
			return nil, err
		}
		ids = append(ids, r.id)
	}
	return ids, nil
}

// grantTarget is one thing of a GRANT: its access list and how to replace it.
type grantTarget struct {
	thing owned
	list  acl
	store func(acl)
}

func (x *ddl) schemaTarget(s *schema) grantTarget {
	return grantTarget{x.ownedSchema(s), s.acl, func(a acl) {
		own := *s
		own.acl = a
		x.schemas[s.id] = &own
	}}
}

func (x *ddl) objectTarget(o *object) grantTarget {
	return grantTarget{x.ownedObject(o), o.acl, func(a acl) {
		own := *o
		own.acl = a
		x.objects[o.id] = &own
	}}
}

func (x *ddl) clusterTarget(c *cluster) grantTarget {
	return grantTarget{x.ownedCluster(c), c.acl, func(a acl) {
		own := *c
		own.acl = a
		x.clusters[c.id] = &own
	}}
}

func (x *ddl) databaseTarget(d *database) grantTarget {
	return grantTarget{owned{"DATABASE", d.name, d.owner}, d.acl, func(a acl) {
		own := *d
		own.acl = a
		x.databases[d.id] = &own
	}}
}

func (x *ddl) grantTargets(st *sql.Grant) ([]grantTarget, error) {
	if st.AllIn {
		return x.allIn(st)
	}
	if st.Kind == sql.KindSystem {
		if !x.superuser() {
			return nil, failf("42501", "must be owner of SYSTEM")
		}
		return []grantTarget{{owned{"SYSTEM", "", x.by.role}, x.systemAcl, func(a acl) { x.systemAcl = a }}}, nil
	}
	var out []grantTarget
	for _, name := range st.Names {
		switch st.Kind {
		case sql.KindSchema:
			s, err := x.findSchema(name)
			if err != nil {
				return nil, err
			}
			out = append(out, x.schemaTarget(s))
		case sql.KindCluster:
			c, err := x.findCluster(name.Item())
			if err != nil {
				return nil, err
			}
			out = append(out, x.clusterTarget(c))
		case sql.KindDatabase:
			d := x.databaseByName(name.Item())
			if d == nil {
				return nil, failf("XX000", "unknown database '%s'", name.Item())
			}
			out = append(out, x.databaseTarget(d))
		default:
			o, err := x.lookup(x.by.scope, name)
			if err != nil {
				return nil, err
			}
			out = append(out, x.objectTarget(o))
		}
	}
	return out, nil
}

// allIn lists the targets of GRANT … ON ALL TABLES|SCHEMAS|… IN ….
func (x *ddl) allIn(st *sql.Grant) ([]grantTarget, error) {
	schemas := map[string]bool{}
	databases := map[string]bool{}
	for _, name := range st.In {
		if st.InKind == sql.KindDatabase {
			d := x.databaseByName(name.Item())
			if d == nil {
				return nil, failf("XX000", "unknown database '%s'", name.Item())
			}
			databases[d.id] = true
			continue
		}
		s, err := x.findSchema(name)
		if err != nil {
			return nil, err
		}
		schemas[s.id] = true
	}
	if st.InKind == "" {
		for id := range x.databases {
			databases[id] = true
		}
	}
	for id, s := range x.schemas {
		if databases[s.database] {
			schemas[id] = true
		}
	}
	var out []grantTarget
	switch st.Kind {
	case sql.KindDatabase:
		for id := range databases {
			out = append(out, x.databaseTarget(x.databases[id]))
		}
	case sql.KindSchema:
		for id := range schemas {
			out = append(out, x.schemaTarget(x.schemas[id]))
		}
	case sql.KindCluster:
		for _, c := range x.clusters {
			if !c.system() {
				out = append(out, x.clusterTarget(c))
			}
		}
	default:
		want, _ := kindOf(st.Kind)
		for _, o := range x.sortedObjects() {
			if schemas[o.schema] && (o.kind == want || st.Kind == sql.KindTable && o.kind.relation()) {
				out = append(out, x.objectTarget(o))
			}
		}
	}
	return out, nil
}

func (x *ddl) grant(st *sql.Grant) error {
	privs, err := privilegesOf(st.Privileges, st.All, st.Kind)
	if err != nil {
		return err
	}
	to, err := x.granteeIDs(st.Roles)
	if err != nil {
		return err
	}
	targets, err := x.grantTargets(st)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := x.mustOwn(t.thing); err != nil {
			return err
		}
		list := t.list
		for _, id := range to {
			if st.Revoke {
				list = list.without(id, privs)
			} else {
				list = list.with(id, t.thing.owner, privs)
			}
		}
		t.store(list)
		verb := "grant"
		if st.Revoke {
			verb = "revoke"
		}
		x.event(verb, strings.ToLower(strings.ReplaceAll(t.thing.kind, " ", "-")), map[string]any{
			"object_name": t.thing.name, "grantees": to, "privileges": strings.Join(privs.names(), ",")})
	}
	x.touched = true
	return nil
}

func (x *ddl) grantRole(st *sql.GrantRole) error {
	if err := x.needSystem(privCreateRole); err != nil {
		return err
	}
	groups, err := x.granteeIDs(st.Roles)
	if err != nil {
		return err
	}
	members, err := x.granteeIDs(st.Members)
	if err != nil {
		return err
	}
	for _, m := range members {
		r, ok := x.roles[m]
		if !ok {
			return refuse("PUBLIC cannot be a member of a role")
		}
		own := *r
		own.memberOf = slices.Clone(r.memberOf)
		for _, g := range groups {
			if g == m || !st.Revoke && x.grantees(g)[m] {
				return failf("XX000", "role %q is a member of role %q", x.roles[g].name, r.name)
			}
			i := slices.Index(own.memberOf, g)
			switch {
			case st.Revoke && i >= 0:
				own.memberOf = slices.Delete(own.memberOf, i, i+1)
			case !st.Revoke && i < 0:
				own.memberOf = append(own.memberOf, g)
			}
		}
		x.roles[m] = &own
		verb := "grant"
		if st.Revoke {
			verb = "revoke"
		}
		x.event(verb, "role", map[string]any{"member_id": m, "role_ids": groups})
	}
	return nil
}

func (x *ddl) defaultPrivileges(st *sql.AlterDefaultPrivileges) error {
	privs, err := privilegesOf(st.Privileges, st.All, st.Kind)
	if err != nil {
		return err
	}
	to, err := x.granteeIDs(st.Roles)
	if err != nil {
		return err
	}
	creators := []string{x.by.role}
	if len(st.ForRoles) > 0 {
		names := make([]string, len(st.ForRoles))
		for i, n := range st.ForRoles {
			if names[i] = n; n == "ALL ROLES" {
				names[i] = "PUBLIC"
			}
		}
		if creators, err = x.granteeIDs(names); err != nil {
			return err
		}
	}
	base := []defaultPriv{{kind: strings.ToLower(string(st.Kind))}}
	if len(st.In) > 0 {
		base = nil
	}
	for _, name := range st.In {
		p := defaultPriv{kind: strings.ToLower(string(st.Kind))}
		if st.InKind == sql.KindDatabase {
			d := x.databaseByName(name.Item())
			if d == nil {
				return failf("XX000", "unknown database '%s'", name.Item())
			}
			p.database = d.id
		} else {
			s, err := x.findSchema(name)
			if err != nil {
				return err
			}
			p.schema = s.id
		}
		base = append(base, p)
	}
	for _, b := range base {
		for _, creator := range creators {
			if creator != x.by.role && !x.superuser() && !x.grantees(x.by.role)[creator] {
				return failf("42501", "must be a member of the role whose default privileges are changed")
			}
			for _, id := range to {
				b.creator, b.grantee = creator, id
				x.setDefault(b, privs, st.Revoke)
			}
		}
	}
	x.touched = true
	return nil
}

// setDefault merges one default privilege into the list.
func (x *ddl) setDefault(key defaultPriv, privs privilege, revoke bool) {
	list := slices.Clone(x.defaultPrivs)
	i := slices.IndexFunc(list, func(p defaultPriv) bool {
		p.privs = 0
		return p == key
	})
	if i < 0 {
		if revoke {
			return
		}
		list, i = append(list, key), len(list)
	}
	if revoke {
		list[i].privs &^= privs
	} else {
		list[i].privs |= privs
	}
	x.defaultPrivs = slices.DeleteFunc(list, func(p defaultPriv) bool { return p.privs == 0 })
}

// sortedIDs lists the ids of a map in order.
func sortedIDs[T any](m map[string]T) []string { return slices.SortedFunc(maps.Keys(m), cmpID) }
