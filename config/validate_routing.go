package config

import (
	"fmt"
	"slices"
	"strings"
)

func checkRouting(c *collector, cfg *Config, d *Deployment, at string) {
	checkPins(c, d, at)
	checkDefaults(c, cfg, d, at+".defaults")
}

func checkPins(c *collector, d *Deployment, at string) {
	for j, pin := range d.Routing.Pins {
		path := fmt.Sprintf("%s.pins[%d]", at, j)
		if pin.Arm == "" {
			c.add(path+".arm", "", "is missing", "use stable or canary")
		}
		who := pin
		who.Arm = ""
		if who == (Pin{}) {
			c.add(path, "", "says nobody to pin", "add user, application_name or database")
			continue
		}
		for k, earlier := range d.Routing.Pins[:j] {
			arm := earlier.Arm
			if earlier.Arm = ""; earlier != who {
				continue
			}
			problem := fmt.Sprintf("says the same as pins[%d]", k)
			if arm != pin.Arm {
				problem = fmt.Sprintf("contradicts pins[%d], which puts the same sessions on %s", k, arm)
			}
			c.add(path, pin.String(), problem, "keep one of the two")
		}
	}
}

// String is the pin as it is written.
func (p Pin) String() string {
	var parts []string
	for _, part := range []struct{ key, value string }{
		{"user", p.User}, {"application_name", p.ApplicationName}, {"database", p.Database}, {"arm", string(p.Arm)},
	} {
		if part.value != "" {
			parts = append(parts, part.key+": "+shown(part.value))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// checkDefaults asks that settings for clients without any carry live names of this
// deployment: else they would manage nobody.
func checkDefaults(c *collector, cfg *Config, d *Deployment, at string) {
	if d.Routing.Defaults.Empty() {
		return
	}
	path, cluster := d.Routing.Defaults.SearchPath, d.Routing.Defaults.Cluster
	if cluster != "" && cfg.Upstream.Kind == KindPostgres && c.ok("upstream.kind") {
		c.add(at+".cluster", shown(cluster), "is given, and upstream.kind postgres has no clusters", "leave it out")
	}
	wrongNames := false
	for j, name := range path {
		wrongNames = wrongNames || name == "" || hasDeploy(d.Schemas, name)
		switch {
		case name == "":
			c.add(fmt.Sprintf("%s.search_path[%d]", at, j), "", "is empty", "name a schema")
		case hasDeploy(d.Schemas, name):
			c.add(fmt.Sprintf("%s.search_path[%d]", at, j), shown(name), "is a deploy name", "use live names: the canary arm is chosen by the weight")
		}
	}
	if hasDeploy(d.Clusters, cluster) {
		c.add(at+".cluster", shown(cluster), "is a deploy name", "use the live name: the canary arm is chosen by the weight")
	}
	if live := liveNames(d.Schemas); len(live) > 0 && !wrongNames && c.ok(at+".search_path") && !slices.ContainsFunc(path, func(name string) bool { return slices.Contains(live, name) }) {
		c.add(at+".search_path", "", "carries no live schema of this deployment", "name one of "+strings.Join(live, ", "))
	}
	if live := liveNames(d.Clusters); len(live) > 0 && c.ok(at+".cluster") && !slices.Contains(live, cluster) {
		c.add(at+".cluster", shown(cluster), "is no live cluster of this deployment", "use "+alternatives(live))
	}
}

func liveNames(pairs []Pair) []string {
	var names []string
	for _, pair := range pairs {
		if pair.Live != "" {
			names = append(names, pair.Live)
		}
	}
	return names
}

func hasDeploy(pairs []Pair, name string) bool {
	return name != "" && slices.ContainsFunc(pairs, func(p Pair) bool { return p.Deploy == name })
}

// checkAcross compares deployments: a name belongs to one pair of one deployment.
// Schemas are told apart by their database, clusters belong to the whole server.
func checkAcross(c *collector, cfg *Config) {
	deployments, names := map[string]string{}, map[string]string{}
	defaults := map[string]string{} // by database
	for i := range cfg.Deployments {
		d, at := &cfg.Deployments[i], fmt.Sprintf("deployments[%d]", i)
		if first, ok := deployments[d.Name]; ok && d.Name != "" {
			c.add(at+".name", shown(d.Name), "is the name of "+first+" too", "give each deployment a name of its own")
		} else {
			deployments[d.Name] = at
		}
		for j, pair := range d.Schemas {
			claim(c, names, "schema "+d.Database+".", pair, fmt.Sprintf("%s.schemas[%d]", at, j))
		}
		for j, pair := range d.Clusters {
			claim(c, names, "cluster ", pair, fmt.Sprintf("%s.clusters[%d]", at, j))
		}
		for j, pair := range d.Objects {
			claim(c, names, "object "+d.Database+".", Pair{Live: pair.Live, Deploy: pair.Deploy}, fmt.Sprintf("%s.objects[%d]", at, j))
		}
		if d.Routing.Defaults.Empty() {
			continue
		}
		if first, ok := defaults[d.Database]; ok {
			c.add(at+".routing.defaults", "", "manages the clients that ask for nothing, as "+first+" does", "let one deployment of a database do that")
		} else {
			defaults[d.Database] = at
		}
	}
}

// claim records who has a name, and reports a second owner. Within one pair the two
// names being equal is reported by checkPair.
func claim(c *collector, names map[string]string, what string, pair Pair, at string) {
	for _, side := range []struct{ key, name string }{{"live", pair.Live}, {"deploy", pair.Deploy}} {
		if side.name == "" {
			continue
		}
		owner, taken := names[what+side.name]
		switch {
		case !taken:
			names[what+side.name] = at
		case owner != at:
			c.add(at+"."+side.key, shown(side.name), "is a name of "+owner+" too", "a name stands in one pair of one deployment: release them together, or rename one")
		}
	}
}
