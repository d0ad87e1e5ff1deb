// Package armstats counts what happens on the two arms of each deployment, so
// that the judge, Prometheus and the terminal all read the same numbers.
//
// The life of an observation:
//
//  1. A session logs in and Enters its unit: the thing that was assigned to an
//     arm (one connection, or everybody who shares the routing key). It asks
//     Generation from time to time and enters again when it has moved.
//  2. An exchange ends at its ReadyForQuery. Classify turns the SQLSTATE and the
//     message of its error into a Class, and Observe counts it: per arm and class,
//     with its latency, without a lock and without an allocation.
//  3. If the exchange may be evidence (Counted), it is also counted under the
//     weight in force when it started, and the unit's first bad event of each
//     metric goes into that weight's Cohort. Later ones of the same unit do not:
//     one client with a broken query is one event, not a thousand.
//  4. Evidence hands the judge the sums as plain integers. They can be written to
//     the journal, read back (Restore) and merged over several proxies.
//  5. Begin starts a new rollout with nothing counted. Whoever still holds a unit
//     of the rollout before counts into sums that nobody reads any more.
//
// Traffic figures (Snapshot, Window, the Collector) cover everybody, pinned
// sessions included, from the start of the process; evidence covers only what
// the weight assigned.
package armstats
