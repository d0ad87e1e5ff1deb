package mz

import (
	"context"
	"strings"

	"mzcanary/deploy"
)

// Drop drops one schema or cluster with everything in it, or one object without
// CASCADE. There is no DROP by id, so the id behind the name is read immediately
// before; a name that is gone is what was wanted. A refusal is looked at once more: if
// the name is gone by then, somebody else was faster.
func (w *Warehouse) Drop(ctx context.Context, database string, ref deploy.Ref) error {
	gone, err := w.insist(ctx, database, ref)
	if err != nil || gone {
		return err
	}
	name, err := w.named(ctx, database, ref)
	if err != nil {
		return err
	}
	statement, tag := "DROP "+name, "DROP "+strings.ToUpper(string(ref.Kind))
	switch {
	case ref.Kind != deploy.KindObject:
		statement += " CASCADE"
	default:
		tag = name[:strings.IndexByte(name, '"')]
		tag = "DROP " + strings.TrimSpace(tag)
	}
	if ref.Kind == deploy.KindObject { // naming it took another reading
		if gone, err := w.insist(ctx, database, ref); err != nil || gone {
			return err
		}
	}
	err = w.change(ctx, statement, tag)
	if answered(err) == nil {
		return err
	}
	if gone, lookErr := w.insist(ctx, database, ref); lookErr == nil && gone {
		return nil
	}
	return err
}
