package mz

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mzcanary/deploy"
)

// A mark is appended to the comment of a schema, cluster or object, after one space
// if there is a text of the user's own:
//
//	the shop's data [mzcanary rollout=r7k3m2 phase=ramping deployment=shop side=old]
//
// Values are percent-encoded where they hold more than letters, digits and - _ . ~.
// What Barrier leaves has the same shape: [mzcanary barrier=4f1d]. Everything of this
// shape is ours, wherever it stands in the text; the rest is the user's.
const markStart = "[mzcanary "

func marksIn() *regexp.Regexp { return regexp.MustCompile(` ?\[mzcanary ([^\[\]]*)\]`) }

// formatMark prints a mark.
func formatMark(m deploy.Mark) string {
	return fmt.Sprintf("%srollout=%s phase=%s deployment=%s side=%s]", markStart,
		url.QueryEscape(m.Rollout), url.QueryEscape(m.Phase), url.QueryEscape(m.Spec), url.QueryEscape(m.Side))
}

// parseMark reads the last mark of a comment.
func parseMark(comment string) (m deploy.Mark, ok bool) {
	for _, match := range marksIn().FindAllStringSubmatch(comment, -1) {
		values := map[string]string{}
		for field := range strings.FieldsSeq(match[1]) {
			key, value, _ := strings.Cut(field, "=")
			if plain, err := url.QueryUnescape(value); err == nil {
				values[key] = plain
			}
		}
		if values["rollout"] == "" {
			continue
		}
		ok = true
		m = deploy.Mark{Rollout: values["rollout"], Phase: values["phase"], Spec: values["deployment"], Side: values["side"]}
	}
	return m, ok
}

// ownText is the comment without anything of ours.
func ownText(comment string) string { return marksIn().ReplaceAllString(comment, "") }

// withMark appends a mark to the user's text.
func withMark(text, mark string) string {
	if text == "" {
		return mark
	}
	return text + " " + mark
}

// comment is the comment of one object, as read.
type comment struct {
	ref  deploy.Ref
	text string
}

// comments reads the comments of the schemas of a database and of all clusters; with
// items also those of objects.
func (w *Warehouse) comments(ctx context.Context, database string, items bool) ([]comment, error) {
	rows, err := w.read(ctx, "comments", database)
	if err != nil {
		return nil, err
	}
	var all []comment
	for _, r := range rows {
		all = append(all, comment{deploy.Ref{Kind: deploy.Kind(r.text(0)), Name: r.text(1), ID: r.text(2)}, r.text(3)})
	}
	if !items {
		return all, nil
	}
	named, err := w.itemsOf(ctx, database)
	if err != nil {
		return nil, err
	}
	nameOf := make(map[string]string, len(named))
	for name, it := range named {
		nameOf[it.id] = name
	}
	if rows, err = w.read(ctx, "item_comments", database); err != nil {
		return nil, err
	}
	for _, r := range rows {
		all = append(all, comment{deploy.Ref{Kind: deploy.KindObject, Name: nameOf[r.text(0)], ID: r.text(0)}, r.text(1)})
	}
	return all, nil
}

// Mark writes the marks. An earlier mark of any rollout is replaced: preflight has
// refused a foreign one, or the operator took over. ErrChanged if a name no longer
// stands for the recorded id. Marks already equal are not written again, because
// every comment is a catalog change that makes open DDL transactions fail.
func (w *Warehouse) Mark(ctx context.Context, database string, marks []deploy.Mark) error {
	refs := make([]deploy.Ref, len(marks))
	for i, m := range marks {
		refs[i] = m.Ref
	}
	return w.recomment(ctx, database, refs, func(i int, old string) string {
		if had, ok := parseMark(old); ok && had.Rollout != marks[i].Rollout {
			w.log.Warn("replacing the mark of another rollout", "object", marks[i].Ref.Name, "rollout", had.Rollout)
		}
		return withMark(ownText(old), formatMark(marks[i]))
	})
}

// Unmark removes marks and what Barrier left, and restores the user's text. Names
// that are gone are passed over.
func (w *Warehouse) Unmark(ctx context.Context, database string, refs []deploy.Ref) error {
	ids, err := w.Identify(ctx, database, refs)
	if err != nil {
		return err
	}
	alive := slices.DeleteFunc(slices.Clone(refs), func(r deploy.Ref) bool {
		return !slices.ContainsFunc(ids, func(found deploy.Ref) bool { return found.Kind == r.Kind && found.Name == r.Name })
	})
	return w.recomment(ctx, database, alive, func(_ int, old string) string { return ownText(old) })
}

