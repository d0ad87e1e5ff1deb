package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// retryPause is how long a failed read or drop waits before it is tried again;
// maxRetries is how often before it is no longer a hiccup.
const (
	retryPause = 2 * time.Second
	maxRetries = 3
)

func (m *machine) began() {
	m.enter(PhasePreflight, m.s.Who, m.s.Reason)
	m.route()
	m.do(Action{Kind: ActPreflight})
}

// handOpened starts in the ramp, without a plan to follow: the weight stays until
// somebody sets another. Readiness and judge watch it like any ramp.
func (m *machine) handOpened(e HandOpened) {
	m.s.Hand, m.s.Weight, m.s.Findings = true, e.Weight, e.Findings
	m.record(e.Refs, e.Server)
	// Not forced, these were refused before; forced, a person should know that this
	// canary cannot be promoted.
	m.s.Findings = append(slices.Clone(e.Findings), taken(m.s.Pairs, m.s.Rollout, e.Refs, e.Findings)...)
	m.s.Marked = len(m.s.marks(PhaseRamping)) > 0
	if e.Sample != nil {
		m.s.Ready = ReadyState{Good: 1, Last: e.Sample}
	}
	m.enter(PhaseRamping, e.Request.Who, e.Request.Reason)
	m.s.Ramp.Entered, m.s.Ramp.Accepted = m.at, e.Request.Force
	m.s.note(m.at, e.Request.Who, "weight set by hand", e.Weight.String())
	m.do(Action{Kind: ActBeginEvidence})
	m.route()
	if m.s.Marked {
		m.do(Action{Kind: ActMark, Marks: m.s.marks(PhaseRamping)})
	}
}

// strayFound: the catalog remembers a rollout that the journal does not.
func (m *machine) strayFound(e StrayFound) {
	m.s.Recovering = false
	if len(e.Marks) == 0 {
		return
	}
	m.s.Stray = e.Marks
	m.stop(Stop{Kind: PhaseBlocked, Cause: CauseJournal, Live: true, Exit: ExitHuman,
		Reason: fmt.Sprintf("the catalog carries %s of rollout %s and there is no journal of it", e.Marks[0].trace(), e.Marks[0].Rollout),
		Next:   "mzcanary rollout adopt " + e.Marks[0].Rollout + "; or abort --force --reason …, which only removes the marks; or start --take-over, which starts over"})
	m.route()
}

func (m *machine) preflighted(e Preflighted) {
	if m.s.Phase != PhasePreflight {
		return
	}
	if m.heard(e.Err) {
		m.retry(ActPreflight, retryPause)
		return
	}
	if errors.Is(e.Err, ErrReadOnly) || e.Err == nil && e.Server.ReadOnly {
		m.retry(ActPreflight, retryPause)
		if m.s.Server.ReadOnly = true; m.s.Stop == nil {
			m.stopUpstream(takesNoChanges)
		}
		return
	}
	if e.Err != nil {
		m.preflightFailed(ActPreflight, "preflight", e.Err)
		return
	}
	m.s.Findings = m.keepFindings(e.Findings)
	m.record(e.Refs, e.Server)
	m.wellAgain()
	m.wellAgain()
	m.missing()
	m.s.Findings = append(m.s.Findings, taken(m.s.Pairs, m.s.Rollout, e.Refs, m.s.Findings)...)
	if grants := m.toGive(); len(grants) > 0 {
		m.give(grants)
		return
	}
	if n, first := refusals(m.s.Findings); n > 0 {
		m.finish(PhaseRefused, ExitRefused, fmt.Sprintf("preflight refused: %d findings, the first is %s %s: %s", n, first.Code, first.Object, first.Sentence))
		return
	}
	m.s.Marked = true
	m.decide(controller, "preflight passed", fmt.Sprintf("%d findings, none of them refuses", len(m.s.Findings)))
	m.do(Action{Kind: ActMark, Marks: m.s.marks(PhaseHydrating)})
}

// preflightFailed gives an error three chances before it ends the rollout.
func (m *machine) preflightFailed(kind ActionKind, what string, err error) {
	m.s.Retries++
	if m.s.Retries < maxRetries {
		m.retry(kind, retryPause)
		return
	}
	m.finish(PhaseRefused, ExitRefused, what+" failed: "+err.Error())
}

