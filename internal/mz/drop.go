package mz

import (
	"context"
	"fmt"

	"mzcanary/deploy"
)

// Drop drops one schema or cluster with everything in it, or one object, without
// CASCADE, whose type is recorded. There is no DROP by id, so the id behind the name
// is read immediately before; a name that is gone is what was wanted. A refusal is
// looked at once more: if the name is gone by then, somebody else was faster.
func (w *Warehouse) Drop(ctx context.Context, database string, ref deploy.Ref) error {
	if ref.Kind == deploy.KindObject && ref.Type == "" {
		return fmt.Errorf("%w: dropping object %s of unknown type", ErrUnsupported, ref.Name)
	}
	keyword, name, err := w.named(ctx, database, ref)
	if err != nil {
		return err
	}
	statement := "DROP " + keyword + " " + name
	if ref.Kind != deploy.KindObject {
		statement += " CASCADE"
	}
	gone, err := w.insist(ctx, database, ref)
	if err != nil || gone {
		return err
	}
	err = w.change(ctx, statement, "DROP "+keyword)
	if answered(err) == nil {
		return err
	}
	if gone, lookErr := w.insist(ctx, database, ref); lookErr == nil && gone {
		return nil
	}
	return err
}
