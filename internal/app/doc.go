// Package app builds, starts and stops the program. It is the only place that
// knows every package; what it adds of its own is translation: configuration into
// the router's and the controller's words, the proxy into the controller's
// Traffic, the controller's observations into metrics.
//
// The life of an App:
//
//  1. New checks and translates the configuration and opens the journal; nothing
//     listens yet and nothing has been asked of the server.
//  2. Run opens the listeners, then serves: proxy, controller, API and metrics side
//     by side, each owned by Run. The upstream may be down: the proxy answers 08001
//     and readyz says why.
//  3. When its context ends the controller finishes or undoes the attempt that is
//     under way, then the proxy drains, then API and metrics stop; Run returns when
//     nothing of it is left running.
package app
