package deploy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// testDisk is the real disk with a list of what was asked of it, in order, and one
// call that fails. It does not wait for the platters.
type testDisk struct {
	disk
	calls []string
	fails string
	err   error
	// each, when set, hears of every call before it is made, and may forbid it.
	each func(call string) error
}

func (d *testDisk) call(name string) error {
	d.calls = append(d.calls, name)
	if d.each != nil {
		if err := d.each(name); err != nil {
			return err
		}
	}
	if name == d.fails {
		return d.err
	}
	return nil
}

func (d *testDisk) create(dir string) (file, error) {
	if err := d.call("create"); err != nil {
		return nil, err
	}
	f, err := d.disk.create(dir)
	return &testFile{file: f, d: d}, err
}

func (d *testDisk) rename(from, to string) error {
	if err := d.call("rename"); err != nil {
		return err
	}
	return d.disk.rename(from, to)
}

func (d *testDisk) remove(name string) error {
	if err := d.call("remove"); err != nil {
		return err
	}
	return d.disk.remove(name)
}

func (d *testDisk) syncDir(string) error { return d.call("syncdir") }

type testFile struct {
	file
	d *testDisk
}

func (f *testFile) Write(p []byte) (int, error) {
	if err := f.d.call("write"); err != nil {
		n, _ := f.file.Write(p[:len(p)/2]) // what a full disk took
		return n, err
	}
	return f.file.Write(p)
}

func (f *testFile) Sync() error { return f.d.call("sync") }

func (f *testFile) Close() error { return errors.Join(f.d.call("close"), f.file.Close()) }

// The bytes are on the disk before they get the journal's name, and the name is
// before anybody is told.
func TestTheOrderOfAWrite(t *testing.T) {
	on := &testDisk{}
	d := openDir(t, t.TempDir())
	d.files = on
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Fatal(err)
	}
	if want := []string{"create", "write", "sync", "close", "rename", "syncdir"}; !slices.Equal(on.calls, want) {
		t.Errorf("a save is %v, want %v", on.calls, want)
	}
	on.calls = nil
	if err := d.Archive(t.Context(), Record{Deployment: "shop", Rollout: "r1"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"syncdir", "create", "write", "sync", "close", "rename", "syncdir"}; !slices.Equal(on.calls, want) {
		t.Errorf("a record is %v, want %v", on.calls, want)
	}
}

// Whatever fails, the error names the file, one whole journal stands there, nothing
// half written is left, and the same save succeeds when the disk is well again.
func TestEveryFailureOfAWrite(t *testing.T) {
	for _, c := range []struct {
		fails string
		err   error
		is    uint64 // the revision that stands there afterwards
		left  int    // files half written
	}{
		{"create", syscall.EROFS, 1, 0},
		{"write", syscall.ENOSPC, 1, 0},
		{"sync", syscall.EIO, 1, 0},
		{"close", syscall.EDQUOT, 1, 0},
		{"rename", syscall.EACCES, 1, 0},
		{"syncdir", syscall.EIO, 2, 0},
	} {
		t.Run(c.fails, func(t *testing.T) {
			dir := t.TempDir()
			d := openDir(t, dir)
			if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
				t.Fatal(err)
			}
			on := &testDisk{fails: c.fails, err: c.err}
			d.files = on
			err := d.Save(t.Context(), someJournal("shop", 2))
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), "shop.json") {
				t.Fatalf("told %v", err)
			}
			if last := on.calls[len(on.calls)-1]; c.fails != "create" && last != "remove" || slices.Contains(on.calls[:len(on.calls)-1], "remove") {
				t.Errorf("after the failure: %v", on.calls)
			}
			again := openAgain(t, d, dir)
			if j, err := again.Load(t.Context(), "shop"); err != nil || j.Revision != c.is {
				t.Fatalf("what stands there: %+v, %v", j, err)
			}
			if left := leftovers(t, dir); len(left) != c.left {
				t.Errorf("left behind: %v", left)
			}
			if err := again.Save(t.Context(), someJournal("shop", c.is+1)); err != nil {
				t.Errorf("with the disk well again: %v", err)
			}
		})
	}
}

// The store that was told of a failure may say the same again.
func TestASaveThatFailedIsRepeated(t *testing.T) {
	d := openDir(t, t.TempDir())
	on := &testDisk{fails: "syncdir", err: syscall.EIO}
	d.files = on
	if err := d.Save(t.Context(), someJournal("shop", 1)); err == nil {
		t.Fatal("saved without a directory that was synced")
	}
	on.fails = ""
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Error(err)
	}
}

func openAgain(t *testing.T, d *DirStore, dir string) *DirStore {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return openDir(t, dir)
}

func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var left []string
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if ok, _ := filepath.Match(unfinished, filepath.Base(name)); ok {
			left = append(left, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// What a killed process left half written goes away with the next owner, and not
// before: a second process that is refused touches nothing.
func TestTheNextOwnerTidiesUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with [brackets]*")
	d := openDir(t, dir)
	if err := d.Archive(t.Context(), Record{Deployment: "shop", Rollout: "r1"}); err != nil {
		t.Fatal(err)
	}
	half := []string{filepath.Join(dir, ".write-123"), filepath.Join(dir, "history", "shop", ".write-456")}
	for _, name := range half {
		if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenDir(dir); err == nil {
		t.Fatal("two owners")
	}
	if left := leftovers(t, dir); len(left) != 2 {
		t.Errorf("somebody who does not own the directory tidied it: %v", left)
	}
	again := openAgain(t, d, dir)
	if left := leftovers(t, dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if h, err := again.History(t.Context(), "shop"); err != nil || len(h) != 1 {
		t.Errorf("history %v, %v", h, err)
	}
}

// asNobody runs f without the privilege to ignore permissions.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread() // the file system's idea of a user is a thread's
	if err := syscall.Setfsuid(nobody); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("cannot work as somebody else: %v", err)
	}
	defer func() {
		_ = syscall.Setfsuid(0) // else the locked thread dies with its goroutine
		runtime.UnlockOSThread()
	}()
	f()
}

// A directory that became read-only: the journal is read, nothing is written, and
// the message names the file. Without a lock nobody owns it.
func TestAReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		for _, name := range []string{"lock", "shop.json"} {
			if err := os.Chown(filepath.Join(dir, name), 65534, -1); err != nil {
				t.Skip(err)
			}
		}
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "history"), dir} {
		if err := os.Chmod(name, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(name, 0o755) })
	}
	asNobody(t, func() {
		d, err := OpenDir(dir)
		if err != nil {
			t.Errorf("opening: %v", err)
			return
		}
		defer d.Close()
		if j, err := d.Load(t.Context(), "shop"); err != nil || j.Revision != 1 {
			t.Errorf("loading: %+v, %v", j, err)
		}
		if err := d.Save(t.Context(), someJournal("shop", 2)); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "shop.json") {
			t.Errorf("saving: %v", err)
		}
		if err := d.Archive(t.Context(), Record{Deployment: "shop", Rollout: "r1"}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("archiving: %v", err)
		}
	})
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if _, err := os.Stat(filepath.Join(dir, "lock")); err == nil {
			return // it could not be removed
		}
		if _, err := OpenDir(dir); err == nil || !strings.Contains(err.Error(), "lock") {
			t.Errorf("owning a directory without a lock: %v", err)
		}
	})
}
