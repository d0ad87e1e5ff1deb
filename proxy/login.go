package proxy

import (
	"errors"
	"net"

	"mzcanary/internal/wire"
	"mzcanary/router"
)

// loginMessage takes one message of the server before the first ReadyForQuery.
// Everything goes to the client as it is, the cancel key excepted; the
// ReadyForQuery waits until the router has decided.
func (s *session) loginMessage(step *wire.Step, next *after) {
	sp := s.split
	m := ReadServer(*step)
	switch step.Type {
	case 'K':
		if key, ok := wire.ParseBackendKey(step.Body); ok && len(key.Secret) == len(s.key.Secret) {
			s.backend = key
			sp.out = wire.AppendBackendKey(sp.out, s.key.PID, s.key.Secret)
			s.track.Server(m)
			return
		}
	case 'S':
		if name, value, ok := wire.ParseParameter(sp.body()); ok {
			if tellsTraits(name) {
				s.params[string(name)] = string(value)
			}
			s.have.Parameter(name, value)
		}
	case 'E':
		s.lastFatal = true // whatever its severity: the login has failed
	case 'Z':
		s.track.Server(m)
		s.ready = append([]byte(nil), sp.msg...)
		s.loggedIn(m.Status, next)
		return
	}
	s.track.Server(m)
	sp.out = append(sp.out, sp.msg...)
}

// loggedIn: the server has accepted the session. What it did not report must be
// asked for before anything can be decided.
func (s *session) loggedIn(status byte, next *after) {
	traits := TraitsOf(func(name string) (string, bool) {
		v, ok := s.params[name]
		return v, ok
	})
	s.track.SetTraits(traits)
	s.have.Traits = traits
	s.have.Ready(status)
	s.params = nil
	s.splitting = false
	if _, ok := s.have.Values(); !ok && status == 'I' {
		next.unit = s.beginProbe()
		return
	}
	next.login = true
}

// finishLogin decides where the session belongs, registers it and lets the
// client's ReadyForQuery through. It returns a unit for the server when the
// session must be moved before its first statement. Server's pump, no lock held.
func (s *session) finishLogin() (unit []byte, err error) {
	if !s.loginTimer.Stop() {
		return nil, s.p.tooLate(nil)
	}
	dec, err := s.decide()
	if err != nil {
		return nil, err
	}
	if f := s.p.reg.charge(s, s.p.cfg.Limits); f != nil {
		return nil, f
	}
	s.p.reg.enter(s, dec)
	s.mu.Lock()
	s.login, _ = s.have.Values()
	s.loginBase, s.loginManaged = dec.Base, dec.Managed()
	s.attn &^= attnLogin
	if s.attn&attnMove != 0 && s.atRest() {
		unit = s.beginUnit()
	}
	s.mu.Unlock()

	s.cw.Lock()
	s.clientClean = true
	err = s.toClient(s.ready)
	s.cw.Unlock()
	s.ready = nil
	if err != nil {
		return nil, &clientError{err}
	}
	s.mu.Lock()
	s.wakeClient()
	s.mu.Unlock()
	s.p.sessionLine("session begins", "session", s.id, "user", s.user, "application", s.application, "client", s.clientAddr, "deployment", dec.Deployment, "reason", dec.Reason)
	return unit, nil
}

// decide asks the router with what the server reported.
func (s *session) decide() (router.Decision, error) {
	s.mu.Lock()
	settings, readable := s.have.Values()
	certain := s.have.Certain() == HaveKnown
	s.mu.Unlock()
	if !readable || !certain {
		if s.asked != "" {
			return router.Decision{}, wire.Fail(wire.KindNoCanary, "the server does not say what cluster and search_path the session has", nil)
		}
		return router.Decision{Base: settings, Reason: "the server does not say what cluster and search_path it has"}, nil
	}
	dec, err := s.p.table.Load().Decide(s.loginFacts(settings))
	if err == nil {
		return dec, nil
	}
	if refused, ok := errors.AsType[*router.NoCanaryError](err); ok {
		kind := wire.KindNoCanary
		if _, perr := router.ParseArm(refused.Asked); perr != nil {
			kind = wire.KindBadArm
		}
		return dec, wire.Fail(kind, refused.Why, nil)
	}
	return dec, wire.Fail(wire.KindInternal, "", err)
}

func (s *session) loginFacts(settings router.Settings) router.Login {
	host, _, err := net.SplitHostPort(s.clientAddr)
	if err != nil {
		host = s.clientAddr
	}
	return router.Login{
		User: s.user, Database: s.database, ApplicationName: s.application, ClientAddress: host,
		Connection: s.id, AskedArm: s.asked, Settings: settings,
	}
}
