package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var deploymentName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// checkDeployment checks one entry by itself; checkAcross compares entries.
func checkDeployment(c *collector, cfg *Config, i int) {
	d, at := &cfg.Deployments[i], fmt.Sprintf("deployments[%d]", i)
	switch {
	case d.Name == "":
		c.add(at+".name", "", "is missing", "name the deployment, such as shop")
	case !deploymentName.MatchString(d.Name):
		c.add(at+".name", shown(d.Name), "cannot be a name here: it stands in paths, labels and file names",
			"begin with a letter, then letters, digits, _ and -, at most 63")
	}
	required(c, at+".database", d.Database, "name the database of the schemas, such as materialize")
	checkPairs(c, cfg, d, at)
	checkAccept(c, d, at)
	checkRouting(c, cfg, d, at+".routing")
	checkRollout(c, d, at+".rollout")
	checkPromote(c, d, at+".promote")
}

func checkPairs(c *collector, cfg *Config, d *Deployment, at string) {
	schemas, clusters, objects := at+".schemas", at+".clusters", at+".objects"
	if len(d.Schemas)+len(d.Clusters)+len(d.Objects) == 0 && c.ok(schemas, clusters, objects) {
		c.add(at, shown(d.Name), "has no pairs: there is nothing to release", "add schemas: [{live: prod, deploy: prod_deploy}]")
	}
	for j, pair := range d.Schemas {
		checkPair(c, cfg, pair, "schema", fmt.Sprintf("%s[%d]", schemas, j))
	}
	for j, pair := range d.Clusters {
		checkPair(c, cfg, pair, "cluster", fmt.Sprintf("%s[%d]", clusters, j))
	}
	if len(d.Clusters) > 0 && cfg.Upstream.Kind == KindPostgres && c.ok("upstream.kind") {
		c.add(clusters, "", "are given, and upstream.kind postgres has none", "write clusters: []")
	}
	for j, object := range d.Objects {
		checkObject(c, cfg, object, fmt.Sprintf("%s[%d]", objects, j))
	}
	if len(d.Objects) > 0 {
		if len(d.Schemas)+len(d.Clusters) == 0 && c.ok(schemas, clusters, at+".rollout.plan") && d.Rollout.Plan.SendsTraffic() {
			c.add(at+".rollout.plan", d.Rollout.Plan.Name, "sends traffic to the canary, and pairs of objects cannot be told apart by search_path: promote only",
				"use plan: all-at-once, or steps that approve at weight 0")
		}
		if cfg.Upstream.Kind == KindPostgres && c.ok("upstream.kind") {
			c.add(objects, "", "are given, and upstream.kind postgres pairs schemas only", "write objects: []")
		}
		checkObjectSchemas(c, d, objects)
	}
}

// checkObjectSchemas: objects of a schema that is itself exchanged would be renamed in
// whichever version has the name at that moment.
func checkObjectSchemas(c *collector, d *Deployment, at string) {
	for j, object := range d.Objects {
		schema, _, _ := strings.Cut(object.Live, ".")
		for _, p := range d.Schemas {
			if schema != "" && (schema == p.Live || schema == p.Deploy) {
				c.add(fmt.Sprintf("%s[%d].live", at, j), shown(object.Live), "lies in schema "+schema+", which is exchanged as a whole",
					"pair the schema or the object, not both")
			}
		}
	}
}

// roomForSuffix is what a name gets appended while it is retired or rejected:
// _rejected_ and the rollout's id.
const roomForSuffix = len("_rejected_r123456")

func checkPair(c *collector, cfg *Config, pair Pair, what, at string) {
	checkIdentifier(c, cfg, pair.Live, what, at+".live", "prod")
	checkIdentifier(c, cfg, pair.Deploy, what, at+".deploy", "prod_deploy")
	checkRoom(c, cfg, pair.Deploy, at+".deploy")
	if pair.Live == pair.Deploy && pair.Live != "" && c.ok(at+".live", at+".deploy") {
		c.add(at, shown(pair.Live), "names the same "+what+" as live and as deploy", "build the new version under a name of its own, such as "+pair.Live+"_deploy")
	}
}

// longestName is how many bytes a name may have.
func longestName(cfg *Config) int {
	if cfg.Upstream.Kind == KindPostgres {
		return 63
	}
	return 255
}

// checkRoom refuses a deploy name that could not be retired.
func checkRoom(c *collector, cfg *Config, name, path string) {
	if limit := longestName(cfg); c.ok(path) && len(name)+roomForSuffix > limit {
		c.add(path, shown(name), fmt.Sprintf("leaves no room for _retired_<rollout id> within the %d bytes a name may have", limit),
			fmt.Sprintf("use a name of at most %d bytes", limit-roomForSuffix))
	}
}

// checkIdentifier refuses what cannot be the name of a schema or cluster of a user.
func checkIdentifier(c *collector, cfg *Config, name, what, path, example string) {
	limit := longestName(cfg)
	switch {
	case name == "":
		c.add(path, "", "is missing", "name a "+what+", such as "+example)
	case len(name) > limit:
		c.add(path, shown(name), fmt.Sprintf("is longer than the %d bytes a name may have", limit), "use the name as the server shows it")
	case strings.TrimSpace(name) != name:
		c.add(path, shown(name), "begins or ends with a space", "use the name as the server shows it")
	case strings.HasPrefix(name, "pg_") || strings.HasPrefix(name, "mz_") || name == "information_schema":
		c.add(path, shown(name), "belongs to the server", "name a "+what+" of your own")
	}
}