// keepFindings drops what the person already answered.
func (m *machine) keepFindings(in []Finding) []Finding {
	var out []Finding
	for _, f := range in {
		if f.Code == "P14" && m.s.TakeOver {
			f.Severity = Warn
		}
		out = append(out, f)
	}
	return out
}

// record lays down the ids behind every name; from here on names prove nothing.
func (m *machine) record(refs []Ref, server ServerInfo) {
	for i := range m.s.Pairs {
		p := &m.s.Pairs[i]
		p.LiveID, p.DeployID = idOf(refs, p.Kind, p.Live), idOf(refs, p.Kind, p.Deploy)
	}
	m.s.Server, m.s.Names, m.s.LastLook = server, NamesBefore, m.at
}

// missing adds what preflight would have had to find: without its id nothing may
// be done to a name.
func (m *machine) missing() {
	if n, _ := refusals(m.s.Findings); n > 0 {
		return
	}
	for _, p := range m.s.Pairs {
		for _, side := range []struct{ name, id string }{{p.Live, p.LiveID}, {p.Deploy, p.DeployID}} {
			if side.id == "" {
				m.s.Findings = append(m.s.Findings, Finding{Code: "P01", Severity: Refuse, Object: string(p.Kind) + " " + side.name,
					Sentence: "it does not exist, so there is nothing to exchange"})
			}
		}
		if p.LiveID != "" && p.LiveID == p.DeployID {
			m.s.Findings = append(m.s.Findings, Finding{Code: "P02", Severity: Refuse, Object: string(p.Kind) + " " + p.Live,
				Sentence: "the live and the deploy name stand for the same object"})
		}
	}
}

// taken refuses names that the swap would need and somebody else has: the one where
// the old version is retired, and the middle of a chain of renames. What is refused
// already is not said again.
func taken(pairs []PairState, rollout string, refs []Ref, said []Finding) []Finding {
	var found []Finding
	for _, p := range pairs {
		for _, name := range []string{p.Retired, temporary(p, rollout)} {
			object := string(p.Kind) + " " + name
			known := slices.ContainsFunc(said, func(f Finding) bool { return f.Object == object && f.Severity == Refuse })
			if name == p.Deploy || known || idOf(refs, p.Kind, name) == "" {
				continue
			}
			found = append(found, Finding{Code: "P15", Severity: Refuse, Object: object,
				Sentence: "the swap needs this name, and it is taken"})
		}
	}
	return found
}

func refusals(findings []Finding) (n int, first Finding) {
	for _, f := range findings {
		if f.Severity != Refuse {
			continue
		}
		if n == 0 {
			first = f
		}
		n++
	}
	return n, first
}

func (m *machine) marked(e Marked) {
	if !m.s.Marked || !m.s.Running() {
		return
	}
	unavailable := m.heard(e.Err) || errors.Is(e.Err, ErrReadOnly)
	switch {
	case m.s.Phase == PhasePreflight && unavailable:
		m.retry(ActMark, retryPause)
	case m.s.Phase == PhasePreflight && e.Err != nil:
		m.preflightFailed(ActMark, "marking the paired objects", e.Err)
	case m.s.Phase == PhasePreflight:
		m.s.Ready = ReadyState{}
		m.enter(PhaseHydrating, controller, "waits until the new version is ready")
	case unavailable:
		m.retry(ActMark, retryPause)
	case e.Err != nil:
		if m.s.Retries++; m.s.Retries < maxRetries {
			m.retry(ActMark, retryPause)
			return
		}
		m.s.note(m.at, controller, "marks not updated", e.Err.Error())
	}
}

// unmarked is the last thing before the record. While the server is away it is
// waited for; marks that it does not let us remove are left behind and named, for a
// person or the next rollout to take away.
func (m *machine) unmarked(e Unmarked) {
	if !m.s.Phase.Final() || !m.s.Marked && m.s.Stray == nil {
		return
	}
	if m.putAwayLater(ActUnmark, e.Err) {
		return
	}
	stray := m.s.Stray
	m.s.Marked, m.s.Stray, m.s.Retries = false, nil, 0
	switch {
	case e.Err != nil && stray != nil:
		m.strayFound(StrayFound{e.At, stray})
		return
	case e.Err != nil:
		m.leftBehind("marks on "+sentence(refNames(m.s.marked()), 4), e.Err)
	default:
		m.decide(controller, "marks removed", "")
	}
	m.close()
}

