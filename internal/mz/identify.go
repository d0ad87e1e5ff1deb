package mz

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"mzcanary/deploy"
)

// Server reads what identifies the server process. ReadOnly is what the server said
// last when it was asked for a change; while the DDL connection is in use that answer
// is not renewed.
func (w *Warehouse) Server(ctx context.Context) (deploy.ServerInfo, error) {
	info := deploy.ServerInfo{Kind: w.cfg.Kind}
	rows, err := w.read(ctx, "server")
	if err != nil {
		return info, err
	}
	if len(rows) == 1 {
		if s, ok := rows[0].seconds(0); ok {
			whole, part := math.Modf(s)
			info.Started = time.Unix(int64(whole), int64(part*1e9)).UTC()
		}
	}
	if info.Version, err = w.version(ctx); err != nil {
		return info, err
	}
	if w.dialect.postgres() {
		info.ReadOnly = len(rows) == 1 && rows[0].yes(1)
		return info, nil
	}
	info.ReadOnly, err = w.takesNoDDL(ctx)
	return info, err
}

func (w *Warehouse) version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ReadTimeout)
	defer cancel()
	conn, _, err := w.reading.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer w.reading.release()
	return conn.pg.ParameterStatus(w.dialect.versionParameter()), nil
}

// takesNoDDL asks by a rename of nothing, which changes nothing anywhere, but which
// a generation that waits for its promotion refuses like any DDL. It is asked inside a
// transaction, where DDL does not wait in line behind that of others. Only a new
// connection is asked, or one that has said no before: a generation never goes back.
func (w *Warehouse) takesNoDDL(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.ReadTimeout)
	defer cancel()
	conn, held, err := w.ddl.tryAcquire(ctx)
	if err != nil {
		return false, err
	}
	if !held {
		return w.readOnly.Load(), nil
	}
	defer w.ddl.release()
	if conn.asked && !w.readOnly.Load() {
		return false, nil
	}
	for _, statement := range []string{"BEGIN", `ALTER CLUSTER IF EXISTS "mzcanary: no such cluster" RENAME TO "mzcanary: nor this"`, "ROLLBACK"} {
		_, err := conn.exec(ctx, statement)
		if err != nil && answered(err) == nil {
			return false, w.failed(ctx, "asking whether the server takes DDL", err)
		}
		if statement != "BEGIN" && statement != "ROLLBACK" {
			w.noteReadOnly(err)
		}
	}
	conn.asked = true
	return w.readOnly.Load(), nil
}

// Identify reads the ids behind names. A name that does not exist is absent from the
// answer; the order is that of the names.
func (w *Warehouse) Identify(ctx context.Context, database string, names []deploy.Ref) ([]deploy.Ref, error) {
	ids, err := w.namesOf(ctx, database)
	if err != nil {
		return nil, err
	}
	var items map[string]item
	for _, n := range names {
		if n.Kind == deploy.KindObject && items == nil {
			if items, err = w.itemsOf(ctx, database); err != nil {
				return nil, err
			}
		}
	}
	var found []deploy.Ref
	for _, n := range names {
		id, ok := ids[nameKey{n.Kind, n.Name}]
		if n.Kind == deploy.KindObject {
			var it item
			it, ok = items[n.Name]
			id = it.id
		}
		if ok {
			n.ID = id
			found = append(found, n)
		}
	}
	return found, nil
}

type nameKey struct {
	kind deploy.Kind
	name string
}

// namesOf reads the ids of the schemas of a database and of all clusters.
func (w *Warehouse) namesOf(ctx context.Context, database string) (map[nameKey]string, error) {
	rows, err := w.read(ctx, "names", database)
	if err != nil {
		return nil, err
	}
	ids := make(map[nameKey]string, len(rows))
	for _, r := range rows {
		ids[nameKey{deploy.Kind(r.text(0)), r.text(1)}] = r.text(2)
	}
	return ids, nil
}

// item is an object by its name within the database.
type item struct{ id, kind, schema, name string }

// itemsOf reads the objects of a database, keyed as pairs of objects are written:
// schema.name, without quotes.
func (w *Warehouse) itemsOf(ctx context.Context, database string) (map[string]item, error) {
	if w.dialect.postgres() {
		return nil, fmt.Errorf("%w: pairs of single objects on PostgreSQL", ErrUnsupported)
	}
	rows, err := w.read(ctx, "items", database)
	if err != nil {
		return nil, err
	}
	items := make(map[string]item, len(rows))
	for _, r := range rows {
		it := item{schema: r.text(0), name: r.text(1), id: r.text(2), kind: r.text(3)}
		items[it.schema+"."+it.name] = it
	}
	return items, nil
}

// insist reads the id behind one name and compares it with the recorded one. gone
// says that nobody has the name.
func (w *Warehouse) insist(ctx context.Context, database string, ref deploy.Ref) (gone bool, err error) {
	if ref.ID == "" {
		return false, fmt.Errorf("%w: no id was recorded for %s %s", deploy.ErrChanged, ref.Kind, ref.Name)
	}
	found, err := w.Identify(ctx, database, []deploy.Ref{ref})
	if err != nil {
		return false, err
	}
	if len(found) == 0 {
		return true, nil
	}
	if found[0].ID != ref.ID {
		return false, fmt.Errorf("%w: %s %s is now %s, recorded was %s", deploy.ErrChanged, ref.Kind, ref.Name, found[0].ID, ref.ID)
	}
	return false, nil
}

// named prints a ref for a statement: its keyword and its quoted name. Only for an
// object whose type is not recorded the catalog is asked.
func (w *Warehouse) named(ctx context.Context, database string, ref deploy.Ref) (keyword, name string, err error) {
	switch {
	case ref.Kind == deploy.KindSchema:
		return "SCHEMA", w.dialect.schema(database, ref.Name), nil
	case w.dialect.postgres():
		return "", "", fmt.Errorf("%w: %s %s on PostgreSQL", ErrUnsupported, ref.Kind, ref.Name)
	case ref.Kind == deploy.KindCluster:
		return "CLUSTER", quoteIdent(ref.Name), nil
	case ref.Kind != deploy.KindObject:
		return "", "", fmt.Errorf("%w: kind %q", ErrUnsupported, ref.Kind)
	}
	if ref.Type == "" {
		items, err := w.itemsOf(ctx, database)
		if err != nil {
			return "", "", err
		}
		if ref.Type = items[ref.Name].kind; ref.Type == "" {
			return "", "", fmt.Errorf("%w: object %s is gone", deploy.ErrChanged, ref.Name)
		}
	}
	schema, bare, _ := strings.Cut(ref.Name, ".")
	return strings.ToUpper(strings.ReplaceAll(ref.Type, "-", " ")),
		quoteIdent(database) + "." + quoteIdent(schema) + "." + quoteIdent(bare), nil
}
