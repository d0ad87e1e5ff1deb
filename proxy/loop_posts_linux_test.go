package proxy

import (
	"testing"

	"mzcanary/internal/wire"
)

// TestFlowKeepsWhatWasAskedMeanwhile: what is asked of a flow that has not started, while
// the loop puts back what was asked before, is not forgotten.
func TestFlowKeepsWhatWasAskedMeanwhile(t *testing.T) {
	f := &flow{l: &loop{}}
	f.send([]byte("first"))
	asked, word, unit := f.asked, f.word, f.posted // as serveQueue takes it
	f.asked, f.word, f.posted, f.queued = 0, nil, nil, false
	cause := wire.Fail(wire.KindTerminated, "", nil)
	f.say(cause)
	f.send([]byte("second"))
	f.serve(asked, word, unit)
	if f.word != cause || string(f.posted) != "firstsecond" || f.asked != askUnit|askWord {
		t.Errorf("kept: word %v, units %q, requests %b", f.word, f.posted, f.asked)
	}
}
