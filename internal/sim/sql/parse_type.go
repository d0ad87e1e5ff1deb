package sql

import "strconv"

// typeName parses a type as written in casts and column definitions.
func (p *parser) typeName() typeName {
	t := typeName{pos: p.peek().pos}
	switch {
	case p.word("DOUBLE"):
		p.expectWord("PRECISION")
		t.name = "float8"
	case p.word("CHARACTER", "VARYING"):
		t.name = "varchar"
		t.mods = p.typeMods()
	case p.atWord("TIMESTAMP"), p.atWord("TIME"):
		t.name = p.anyWord()
		t.mods = p.typeMods()
		switch {
		case p.word("WITH"):
			p.expectWord("TIME", "ZONE")
			t.name += "tz"
		case p.word("WITHOUT"):
			p.expectWord("TIME", "ZONE")
		}
	default:
		n := p.name()
		t.name = n.Item()
		if len(n) > 1 && n[len(n)-2] != "pg_catalog" && n[len(n)-2] != "mz_catalog" {
			t.name = n.String()
		} else if c, ok := typeSynonyms[t.name]; ok {
			t.name = c
		}
		t.mods = p.typeMods()
	}
	for {
		switch {
		case p.at(tokLBracket) && p.peekN(1).kind == tokRBracket:
			p.i += 2
			t.array = true
		case p.word("LIST"):
			t.lists++
		default:
			return t
		}
	}
}

func (p *parser) typeMods() []int64 {
	if !p.accept(tokLParen) {
		return nil
	}
	var mods []int64
	for {
		t := p.expect(tokNumber)
		n, err := strconv.ParseInt(t.text, 10, 32)
		if err != nil {
			p.fail(t, "Could not parse '"+t.text+"' as i64")
		}
		mods = append(mods, n)
		if !p.accept(tokComma) {
			break
		}
	}
	p.expect(tokRParen)
	return mods
}

// typeSynonyms are the spellings the server's parser rewrites.
var typeSynonyms = map[string]string{
	"int": "int4", "integer": "int4", "bigint": "int8", "smallint": "int2", "real": "float4", "float": "float8",
	"double": "float8", "boolean": "bool", "decimal": "numeric", "dec": "numeric", "char": "bpchar", "character": "bpchar",
	"string": "text", "json": "jsonb",
}
