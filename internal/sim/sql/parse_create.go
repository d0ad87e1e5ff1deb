package sql

import (
	"strconv"
	"strings"
)

func (p *parser) create() (nodeSetter, string) {
	p.expectWord("CREATE")
	orReplace := p.word("OR", "REPLACE")
	temporary := p.word("TEMPORARY") || p.word("TEMP")
	switch {
	case p.word("VIEW"):
		return p.createView(orReplace, temporary), "CREATE VIEW"
	case p.word("MATERIALIZED"):
		p.expectWord("VIEW")
		return p.createMaterializedView(orReplace), "CREATE MATERIALIZED VIEW"
	case p.word("TABLE"):
		return p.createTable(temporary), "CREATE TABLE"
	}
	switch {
	case p.word("DATABASE"):
		return &CreateDatabase{IfNotExists: p.ifNotExists(), Name: p.ident()}, "CREATE DATABASE"
	case p.word("SCHEMA"):
		return &CreateSchema{IfNotExists: p.ifNotExists(), Name: p.name()}, "CREATE SCHEMA"
	case p.word("CLUSTER", "REPLICA"):
		return p.createReplica(), "CREATE CLUSTER REPLICA"
	case p.word("CLUSTER"):
		return p.createCluster(), "CREATE CLUSTER"
	case p.word("DEFAULT"):
		p.expectWord("INDEX")
		return p.createIndex(true), "CREATE INDEX"
	case p.word("INDEX"):
		return p.createIndex(false), "CREATE INDEX"
	case p.word("ROLE"):
		return p.createRole(), "CREATE ROLE"
	case p.word("USER"):
		p.refuse("CREATE USER is not supported")
	}
	for _, kind := range []Kind{KindSource, KindSink, KindSecret, KindConnection, KindType} {
		if p.word(string(kind)) {
			return p.createObject(kind), "CREATE " + string(kind)
		}
	}
	p.expected("DATABASE, SCHEMA, ROLE, TYPE, INDEX, SINK, SOURCE, [TEMPORARY] TABLE, SECRET, [OR REPLACE] [TEMPORARY] VIEW, or [OR REPLACE] MATERIALIZED VIEW after CREATE")
	return nil, ""
}

func (p *parser) createView(orReplace, temporary bool) *CreateView {
	s := &CreateView{OrReplace: orReplace, Temporary: temporary, IfNotExists: p.ifNotExists(), Name: p.name()}
	s.Columns = p.columnList()
	p.expectWord("AS")
	s.Query = p.query()
	return s
}

func (p *parser) createMaterializedView(orReplace bool) *CreateMaterializedView {
	s := &CreateMaterializedView{OrReplace: orReplace, IfNotExists: p.ifNotExists(), Name: p.name()}
	s.Columns = p.columnList()
	s.Cluster = p.inCluster()
	if p.word("WITH") {
		p.optionList()
	}
	p.expectWord("AS")
	s.Query = p.query()
	return s
}

func (p *parser) inCluster() string {
	if p.word("IN", "CLUSTER") {
		return p.ident()
	}
	return ""
}

func (p *parser) createTable(temporary bool) *CreateTable {
	s := &CreateTable{Temporary: temporary, IfNotExists: p.ifNotExists(), Name: p.name()}
	if p.atWord("FROM") {
		p.refuse("CREATE TABLE … FROM SOURCE is not supported")
	}
	p.expect(tokLParen)
	for !p.accept(tokRParen) {
		s.Columns = append(s.Columns, p.columnDef())
		if !p.accept(tokComma) {
			p.expect(tokRParen)
			break
		}
	}
	if p.word("WITH") {
		p.optionList()
	}
	return s
}

func (p *parser) columnDef() Column {
	c := Column{Name: p.ident(), TypeMod: -1, Nullable: true}
	tn := p.typeName()
	t, err := tn.resolve()
	if err != nil {
		panic(err)
	}
	c.Type, c.TypeMod = t, tn.typeMod()
	for {
		switch {
		case p.word("NOT", "NULL"):
			c.Nullable = false
		case p.word("NULL"):
		case p.atWord("DEFAULT"):
			p.refuse("column defaults are not supported")
		case p.atWord("PRIMARY"), p.atWord("UNIQUE"), p.atWord("CHECK"), p.atWord("CONSTRAINT"), p.atWord("FOREIGN"):
			p.refuse("table constraints are not supported")
		default:
			return c
		}
	}
}

func (p *parser) createIndex(def bool) *CreateIndex {
	s := &CreateIndex{Default: def, IfNotExists: p.ifNotExists()}
	if !p.atWord("IN", "CLUSTER") && !p.atWord("ON") {
		s.Name = p.ident()
	}
	s.Cluster = p.inCluster()
	p.expectWord("ON")
	s.On = p.name()
	if p.word("USING") {
		p.ident()
	}
	if !def || p.at(tokLParen) {
		s.Keys = p.indexKeys()
	}
	if p.word("WITH") {
		p.optionList()
	}
	return s
}

