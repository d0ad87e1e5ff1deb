// Package proxy carries sessions between clients and one server, one to one,
// and can hold or retarget each of them at a boundary.
//
// The life of a session:
//
//  1. A connection is accepted. Start-up packets are read exactly, TLS is set
//     up, a CancelRequest is looked up by our own key and handled apart.
//  2. The session is admitted (limits), the server dialled, and the client's own
//     start-up values sent to it byte for byte. From here on, when both legs stand
//     on TCP, an event loop carries the session until its end (flow.go), TLS
//     included (flow_tls.go), and it has no goroutine of its own; other transports
//     and systems have two pumps: one reads the client, one reads the server
//     (pump_client.go). Neither is ever suspended; the client's side asks the gate
//     before a message goes on.
//  3. Login: authentication passes unread in both directions. The server's
//     BackendKeyData is replaced by a key of our own; ParameterStatus is
//     collected. At the first ReadyForQuery the router decides where the session
//     belongs; registering it and asking whether its gate is closed is one step.
//  4. Relay: whole reads are forwarded in one write; headers are counted on the
//     way (Tracker), so that it is known at any moment whether the session is at
//     a boundary. Every exchange is metered at its ReadyForQuery.
//  5. Whenever have differs from want at a boundary, one unit is injected before
//     the next client message goes on, by the client's side or, for an idle
//     session, by the sweeper. Its answers are swallowed.
//  6. A hold closes the gate: the session comes to rest at its next boundary (or
//     says why it cannot), is released by the controller or by the end of the
//     lease, and goes on, retargeted first if want has moved meanwhile.
//  7. The end: Terminate, a lost connection, or an operator's policy (57P01 where
//     the protocol allows it). Both deadlines are expired first, so that no pump
//     blocks the close; a loop closes by itself. What the client must still read is
//     given a second.
//
// Lock order: registry.mu, session.cw, session.mu, Hold.mu, loop.mu. Nothing is
// written to a socket under any of them except under session.cw, which is the right
// to write to the client. A flow's sockets are touched by its loop alone. The right
// to write to the server is a state of the gate (see gate.go), not a lock.
package proxy
