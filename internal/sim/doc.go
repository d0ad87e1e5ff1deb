// Package sim is a simulated Materialize: it speaks the PostgreSQL protocol to any driver and behaves, as far as a
// proxy and a rollout controller can see, like the real server of a chosen version.
//
// The language lives in sim/sql; this package owns everything that has identity or time: the catalog, the sessions,
// the transactions, hydration and lag, and the faults a test or the demo asks for. It uses pgproto3 as its codec and
// nothing of the proxy's own, so that a mistake of ours cannot cancel itself out.
//
// The life of a session (type session):
//
//  1. Serve or ServeConn hands over a connection. SSLRequest, GSSENCRequest and CancelRequest are answered first.
//  2. The start-up packet is read; its parameters become settings, in alphabetical order; the user is authenticated;
//     a role is created at a user's first login.
//  3. ParameterStatus, BackendKeyData, the notices and ReadyForQuery are sent; the session is registered and visible
//     in mz_internal.mz_sessions.
//  4. A reader goroutine decodes messages ahead; the session's own goroutine answers them one after the other. Names
//     are resolved at Parse, Bind, Describe and Execute, always against the catalog of that moment.
//  5. A statement may wait (hydration, a hung replica, a delay, SUBSCRIBE). Every wait ends with a cancel request, a
//     drop of what it reads, the client's end or the server's end.
//  6. At Terminate, end of file or server stop the open transaction is thrown away, the session leaves the registry,
//     its temporary objects go, and its goroutines have ended before Serve returns.
//
// What the simulator does not support it refuses with 0A000 "mzcanary simulator: …"; it never answers wrongly.
package sim
