package sql

import "strings"

func (p *parser) alter() (nodeSetter, string) {
	p.expectWord("ALTER")
	switch {
	case p.word("ROLE"):
		return p.alterRole(), "ALTER ROLE"
	case p.word("SYSTEM"):
		return p.alterSystem(), "ALTER SYSTEM"
	case p.word("DEFAULT"):
		p.expectWord("PRIVILEGES")
		return p.alterDefaultPrivileges(), "ALTER DEFAULT PRIVILEGES"
	}
	kind := p.objectKind()
	tag := "ALTER " + string(kind)
	ifExists := p.ifExists()
	name := p.name()
	switch p.oneOf(alterWords(kind)...) {
	case "SWAP":
		p.expectWord("WITH")
		return &AlterSwap{Kind: kind, IfExists: ifExists, Name: name, With: p.ident()}, tag
	case "RENAME":
		p.expectWord("TO")
		return &AlterRename{Kind: kind, IfExists: ifExists, Name: name, To: p.ident()}, tag
	case "OWNER":
		p.expectWord("TO")
		return &AlterOwner{Kind: kind, IfExists: ifExists, Name: name, Owner: p.ident()}, tag
	case "SET":
		return p.alterSet(kind, ifExists, name), tag
	case "RESET":
		if kind == KindCluster {
			return &AlterClusterSet{IfExists: ifExists, Name: name.Item(), Reset: p.resetOptions()}, tag
		}
	}
	p.refuse("this form of %s is not supported", tag)
	return nil, ""
}

// alterWords are the keywords that may follow the name; their order is the
// order of the server's error text where that is known (TABLE).
func alterWords(kind Kind) []string {
	switch kind {
	case KindSchema:
		return []string{"OWNER", "RENAME", "SWAP"}
	case KindCluster:
		return []string{"OWNER", "RENAME", "RESET", "SET", "SWAP"}
	case KindTable:
		return []string{"SET", "RENAME", "OWNER", "RESET", "ADD"}
	default:
		return []string{"SET", "RENAME", "OWNER", "RESET"}
	}
}

func (p *parser) alterSet(kind Kind, ifExists bool, name Name) nodeSetter {
	if kind == KindSink && p.word("FROM") {
		return &AlterSinkFrom{IfExists: ifExists, Name: name, From: p.name()}
	}
	if kind != KindCluster {
		p.refuse("ALTER %s … SET is not supported", kind)
	}
	s := &AlterClusterSet{IfExists: ifExists, Name: name.Item(), Options: p.optionList()}
	if p.word("WITH") {
		p.optionList()
	}
	return s
}

// resetOptions reads "(NAME, …)", names of one or more words.
func (p *parser) resetOptions() []string {
	p.expect(tokLParen)
	var list []string
	for !p.accept(tokRParen) {
		var words []string
		for p.at(tokKeyword) || p.at(tokIdent) {
			words = append(words, strings.ToUpper(p.next().text))
		}
		if len(words) == 0 {
			p.expected("option name")
		}
		list = append(list, strings.Join(words, " "))
		if !p.accept(tokComma) {
			p.expect(tokRParen)
			break
		}
	}
	return list
}

func (p *parser) alterRole() nodeSetter {
	role := p.ident()
	switch {
	case p.word("SET"):
		s := &AlterRoleSet{Role: role, Name: p.settingName()}
		s.Default = p.settingTarget(&s.Values)
		return s
	case p.word("RESET"):
		return &AlterRoleSet{Role: role, Name: p.settingName(), Default: true}
	}
	return &AlterRole{Role: role, Options: p.roleOptions()}
}

func (p *parser) settingName() string {
	if p.word("SCHEMA") {
		return "search_path"
	}
	return p.anyWord()
}

// settingTarget reads "{=|TO} {DEFAULT | values}" and says whether it was DEFAULT.
func (p *parser) settingTarget(values *[]string) bool {
	if !p.accept(tokEq) && !p.word("TO") {
		p.expected("equals sign or TO")
	}
	if p.word("DEFAULT") {
		return true
	}
	*values = p.settingValues()
	return false
}

func (p *parser) alterSystem() *AlterSystem {
	if p.word("RESET") {
		if p.word("ALL") {
			return &AlterSystem{Default: true}
		}
		return &AlterSystem{Name: p.anyWord(), Default: true}
	}
	p.expectWord("SET")
	s := &AlterSystem{Name: p.anyWord()}
	s.Default = p.settingTarget(&s.Values)
	return s
}

