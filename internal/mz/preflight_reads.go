package mz

import (
	"fmt"
	"strings"

	"mzcanary/deploy"
)

// side is one version: the schemas, clusters and single objects under one set of
// names.
type side struct {
	schemas, clusters, objects map[string]bool // by id
}

// sideOf collects the ids of one version.
func (s *snapshot) sideOf(which version) side {
	v := side{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, p := range s.pairs() {
		if p.kind == deploy.KindObject {
			if o := s.graph.byName(s.spec.Database, which.of(p)); o != nil {
				v.objects[o.id] = true
			}
			continue
		}
		id, ok := s.ids[nameKey{p.kind, which.of(p)}]
		switch {
		case ok && p.kind == deploy.KindSchema:
			v.schemas[id] = true
		case ok:
			v.clusters[id] = true
		}
	}
	return v
}

func (s *snapshot) oldSide() side { return s.sideOf(oldVersion) }
func (s *snapshot) newSide() side { return s.sideOf(newVersion) }

// has says whether an object is of this version: by its schema, or by its own name.
func (v side) has(o *object) bool { return v.schemas[o.schemaID] || v.objects[o.id] }

// drops says whether the cleanup of this version takes an object directly.
func (v side) drops(o *object) bool { return v.has(o) || o.clusterID != "" && v.clusters[o.clusterID] }

func kindOf(o *object) string { return strings.ReplaceAll(o.kind, "-", " ") }

// readsOld walks from the old version to everything that depends on it, and returns
// for each object the one of the old version that it was reached from.
func (s *snapshot) readsOld() map[string]string {
	old, next := s.oldSide(), s.newSide()
	return s.graph.reach(s.graph.usedBy, func(o *object) bool { return old.drops(o) && !next.has(o) })
}

// newReadsOld is P04.
func (s *snapshot) newReadsOld() []deploy.Finding {
	next := s.newSide()
	met := s.readsOld()
	var found []deploy.Finding
	for _, id := range s.graph.order {
		o := s.graph.objects[id]
		root, reads := met[id]
		if !reads || root == id || !next.has(o) {
			continue
		}
		found = append(found, deploy.Finding{
			Object: kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("The new version still reads the old one (%s %s): dropping the old version would drop this, which is production by then.",
				kindOf(s.graph.objects[root]), s.graph.objects[root].qualified(s.spec.Database)),
		})
	}
	return found
}

// outside lists what lies in neither version and reads the old one.
func (s *snapshot) outside(want func(*object) bool) []*object {
	old, next := s.oldSide(), s.newSide()
	met := s.readsOld()
	var list []*object
	for _, id := range s.graph.order {
		o := s.graph.objects[id]
		if root, reads := met[id]; reads && root != id && !old.has(o) && !next.has(o) && want(o) {
			list = append(list, o)
		}
	}
	return list
}

// outsideReadsOld is P05. An index is named by its relation, which is in the list
// itself.
func (s *snapshot) outsideReadsOld() []deploy.Finding {
	var found []deploy.Finding
	met := s.readsOld()
	for _, o := range s.outside(func(o *object) bool { return o.kind != "sink" }) {
		if _, same := met[o.on]; o.on != "" && same {
			continue
		}
		root := s.graph.objects[met[o.id]]
		found = append(found, deploy.Finding{
			Object: kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("It reads the old version (%s %s), keeps reading it after the swap, and is dropped with it at cleanup. Build it on the new version, or accept its loss.",
				kindOf(root), root.qualified(s.spec.Database)),
			Accept: "dependent:" + o.qualified(s.spec.Database),
		})
	}
	return found
}

// sinksReadOld is P06.
func (s *snapshot) sinksReadOld() []deploy.Finding {
	var found []deploy.Finding
	met := s.readsOld()
	for _, o := range s.outside(func(o *object) bool { return o.kind == "sink" }) {
		root := s.graph.objects[met[o.id]]
		found = append(found, deploy.Finding{
			Object: kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("The sink writes from the old version (%s %s); after the swap it would go on with old data and then be dropped. Point it elsewhere first: ALTER SINK … SET FROM.",
				kindOf(root), root.qualified(s.spec.Database)),
		})
	}
	return found
}

// boundOutside is P18. Objects of pairs of single objects are where they should be.
func (s *snapshot) boundOutside() []deploy.Finding {
	old, next := s.oldSide(), s.newSide()
	var found []deploy.Finding
	for _, id := range s.graph.order {
		o := s.graph.objects[id]
		if o.clusterID == "" || old.has(o) || next.has(o) {
			continue
		}
		if !old.clusters[o.clusterID] && !next.clusters[o.clusterID] {
			continue
		}
		found = append(found, deploy.Finding{
			Object: kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: fmt.Sprintf("It runs on cluster %s of this deployment but lies outside its schemas: dropping that cluster would take it. Move it to a cluster of its own, or accept its loss.",
				o.cluster),
			Accept: "dependent:" + o.qualified(s.spec.Database),
		})
	}
	return found
}
