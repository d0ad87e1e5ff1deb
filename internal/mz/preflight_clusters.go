package mz

import (
	"fmt"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// weakClusters is P12.
func (s *snapshot) weakClusters() []deploy.Finding {
	var found []deploy.Finding
	for _, p := range s.spec.Clusters {
		newID, ok := s.ids[nameKey{deploy.KindCluster, p.Deploy}]
		if !ok {
			continue
		}
		news := s.replicas[newID]
		if len(news) == 0 {
			found = append(found, deploy.Finding{
				Object:   "cluster " + p.Deploy,
				Sentence: "It has no replica: nothing can hydrate on it and every query would be refused.",
				Remedy:   []string{"ALTER CLUSTER " + quoteIdent(p.Deploy) + " SET (REPLICATION FACTOR 1)"},
			})
			continue
		}
		oldID, ok := s.ids[nameKey{deploy.KindCluster, p.Live}]
		if !ok || oldID == newID {
			continue
		}
		olds := s.replicas[oldID]
		switch {
		case len(news) < len(olds):
			found = append(found, deploy.Finding{
				Severity: deploy.Warn,
				Object:   "cluster " + p.Deploy,
				Sentence: fmt.Sprintf("It has %d replicas where %s has %d: less protection after the swap.", len(news), p.Live, len(olds)),
				Remedy:   []string{fmt.Sprintf("ALTER CLUSTER %s SET (REPLICATION FACTOR %d)", quoteIdent(p.Deploy), len(olds))},
			})
		case !slices.Equal(sizes(news), sizes(olds)):
			found = append(found, deploy.Finding{
				Severity: deploy.Warn,
				Object:   "cluster " + p.Deploy,
				Sentence: fmt.Sprintf("Its replicas are of size %s where those of %s are of size %s.",
					strings.Join(sizes(news), ", "), p.Live, strings.Join(sizes(olds), ", ")),
			})
		}
	}
	return found
}

func sizes(replicas []replica) []string {
	list := make([]string, len(replicas))
	for i, r := range replicas {
		list[i] = r.size
	}
	slices.Sort(list)
	return list
}

// misplaced is P13: an object of the new version on a cluster that does not move with
// it. A deployment without cluster pairs shares its clusters on purpose.
func (s *snapshot) misplaced() []deploy.Finding {
	if len(s.spec.Clusters) == 0 {
		return nil
	}
	old, next := s.oldSide(), s.newSide()
	var found []deploy.Finding
	for _, id := range s.graph.order {
		o := s.graph.objects[id]
		if !next.has(o) || o.clusterID == "" || next.clusters[o.clusterID] {
			continue
		}
		if next.objects[o.id] && !old.clusters[o.clusterID] {
			continue // paired by itself, it stays where it is
		}
		sentence := fmt.Sprintf("It runs on cluster %s, which is in no pair of this deployment.", o.cluster)
		if old.clusters[o.clusterID] {
			sentence = fmt.Sprintf("It runs on the live cluster %s: dropping that cluster after the swap would drop it.", o.cluster)
		}
		found = append(found, deploy.Finding{
			Object:   kindOf(o) + " " + o.qualified(s.spec.Database),
			Sentence: sentence + " Build it on a deploy cluster.",
		})
	}
	return found
}
