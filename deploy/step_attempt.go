package deploy

// maxHistory bounds the attempts kept on a rollout's record.
const maxHistory = 50

// freshSwap begins another promotion, or swap back; what earlier ones cost stays on
// the record.
func (m *machine) freshSwap() {
	was := m.s.Swap
	m.s.Swap = SwapState{Stage: StagePatience, Serial: was.Serial, History: was.History, Wasted: was.Wasted}
}

// find returns the place of an attempt in the history, -1 for none.
func (s *SwapState) find(try int) int {
	for i := len(s.History) - 1; i >= 0; i-- {
		if s.History[i].Try == try {
			return i
		}
	}
	return -1
}

// keep puts the running attempt on the record, in the place of what stood there of it.
func (m *machine) keep(r AttemptRecord) {
	sw := &m.s.Swap
	r.Try, r.At, r.Back = sw.Serial, m.at, m.back()
	if i := sw.find(r.Try); i >= 0 {
		sw.History[i] = r
		return
	}
	if len(sw.History) >= maxHistory {
		sw.History = sw.History[1:]
	}
	sw.History = append(sw.History, r)
}

// attemptRecord is that of the running attempt, or of the one whose outcome is being
// found out.
func (m *machine) attemptRecord() *AttemptRecord {
	if m.s.Swap.find(m.s.Swap.Serial) < 0 {
		m.keep(AttemptRecord{Outcome: string(EndUnderWay)})
	}
	return &m.s.Swap.History[m.s.Swap.find(m.s.Swap.Serial)]
}

// remember puts an attempt that ended on the record.
func (m *machine) remember(e SwapEnded) {
	sw := &m.s.Swap
	r := e.Record
	r.Outcome = string(e.End)
	if e.Err != nil {
		r.Error = text(e.Err)
	}
	if r.Held {
		sw.Attempts++
	}
	sw.Stragglers = r.Stragglers
	if e.End == EndBusy {
		return // nothing was opened and nobody waited
	}
	m.keep(r)
	if r.Held && e.End != EndDone && e.End != EndUnknown {
		sw.Wasted.add(r.Stall)
	}
}

// lostAttempt: the process that made the attempt is gone, and its COMMIT may be out.
func (m *machine) lostAttempt() {
	if r := m.attemptRecord(); r.Outcome == string(EndUnderWay) {
		r.Outcome, r.Error = string(EndUnknown), "the program ended while the COMMIT may have been out"
	}
}

// settleRecord: the ids have said what became of an unknown outcome.
func (m *machine) settleRecord(end Ended, e Resolved) {
	r := m.attemptRecord()
	r.Outcome, r.Resolve = string(end), e.Took
	if e.Stall.Sessions > 0 { // of a process before we know no stall, only of those held since
		r.Held, r.Stall = true, e.Stall
	}
	if end == EndNotDone && r.Held {
		m.s.Swap.Wasted.add(r.Stall)
	}
}
