package deploy

import (
	"context"
	"fmt"
	"time"
)

// drain ends the window. Whoever still reads the old version is told so, once: the
// phase is in the journal before that is done and is not entered again by a restart,
// and the sessions concerned end with the process that carries them.
func (m *machine) drain(who, why string) {
	m.enter(PhaseDraining, who, why)
	m.do(Action{Kind: ActNotify, Sentence: drainNotice(m.p)})
}

// drainNotice says to a client what becomes of its session.
func drainNotice(p Plan) string {
	if p.Drain.Then == ThenTerminate {
		return fmt.Sprintf("this session still reads the version that was replaced; it is ended with 57P01 in %s unless what it runs has ended by then; run it again to read production", short(p.Drain.For))
	}
	return "this session still reads the version that was replaced, which is dropped as soon as nobody reads it; end what it runs and run it again to read production"
}

func notify(ctx context.Context, t Traffic, clock func() time.Time, deployment, sentence string) Event {
	ctx, cancel := context.WithTimeout(ctx, quickTimeout)
	defer cancel()
	n, err := t.Notify(ctx, deployment, Which{Old: true}, sentence)
	return Notified{At: At{clock()}, Sessions: n, Err: err}
}

func (m *machine) notified(e Notified) {
	switch {
	case m.s.Phase.Final():
	case e.Err != nil:
		m.decide(controller, "could not tell sessions that they read the old version", e.Err.Error())
	case e.Sessions > 0:
		m.s.After.Notified = e.Sessions
		m.decide(controller, fmt.Sprintf("told %d sessions by NOTICE that they read the old version", e.Sessions), "")
	}
}
