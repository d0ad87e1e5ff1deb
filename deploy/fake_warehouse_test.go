package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"mzcanary/router"
)

// Warehouse.

type fakeWarehouse struct{ l *life }

func (f fakeWarehouse) Server(context.Context) (info ServerInfo, err error) {
	err = f.l.read("server", func() { info = f.l.w.server })
	return info, err
}

func (f fakeWarehouse) Identify(_ context.Context, _ string, names []Ref) (out []Ref, err error) {
	err = f.l.read("identify", func() {
		for _, n := range names {
			id := f.l.w.names[n.Kind][n.Name]
			if f.l.w.takes != "" && strings.Contains(n.Name, f.l.w.takes) {
				id = "u99"
			}
			if id != "" {
				out = append(out, Ref{Kind: n.Kind, Name: n.Name, ID: id})
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Preflight(context.Context, Spec, string) (out []Finding, err error) {
	err = f.l.read("preflight", func() {
		out = slices.Clone(f.l.w.findings)
		for _, g := range f.l.w.missing {
			if !slices.Contains(f.l.w.given, g.Text) {
				out = append(out, Finding{Code: "P11", Severity: Refuse, Object: "schema prod_deploy", Sentence: "a right is missing", Remedy: []string{g.Text}, Grant: &g})
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Readiness(context.Context, Spec, ReadyOptions) (out Readiness, err error) {
	err = f.l.read("readiness", func() { out = f.l.w.ready() })
	return out, err
}

func (f fakeWarehouse) Mark(_ context.Context, _ string, marks []Mark) error {
	if f.l.w.waitsForMark != nil {
		<-f.l.w.waitsForMark
	}
	return f.l.ddl("mark", func() error {
		for _, m := range marks {
			f.l.w.marks[m.Ref.ID] = m
		}
		return nil
	})
}

func (f fakeWarehouse) Unmark(_ context.Context, _ string, refs []Ref) error {
	return f.l.ddl("unmark", func() error {
		for _, r := range refs {
			delete(f.l.w.marks, r.ID)
		}
		return nil
	})
}

func (f fakeWarehouse) Marks(context.Context, Spec) (out []Mark, err error) {
	err = f.l.read("marks", func() {
		for kind, names := range f.l.w.names {
			for name, id := range names {
				m, marked := f.l.w.marks[id]
				if rollout, retired := strings.CutPrefix(name, "prod_deploy_retired_"); !marked && retired {
					m, marked = Mark{Rollout: rollout, Side: "old"}, true
				}
				if marked {
					m.Ref = Ref{Kind: kind, Name: name, ID: id}
					out = append(out, m)
				}
			}
		}
	})
	return out, err
}

func (f fakeWarehouse) Grant(_ context.Context, _ string, grants []Grant) (n int, err error) {
	for _, g := range grants {
		err := f.l.ddl("grant "+g.Text, func() error {
			if g.Text == f.l.w.refuses {
				return errors.New("permission denied")
			}
			if !slices.Contains(f.l.w.given, g.Text) {
				f.l.w.given = append(f.l.w.given, g.Text)
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (f fakeWarehouse) Revoke(_ context.Context, _ string, grants []Grant) error {
	for _, g := range grants {
		err := f.l.ddl("revoke "+g.Text, func() error {
			f.l.w.given = slices.DeleteFunc(f.l.w.given, func(text string) bool { return text == g.Text })
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f fakeWarehouse) Prepare(_ context.Context, statements []string) (Prepared, error) {
	tx := &fakePrepared{l: f.l, statements: statements}
	err := f.l.act("prepare", func() error {
		w := f.l.w
		if w.down {
			return fmt.Errorf("connection refused: %w", ErrUnavailable)
		}
		if len(w.prepares) > 0 {
			err := w.prepares[0]
			w.prepares = w.prepares[1:]
			if err != nil {
				return err
			}
		}
		tx.revision = w.revision.Load()
		_, err := w.moved(statements)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tx, nil
}

func (f fakeWarehouse) BackendGone(context.Context, Backend) (gone bool, err error) {
	err = f.l.read("backend gone", func() {
		f.l.w.lingers--
		gone = f.l.w.lingers < 0 && len(f.l.w.inFlight) == 0
	})
	return gone, err
}

func (f fakeWarehouse) Barrier(_ context.Context, _ string, on Ref) error {
	<-time.After(time.Millisecond)
	return f.l.ddl("barrier", func() error {
		if f.l.w.names[on.Kind][on.Name] == "" {
			f.l.w.errorf("barrier on %s %s, which does not exist", on.Kind, on.Name)
		}
		return nil
	})
}

func (f fakeWarehouse) Dependents(context.Context, string, []Ref) (out []Dependent, err error) {
	err = f.l.read("dependents", func() { out = slices.Clone(f.l.w.deps) })
	return out, err
}

func (f fakeWarehouse) Subscriptions(context.Context, []Ref, []uint32) (out []Dependent, err error) {
	err = f.l.read("subscriptions", func() { out = slices.Clone(f.l.w.subs) })
	return out, err
}

func (f fakeWarehouse) Clusters(_ context.Context, refs []Ref) (out []StandbyCluster, err error) {
	err = f.l.read("clusters", func() {
		for _, r := range refs {
			if r.Kind == KindCluster && f.l.w.names[KindCluster][r.Name] == r.ID {
				out = append(out, StandbyCluster{ID: r.ID, Name: r.Name, Size: "25cc", Replicas: 2})
			}
		}
	})
	return out, errors.Join(err, f.l.w.refusesClusters)
}

func (f fakeWarehouse) Drop(_ context.Context, _ string, ref Ref) error {
	return f.l.ddl("drop "+string(ref.Kind)+" "+ref.Name, func() error {
		w := f.l.w
		switch is := w.names[ref.Kind][ref.Name]; is {
		case "":
			return nil
		case ref.ID:
		default:
			return ErrChanged
		}
		if w.news[ref.ID] != w.dropsNew {
			w.errorf("dropped %s %s (%s), which is not the version to go", ref.Kind, ref.Name, ref.ID)
		}
		delete(w.names[ref.Kind], ref.Name)
		delete(w.marks, ref.ID)
		return nil
	})
}

func (f fakeWarehouse) Foreign(context.Context, []uint32) (out map[string]int, err error) {
	err = f.l.read("foreign", func() { out = f.l.w.foreign })
	return out, err
}

type fakePrepared struct {
	l          *life
	statements []string
	revision   int64
}

func (p *fakePrepared) Backend() Backend { return Backend{Number: p.l.w.backend} }

func (p *fakePrepared) Rollback(context.Context) error {
	<-time.After(p.l.w.rollback)
	return p.l.act("rollback", func() error { return nil })
}

func (p *fakePrepared) Commit(ctx context.Context) (Outcome, error) {
	if p.l.w.waitsForCommit != nil {
		<-p.l.w.waitsForCommit
	}
	outcome, silent := Done, false
	p.l.w.mu.Lock()
	dead := p.l.dead
	if !dead && !p.l.w.held {
		p.l.w.errorf("COMMIT while the gates are open")
	}
	if !dead && p.l.w.routing.Canary != router.CanaryLive {
		p.l.w.errorf("COMMIT while the canary means %s", p.l.w.routing.Canary)
	}
	p.l.w.mu.Unlock()
	err := p.l.sent("commit", func() error {
		w := p.l.w
		fault := commitFault{outcome: Done, applied: true}
		if p.revision != w.revision.Load() {
			fault = commitFault{outcome: NotDone, err: ErrConflict}
		} else if len(w.commits) > 0 {
			fault, w.commits = w.commits[0], w.commits[1:]
		}
		if fault.applied {
			names, err := w.moved(p.statements)
			if err != nil {
				w.errorf("statements of the swap: %v", err)
			}
			w.names = names
			w.revision.Add(1)
		}
		outcome, silent = fault.outcome, fault.silent
		return fault.err
	})
	if silent {
		<-ctx.Done()
		return Unknown, ctx.Err()
	}
	if errors.Is(err, errDead) {
		return Unknown, err
	}
	return outcome, err
}

var alter = regexp.MustCompile(`^ALTER (SCHEMA|CLUSTER|VIEW) (?:"materialize"\.)?((?:"[^"]+"\.)?"[^"]+") (SWAP WITH|RENAME TO) "([^"]+)"$`)

// moved applies the statements to a copy of the names, as the server would.
func (w *world) moved(statements []string) (map[Kind]map[string]string, error) {
	out := map[Kind]map[string]string{}
	for k, names := range w.names {
		out[k] = maps.Clone(names)
	}
	for _, text := range statements {
		m := alter.FindStringSubmatch(strings.Replace(text, `"mart".`, "", 1))
		if m == nil {
			return nil, fmt.Errorf("the fake server cannot read %s", text)
		}
		kind, a, b := Kind(strings.ToLower(m[1])), strings.ReplaceAll(m[2], `"`, ""), m[4]
		if kind == "view" {
			schema, _ := splitQualified(a)
			kind, b = KindObject, schema+"."+b
		}
		names := out[kind]
		switch {
		case names[a] == "":
			return nil, fmt.Errorf("unknown %s %s", m[1], a)
		case m[3] == "SWAP WITH" && names[b] == "":
			return nil, fmt.Errorf("unknown %s %s", m[1], b)
		case m[3] == "SWAP WITH":
			names[a], names[b] = names[b], names[a]
		case names[b] != "":
			return nil, fmt.Errorf("%s %s already exists", m[1], b)
		default:
			names[b] = names[a]
			delete(names, a)
		}
	}
	return out, nil
}
