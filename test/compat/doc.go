// Command compat runs the drivers people really use, first directly against a
// private PostgreSQL and then through mzcanary while their sessions are moved and
// held, and says what was different.
//
// The life of a run:
//
//  1. A private PostgreSQL starts with two schemas of one shape, prod and
//     prod_deploy. Every row carries the version that it belongs to.
//  2. The suites that were asked for are built into a cache outside the tree.
//  3. `mzcanary serve` is built and started in front of that server.
//  4. Each suite runs directly, which is the measure, and then through the proxy
//     while the disturber flips the weight, takes holds and rolls back.
//  5. Each program prints one Result per driver; the verdict compares the two.
//  6. A full run writes docs/compatibility.md with the digest of the code that
//     was judged; --check tells whether that code has changed since.
package main
