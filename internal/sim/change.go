package sim

import "time"

// Change is a published state of the names: what an outside witness would write
// down. Names are those of schemas in the database materialize and of clusters.
type Change struct {
	// At is taken after the change became visible: a statement that starts later
	// resolves the names as they are here.
	At time.Time
	// Since is taken before it: a statement that ended earlier resolved the names
	// as they were.
	Since    time.Time
	Revision uint64
	// Schemas and Clusters are ids by name.
	Schemas, Clusters map[string]string
}

// tellChange tells Options.OnChange; catalogMu must be held, so that changes are
// told in their order.
func (s *Server) tellChange(c *catalog, since time.Time) {
	if s.o.OnChange == nil {
		return
	}
	change := Change{At: s.now(), Since: since, Revision: c.revision, Schemas: map[string]string{}, Clusters: map[string]string{}}
	for name, id := range c.clusterNames {
		change.Clusters[name] = id
	}
	for name, id := range c.schemaNames {
		if db := c.databases[name.owner]; db != nil && db.name == "materialize" {
			change.Schemas[name.name] = id
		}
	}
	s.o.OnChange(change)
}
