// Command compat runs the drivers people really use, first directly against a
// private PostgreSQL or a simulated Materialize and then through mzcanary while
// their sessions are moved and held, and says what was different.
//
// The life of a run:
//
//  1. The suites that were asked for and `mzcanary` are built into a cache outside
//     the tree.
//  2. For each half, servers start with two schemas of one shape, prod and
//     prod_deploy: a private PostgreSQL; then two versions of the simulated
//     Materialize, with two clusters besides. Every row carries the version that it
//     belongs to. `mzcanary serve` starts in front of each.
//  3. Each suite runs directly, which is the measure, and then through the proxy
//     while the disturber flips the weight, takes holds and rolls back.
//  4. Each program prints one Result per driver; the verdict compares the two.
//  5. A full run writes docs/compatibility.md with the digest of the code that
//     was judged; --check tells whether that code has changed since.
package main
