package proxy

import "github.com/prometheus/client_golang/prometheus"

// noteUntracked counts, once, that the tracker's model and the session differ,
// and by what. The session is relayed on. Under mu.
func (s *session) noteUntracked() {
	r := s.track.reason
	if r == ReasonNone || s.track.noted {
		return
	}
	s.track.noted = true
	s.p.count.untracked[min(r, reasonCount-1)].Add(1)
	s.p.log.Info("a session cannot be moved any more", "session", s.id, "user", s.user, "reason", r.String())
}

// untrackedDesc describes the counter of such sessions.
func untrackedDesc() *prometheus.Desc {
	return prometheus.NewDesc("mzcanary_untrackable_sessions_total",
		"Sessions that are relayed and cannot be moved any more, by what was not understood.", []string{"reason"}, nil)
}

// collectUntracked tells how many there were, by reason.
func (n *counters) collectUntracked(ch chan<- prometheus.Metric) {
	desc := untrackedDesc()
	for r := ReasonNone + 1; r < reasonCount; r++ {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n.untracked[r].Load()), r.String())
	}
}