// recomment changes the comments of the objects behind refs.
func (w *Warehouse) recomment(ctx context.Context, database string, refs []deploy.Ref, change func(i int, old string) string) error {
	if len(refs) == 0 {
		return nil
	}
	found, err := w.Identify(ctx, database, refs)
	if err != nil {
		return err
	}
	old, err := w.comments(ctx, database, slices.ContainsFunc(refs, func(r deploy.Ref) bool { return r.Kind == deploy.KindObject }))
	if err != nil {
		return err
	}
	for i, ref := range refs {
		at := slices.IndexFunc(found, func(f deploy.Ref) bool { return f.Kind == ref.Kind && f.Name == ref.Name })
		if at < 0 || ref.ID != "" && found[at].ID != ref.ID {
			return fmt.Errorf("%w: marking %s %s (recorded id %s)", deploy.ErrChanged, ref.Kind, ref.Name, ref.ID)
		}
		was := ""
		if c := slices.IndexFunc(old, func(c comment) bool { return c.ref.Kind == ref.Kind && c.ref.ID == found[at].ID }); c >= 0 {
			was = old[c].text
		}
		if err := w.comment(ctx, database, ref, was, change(i, was)); err != nil {
			return err
		}
	}
	return nil
}

// comment writes one comment, unless it is as wanted.
func (w *Warehouse) comment(ctx context.Context, database string, ref deploy.Ref, was, want string) error {
	if was == want {
		return nil
	}
	keyword, name, err := w.named(ctx, database, ref)
	if err != nil {
		return err
	}
	text := "NULL"
	if want != "" {
		text = quoteText(want)
	}
	return w.change(ctx, "COMMENT ON "+keyword+" "+name+" IS "+text, "COMMENT")
}

// Marks finds marks on the names of the deployment's pairs and on everything named as
// one of its retired or rejected sides.
func (w *Warehouse) Marks(ctx context.Context, spec deploy.Spec) ([]deploy.Mark, error) {
	all, err := w.comments(ctx, spec.Database, len(spec.Objects) > 0)
	if err != nil {
		return nil, err
	}
	var marks []deploy.Mark
	for _, c := range all {
		if m, ok := parseMark(c.text); ok && belongs(spec, c.ref) {
			m.Ref = c.ref
			marks = append(marks, m)
		}
	}
	unmarked, err := w.retired(ctx, spec)
	for _, m := range unmarked {
		if !slices.ContainsFunc(marks, func(had deploy.Mark) bool { return had.Ref.Kind == m.Ref.Kind && had.Ref.ID == m.Ref.ID }) {
			marks = append(marks, m)
		}
	}
	return marks, err
}

// retired finds what stands under a retired name of the deployment. The name alone
// says of which rollout it is, and that it is the old version.
func (w *Warehouse) retired(ctx context.Context, spec deploy.Spec) ([]deploy.Mark, error) {
	ids, err := w.namesOf(ctx, spec.Database)
	if err != nil {
		return nil, err
	}
	var marks []deploy.Mark
	for key, id := range ids {
		for _, p := range (&snapshot{spec: spec}).pairs() {
			rollout, is := strings.CutPrefix(key.name, p.deploy+"_retired_")
			if is && p.kind == key.kind {
				marks = append(marks, deploy.Mark{Ref: deploy.Ref{Kind: key.kind, Name: key.name, ID: id}, Rollout: rollout, Spec: spec.Name, Side: "old"})
			}
		}
	}
	slices.SortFunc(marks, func(a, b deploy.Mark) int {
		return strings.Compare(a.Ref.Name+string(a.Ref.Kind), b.Ref.Name+string(b.Ref.Kind))
	})
	return marks, nil
}

// belongs says whether a name is one the deployment uses or has used.
func belongs(spec deploy.Spec, ref deploy.Ref) bool {
	switch ref.Kind {
	case deploy.KindObject:
		for _, p := range spec.Objects {
			if ref.Name == p.Live || ref.Name == p.Deploy || formerName(p.Deploy, ref.Name) {
				return true
			}
		}
		return false
	case deploy.KindCluster:
		for _, p := range spec.Clusters {
			if ref.Name == p.Live || ref.Name == p.Deploy || formerName(p.Deploy, ref.Name) {
				return true
			}
		}
		return false
	}
	for _, p := range spec.Schemas {
		if ref.Name == p.Live || ref.Name == p.Deploy || formerName(p.Deploy, ref.Name) {
			return true
		}
	}
	return false
}

// formerName says whether name is what a rollout leaves of a deploy name.
func formerName(deployName, name string) bool {
	return strings.HasPrefix(name, deployName+"_retired_") || strings.HasPrefix(name, deployName+"_rejected_")
}
