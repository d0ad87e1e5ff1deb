package mz

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// relation says whether a kind of object is something a session reads.
func relation(kind string) bool {
	switch kind {
	case "view", "materialized-view", "table", "source":
		return true
	}
	return false
}

// relations of a schema by name.
func (s *snapshot) relations(schemaID string) map[string]*object {
	list := map[string]*object{}
	for _, id := range s.graph.order {
		if o := s.graph.objects[id]; o.schemaID == schemaID && relation(o.kind) {
			list[o.name] = o
		}
	}
	return list
}

// twin is a relation in both versions: under the same name in two paired schemas, or
// paired by itself.
type twin struct{ old, next *object }

func (s *snapshot) twins() []twin {
	var all []twin
	for _, p := range s.spec.Schemas {
		if !s.paired(deploy.KindSchema, p.Live, p.Deploy) {
			continue
		}
		olds := s.relations(s.ids[nameKey{deploy.KindSchema, p.Live}])
		news := s.relations(s.ids[nameKey{deploy.KindSchema, p.Deploy}])
		for _, name := range slices.Sorted(maps.Keys(olds)) {
			if news[name] != nil {
				all = append(all, twin{olds[name], news[name]})
			}
		}
	}
	for _, p := range s.spec.Objects {
		old, next := s.graph.byName(s.spec.Database, p.Live), s.graph.byName(s.spec.Database, p.Deploy)
		if old != nil && next != nil && old != next && relation(old.kind) && relation(next.kind) {
			all = append(all, twin{old, next})
		}
	}
	return all
}

// statefulInside is P07.
func (s *snapshot) statefulInside() []deploy.Finding {
	old, next := s.oldSide(), s.newSide()
	var found []deploy.Finding
	for _, id := range s.graph.order {
		o := s.graph.objects[id]
		if !old.drops(o) && !next.drops(o) || old.objects[o.id] || next.objects[o.id] {
			continue // what is paired by itself is meant to be replaced
		}
		switch o.kind {
		case "source", "table", "connection", "secret", "sink":
		default:
			continue
		}
		where := "schema " + o.schema
		if !old.schemas[o.schemaID] && !next.schemas[o.schemaID] {
			where = "cluster " + o.cluster
		}
		found = append(found, deploy.Finding{
			Object: kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("It lives inside the swapped %s and would be dropped with a version. Keep sources, tables, sinks, connections and secrets in a schema and on a cluster of their own.",
				where),
		})
	}
	return found
}

// oneSided is P08.
func (s *snapshot) oneSided() []deploy.Finding {
	var found []deploy.Finding
	for _, p := range s.spec.Schemas {
		if !s.paired(deploy.KindSchema, p.Live, p.Deploy) {
			continue
		}
		olds := s.relations(s.ids[nameKey{deploy.KindSchema, p.Live}])
		news := s.relations(s.ids[nameKey{deploy.KindSchema, p.Deploy}])
		for _, name := range slices.Sorted(maps.Keys(olds)) {
			if news[name] == nil {
				o := olds[name]
				found = append(found, deploy.Finding{
					Object:   kindOf(o) + " " + o.qualified(s.spec.Database),
					Sentence: fmt.Sprintf("Only the old version has it: whoever reads it gets an error after the swap. Add it to %s, or accept its end.", p.Deploy),
					Accept:   "missing:" + p.Live + "." + name,
				})
			}
		}
		for _, name := range slices.Sorted(maps.Keys(news)) {
			if olds[name] == nil {
				o := news[name]
				found = append(found, deploy.Finding{
					Severity: deploy.Warn,
					Object:   kindOf(o) + " " + o.qualified(s.spec.Database),
					Sentence: "Only the new version has it: until the swap only canary sessions can read it.",
				})
			}
		}
	}
	return found
}

// shapeChanges is P09.
func (s *snapshot) shapeChanges() []deploy.Finding {
	var found []deploy.Finding
	for _, t := range s.twins() {
		if slices.Equal(s.columns[t.old.id], s.columns[t.next.id]) {
			continue
		}
		severity := deploy.Refuse
		if s.accepted(deploy.AcceptShapeChange) {
			severity = deploy.Warn // who is concerned is worth a sentence all the same
		}
		found = append(found, deploy.Finding{
			Severity: severity,
			Object:   kindOf(t.next) + " " + t.next.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("Its columns differ from the old version's (%s): a session with a prepared statement over them gets 0A000 at every use until it prepares again.",
				columnDifference(s.columns[t.old.id], s.columns[t.next.id])),
			Accept: deploy.AcceptShapeChange,
		})
	}
	return found
}

// columnDifference names the first column that differs.
func columnDifference(old, next []column) string {
	for i := range max(len(old), len(next)) {
		switch {
		case i >= len(old):
			return fmt.Sprintf("column %d, %s %s, is new", i+1, next[i].name, next[i].kind)
		case i >= len(next):
			return fmt.Sprintf("column %d, %s %s, is missing", i+1, old[i].name, old[i].kind)
		case old[i] == next[i]:
			continue
		case old[i].name != next[i].name:
			return fmt.Sprintf("column %d was %s and is %s", i+1, old[i].name, next[i].name)
		case old[i].kind != next[i].kind || old[i].mod != next[i].mod:
			return fmt.Sprintf("column %s was %s and is %s", old[i].name, typeName(old[i]), typeName(next[i]))
		default:
			return fmt.Sprintf("column %s was %s and is %s", old[i].name, nullability(old[i]), nullability(next[i]))
		}
	}
	return "no difference"
}

func typeName(c column) string {
	if c.mod == "" || c.mod == "-1" {
		return c.kind
	}
	return c.kind + " (modifier " + c.mod + ")"
}

func nullability(c column) string {
	if strings.HasPrefix(c.nullable, "t") {
		return "nullable"
	}
	return "not nullable"
}

// lostIndexes is P10: an index of the old version that no index of the new one on the
// same relation replaces, key by key.
func (s *snapshot) lostIndexes() []deploy.Finding {
	var found []deploy.Finding
	for _, p := range s.spec.Schemas {
		if !s.paired(deploy.KindSchema, p.Live, p.Deploy) {
			continue
		}
		oldID, newID := s.ids[nameKey{deploy.KindSchema, p.Live}], s.ids[nameKey{deploy.KindSchema, p.Deploy}]
		has := map[string]bool{}
		for _, id := range s.graph.order {
			if o := s.graph.objects[id]; o.kind == "index" && o.schemaID == newID {
				has[s.indexIdentity(o)] = true
			}
		}
		news := s.relations(newID)
		for _, id := range s.graph.order {
			o := s.graph.objects[id]
			if o.kind != "index" || o.schemaID != oldID || has[s.indexIdentity(o)] {
				continue
			}
			on := s.graph.objects[o.on]
			if on == nil || news[on.name] == nil {
				continue // its relation is gone too, which is P08
			}
			found = append(found, deploy.Finding{
				Severity: deploy.Warn,
				Object:   "index " + o.qualified(s.spec.Database),
				Sentence: fmt.Sprintf("The new version has no index on %s (%s): lookups that were fast may be slow there.",
					on.name, strings.Join(s.indexKeys[o.id], ", ")),
			})
		}
	}
	return found
}

// indexIdentity is what an index offers: its relation's name and its keys.
func (s *snapshot) indexIdentity(o *object) string {
	on := ""
	if r := s.graph.objects[o.on]; r != nil {
		on = r.name
	}
	return on + "\x00" + strings.Join(s.indexKeys[o.id], "\x00")
}
