package mz

import (
	"strings"
	"testing"

	"mzcanary/deploy"
)

func TestMarksKeepTheUsersText(t *testing.T) {
	mark := deploy.Mark{Rollout: "r7k3m2", Phase: "ramping", Spec: "shop", Side: "old"}
	for _, text := range []string{
		"", "the shop's data", "ends with a space ", " starts with one", "two\nlines", "looks [like] one [mzcanary] but is not",
		"brackets ]] [[ and ümlaut", "it's \"quoted\"", strings.Repeat("long ", 200),
	} {
		marked := withMark(ownText(text), formatMark(mark))
		if got, ok := parseMark(marked); !ok || got != mark {
			t.Errorf("%q: read back %+v, %v", marked, got, ok)
		}
		next := mark
		next.Phase = "window"
		again := withMark(ownText(marked), formatMark(next))
		if got, ok := parseMark(again); !ok || got != next {
			t.Errorf("%q: read back %+v, %v", again, got, ok)
		}
		if strings.Count(again, markStart) != 1 {
			t.Errorf("%q: two marks", again)
		}
		if got := ownText(again); got != text {
			t.Errorf("restored %q, want %q", got, text)
		}
	}
}

func TestMarkFormat(t *testing.T) {
	got := withMark("mine", formatMark(deploy.Mark{Rollout: "r7k3m2", Phase: "ramping", Spec: "shop", Side: "old"}))
	if want := "mine [mzcanary rollout=r7k3m2 phase=ramping deployment=shop side=old]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	odd := deploy.Mark{Rollout: "r]1", Phase: "a b", Spec: "shop=1 [x]", Side: "new"}
	if back, ok := parseMark(formatMark(odd)); !ok || back != odd {
		t.Errorf("odd values: %+v, %v", back, ok)
	}
}

func TestMarkMovedByTheUser(t *testing.T) {
	text := "before [mzcanary rollout=r1 phase=window deployment=shop side=old] and after"
	if got := ownText(text); got != "before and after" {
		t.Errorf("%q", got)
	}
	if m, ok := parseMark(text); !ok || m.Rollout != "r1" {
		t.Errorf("%+v, %v", m, ok)
	}
	if got := ownText("mine [mzcanary barrier=0f0f]"); got != "mine" {
		t.Errorf("%q", got)
	}
	if _, ok := parseMark("mine [mzcanary barrier=0f0f]"); ok {
		t.Error("a barrier's trace was read as a mark")
	}
}
