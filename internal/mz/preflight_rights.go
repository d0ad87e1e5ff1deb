package mz

import (
	"fmt"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// missingRights is P03: what the control role lacks for the swap. The catalog says
// which owner; the server's own refusal of the trial swap is the last word.
func (s *snapshot) missingRights() []deploy.Finding {
	if !s.databaseExists || s.role.superuser {
		return nil
	}
	var found []deploy.Finding
	for _, p := range s.pairs() {
		for _, name := range []string{p.live, p.deploy} {
			o, known := s.ownerOf(p.kind, name)
			if !known || o.member {
				continue
			}
			f := finding{
				Object: fmt.Sprintf("%s %s", p.kind, name),
				Sentence: fmt.Sprintf("Role %s cannot swap or drop it: it belongs to %s, and swapping needs the owner or a member of it.",
					s.role.name, o.role),
			}
			membership := deploy.Grant{On: deploy.Ref{Kind: deploy.KindRole, Name: o.role}, To: s.role.name}
			if s.dialect.systemRole(o.roleID) { // its membership is not given away
				f.Remedy = []string{"have its owner changed to role " + quoteIdent(s.role.name)}
				found = append(found, deploy.Finding(f))
				continue
			}
			if s.role.noInherit {
				f.Sentence += " It inherits nothing from the roles it is a member of (NOINHERIT)."
				f.Remedy = []string{"ALTER ROLE " + quoteIdent(s.role.name) + " INHERIT", s.dialect.grant(s.spec.Database, membership, o.role)}
				found = append(found, deploy.Finding(f))
				continue
			}
			found = append(found, f.mendedBy(membership, s))
		}
	}
	if len(s.spec.Schemas) > 0 && !s.role.canCreate {
		found = append(found, finding{
			Object:   "database " + s.spec.Database,
			Sentence: fmt.Sprintf("Role %s may not rename schemas: that needs CREATE on the database.", s.role.name),
		}.mendedBy(deploy.Grant{Privilege: "CREATE", On: deploy.Ref{Kind: deploy.KindDatabase, Name: s.spec.Database}, To: s.role.name}, s))
	}
	if len(found) == 0 && s.swap != nil && s.swap.Code == codeForbidden {
		found = append(found, deploy.Finding{
			Object:   "deployment " + s.spec.Name,
			Sentence: fmt.Sprintf("Role %s tried the swap (and rolled it back) and was refused: %s.", s.role.name, s.swap),
		})
	}
	return found
}

// ownerOf finds the owner of a pair's side.
func (s *snapshot) ownerOf(kind deploy.Kind, name string) (owner, bool) {
	if kind == deploy.KindObject {
		o := s.graph.byName(s.spec.Database, name)
		if o == nil {
			return owner{}, false
		}
		return owner{role: s.roleNames[o.ownerID], roleID: o.ownerID, member: s.holds(s.roleID(s.role.name), o.ownerID)}, true
	}
	id, ok := s.ids[nameKey{kind, name}]
	if !ok {
		return owner{}, false
	}
	o, ok := s.owners[nameKey{kind, id}]
	return o, ok
}

func (s *snapshot) roleID(name string) string {
	for id, n := range s.roleNames {
		if n == name {
			return id
		}
	}
	return ""
}

// holds says whether a role is another one or, through any chain, a member of it.
func (s *snapshot) holds(role, of string) bool {
	seen := map[string]bool{}
	queue := []string{role}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next == of {
			return true
		}
		if !seen[next] {
			seen[next] = true
			queue = append(queue, s.memberOf[next]...)
		}
	}
	return false
}

// refusedSwap is P17: what else the server said to the trial swap.
func (s *snapshot) refusedSwap() []deploy.Finding {
	if s.swap == nil || s.swap.Code == codeForbidden {
		return nil
	}
	sentence := fmt.Sprintf("The server refused a trial of the swap (rolled back): %s.", s.swap)
	switch {
	case strings.Contains(s.swap.Message, "enable_alter_swap") || strings.Contains(s.swap.Message, "ALTER SWAP feature"):
		sentence = "SWAP is switched off on this server (enable_alter_swap); ask its administrators, or use `method: rename`."
	case s.swap.Code == codeReadOnly:
		sentence = "The server takes no changes yet: it is a new generation in read-only mode. Try again after its promotion."
	case s.swap.Code == codeSyntax || s.swap.Code == codeNotYet:
		sentence = fmt.Sprintf("The server does not know SWAP; it is older than supported: %s.", s.swap)
	}
	return []deploy.Finding{{Object: "server", Sentence: sentence}}
}

