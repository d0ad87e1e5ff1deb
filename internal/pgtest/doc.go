// Package pgtest runs a private PostgreSQL for tests: a fresh data directory, a
// free port on the loopback, gone when the tests are.
//
// The life of a server:
//
//  1. Start looks for the programs, makes a data directory owned by a user who
//     may run the server (it refuses root), and starts it without durability.
//  2. Tests ask Need for it, which skips them with a sentence where PostgreSQL
//     is not installed, or fails them when MZCANARY_TEST_REQUIRE_POSTGRES=1.
//     Tests that need another program besides say so with Missing.
//  3. Stop ends it and removes the directory. Should the test die first, the
//     kernel ends the server with it.
package pgtest
