package deploy

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onDisk is a life's store in a real directory: every call to the disk is a point at
// which the process may die, with the file half written or not renamed yet.
type onDisk struct {
	*DirStore
	l *life
}

func storeOn(t *testing.T, l *life, dir string) onDisk {
	t.Helper()
	d, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.files = &testDisk{each: func(call string) error {
		return l.act("disk: "+call, func() error { return nil })
	}}
	return onDisk{d, l}
}

func (s onDisk) Archive(ctx context.Context, r Record) error {
	err := s.DirStore.Archive(ctx, r)
	if err == nil {
		_ = s.l.peek(func() { s.l.w.records[r.Rollout] = r })
	}
	return err
}

// TestCrashOnTheDisk kills the program before and within every write of the journal
// and of the record, in a real directory, and looks at what is left in it.
func TestCrashOnTheDisk(t *testing.T) {
	sc := scenarios()[0]
	play := func(t *testing.T, crashAt int) (ending, []string, *life) {
		dir := t.TempDir()
		w := newWorld(t)
		var first *life
		for n := 0; ; n++ {
			if n > 0 {
				crashAt = 0
			}
			var store onDisk
			p := boot(t, w, testPlan(), crashAt, func(o *Options) {
				store = storeOn(t, w.life, dir)
				o.Store = store
			})
			if n == 0 {
				first = p.l
			}
			rollout, over := sc.live(t, p, "")
			p.stop()
			if err := store.Close(); err != nil { // as the end of a process does
				t.Error(err)
			}
			if !over && n == 0 {
				continue
			}
			if !over {
				t.Fatal("the second life did not come to an end")
			}
			j, err := openDir(t, dir).Load(t.Context(), shopName)
			if err != nil {
				t.Fatal(err)
			}
			w.journal, _ = json.Marshal(j)
			end := sc.ending(t, w, rollout, "")
			kept, err := os.ReadDir(filepath.Join(dir, "history", shopName))
			if err != nil || len(kept) != 1 {
				t.Errorf("records on the disk: %v, %v", kept, err)
			}
			return end, leftovers(t, dir), first
		}
	}
	var want ending
	var trail []string
	bubble(t, func(t *testing.T) {
		end, _, l := play(t, 0)
		want, trail = end, l.trail
	})
	killed := map[string]int{}
	for i, point := range trail {
		at := i + 1
		if !strings.HasPrefix(point, "disk: ") {
			continue // the others are TestCrashAnywhere's
		}
		bubble(t, func(t *testing.T) {
			got, left, l := play(t, at)
			killed[l.at]++
			if !equal(got, want) || len(left) > 0 {
				t.Errorf("crash %d of %d, at %q: ends as\n %+v\nwant\n %+v\nleft behind %v", at, len(trail), l.at, got, want, left)
			}
		})
	}
	for _, call := range []string{"create", "write", "sync", "close", "rename", "syncdir"} {
		if killed["disk: "+call] == 0 {
			t.Errorf("never killed at %s: %v", call, killed)
		}
	}
	t.Logf("killed at %v", killed)
}
