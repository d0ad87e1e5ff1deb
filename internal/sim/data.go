package sim

import (
	"maps"

	"mzcanary/internal/sim/sql"
)

// A dataVersion is the contents of all tables at one logical time. Versions form a list: whoever follows changes
// (SUBSCRIBE) walks it, and a version nobody holds is forgotten.
type dataVersion struct {
	// ts is the logical time in milliseconds since 1970; it grows by at least one per write.
	ts     uint64
	tables map[string]*tableData

	// moved is closed when next is set.
	moved chan struct{}
	next  *dataVersion
}

// tableData is one table's rows; never changed once published.
type tableData struct{ rows [][]sql.Value }

func (v *dataVersion) rows(id string) [][]sql.Value {
	if t := v.tables[id]; t != nil {
		return t.rows
	}
	return nil
}

// latest is the newest contents.
func (s *Server) latest() *dataVersion { return s.data.Load() }

// changeData publishes the next version. change gets a copy of the map of tables and replaces entries in it.
// The lock makes writers take turns; change must not wait for anything.
func (s *Server) changeData(change func(tables map[string]*tableData) error) (*dataVersion, error) {
	s.dataMu.Lock()
	defer s.dataMu.Unlock()
	old := s.data.Load()
	tables := maps.Clone(old.tables)
	if err := change(tables); err != nil {
		return nil, err
	}
	next := &dataVersion{ts: max(old.ts+1, s.nowMillis()), tables: tables, moved: make(chan struct{})}
	s.data.Store(next)
	old.next = next
	close(old.moved)
	return next, nil
}