func (p *parser) comment() *Comment {
	p.expectWord("COMMENT", "ON")
	s := &Comment{}
	if p.word("COLUMN") {
		s.Kind = KindColumn
		s.Name = Name{p.ident()}
		for p.accept(tokDot) {
			s.Name = append(s.Name, p.anyWord())
		}
	} else {
		s.Kind = p.objectKind()
		s.Name = p.name()
	}
	p.expectWord("IS")
	if !p.word("NULL") {
		text := p.stringLiteral()
		s.Comment = &text
	}
	return s
}

// grant parses GRANT and REVOKE of privileges and of membership.
func (p *parser) grant() (nodeSetter, string) {
	verb := p.next().text
	revoke, toward := verb == "REVOKE", "TO"
	if revoke {
		toward = "FROM"
	}
	g := &Grant{Revoke: revoke, Kind: KindTable}
	var folded []string
	if p.word("ALL") {
		p.word("PRIVILEGES")
		g.All = true
	} else {
		for {
			w := p.peek()
			folded = append(folded, p.anyWord())
			g.Privileges = append(g.Privileges, strings.ToUpper(w.text))
			if !p.accept(tokComma) {
				break
			}
		}
	}
	if !p.atWord("ON") && !g.All {
		p.expectWord(toward)
		return &GrantRole{Revoke: revoke, Roles: folded, Members: p.roles()}, verb + " ROLE"
	}
	p.expectWord("ON")
	p.grantTarget(g)
	p.expectWord(toward)
	g.Roles = p.roles()
	return g, verb
}

func (p *parser) grantTarget(g *Grant) {
	if p.word("ALL") {
		g.AllIn = true
		g.Kind = p.pluralKind()
		g.InKind, g.In = p.inSchemas()
		return
	}
	if p.word("SYSTEM") {
		g.Kind = KindSystem
		return
	}
	for _, k := range kinds {
		if p.word(strings.Fields(string(k))...) {
			g.Kind = k
			break
		}
	}
	g.Names = p.names()
}

func (p *parser) pluralKind() Kind {
	words := []struct {
		plural string
		kind   Kind
	}{
		{"TABLES", KindTable}, {"TYPES", KindType}, {"SECRETS", KindSecret}, {"CONNECTIONS", KindConnection},
		{"DATABASES", KindDatabase}, {"SCHEMAS", KindSchema}, {"CLUSTERS", KindCluster},
	}
	var list []string
	for _, w := range words {
		if p.word(w.plural) {
			return w.kind
		}
		list = append(list, w.plural)
	}
	p.expected("one of " + strings.Join(list, " or "))
	return ""
}

func (p *parser) inSchemas() (Kind, []Name) {
	if !p.word("IN") {
		return "", nil
	}
	kind := Kind(p.oneOf("SCHEMA", "DATABASE"))
	return kind, p.names()
}

func (p *parser) roles() []string {
	var list []string
	for {
		p.word("GROUP")
		if p.word("PUBLIC") {
			list = append(list, "PUBLIC")
		} else {
			list = append(list, p.ident())
		}
		if !p.accept(tokComma) {
			return list
		}
	}
}

func (p *parser) alterDefaultPrivileges() *AlterDefaultPrivileges {
	s := &AlterDefaultPrivileges{}
	if p.word("FOR") {
		if p.word("ALL", "ROLES") {
			s.ForRoles = []string{"ALL ROLES"}
		} else {
			_ = p.word("ROLE") || p.word("USER")
			s.ForRoles = p.idents()
		}
	}
	s.InKind, s.In = p.inSchemas()
	s.Revoke = p.oneOf("GRANT", "REVOKE") == "REVOKE"
	if p.word("ALL") {
		p.word("PRIVILEGES")
		s.All = true
	} else {
		for {
			s.Privileges = append(s.Privileges, strings.ToUpper(p.anyWord()))
			if !p.accept(tokComma) {
				break
			}
		}
	}
	p.expectWord("ON")
	s.Kind = p.pluralKind()
	if s.Revoke {
		p.expectWord("FROM")
	} else {
		p.expectWord("TO")
	}
	s.Roles = p.roles()
	return s
}
