// Package checker proves, or refutes, that a client of the proxy never sees an
// error or a row of the wrong version. It works like a consistency tester: many
// clients write down what they were told and when, and a pure function judges
// the whole history afterwards.
//
// The life of a run:
//
//  1. A Script is drawn from the seed: how many versions are released, how each
//     rollout ends (cleaned up, swapped back, rolled back before the swap), and
//     which faults strike when.
//  2. The whole program starts in this process, or as a child that can be killed,
//     on loopback, before the simulated server or a real one.
//  3. Clients of every mode ask without pause through the proxy. Every answer
//     carries the number of the version that gave it; a client notes when it
//     asked, when it was answered and by which versions.
//  4. The director builds version after version, starts the rollouts and strikes.
//     The witness notes when names changed (the simulated server tells it to the
//     moment) and what the controller published.
//  5. Everything ends, and Verify holds the answers against the notes. It has no
//     clock and no socket; hand-made histories test it.
//
// All times are read from one monotonic clock, as the time since the run began.
package checker
