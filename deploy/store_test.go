package deploy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func openDir(t *testing.T, dir string) *DirStore {
	t.Helper()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func someJournal(name string, revision uint64) Journal {
	return Journal{Version: JournalVersion, Revision: revision, Saved: time.Unix(100, 0).UTC(), Spec: testSpec(), Plan: testPlan(),
		State: State{Deployment: name, Rollout: "r1", Phase: PhaseRamping, Weight: 500, Pairs: plainPairs(testSpec(), true, "r1"),
			Started: time.Unix(50, 0).UTC(), Entered: time.Unix(60, 0).UTC(), Ready: ReadyState{Last: &Readiness{Ready: true, At: time.Unix(70, 0).UTC()}}}}
}

func TestJournalComesBackEqual(t *testing.T) {
	for _, name := range []string{"shop", "Shop", "a/b", "..", ".hidden", "mit Leerzeichen"} {
		dir := t.TempDir()
		d := openDir(t, dir)
		if j, err := d.Load(t.Context(), name); j != nil || err != nil {
			t.Fatalf("%q: a journal out of nothing: %+v, %v", name, j, err)
		}
		for rev := uint64(1); rev <= 3; rev++ {
			if err := d.Save(t.Context(), someJournal(name, rev)); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
		got, err := d.Load(t.Context(), name)
		if err != nil || !reflect.DeepEqual(*got, someJournal(name, 3)) {
			t.Errorf("%q came back as %+v, %v", name, got, err)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, ".write-*")); len(files) > 0 {
			t.Errorf("left behind: %v", files)
		}
	}
}

func TestJournalRefusesAnotherWriter(t *testing.T) {
	d := openDir(t, t.TempDir())
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Fatal(err)
	}
	for _, rev := range []uint64{0, 1, 3} {
		if err := d.Save(t.Context(), someJournal("shop", rev)); err == nil {
			t.Errorf("revision %d was written after 1", rev)
		}
	}
}

func TestDamagedJournalsAreRefused(t *testing.T) {
	whole := func(t *testing.T, dir string) (string, []byte) {
		d := openDir(t, dir)
		if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
			t.Fatal(err)
		}
		_ = d.Close()
		name := filepath.Join(dir, "shop.json")
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return name, raw
	}
	for name, damage := range map[string]func([]byte) []byte{
		"cut off":        func(b []byte) []byte { return b[:len(b)/2] },
		"empty":          func([]byte) []byte { return nil },
		"a bit flipped":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"weight":"5%"`), []byte(`"weight":"7%"`), 1) },
		"newer version":  func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":99`), 1) },
		"something else": func([]byte) []byte { return []byte(`{"hello":"world"}`) },
		"another's":      func(b []byte) []byte { return b },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file, raw := whole(t, dir)
			deployment := "shop"
			if name == "another's" {
				deployment, file = "shop2", filepath.Join(dir, "shop2.json")
			}
			changed := damage(bytes.Clone(raw))
			if name != "another's" && bytes.Equal(changed, raw) {
				t.Fatal("the damage changed nothing")
			}
			if err := os.WriteFile(file, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := openDir(t, dir).Load(t.Context(), deployment)
			je, ok := errors.AsType[*JournalError](err)
			if !ok || je.File != file || je.Next == "" || !strings.Contains(err.Error(), file) {
				t.Fatalf("got %v", err)
			}
			if name == "newer version" && !strings.Contains(err.Error(), "newer") {
				t.Errorf("got %v", err)
			}
			after, err := os.ReadFile(file)
			if err != nil || !bytes.Equal(after, changed) {
				t.Error("the damaged journal was touched")
			}
		})
	}
}

func TestAReformattedJournalIsStillGood(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "shop.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, bytes.ReplaceAll(raw, []byte(`{"version"`), []byte("{\n  \"version\"")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(t.Context(), "shop"); err != nil {
		t.Error(err)
	}
}

func TestOneOwnerPerDirectory(t *testing.T) {
	dir := t.TempDir()
	first := openDir(t, dir)
	_, err := OpenDir(dir)
	le, ok := errors.AsType[*LockError](err)
	if !ok || !strings.Contains(le.Owner, "process") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second owner was told %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openDir(t, dir)
}

// A limit on the size of files is a disk that is full in the middle of a write.
func TestAFullDiskLeavesTheOldJournal(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir)
	if err := d.Save(t.Context(), someJournal("shop", 1)); err != nil {
		t.Fatal(err)
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Skipf("no limit on file sizes here: %v", err)
	}
	full := was
	full.Cur = 100
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Skipf("the limit on file sizes cannot be set: %v", err)
	}
	err := d.Save(t.Context(), someJournal("shop", 2))
	if back := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); back != nil {
		t.Fatal(back)
	}
	if err == nil || !strings.Contains(err.Error(), "shop.json") {
		t.Fatalf("saving on a full disk: %v", err)
	}
	j, err := d.Load(t.Context(), "shop")
	if err != nil || j.Revision != 1 {
		t.Fatalf("after the full disk: %+v, %v", j, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".write-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := d.Save(t.Context(), someJournal("shop", 2)); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestHistoryNewestFirst(t *testing.T) {
	d := openDir(t, t.TempDir())
	for i, id := range []string{"ra", "rb", "rc"} {
		r := Record{Deployment: "shop", Rollout: id, Started: time.Unix(int64(i), 0), Exit: 1}
		for _, exit := range []int{1, 0} { // archiving again replaces
			r.Exit = exit
			if err := d.Archive(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := d.History(context.Background(), "shop")
	if err != nil || len(got) != 3 || got[0].Rollout != "rc" || got[2].Rollout != "ra" || got[0].Exit != 0 {
		t.Errorf("history %+v, %v", got, err)
	}
	if other, err := d.History(t.Context(), "other"); len(other) != 0 || err != nil {
		t.Errorf("history of another: %v, %v", other, err)
	}
}
