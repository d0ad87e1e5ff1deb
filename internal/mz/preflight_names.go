package mz

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// pairName is one pair with its kind.
type pairName struct {
	kind         deploy.Kind
	live, deploy string
}

// version is one of the two sides of a rollout before its swap.
type version int

const (
	oldVersion version = iota // under the live names
	newVersion                // under the deploy names
)

func (v version) of(p pairName) string {
	if v == oldVersion {
		return p.live
	}
	return p.deploy
}

// pairs lists all pairs of the deployment.
func (s *snapshot) pairs() []pairName {
	var all []pairName
	for _, p := range s.spec.Schemas {
		all = append(all, pairName{deploy.KindSchema, p.Live, p.Deploy})
	}
	for _, p := range s.spec.Clusters {
		all = append(all, pairName{deploy.KindCluster, p.Live, p.Deploy})
	}
	for _, p := range s.spec.Objects {
		all = append(all, pairName{deploy.KindObject, p.Live, p.Deploy})
	}
	return all
}

// exists says whether a name of a pair stands for something.
func (s *snapshot) exists(kind deploy.Kind, name string) bool {
	if kind == deploy.KindObject {
		return s.graph.byName(s.spec.Database, name) != nil
	}
	_, ok := s.ids[nameKey{kind, name}]
	return ok
}

// byName finds an object written as schema.name.
func (g *graph) byName(database, name string) *object {
	for _, id := range g.order {
		if o := g.objects[id]; o.database == database && o.schema+"."+o.name == name {
			return o
		}
	}
	return nil
}

// missingNames is P01.
func (s *snapshot) missingNames() []deploy.Finding {
	if !s.databaseExists {
		return []deploy.Finding{{
			Object:   "database " + s.spec.Database,
			Sentence: "The database does not exist, or the control role may not see it; nothing of the deployment can be found in it.",
		}}
	}
	var found []deploy.Finding
	for _, p := range s.pairs() {
		if !s.exists(p.kind, p.live) {
			found = append(found, deploy.Finding{
				Object:   fmt.Sprintf("%s %s", p.kind, p.live),
				Sentence: fmt.Sprintf("The live %s does not exist, so there is no version in production to move sessions from.", p.kind),
			})
		}
		if !s.exists(p.kind, p.deploy) {
			found = append(found, deploy.Finding{
				Object:   fmt.Sprintf("%s %s", p.kind, p.deploy),
				Sentence: fmt.Sprintf("The deploy %s does not exist: build the new version into it first.", p.kind),
			})
		}
	}
	return found
}

// ambiguousPairs is P02, as far as one deployment can say; names shared by two
// deployments are found where the configuration is read.
func (s *snapshot) ambiguousPairs() []deploy.Finding {
	var found []deploy.Finding
	uses := map[nameKey]int{}
	for _, p := range s.pairs() {
		uses[nameKey{p.kind, p.live}]++
		if p.live == p.deploy {
			found = append(found, deploy.Finding{
				Object:   fmt.Sprintf("%s %s", p.kind, p.live),
				Sentence: "Live and deploy are the same object; there is nothing to move to.",
			})
			continue
		}
		uses[nameKey{p.kind, p.deploy}]++
	}
	for _, key := range slices.SortedFunc(maps.Keys(uses), func(a, b nameKey) int {
		return strings.Compare(string(a.kind)+a.name, string(b.kind)+b.name)
	}) {
		if uses[key] > 1 {
			found = append(found, deploy.Finding{
				Object:   fmt.Sprintf("%s %s", key.kind, key.name),
				Sentence: fmt.Sprintf("The name stands in %d pairs; after a swap nobody could say which version it means.", uses[key]),
			})
		}
	}
	return found
}

// ownedByAnother is P14.
func (s *snapshot) ownedByAnother() []deploy.Finding {
	var found []deploy.Finding
	for _, c := range s.comments {
		m, ok := parseMark(c.text)
		if !ok || m.Rollout == s.rollout || !s.inPair(c.ref) {
			continue
		}
		found = append(found, deploy.Finding{
			Object:  fmt.Sprintf("%s %s", c.ref.Kind, c.ref.Name),
			Rollout: m.Rollout,
			Sentence: fmt.Sprintf("Rollout %s of deployment %s (phase %s) owns it. Finish that one, or take over with `rollout start --take-over` if nothing of it runs any more.",
				m.Rollout, m.Spec, m.Phase),
		})
	}
	return found
}

// inPair says whether a name is a live or deploy name of the deployment now.
func (s *snapshot) inPair(ref deploy.Ref) bool {
	return slices.ContainsFunc(s.pairs(), func(p pairName) bool {
		return p.kind == ref.Kind && (p.live == ref.Name || p.deploy == ref.Name)
	})
}

// leftovers is P15: what earlier rollouts left standing costs money. What stands under
// this rollout's own retired name would make its swap fail.
func (s *snapshot) leftovers() []deploy.Finding {
	var found []deploy.Finding
	for key := range s.ids {
		for _, p := range s.pairs() {
			if p.kind != key.kind || !formerName(p.deploy, key.name) {
				continue
			}
			f := deploy.Finding{
				Severity: deploy.Warn,
				Object:   fmt.Sprintf("%s %s", key.kind, key.name),
				Sentence: "An earlier rollout left it standing, and what stands costs money. Drop it when nobody needs it any more.",
				Remedy:   []string{s.dropStatement(key)},
				Rollout:  key.name[strings.LastIndexByte(key.name, '_')+1:],
			}
			if s.rollout != "" && strings.HasSuffix(key.name, "_"+s.rollout) {
				f.Severity, f.Remedy = deploy.Refuse, nil
				f.Sentence = "The name under which this rollout would retire a version is taken."
			}
			found = append(found, f)
		}
	}
	return found
}

func (s *snapshot) dropStatement(key nameKey) string {
	if key.kind == deploy.KindCluster {
		return "DROP CLUSTER " + quoteIdent(key.name) + " CASCADE"
	}
	return "DROP SCHEMA " + s.dialect.schema(s.spec.Database, key.name) + " CASCADE"
}
