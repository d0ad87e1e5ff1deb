package mz

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"

	"mzcanary/deploy"
)

// Barrier commits a change of a comment, so that any DDL transaction that is still
// open must fail with 40001. The text must really change: a comment equal to the one
// that is there is no catalog change. The trace is taken out again; when that fails,
// Unmark or the next Mark does it, and the barrier stands all the same.
//
// Without a recorded id whatever has the name will do: while it is open which version
// that is, either is ours.
//
// PostgreSQL has no such rule. There the end of the lost session (BackendGone) is
// the proof, and Barrier only proves that the server takes changes.
func (w *Warehouse) Barrier(ctx context.Context, database string, on deploy.Ref) error {
	found, err := w.Identify(ctx, database, []deploy.Ref{on})
	if err != nil {
		return err
	}
	if len(found) == 0 || on.ID != "" && found[0].ID != on.ID {
		return fmt.Errorf("%w: a barrier on %s %s, recorded id %q", deploy.ErrChanged, on.Kind, on.Name, on.ID)
	}
	on = found[0]
	all, err := w.comments(ctx, database, on.Kind == deploy.KindObject)
	if err != nil {
		return err
	}
	was := ""
	if i := slices.IndexFunc(all, func(c comment) bool { return c.ref.Kind == on.Kind && c.ref.ID == on.ID }); i >= 0 {
		was = all[i].text
	}
	var nonce [6]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("making a barrier: %w", err)
	}
	trace := withMark(was, markStart+"barrier="+hex.EncodeToString(nonce[:])+"]")
	if err := w.comment(ctx, database, on, was, trace); err != nil {
		return err
	}
	if err := w.comment(ctx, database, on, trace, was); err != nil {
		w.log.Warn("the barrier stands, but its trace is still in the comment", "object", on.Name, "error", err)
	}
	return nil
}