func checkObject(c *collector, cfg *Config, object ObjectPair, at string) {
	if object.Kind == "" {
		c.add(at+".kind", "", "is missing", "use "+alternatives(object.Kind.values()))
	}
	for _, side := range []struct{ key, name string }{{"live", object.Live}, {"deploy", object.Deploy}} {
		schema, name, ok := strings.Cut(side.name, ".")
		if !ok || schema == "" || name == "" || strings.ContainsRune(name, '.') {
			c.add(at+"."+side.key, shown(side.name), "is not schema.object", "write it as in prod.bids")
		}
	}
	liveSchema, _, _ := strings.Cut(object.Live, ".")
	if schema, name, _ := strings.Cut(object.Deploy, "."); c.ok(at+".live", at+".deploy") {
		if schema != liveSchema {
			c.add(at+".deploy", shown(object.Deploy), "lies in another schema than "+object.Live+": a rename stays inside its schema", "build it as "+liveSchema+"."+name)
		}
		checkRoom(c, cfg, name, at+".deploy")
	}
	if object.Live == object.Deploy && c.ok(at+".live", at+".deploy") {
		c.add(at, shown(object.Live), "names the same object as live and as deploy", "give the new version a name of its own")
	}
}

// checkAccept knows the findings that may be accepted: by word, or with an object.
func checkAccept(c *collector, d *Deployment, at string) {
	for j, entry := range d.Accept {
		path := fmt.Sprintf("%s.accept[%d]", at, j)
		word, object, _ := strings.Cut(entry, ":")
		switch {
		case entry == "shape-change":
		case (word == "missing" || word == "dependent") && object != "":
		case word == "missing" || word == "dependent":
			c.add(path, shown(entry), "names no object", "write "+word+":schema.object")
		default:
			remedy := "use shape-change, missing:schema.object or dependent:schema.object"
			if near := nearest(word, []string{"shape-change", "missing", "dependent"}); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			c.add(path, shown(entry), "is no finding that can be accepted", remedy)
		}
		if slices.Contains(d.Accept[:j], entry) {
			c.add(path, shown(entry), "is listed twice", "keep one of the two")
		}
	}
}

func checkRollout(c *collector, d *Deployment, at string) {
	r := &d.Rollout
	if len(r.Plan.Steps) == 0 {
		c.add(at+".plan", "", "has no steps", "name a preset, such as canary-10-5m")
	}
	const evidence = "no data is not healthy: ask for one or more"
	atLeastOne(c, at+".minimum.units", r.Minimum.Units, evidence)
	atLeastOne(c, at+".minimum.exchanges", r.Minimum.Exchanges, evidence)

	ready := at + ".ready"
	above(c, ready+".max_lag", r.Ready.MaxLag, "5s")
	above(c, ready+".within", r.Ready.Within, "1h")
	above(c, ready+".poll", r.Ready.Poll, "5s")
	above(c, ready+".probe", r.Ready.Probe, "5s")
	atLeastOne(c, ready+".consecutive", r.Ready.Consecutive, "ask for one good sample or more, such as 3")
	if c.ok(ready+".within", ready+".poll", ready+".consecutive") {
		// The first sample is taken at once; division, because a product may overflow.
		if intervals := r.Ready.Within / r.Ready.Poll; intervals < time.Duration(r.Ready.Consecutive)-1 {
			c.add(ready+".within", formatDuration(r.Ready.Within),
				fmt.Sprintf("is too short for %d samples %s apart", r.Ready.Consecutive, formatDuration(r.Ready.Poll)),
				"wait longer, or poll more often")
		}
	}
	if r.Judge.Alpha <= 0 || r.Judge.Alpha > 0.5 {
		c.add(at+".judge.alpha", fmt.Sprint(r.Judge.Alpha), "is not above 0 and at most 0.5", "write the chance of a false regress per rollout, such as 0.01")
	}
}

const maxReleaseSpread = time.Second

func checkPromote(c *collector, d *Deployment, at string) {
	p := &d.Promote
	above(c, at+".gather", p.Gather, "1s")
	above(c, at+".max_stall", p.MaxStall, "5s")
	if p.Gather >= p.MaxStall && c.ok(at+".gather", at+".max_stall") {
		c.add(at+".gather", formatDuration(p.Gather), "leaves no time to commit within max_stall, "+formatDuration(p.MaxStall),
			"gather for less, or raise promote.max_stall")
	}
	if p.ReleaseSpread < 0 || p.ReleaseSpread > maxReleaseSpread {
		c.add(at+".release_spread", formatDuration(p.ReleaseSpread), "is not between 0s and "+formatDuration(maxReleaseSpread),
			"write a few milliseconds, such as 10ms: it is added to the stall of the last session")
	}
	atLeastOne(c, at+".attempts", p.Attempts, "allow one attempt or more, such as 5")
}
