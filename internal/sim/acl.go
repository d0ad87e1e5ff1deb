package sim

import (
	"maps"
	"slices"
	"strings"
)

// privilege is a set of privileges, one bit each.
type privilege uint16

const (
	privSelect privilege = 1 << iota
	privInsert
	privUpdate
	privDelete
	privUsage
	privCreate
	privCreateRole
	privCreateDB
	privCreateCluster
)

// privilegeNames in the order mz_aclexplode and error texts use, with the letter of an mz_aclitem.
var privilegeNames = [...]struct {
	bit    privilege
	name   string
	letter byte
}{
	{privInsert, "INSERT", 'a'},
	{privSelect, "SELECT", 'r'},
	{privUpdate, "UPDATE", 'w'},
	{privDelete, "DELETE", 'd'},
	{privUsage, "USAGE", 'U'},
	{privCreate, "CREATE", 'C'},
	{privCreateRole, "CREATEROLE", 'R'},
	{privCreateDB, "CREATEDB", 'B'},
	{privCreateCluster, "CREATECLUSTER", 'N'},
}

func privilegeByName(name string) (privilege, bool) {
	for _, p := range privilegeNames {
		if strings.EqualFold(p.name, name) {
			return p.bit, true
		}
	}
	return 0, false
}

func (p privilege) names() []string {
	var out []string
	for _, n := range privilegeNames {
		if p&n.bit != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// publicRole is the grantee PUBLIC in an acl.
const publicRole = "p"

// acl is an access list: what each grantee (a role id or publicRole) got from a grantor. Values are never changed in
// place; with and without return copies.
type acl map[grant]privilege

type grant struct{ grantee, grantor string }

func (a acl) with(grantee, grantor string, p privilege) acl {
	out := maps.Clone(a)
	if out == nil {
		out = acl{}
	}
	out[grant{grantee, grantor}] |= p
	return out
}

// without takes p away from the grantee, whoever granted it.
func (a acl) without(grantee string, p privilege) acl {
	out := maps.Clone(a)
	for g := range out {
		if g.grantee != grantee {
			continue
		}
		if out[g] &^= p; out[g] == 0 {
			delete(out, g)
		}
	}
	return out
}

// reowned moves the owner's own rights to the new owner, as ALTER … OWNER TO does.
func (a acl) reowned(from, to string) acl {
	out := acl{}
	for g, p := range a {
		if g.grantee == from {
			g.grantee = to
		}
		if g.grantor == from {
			g.grantor = to
		}
		out[g] |= p
	}
	return out
}

// of is the union of what the grantees got.
func (a acl) of(grantees map[string]bool) privilege {
	var p privilege
	for g, granted := range a {
		if grantees[g.grantee] {
			p |= granted
		}
	}
	return p
}

// sorted lists the entries by grantee and grantor.
func (a acl) sorted() []grant {
	return slices.SortedFunc(maps.Keys(a), func(x, y grant) int {
		if c := strings.Compare(x.grantee, y.grantee); c != 0 {
			return c
		}
		return strings.Compare(x.grantor, y.grantor)
	})
}

// item prints one entry as an mz_aclitem: "u2=UC/u1", PUBLIC as nothing before the equals sign.
func (a acl) item(g grant) string {
	var b strings.Builder
	if g.grantee != publicRole {
		b.WriteString(g.grantee)
	}
	b.WriteByte('=')
	for _, n := range privilegeNames {
		if a[g]&n.bit != 0 {
			b.WriteByte(n.letter)
		}
	}
	b.WriteByte('/')
	b.WriteString(g.grantor)
	return b.String()
}
