// Package admin is how operators and automation talk to a running mzcanary: a
// JSON API over HTTP on loopback, and its Go client.
//
// The life of a request: the guard checks Host, Origin and content type; the
// handler reads the body strictly (unknown fields are refused), asks the
// controller, and answers with the deployment's status, or with a Problem: one
// sentence, what to do next, and the exit code a command should end with.
package admin
