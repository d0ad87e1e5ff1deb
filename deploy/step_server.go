package deploy

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// noticeOutage says that the server is gone once it has been for a while, whatever
// else the rollout stands still for: afterwards it must prove itself.
func (m *machine) noticeOutage(e Ticked) {
	if !m.s.Running() {
		return
	}
	if !m.s.Down.IsZero() {
		m.s.DownFor += e.Elapsed
	}
	if m.s.DownFor >= outageGrace && m.s.Unwell == "" {
		m.s.Unwell = "the server cannot be asked since " + m.s.Down.UTC().Format(time.TimeOnly) + " UTC" + because(m.s.DownWhy)
		m.s.Ready.Good = 0
		m.s.Seq++
	}
	if m.standUnwell() {
		return
	}
	// What is wrong may become clearer while it lasts.
	if st := m.s.Stop; st != nil && st.Cause == CauseUpstream && m.s.DownMend != "" && st.Next != m.s.nextUpstream() {
		st.Reason, st.Next = "the server cannot be asked: "+m.s.DownWhy, m.s.nextUpstream()
		m.decide(controller, "what the server says now", m.s.DownWhy)
	}
}

// standUnwell pauses for the server's sake; true means that it did. What a person
// decided, or has to decide, stays in front; and sessions on their way back need
// nothing of the catalog.
func (m *machine) standUnwell() bool {
	st := m.s.Stop
	if m.s.Unwell == "" || m.s.Phase == PhaseRollingBack || st != nil && st.Cause != CauseInUse {
		return false
	}
	m.stop(Stop{Kind: PhasePaused, Cause: CauseUpstream, Reason: m.s.Unwell, Owner: controller, Auto: true,
		Next: m.s.nextUpstream(), Exit: ExitConnect})
	return true
}

// stopUpstream: the server is not to be trusted until it has proven itself.
func (m *machine) stopUpstream(reason string) {
	m.s.Unwell = reason
	m.standUnwell()
}

func (s *State) nextUpstream() string {
	if s.DownMend != "" {
		return s.DownMend + "; it resumes by itself then"
	}
	return "nothing: it resumes by itself when the server is well"
}

// What the rollout keeps asking of the server, in the words of a sentence.
const (
	asksLook    = "to read the ids behind the names"
	asksReady   = "to read the readiness of the new version"
	asksCensus  = "to list who uses the old version"
	asksResolve = "to find out what became of the COMMIT"
)

// refused keeps account of what the server refuses while it answers. The third time
// in a row a person is needed: most likely the control role has lost a right.
// Nothing advances from the first. The server's consent ends the stop.
func (m *machine) refused(asks string, err error) bool {
	switch {
	case errors.Is(err, ErrUnavailable):
		return false
	case errors.Is(err, ErrReadOnly):
		return true // the server's state, which passes
	case err == nil:
		if m.s.Refused[asks] > 0 {
			m.s.Refused = maps.Clone(m.s.Refused)
			delete(m.s.Refused, asks)
		}
		if st := m.s.Stop; st != nil && st.Asks == asks {
			m.goOn(controller, "the server allows "+asks+" again")
			m.confirmAgain()
		}
		return false
	}
	m.s.Refused = maps.Clone(m.s.Refused)
	if m.s.Refused == nil {
		m.s.Refused = map[string]int{}
	}
	m.s.Refused[asks]++
	if st := m.s.Stop; m.s.Refused[asks] < maxRetries || st != nil && !st.Auto {
		return true
	}
	m.block(CauseError, fmt.Sprintf("the server refused %d times %s: %v", m.s.Refused[asks], asks, err))
	how := mend(err)
	if how == "" {
		how = "give the control role the right that it lacks"
	}
	m.s.Stop.Asks = asks
	m.s.Stop.Next = how + ": it goes on by itself then; or " + m.s.Stop.Next
	if m.s.Swap.Stage == StageResolving {
		m.s.Recovering = false // live names are right either way, and a person may act now
	}
	return true
}

// Mendable is an error that a person can put right, with what does it: a GRANT, a
// file to correct.
type Mendable struct {
	Err  error
	Mend string
}

func (e *Mendable) Error() string { return e.Err.Error() }
func (e *Mendable) Unwrap() error { return e.Err }

func mend(err error) string {
	if e, ok := errors.AsType[*Mendable](err); ok {
		return e.Mend
	}
	return ""
}

// plain is the text of an error without the words that say what is said already.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), ErrUnavailable.Error()+": ", "")
	return strings.ReplaceAll(strings.TrimSuffix(text, ": "+ErrUnavailable.Error()), "\n", "; ")
}
