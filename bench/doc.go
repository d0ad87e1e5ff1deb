//go:build linux

// Command bench measures mzcanary beside pgbouncer and haproxy; run it by
// bench/run.sh. docs/performance.md says what each measure means.
//
//  1. A private PostgreSQL, a simulated Materialize and the proxies are started (stage.go, peer.go).
//  2. Every repetition takes every measure of every proxy, one after the other (measures.go and the file of each measure).
//  3. Medians and ratios are printed, and why a value is missing (report.go).
//
// What is counted is the proxy's own CPU, in nanoseconds from the kernel, so
// that clients and servers do not count.
package main
