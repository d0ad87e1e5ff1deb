package deploy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// DirStore keeps journals in a directory: one file per deployment, one owner per
// directory. A file is replaced by writing another beside it, syncing that,
// renaming it over the old one, and syncing the directory; so there is always a
// whole one.
//
//	lock                      held while the program runs; says who holds it
//	<deployment>.json         the journal
//	history/<deployment>/<rollout>.json   records of rollouts that are over
//	.write-*                  a file being written; one that a crash left is removed by the next owner
type DirStore struct {
	dir   string
	lock  *os.File
	files files

	mu        sync.Mutex
	revisions map[string]uint64
}

var _ Store = (*DirStore)(nil)

// envelope is what stands in a file. The version is looked at before anything
// else, the checksum is of the journal's bytes as they stand.
type envelope struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Checksum string          `json:"checksum"`
	Journal  json.RawMessage `json:"journal"`
}

const journalFormat = "mzcanary-journal"

// OpenDir makes the directory if it is missing and takes its lock. The error is
// a *LockError when another process holds it.
func OpenDir(dir string) (*DirStore, error) {
	if err := os.MkdirAll(filepath.Join(dir, "history"), 0o700); err != nil {
		return nil, fmt.Errorf("state directory %s cannot be made: %w", dir, err)
	}
	lock, err := takeLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	if err := sweep(dir); err != nil { // ours alone now
		return nil, errors.Join(fmt.Errorf("state directory %s cannot be tidied: %w", dir, err), lock.Close())
	}
	return &DirStore{dir: dir, lock: lock, files: disk{}, revisions: make(map[string]uint64)}, nil
}

// Close gives the directory free.
func (d *DirStore) Close() error { return d.lock.Close() }

func (d *DirStore) file(deployment string) string { return journalFile(d.dir, deployment) }

func journalFile(dir, deployment string) string {
	return filepath.Join(dir, fileName(deployment)+".json")
}

// fileName makes any name one path element that is not hidden and not special.
func fileName(name string) string {
	return strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
}

// Load implements Store.
func (d *DirStore) Load(_ context.Context, deployment string) (*Journal, error) {
	j, err := ReadJournal(d.dir, deployment)
	if j == nil {
		return nil, err
	}
	d.mu.Lock()
	d.revisions[deployment] = j.Revision
	d.mu.Unlock()
	return j, nil
}

// ReadJournal reads a journal of a directory that somebody else may own, and
// distrusts it until its checksum agrees. It is nil when there is none.
func ReadJournal(dir, deployment string) (*Journal, error) {
	name := journalFile(dir, deployment)
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &JournalError{File: name, Why: "it cannot be read", Next: "make it readable and start again", Err: err}
	}
	var env envelope
	if err := json.Unmarshal(raw, &env); err != nil || env.Format != journalFormat {
		return nil, damaged(name, "it is not a whole journal", err)
	}
	if env.Version > JournalVersion {
		return nil, &JournalError{File: name, Why: fmt.Sprintf("it was written by a newer program (journal version %d, this program knows %d)", env.Version, JournalVersion),
			Next: "start the newer program, or move the file away once the rollout in it is over"}
	}
	if env.Checksum != checksum(env.Journal) {
		return nil, damaged(name, "its checksum does not agree", nil)
	}
	var j Journal
	if err := json.Unmarshal(env.Journal, &j); err != nil {
		return nil, damaged(name, "it does not read as a journal", err)
	}
	if j.State.Deployment != deployment {
		return nil, damaged(name, fmt.Sprintf("it belongs to deployment %q", j.State.Deployment), nil)
	}
	return &j, nil
}

func damaged(name, why string, err error) *JournalError {
	return &JournalError{File: name, Why: why, Err: err,
		Next: "put back a good copy, or compare the names on the server with what you expect, move the file away and start again"}
}

// Save writes the next revision.
func (d *DirStore) Save(_ context.Context, j Journal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := j.State.Deployment
	if want := d.revisions[name] + 1; j.Revision != want {
		return fmt.Errorf("journal %s is at revision %d, so the next is %d and not %d: somebody else writes it", d.file(name), want-1, want, j.Revision)
	}
	body, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("journal of %s cannot be encoded: %w", name, err)
	}
	raw, err := json.Marshal(envelope{Format: journalFormat, Version: JournalVersion, Checksum: checksum(body), Journal: body})
	if err != nil {
		return fmt.Errorf("journal of %s cannot be encoded: %w", name, err)
	}
	if err := replaceFile(d.files, d.file(name), raw); err != nil {
		return err
	}
	d.revisions[name] = j.Revision
	return nil
}

// Archive keeps a record; the same rollout's earlier one is replaced.
func (d *DirStore) Archive(_ context.Context, r Record) error {
	dir := filepath.Join(d.dir, "history", fileName(r.Deployment))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("history of %s cannot be kept: %w", r.Deployment, err)
	}
	if err := d.files.syncDir(filepath.Dir(dir)); err != nil { // it may be new
		return fmt.Errorf("history of %s cannot be kept: %w", r.Deployment, err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record of rollout %s cannot be encoded: %w", r.Rollout, err)
	}
	return replaceFile(d.files, filepath.Join(dir, fileName(r.Rollout)+".json"), raw)
}

// History reads the records of a deployment, newest first. Files that cannot be
// read are named in the error; the others are returned all the same.
func (d *DirStore) History(_ context.Context, deployment string) ([]Record, error) {
	dir := filepath.Join(d.dir, "history", fileName(deployment))
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history of %s cannot be read: %w", deployment, err)
	}
	var out []Record
	var bad error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		var r Record
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			err = json.Unmarshal(raw, &r)
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("record %s cannot be read: %w", filepath.Join(dir, e.Name()), err))
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Record) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.Rollout, a.Rollout))
	})
	return out, bad
}

// checksum is of the compact form, so that a journal that was only reformatted
// by hand still agrees.
func checksum(raw []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return ""
	}
	sum := sha256.Sum256(b.Bytes())
	return "sha256:" + hex.EncodeToString(sum[:])
}
