package deploy

import (
	"fmt"
	"slices"
	"strings"

	"mzcanary/router"
)

// Statements are the exact SQL of a rollout, transaction control left out: each
// list is one transaction, except Cleanup, whose statements stand alone.
type Statements struct {
	Promote  []string
	SwapBack []string
	Cleanup  []string
}

// Dialects, as ServerInfo.Kind says them.
const (
	KindMaterialize = "materialize"
	KindPostgres    = "postgres"
)

// RetiredName is where the old version stands after a fenced swap.
func RetiredName(deploy, rollout string) string { return deploy + "_retired_" + rollout }

// RejectedName is where the new version stands after swapping back, when its
// deploy name was taken meanwhile.
func RejectedName(deploy, rollout string) string { return deploy + "_rejected_" + rollout }

// plainPairs lays out the pairs of a spec in the order of the swap: schemas,
// clusters, objects. Ids are not known yet.
func plainPairs(spec Spec, fence bool, rollout string) []PairState {
	var out []PairState
	add := func(kind Kind, typ, live, deploy string) {
		retired := deploy
		if fence {
			retired = RetiredName(deploy, rollout)
		}
		out = append(out, PairState{Kind: kind, Type: typ, Live: live, Deploy: deploy, Retired: retired, Rejected: deploy})
	}
	for _, p := range spec.Schemas {
		add(KindSchema, "", p.Live, p.Deploy)
	}
	for _, p := range spec.Clusters {
		add(KindCluster, "", p.Live, p.Deploy)
	}
	for _, p := range spec.Objects {
		add(KindObject, p.Type, p.Live, p.Deploy)
	}
	return out
}

// Exchange lists the statements that exchange the pairs of a spec by its method,
// without a fence, for a trial.
func Exchange(spec Spec, kind string) ([]string, error) {
	method := spec.Method
	if method == "" {
		method = MethodSwap
	}
	return dialect{kind: kind, database: spec.Database}.promote(plainPairs(spec, false, "trial"), method, "trial")
}

// dialect writes names the way one server wants them.
type dialect struct {
	kind     string
	database string
}

// promote lists the statements that exchange every pair, and fence it.
//
// SWAP is three renames to the server, SWAP and fence four; renaming into the
// fenced state takes two per pair. Without a fence renames need the chain through
// a temporary name, which is what SWAP does by itself.
func (d dialect) promote(pairs []PairState, method, rollout string) ([]string, error) {
	return d.exchange(pairs, method, rollout, func(p PairState) (string, string, string) { return p.Live, p.Deploy, p.Retired })
}

// swapBack lists the statements that give the live names back to the old version
// and put the new one under its rejected name.
func (d dialect) swapBack(pairs []PairState, method, rollout string) ([]string, error) {
	return d.exchange(pairs, method, rollout, func(p PairState) (string, string, string) { return p.Live, p.Retired, p.Rejected })
}

// exchange moves what stands under other to live, and what stood under live to
// aside (which is other itself when nothing is renamed out of the way).
func (d dialect) exchange(pairs []PairState, method, rollout string, names func(PairState) (live, other, aside string)) ([]string, error) {
	var swaps, fences []string
	for _, p := range pairs {
		live, other, aside := names(p)
		move := func(from, to string) (string, error) { return d.rename(p, from, to) }
		var steps [][2]string
		switch {
		case method == MethodSwap && d.kind != KindPostgres && p.Kind != KindObject:
			swaps = append(swaps, d.swap(p, live, other))
			if aside != other {
				text, err := move(other, aside)
				if err != nil {
					return nil, err
				}
				fences = append(fences, text)
			}
			continue
		case aside != other:
			steps = [][2]string{{live, aside}, {other, live}}
		default:
			temp := temporary(p, rollout)
			steps = [][2]string{{live, temp}, {other, live}, {temp, aside}}
		}
		for _, s := range steps {
			text, err := move(s[0], s[1])
			if err != nil {
				return nil, err
			}
			swaps = append(swaps, text)
		}
	}
	return append(swaps, fences...), nil
}

// temporary is the middle of a chain of renames. It carries the rollout's id, so
// nobody else can have it, and lies in the object's own schema.
func temporary(p PairState, rollout string) string { return p.Deploy + "_swap_" + rollout }

func (d dialect) swap(p PairState, a, b string) string {
	return "ALTER " + keyword(p) + " " + d.name(p, a) + " SWAP WITH " + router.QuoteIdent(b)
}

func (d dialect) rename(p PairState, from, to string) (string, error) {
	if p.Kind == KindObject {
		fromSchema, _ := splitQualified(from)
		toSchema, bare := splitQualified(to)
		if fromSchema != toSchema {
			return "", fmt.Errorf("%s %s cannot become %s: a rename stays inside its schema", p.Type, from, to)
		}
		to = bare
	}
	return "ALTER " + keyword(p) + " " + d.name(p, from) + " RENAME TO " + router.QuoteIdent(to), nil
}

// drops lists what cleanup drops, clusters first: dropping the schema first
// would leave indexes elsewhere on the cluster to be found by surprise.
func (d dialect) drops(pairs []PairState) []string {
	var out []string
	for _, p := range dropOrder(pairs) {
		text := "DROP " + keyword(p) + " " + d.name(p, p.Retired)
		if p.Kind != KindObject {
			text += " CASCADE"
		}
		out = append(out, text)
	}
	return out
}

// dropOrder is the order of cleanup: clusters, then indexes, then other objects from
// the last listed to the first, then schemas.
func dropOrder(pairs []PairState) []PairState {
	var out []PairState
	pick := func(is func(PairState) bool) {
		for _, p := range pairs {
			if is(p) {
				out = append(out, p)
			}
		}
	}
	pick(func(p PairState) bool { return p.Kind == KindCluster })
	pick(func(p PairState) bool { return p.Kind == KindObject && p.Type == "index" })
	indexes := len(out)
	pick(func(p PairState) bool { return p.Kind == KindObject && p.Type != "index" })
	slices.Reverse(out[indexes:]) // what reads is listed after what it reads
	pick(func(p PairState) bool { return p.Kind == KindSchema })
	return out
}

// name writes a name where the statement wants the whole of it. Materialize
// takes schemas with their database; PostgreSQL knows only its own database.
func (d dialect) name(p PairState, name string) string {
	switch p.Kind {
	case KindCluster:
		return router.QuoteIdent(name)
	case KindSchema:
		if d.kind == KindPostgres || d.database == "" {
			return router.QuoteIdent(name)
		}
		return router.QuoteIdent(d.database) + "." + router.QuoteIdent(name)
	}
	schema, bare := splitQualified(name)
	text := router.QuoteIdent(schema) + "." + router.QuoteIdent(bare)
	if d.kind == KindPostgres || d.database == "" {
		return text
	}
	return router.QuoteIdent(d.database) + "." + text
}

func keyword(p PairState) string {
	if p.Kind == KindObject {
		return strings.ToUpper(strings.ReplaceAll(p.Type, "-", " "))
	}
	return strings.ToUpper(string(p.Kind))
}

// splitQualified cuts "schema.name" at the first dot; names of objects in the
// configuration hold exactly one.
func splitQualified(name string) (schema, bare string) {
	schema, bare, _ = strings.Cut(name, ".")
	return schema, bare
}
