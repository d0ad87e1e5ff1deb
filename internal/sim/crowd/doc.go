// Package crowd plays the applications: pgx clients in every mode that connect
// through the proxy and keep the account of what they were given.
//
// The life of the account:
//
//  1. Every answer carries the version of the object that gave it, in a column of
//     the simulated views. A client notes when it asked, when it was answered and
//     by which version.
//  2. Whoever drives the rollout notes on the Timeline when which versions became
//     possible and, once every session had followed, impossible. A change is
//     noted at the moment it was decided, its end when it was seen to be over, so
//     the account never blames a client for an answer that was right.
//  3. Within a transaction two versions are wrong whatever the time; so is a
//     session that goes back in version while nothing was taken back.
//  4. While a weight stands and everybody is in place, a session must not change
//     sides, and the share of the sessions on the new version must be one that
//     this weight can give.
//  5. Close checks every note against the Timeline and returns the Account. An
//     error that the client did not cause itself is counted; connections lost by
//     a kill that the Timeline knows of are counted apart. A mode without a single
//     answer is a fault, for nothing is known of it.
package crowd
