package sim

import (
	"strconv"

	"mzcanary/internal/sim/sql"
)

// scope is where unqualified names are looked up: a session's settings at one moment.
type scope struct {
	database string // name
	path     []string
	conn     uint32 // for temporary objects
}

// implicitSchemas come before every search_path.
var implicitSchemas = [...]string{"mz_catalog", "pg_catalog"}

func tempSchemaID(conn uint32) string { return "temp" + strconv.FormatUint(uint64(conn), 10) }

// lookup finds what a name means in the scope.
func (c *catalog) lookup(sc scope, name sql.Name) (*object, error) {
	unknown := &sql.Error{Code: "XX000", Message: "unknown catalog item '" + name.String() + "'"}
	if len(name) > 1 {
		sch, err := c.lookupSchema(sc, name[:len(name)-1])
		if err != nil {
			return nil, err
		}
		if o := c.objectIn(sch.id, name.Item()); o != nil {
			return o, nil
		}
		return nil, unknown
	}
	if o := c.objectIn(tempSchemaID(sc.conn), name[0]); o != nil {
		return o, nil
	}
	for _, s := range implicitSchemas {
		if o := c.objectIn(c.schemaNames[ownedName{"", s}], name[0]); o != nil {
			return o, nil
		}
	}
	for _, s := range sc.path {
		if sch := c.pathSchema(sc, s); sch != nil {
			if o := c.objectIn(sch.id, name[0]); o != nil {
				return o, nil
			}
		}
	}
	return nil, unknown
}

// lookupSchema finds "schema" or "database.schema".
func (c *catalog) lookupSchema(sc scope, name sql.Name) (*schema, error) {
	db := sc.database
	if len(name) == 2 {
		db = name[0]
		if c.databaseByName(db) == nil {
			return nil, &sql.Error{Code: "XX000", Message: "unknown database '" + db + "'"}
		}
	}
	item := name.Item()
	if d := c.databaseByName(db); d != nil {
		if s := c.schemaIn(d.id, item); s != nil {
			return s, nil
		}
	}
	if len(name) == 1 {
		if item == "mz_temp" {
			if s := c.schemas[tempSchemaID(sc.conn)]; s != nil {
				return s, nil
			}
		}
		if s := c.schemaIn("", item); s != nil {
			return s, nil
		}
	}
	return nil, &sql.Error{Code: "XX000", Message: "unknown schema '" + item + "'"}
}

// pathSchema is one entry of a search_path, nil when it does not exist.
func (c *catalog) pathSchema(sc scope, name string) *schema {
	if d := c.databaseByName(sc.database); d != nil {
		if s := c.schemaIn(d.id, name); s != nil {
			return s
		}
	}
	return c.schemaIn("", name)
}

// firstSchema is where an unqualified CREATE goes and what SHOW schema says.
func (c *catalog) firstSchema(sc scope) *schema {
	for _, name := range sc.path {
		if s := c.pathSchema(sc, name); s != nil {
			return s
		}
	}
	return nil
}

// fullName prints "database.schema.item", system objects without a database.
func (c *catalog) fullName(o *object) string {
	s := c.schemas[o.schema]
	if s == nil {
		return o.name
	}
	return c.schemaName(s) + "." + o.name
}

func (c *catalog) schemaName(s *schema) string {
	if d := c.databases[s.database]; d != nil {
		return d.name + "." + s.name
	}
	return s.name
}
