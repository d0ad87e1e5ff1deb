package mz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// object is one user object of the catalog.
type object struct {
	id, name, kind   string
	schemaID, schema string
	database         string
	clusterID        string // "" for what runs nowhere, as a view
	cluster          string
	ownerID          string
	on               string // id of the relation an index is on
}

// qualified is the name as people write it; the database only where it is another.
func (o *object) qualified(database string) string {
	name := o.schema + "." + o.name
	if o.database != database {
		name = o.database + "." + name
	}
	return name
}

// graph is every user object and who reads whom.
type graph struct {
	objects map[string]*object
	order   []string            // ids in the order of names
	uses    map[string][]string // object → what it refers to
	usedBy  map[string][]string // object → what refers to it
}

// readGraph reads objects and dependencies.
func (w *Warehouse) readGraph(ctx context.Context) (*graph, error) {
	rows, err := w.read(ctx, "objects")
	if err != nil {
		return nil, err
	}
	g := &graph{objects: make(map[string]*object, len(rows)), uses: map[string][]string{}, usedBy: map[string][]string{}}
	for _, r := range rows {
		g.add(&object{
			id: r.text(0), name: r.text(1), kind: r.text(2), schemaID: r.text(3), schema: r.text(4), database: r.text(5),
			clusterID: r.text(6), cluster: r.text(7), ownerID: r.text(8), on: r.text(9),
		})
	}
	if rows, err = w.read(ctx, "dependencies"); err != nil {
		return nil, err
	}
	for _, r := range rows {
		g.link(r.text(0), r.text(1))
	}
	return g, nil
}

func (g *graph) add(o *object) {
	g.objects[o.id] = o
	g.order = append(g.order, o.id)
	if o.on != "" {
		g.link(o.id, o.on)
	}
}

func (g *graph) link(from, to string) {
	if !slices.Contains(g.uses[from], to) {
		g.uses[from] = append(g.uses[from], to)
		g.usedBy[to] = append(g.usedBy[to], from)
	}
}

// reach walks edges from the objects that start accepts and returns, for everything
// met, the object of the start it was met from. The start itself is included.
func (g *graph) reach(edges map[string][]string, start func(*object) bool) map[string]string {
	from := map[string]string{}
	var queue []string
	for _, id := range g.order {
		if start(g.objects[id]) {
			from[id] = id
			queue = append(queue, id)
		}
	}
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		for _, next := range edges[id] {
			if _, seen := from[next]; !seen {
				from[next] = from[id]
				queue = append(queue, next)
			}
		}
	}
	return from
}

// Dependents lists what a drop of the schemas, clusters and single objects takes along
// although it lies in none of the schemas: objects bound to one of the clusters, and
// everything that reads, directly or through others, what is dropped.
func (w *Warehouse) Dependents(ctx context.Context, database string, refs []deploy.Ref) ([]deploy.Dependent, error) {
	if w.dialect.postgres() {
		return w.postgresDependents(ctx, refs)
	}
	g, err := w.readGraph(ctx)
	if err != nil {
		return nil, err
	}
	return g.dependents(database, refs), nil
}

func (g *graph) dependents(database string, refs []deploy.Ref) []deploy.Dependent {
	schemas, clusters, objects := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, r := range refs {
		switch r.Kind {
		case deploy.KindObject:
			objects[r.ID] = true
		case deploy.KindSchema:
			schemas[r.ID] = true
		case deploy.KindCluster:
			clusters[r.ID] = true
		}
	}
	dropped := g.reach(g.usedBy, func(o *object) bool {
		return objects[o.id] || schemas[o.schemaID] || o.clusterID != "" && clusters[o.clusterID]
	})
	var found []deploy.Dependent
	for _, id := range g.order {
		root, met := dropped[id]
		o := g.objects[id]
		if !met || schemas[o.schemaID] || objects[id] || o.on != "" && objects[o.on] {
			continue // an index goes with what it is on
		}
		d := deploy.Dependent{Kind: strings.ReplaceAll(o.kind, "-", " "), ID: id, Name: o.qualified(database)}
		if root == id {
			d.Reason = fmt.Sprintf("it runs on cluster %s", o.cluster)
		} else {
			d.Reason = fmt.Sprintf("it depends on %s %s", strings.ReplaceAll(g.objects[root].kind, "-", " "), g.objects[root].qualified(database))
		}
		found = append(found, d)
	}
	return found
}
