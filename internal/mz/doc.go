// Package mz says everything that is said to the server in SQL: it implements
// deploy.Warehouse for Materialize, and for the schema pairs of PostgreSQL.
//
// The life of a Warehouse:
//
//  1. New keeps the configuration and opens nothing.
//  2. The first call that needs the server opens one of two control connections:
//     the reading one asks the catalog, the other runs DDL. The password is asked
//     for at every connect, so that it can be rotated while the program runs.
//  3. A call holds its connection for as long as it talks and has a deadline of
//     its own. A connection that broke is replaced by the next call; attempts back
//     off. Reads that found a stale connection are asked once more on a fresh one;
//     statements that change something never are.
//  4. Prepare keeps the DDL connection until Commit or Rollback of what it
//     returned. Whatever else changes the catalog waits meanwhile.
//  5. Readiness opens a third, short connection with the canary's own settings for
//     its probes and closes it again.
//  6. Close cuts all of them and waits until nothing of them runs any more.
//
// The text of every query lies in queries/, one file each, with qualified names and
// text parameters only, so that the same text runs on the real server and on the
// simulator.
package mz
