// Package router answers two questions, without locks and without I/O: which
// arm serves a unit, and what does that arm mean right now.
//
// The life of a routing decision:
//
//  1. A session has logged in. The proxy hands Snapshot.Decide what the server
//     reported (user, database, cluster, search_path) and what the client asked
//     for (mzcanary.arm). The answer is a Decision: the deployment the session
//     belongs to or the reason why it is unmanaged, what fixes its arm if
//     anything does, and the key that sticks it to an arm.
//  2. Whenever the Table's epoch has moved, Snapshot.Arm says which arm the
//     Decision means now: the salted hash of the key compared with the weight.
//     Raising the weight only ever adds units to the canary.
//  3. Deployment.Target turns an arm into names: the session's own settings with
//     the live names replaced by what the arm means at this moment. Live names
//     mean production before, during and after a swap, so "everybody on live
//     names" is the answer to every doubt.
//
// A Snapshot is immutable. The Table holds the current one behind an atomic
// pointer; readers never wait and never see half an update.
package router
