// Package deploy is the rollout: a state machine, the runner that performs what
// it decides, the journal that survives a crash, and the judge that says whether
// the canary is healthy. It knows no SQL and no socket; it declares what it needs
// of the server (Warehouse), of the data plane (Traffic) and of the disk (Store).
//
// The life of a rollout:
//
//  1. Start gives it an id, a salt and a plan; preflight reads the catalog,
//     records the ids behind every name and marks the paired objects.
//  2. It waits until the new version is ready, strictly and several times in a
//     row, and keeps looking ever after.
//  3. It ramps: every step sets a weight, bakes, asks the judge, or waits for a
//     person. Regress or lost readiness takes the weight back without any DDL.
//  4. It promotes: the swap is prepared in an open transaction, the sessions are
//     gathered at their boundaries, the canary's target becomes the live names,
//     COMMIT, and only proof counts as done.
//  5. In the window the old version stands under its retired name; rollback swaps
//     back with the same guarantees.
//  6. It drains the sessions that still read the old version, and drops what is
//     left of it, each drop by id.
//
// Intent is saved before acting; after a restart the catalog is asked, not the
// file. Step is pure: (state, event, plan) to (state, actions). The only act whose
// outcome cannot be read from its answer is COMMIT; that it may be sent is in the
// journal before the gates close, so that no client ever waits for a disk.
package deploy
