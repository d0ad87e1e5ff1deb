package mz

import (
	"context"
	"fmt"
	"strings"

	"mzcanary/deploy"
)

// finding is a deploy.Finding in the making.
type finding deploy.Finding

// mendedBy completes a finding whose remedy is one right.
func (f finding) mendedBy(g deploy.Grant, s *snapshot) deploy.Finding {
	g.Text = s.dialect.grant(s.spec.Database, g, g.On.Name)
	f.Remedy, f.Grant = []string{g.Text}, &g
	return deploy.Finding(f)
}

// grant and revoke print the statements for a right on what has this name now.
func (d dialect) grant(database string, g deploy.Grant, name string) string {
	return "GRANT " + d.right(database, g, name) + " TO " + grantee(g)
}

func (d dialect) revoke(database string, g deploy.Grant, name string) string {
	return "REVOKE " + d.right(database, g, name) + " FROM " + grantee(g)
}

func grantee(g deploy.Grant) string {
	if g.To == "" {
		return "PUBLIC"
	}
	return quoteIdent(g.To)
}

func (d dialect) right(database string, g deploy.Grant, name string) string {
	if g.On.Kind == deploy.KindRole {
		return quoteIdent(name)
	}
	on := strings.ToUpper(string(g.On.Kind)) + " " + quoteIdent(name)
	switch g.On.Kind {
	case deploy.KindSchema:
		on = "SCHEMA " + d.schema(database, name)
	case deploy.KindObject: // TABLE stands for everything that can be read
		schema, bare, _ := strings.Cut(name, ".")
		on = "TABLE " + d.schema(database, schema) + "." + quoteIdent(bare)
	}
	return g.Privilege + " ON " + on
}

// Grant gives rights one by one. Names are insisted on by id, like everything else
// that is changed.
func (w *Warehouse) Grant(ctx context.Context, database string, grants []deploy.Grant) (int, error) {
	for i, g := range grants {
		if g.On.ID != "" {
			gone, err := w.insist(ctx, database, g.On)
			if err == nil && gone {
				err = fmt.Errorf("%w: %s %s is gone", deploy.ErrChanged, g.On.Kind, g.On.Name)
			}
			if err != nil {
				return i, err
			}
		}
		if err := w.change(ctx, w.dialect.grant(database, g, g.On.Name), tagOf("GRANT", g)); err != nil {
			return i, err
		}
	}
	return len(grants), nil
}

// Revoke takes rights away from what has the recorded id now, whatever its name.
// Contents that are gone have lost their rights with them.
func (w *Warehouse) Revoke(ctx context.Context, database string, grants []deploy.Grant) error {
	for _, g := range grants {
		name, err := w.nameNow(ctx, database, g.On)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		if err := w.change(ctx, w.dialect.revoke(database, g, name), tagOf("REVOKE", g)); err != nil {
			return err
		}
	}
	return nil
}

func tagOf(verb string, g deploy.Grant) string {
	if g.On.Kind == deploy.KindRole {
		return verb + " ROLE"
	}
	return verb
}

// nameNow finds the name that stands for an id; "" when it is gone. What is addressed
// by name keeps it.
func (w *Warehouse) nameNow(ctx context.Context, database string, ref deploy.Ref) (string, error) {
	if ref.ID == "" {
		return ref.Name, nil
	}
	if ref.Kind == deploy.KindObject {
		items, err := w.itemsOf(ctx, database)
		for name, it := range items {
			if it.id == ref.ID {
				return name, err
			}
		}
		return "", err
	}
	ids, err := w.namesOf(ctx, database)
	for key, id := range ids {
		if key.kind == ref.Kind && id == ref.ID {
			return key.name, err
		}
	}
	return "", err
}
