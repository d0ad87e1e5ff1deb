package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// endpoint is an address taken apart; valid is false when it has a fault.
type endpoint struct {
	path, host string
	port       int
	valid      bool
}

func checkAddresses(c *collector, cfg *Config) {
	listen := endpointOf(c, "listen.address", cfg.Listen.Address, "127.0.0.1:6865")
	admin := endpointOf(c, "admin.address", cfg.Admin.Address, "127.0.0.1:6866")
	observe := endpointOf(c, "observe.address", cfg.Observe.Address, "127.0.0.1:6867")
	upstream := endpointOf(c, "upstream.address", cfg.Upstream.Address, "127.0.0.1:6875")

	if admin.valid && !isLoopback(admin.host) {
		c.add(admin.path, shown(cfg.Admin.Address), "is reachable from other machines, and the API has no tokens yet",
			"use a loopback address such as 127.0.0.1:6866, and a tunnel from elsewhere")
	}
	if upstream.valid && upstream.host == "" {
		c.add(upstream.path, shown(cfg.Upstream.Address), "has no host", "write host:port, such as 127.0.0.1:6875")
		upstream.valid = false
	}
	checkForwardedFor(c, cfg, upstream)
	if upstream.valid && upstream.port == 0 {
		c.add(upstream.path, shown(cfg.Upstream.Address), "has port 0", "write the port of the server, 6875 on Materialize")
	}
	if clash(listen, upstream) {
		c.add(listen.path, shown(cfg.Listen.Address), "is where the server is (upstream.address): the proxy would connect to itself",
			"listen on another port")
	}
	servers := []endpoint{listen, admin, observe}
	for i, b := range servers {
		for _, a := range servers[:i] {
			if clash(a, b) {
				if c.originOf(b.path) == (origin{}) { // name the one that was given, not a default
					a, b = b, a
				}
				c.add(b.path, fmt.Sprintf("port %d", b.port), "is taken by "+a.path, "use another port")
			}
		}
	}
}

func endpointOf(c *collector, path, address, example string) endpoint {
	e := endpoint{path: path}
	if !c.ok(path) {
		return e
	}
	host, port, err := net.SplitHostPort(address)
	number, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || strings.ContainsAny(host, "/@ ") {
		c.add(path, shown(address), "is not host:port", "write it as in "+example)
		return e
	}
	e.host, e.port, e.valid = host, int(number), true
	return e
}

// clash reports whether two addresses cannot be used at once on one machine: the
// same port, and the same host or one that means all interfaces.
func clash(a, b endpoint) bool {
	if !a.valid || !b.valid || a.port != b.port || a.port == 0 {
		return false
	}
	if a.host == b.host || isLoopback(a.host) && isLoopback(b.host) && (a.host == "localhost" || b.host == "localhost") {
		return true
	}
	local := func(host string) bool { return isLoopback(host) || unspecified(host) }
	return unspecified(a.host) && (local(b.host) || isServer(b.path)) || unspecified(b.host) && (local(a.host) || isServer(a.path))
}

// isServer reports whether we listen there: then any host is one of this machine.
func isServer(path string) bool { return path != "upstream.address" }

func unspecified(host string) bool {
	if host == "" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsUnspecified()
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// loopback is isLoopback for host:port.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && isLoopback(host)
}

func checkTLS(c *collector, cfg *Config) {
	t := cfg.Listen.TLS
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		c.add("listen.tls.key_file", "", "is missing, and listen.tls.cert_file is set", "name both files, or neither")
	case t.CertFile == "" && t.KeyFile != "":
		c.add("listen.tls.cert_file", "", "is missing, and listen.tls.key_file is set", "name both files, or neither")
	case t.Required && t.CertFile == "":
		c.add("listen.tls.required", "true", "asks clients for TLS that is not offered", "set listen.tls.cert_file and listen.tls.key_file")
	}
	checkClientAuth(c, t)

	up := cfg.Upstream.TLS
	if !c.ok("upstream.tls.mode") {
		return
	}
	for _, key := range []struct{ name, value string }{{"ca_file", up.CAFile}, {"server_name", up.ServerName}} {
		if key.value != "" && (up.Mode == TLSDisable || up.Mode == TLSRequire) {
			c.add("upstream.tls."+key.name, shown(key.value), fmt.Sprintf("has no effect: upstream.tls.mode %s checks no certificate", up.Mode),
				"use mode verify-full or verify-ca, or leave it out")
		}
	}
}

// checkClientAuth finds contradictions about clients' certificates.
func checkClientAuth(c *collector, t ListenTLS) {
	const path, file = "listen.tls.client_auth", "listen.tls.client_ca_file"
	if !c.ok(path) {
		return
	}
	if t.ClientAuth == ClientAuthNone || t.ClientAuth == "" {
		if t.ClientCAFile != "" {
			c.add(file, shown(t.ClientCAFile), "has no effect: listen.tls.client_auth is none", "set listen.tls.client_auth to optional or require, or leave the file out")
		}
		return
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		c.add(path, string(t.ClientAuth), "asks for certificates within TLS that is not offered", "set listen.tls.cert_file and listen.tls.key_file")
	case t.ClientAuth == ClientAuthRequire && !t.Required:
		c.add(path, string(t.ClientAuth), "lets clients without TLS in, who show no certificate", "set listen.tls.required: true, or use optional")
	}
	if t.ClientCAFile == "" {
		c.add(file, "", "is missing, and listen.tls.client_auth is "+string(t.ClientAuth), "name a file with the PEM certificates that clients' certificates come from")
	}
}

// balancerDomains are where Materialize's own balancer takes connections to its cloud.
var balancerDomains = []string{".materialize.cloud", ".cloud.materialize.com"}

func atBalancer(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.ContainsFunc(balancerDomains, func(domain string) bool { return strings.HasSuffix(host, domain) })
}

func checkForwardedFor(c *collector, cfg *Config, upstream endpoint) {
	const path = "upstream.forwarded_for"
	switch {
	case !cfg.Upstream.ForwardedFor:
	case cfg.Upstream.Kind == KindPostgres:
		c.add(path, "true", "is for Materialize: PostgreSQL refuses sessions that carry mz_forwarded_for", "leave it out")
	case upstream.valid && atBalancer(upstream.host):
		c.add(path, "true", "cannot work through Materialize's own balancer, which refuses sessions that carry mz_forwarded_for", "leave it out")
	}
}
