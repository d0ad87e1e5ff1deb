package deploy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// files is what replacing a file asks of the disk, one call per thing that can fail
// or be the last before the power goes.
type files interface {
	create(dir string) (file, error) // a new one under a name of its own
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// unfinished is the pattern of files that are being written.
const unfinished = ".write-*"

// replaceFile puts new contents under a name, whole or not at all: they are on the
// disk before they get the name, and the name is before this returns nil. After an
// error either contents may stand there.
func replaceFile(on files, name string, raw []byte) (err error) {
	dir := filepath.Dir(name)
	tmp, err := on.create(dir)
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s cannot be written: %w", name, err), ignoreGone(on.remove(tmp.Name())))
		}
	}()
	_, err = tmp.Write(raw)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err = on.rename(tmp.Name(), name); err != nil {
		return err
	}
	return on.syncDir(dir)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes what a process that died left half written.
func sweep(dir string) error {
	where := []string{dir}
	kept, err := os.ReadDir(filepath.Join(dir, "history"))
	for _, e := range kept {
		where = append(where, filepath.Join(dir, "history", e.Name()))
	}
	for _, dir := range where {
		entries, readErr := os.ReadDir(dir)
		err = errors.Join(err, readErr)
		for _, e := range entries {
			if left, _ := filepath.Match(unfinished, e.Name()); left { // the pattern is good
				err = errors.Join(err, ignoreGone(os.Remove(filepath.Join(dir, e.Name()))))
			}
		}
	}
	return err
}

// disk is the real one.
type disk struct{}

func (disk) create(dir string) (file, error) { return os.CreateTemp(dir, unfinished) }
func (disk) rename(from, to string) error    { return os.Rename(from, to) }
func (disk) remove(name string) error        { return os.Remove(name) }

// syncDir makes a rename last.
func (disk) syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
