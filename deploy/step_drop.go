package deploy

import (
	"fmt"
	"strings"
)

// endBack is the end of going back before the swap: over, or, where an abort asked
// for it, on to dropping the new version.
func (m *machine) endBack(p Phase, exit int, sentence string) {
	if st := m.s.Stop; st != nil && st.Cause == CauseInterference {
		// Everybody is back on live names. What those stand for is not ours to say, and
		// nothing of it is dropped.
		if !strings.Contains(sentence, st.Reason) {
			sentence += "; " + st.Reason
		}
		m.finish(PhaseAborted, st.Exit, sentence)
		return
	}
	if !m.s.DropNew || p != PhaseAborted {
		m.finish(p, exit, sentence)
		return
	}
	m.s.Stop, m.s.Ramp.Asked = nil, nil
	m.s.Weight, m.s.Swap.Stage, m.s.Swap.Wish = 0, StageNone, ""
	m.s.Back.Final, m.s.Back.Exit, m.s.Back.Sentence = p, exit, sentence
	m.enter(PhaseDropping, controller, sentence)
	m.route()
}

// tickDropping drops part by part while everything stands as recorded.
func (m *machine) tickDropping(e Ticked) {
	if m.s.Stop != nil && m.s.Stop.Cause != CauseInUse || !m.s.sure() || e.unanswered() || m.s.After.Dropping {
		return
	}
	if m.s.After.Settle > 0 || m.s.Pending != "" {
		return
	}
	m.nextDrop()
}

// finishDrops ends the rollout when every part is gone.
func (m *machine) finishDrops() {
	if m.s.Phase == PhaseDropping {
		m.finish(m.s.Back.Final, m.s.Back.Exit, m.s.Back.Sentence+"; the new version was dropped")
		return
	}
	m.finish(PhaseDone, ExitDone, "the new version is production and the old one is gone")
}

// inUse says of which version somebody is in the way of a drop.
func (s *State) inUse() string {
	if s.Phase == PhaseDropping {
		return "the new version is still used: "
	}
	return "the old version is still used: "
}

// onCanary are sessions that still stand on the new version while that is to be
// dropped.
func onCanary(n int) []Dependent {
	if n == 0 {
		return nil
	}
	return []Dependent{{Kind: "sessions", Name: fmt.Sprint(n), Reason: "proxied sessions on the new version have not reached a boundary"}}
}