func (p *parser) indexKeys() []IndexKey {
	p.expect(tokLParen)
	var keys []IndexKey
	for !p.accept(tokRParen) {
		e := p.expr()
		if c, ok := e.(*colExpr); ok && len(c.parts) == 1 {
			keys = append(keys, IndexKey{Column: c.parts[0]})
		} else {
			keys = append(keys, IndexKey{Expr: e.Text()})
		}
		if !p.accept(tokComma) {
			p.expect(tokRParen)
			break
		}
	}
	return keys
}

func (p *parser) createCluster() *CreateCluster {
	s := &CreateCluster{IfNotExists: p.ifNotExists(), Name: p.ident(), ReplicationFactor: -1}
	paren := p.accept(tokLParen)
	for !p.at(tokEOF) && !p.at(tokSemicolon) && !p.at(tokRParen) {
		if p.word("REPLICAS") {
			s.Unmanaged = true
			p.accept(tokEq)
			s.Replicas = p.replicas()
		} else {
			o := p.option()
			s.Options = append(s.Options, o)
			switch o.Name {
			case "SIZE":
				s.Size = o.Value
			case "REPLICATION FACTOR":
				s.ReplicationFactor = p.replicationFactor(o.Value)
			}
		}
		if !p.accept(tokComma) {
			break
		}
	}
	if paren {
		p.expect(tokRParen)
	}
	return s
}

func (p *parser) replicationFactor(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		panic(planError("invalid REPLICATION FACTOR: invalid unsigned numeric value"))
	}
	return n
}

func (p *parser) replicas() []Replica {
	p.expect(tokLParen)
	var list []Replica
	for !p.accept(tokRParen) {
		list = append(list, p.replica(p.ident()))
		if !p.accept(tokComma) {
			p.expect(tokRParen)
			break
		}
	}
	return list
}

func (p *parser) replica(name string) Replica {
	r := Replica{Name: name}
	if p.at(tokLParen) {
		r.Options = p.optionList()
	} else {
		for !p.at(tokEOF) && !p.at(tokSemicolon) {
			r.Options = append(r.Options, p.option())
			if !p.accept(tokComma) {
				break
			}
		}
	}
	for _, o := range r.Options {
		if o.Name == "SIZE" {
			r.Size = o.Value
		}
	}
	return r
}

func (p *parser) createReplica() *CreateClusterReplica {
	if p.ifNotExists() {
		p.refuse("CREATE CLUSTER REPLICA IF NOT EXISTS is not supported")
	}
	cluster := p.ident()
	p.expect(tokDot)
	return &CreateClusterReplica{Cluster: cluster, Replica: p.replica(p.ident())}
}

func (p *parser) createRole() *CreateRole {
	s := &CreateRole{Name: p.ident()}
	s.Options = p.roleOptions()
	return s
}

func (p *parser) roleOptions() []Option {
	p.word("WITH")
	var list []Option
	for p.at(tokKeyword) || p.at(tokIdent) {
		o := Option{Name: strings.ToUpper(p.anyWord())}
		if o.Name == "PASSWORD" {
			if !p.word("NULL") {
				o.Value = p.stringLiteral()
			}
		}
		list = append(list, o)
	}
	return list
}

func (p *parser) createObject(kind Kind) *CreateObject {
	s := &CreateObject{Kind: kind, IfNotExists: p.ifNotExists(), Name: p.name()}
	s.Cluster = p.inCluster()
	if kind == KindSink && p.word("FROM") {
		s.From = p.name()
	}
	p.skipStatement()
	return s
}

func (p *parser) drop() (nodeSetter, string) {
	p.expectWord("DROP")
	s := &Drop{Kind: p.objectKind()}
	s.IfExists = p.ifExists()
	s.Names = p.names()
	switch {
	case p.word("CASCADE"):
		s.Cascade = true
	case p.word("RESTRICT"):
	}
	return s, "DROP " + string(s.Kind)
}

// kinds in the order of the words they start with; longer spellings first.
var kinds = []Kind{
	KindClusterReplica, KindCluster, KindMaterializedView, KindDatabase, KindSchema, KindTable, KindView, KindIndex,
	KindSource, KindSink, KindSecret, KindConnection, KindType, KindRole,
}

func (p *parser) objectKind() Kind {
	for _, k := range kinds {
		if p.word(strings.Fields(string(k))...) {
			return k
		}
	}
	if p.word("USER") {
		return KindRole
	}
	p.expected("one of TABLE or VIEW or MATERIALIZED or SOURCE or SINK or INDEX or TYPE or ROLE or USER or CLUSTER or SECRET or CONNECTION or DATABASE or SCHEMA or FUNCTION")
	return ""
}