// putAwayLater says that something of a rollout that is over is tried again. Being
// refused is no hiccup after the third time, being away always is one.
func (m *machine) putAwayLater(kind ActionKind, err error) bool {
	switch {
	case m.heard(err), errors.Is(err, ErrReadOnly):
	case err != nil && m.s.Retries+1 < maxRetries:
		m.s.Retries++
	default:
		return false
	}
	m.retry(kind, retryPause)
	return true
}

// leftBehind names in the rollout's last sentence what could not be put away.
func (m *machine) leftBehind(what string, err error) {
	m.s.End += "; left behind: " + what + " (" + plain(err) + ")"
	m.decide(controller, "left behind", what+": "+plain(err))
}

func refNames(refs []Ref) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = string(r.Kind) + " " + r.Name
	}
	return out
}

func (m *machine) tickHydrating(e Ticked) {
	if !m.s.healthy() || e.unanswered() {
		return
	}
	if m.s.Ready.Waited += e.Elapsed; m.s.Ready.Waited < m.p.Ready.Within {
		return
	}
	why := "nothing was seen of it"
	if m.s.Ready.Last != nil {
		why = m.s.Ready.Last.Why
	}
	m.finish(PhaseExpired, ExitNotReady, fmt.Sprintf("the new version was not ready within %s: %s", m.p.Ready.Within, why))
}

// sampled takes one readiness sample, in hydrating and ever after until the swap.
func (m *machine) sampled(e Sampled) {
	if m.s.Phase != PhaseHydrating && m.s.Phase != PhaseRamping && m.s.Phase != PhasePromoting || m.s.Recovering {
		return
	}
	if m.heard(e.Err) {
		return
	}
	sample := e.Sample
	m.serverSeen(e.Server)
	m.s.Ready.Last, m.s.Ready.Age = &sample, 0
	if m.refused(asksReady, e.Err) {
		// It says nothing about the new version, and readiness is not lost by it.
		sample = Readiness{At: m.at, Why: "readiness could not be read: " + e.Err.Error()}
		m.s.Ready.Good = 0
		return
	}
	if m.s.Phase == PhaseHydrating {
		m.wellAgain() // the server answers; whether the new version is ready is what is waited for
	}
	if sample.Ready {
		m.s.Ready.Good, m.s.Ready.Bad = m.s.Ready.Good+1, 0
		m.isReady()
		return
	}
	m.s.Ready.Good = 0
	m.s.Ready.Bad++
	m.isNotReady(sample)
}

func (m *machine) isReady() {
	if m.s.Ready.Good < m.p.Ready.Consecutive {
		return
	}
	m.wellAgain()
	switch {
	case m.s.Phase == PhaseHydrating && m.s.Stop == nil:
		m.s.Ready.Waited = 0
		m.do(Action{Kind: ActBeginEvidence})
		m.enter(PhaseRamping, controller, fmt.Sprintf("the new version was ready %d times in a row", m.s.Ready.Good))
		m.enterStep(0)
	case m.s.Phase == PhaseRamping && m.s.Ramp.TakenBack && m.s.Unwell == "" && (m.s.Stop == nil || m.s.Stop.Cause == CauseHand):
		m.readyAgain()
	}
}

func (m *machine) isNotReady(sample Readiness) {
	if m.s.Phase == PhaseHydrating {
		if sample.Failing != "" && m.s.Ready.Bad >= m.p.Ready.Consecutive && m.s.healthy() {
			m.finish(PhaseExpired, ExitNotReady, "the new version cannot become ready: "+sample.Failing)
		}
		return
	}
	if hardLoss(sample) || m.s.Ready.Bad >= m.p.Ready.Consecutive {
		m.lostReadiness(sample)
	}
}

// hardLoss tells a canary that cannot answer from one that lags behind.
func hardLoss(sample Readiness) bool {
	if sample.Failing != "" || len(sample.Objects) == 0 {
		return true
	}
	for _, o := range sample.Objects {
		switch o.State {
		case "ready", "no-inputs", "lagging", "lag-unknown":
		default:
			return true
		}
	}
	return false
}

// sentence joins what makes a list readable in one line.
func sentence(parts []string, atMost int) string {
	if len(parts) <= atMost {
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(parts[:atMost], ", "), len(parts)-atMost)
}