// lostGrants is P11: grants stay with the object, so whoever could use the old
// version and cannot use the new one is locked out by the swap.
func (s *snapshot) lostGrants() []deploy.Finding {
	var found []deploy.Finding
	for _, p := range s.spec.Schemas {
		if !s.paired(deploy.KindSchema, p.Live, p.Deploy) {
			continue
		}
		found = append(found, s.lostOn(pairName{deploy.KindSchema, p.Live, p.Deploy}, "USAGE")...)
	}
	for _, p := range s.spec.Clusters {
		if s.paired(deploy.KindCluster, p.Live, p.Deploy) {
			found = append(found, s.lostOn(pairName{deploy.KindCluster, p.Live, p.Deploy}, "USAGE")...)
		}
	}
	return append(found, s.lostOnObjects()...)
}

func (s *snapshot) lostOn(p pairName, privilege string) []deploy.Finding {
	oldID, newID := s.ids[nameKey{p.kind, p.live}], s.ids[nameKey{p.kind, p.deploy}]
	return s.lost(oldID, s.owners[nameKey{p.kind, newID}].roleID, fmt.Sprintf("%s %s", p.kind, p.deploy),
		deploy.Grant{Privilege: privilege, On: deploy.Ref{Kind: p.kind, Name: p.deploy, ID: newID}})
}

func (s *snapshot) lostOnObjects() []deploy.Finding {
	var found []deploy.Finding
	for _, t := range s.twins() {
		n := t.next
		found = append(found, s.lost(t.old.id, n.ownerID, kindOf(n)+" "+n.qualified(s.spec.Database),
			deploy.Grant{Privilege: "SELECT", On: deploy.Ref{Kind: deploy.KindObject, Type: n.kind, Name: n.schema + "." + n.name, ID: n.id}})...)
	}
	return found
}

// lost compares one privilege on the old and the new contents. System roles are left
// out: their rights are the server's affair. on is the right on the new contents that
// somebody may lack.
func (s *snapshot) lost(oldID, newOwner, object string, on deploy.Grant) []deploy.Finding {
	kind, privilege := on.On.Kind, on.Privilege
	has := map[string]bool{}
	for _, g := range s.grants[nameKey{kind, on.On.ID}] {
		if g.privilege == privilege {
			has[g.grantee] = true
		}
	}
	if has[public] {
		return nil
	}
	var found []deploy.Finding
	for _, g := range s.grants[nameKey{kind, oldID}] {
		if g.privilege != privilege || g.grantee != public && !strings.HasPrefix(g.grantee, "u") || s.covered(g.grantee, newOwner, has) {
			continue
		}
		who, right := "PUBLIC", on
		if g.grantee != public {
			right.To = s.roleNames[g.grantee]
			who = "role " + right.To
		}
		has[g.grantee] = true // one finding for each, whoever granted it
		found = append(found, finding{
			Object:   object,
			Sentence: fmt.Sprintf("%s may use the old version and not the new one (%s): every statement would fail after the swap.", who, privilege),
		}.mendedBy(right, s))
	}
	return found
}

// covered says whether a grantee has the right anyway: as the owner, or through a
// role it is a member of.
func (s *snapshot) covered(grantee, newOwner string, has map[string]bool) bool {
	if grantee == public {
		return has[public]
	}
	if newOwner != "" && s.holds(grantee, newOwner) {
		return true
	}
	for role := range has {
		if s.holds(grantee, role) {
			return true
		}
	}
	return false
}

// roleDefaults is P16.
func (s *snapshot) roleDefaults() []deploy.Finding {
	var found []deploy.Finding
	for _, r := range s.roleSettings {
		kind, pairs, names := deploy.KindCluster, s.spec.Clusters, []string{r.value}
		if r.parameter == "search_path" {
			kind, pairs = deploy.KindSchema, s.spec.Schemas
			names = strings.Split(r.value, ",")
		}
		for _, p := range pairs {
			if slices.ContainsFunc(names, func(n string) bool { return strings.Trim(strings.TrimSpace(n), `"{}`) == p.Deploy }) {
				found = append(found, deploy.Finding{
					Severity: deploy.Warn,
					Object:   "role " + r.role,
					Sentence: fmt.Sprintf("Its sessions start with %s = %s, which names the deploy %s %s: after the swap that name means the old version or nothing.",
						r.parameter, r.value, kind, p.Deploy),
					Remedy: []string{"ALTER ROLE " + quoteIdent(r.role) + " RESET " + r.parameter},
				})
			}
		}
	}
	return found
}
