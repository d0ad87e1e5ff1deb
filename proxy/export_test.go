package proxy

// EndIf is End for a condition of a test's own.
func EndIf(p *Proxy, deployment string, selected func(SessionInfo) bool, sentence string) int {
	return p.endIf(deployment, selected, sentence)
}
