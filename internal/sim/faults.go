package sim

import (
	"regexp"
	"time"
)

// CommitCut says when a connection is cut at COMMIT.
type CommitCut int

const (
	// CutBeforeApply loses the COMMIT: nothing happened.
	CutBeforeApply CommitCut = iota + 1
	// CutAfterApply loses the answer: the transaction is committed.
	CutAfterApply
)

// SelectFault makes reads fail. Schema and Object are looked up once, when the fault is set, and held by id: the fault
// follows contents through a swap.
type SelectFault struct {
	// Schema ("prod_deploy" or "materialize.prod_deploy") hits every object in it now or later; Object
	// ("prod_deploy.answer") hits one. Exactly one of them is set.
	Schema, Object string
	// Code and Message of the error; empty means XX000 "Evaluation error: division by zero".
	Code, Message string
	// Every fails each k-th matching statement (1 = all). Zero means Share decides.
	Every int
	// Share of matching statements that fail, 0..1, drawn from the server's seed.
	Share float64
}

// Faults changes how the server misbehaves, while it runs. Safe for concurrent use.
type Faults struct{ s *Server }

// FailDDLCommits makes the next n COMMITs of DDL transactions fail with 40001.
func (f *Faults) FailDDLCommits(n int) {}

// CutAtCommit cuts the connection at the next n COMMITs of DDL transactions.
func (f *Faults) CutAtCommit(n int, when CommitCut) {}

// Delay makes every statement whose text matches wait for d before it is executed, until ClearDelays.
func (f *Faults) Delay(pattern *regexp.Regexp, d time.Duration) {}

// ClearDelays ends all delays; statements already waiting wait on.
func (f *Faults) ClearDelays() {}

// FailSelects adds a failure of reads. The error says which name is unknown.
func (f *Faults) FailSelects(fault SelectFault) error { return nil }

// ClearSelectFaults ends all failures of reads.
func (f *Faults) ClearSelectFaults() {}

// LoseHydration makes every dataflow of the cluster report hydrated=false until RestoreHydration. With block its
// reads wait, as they do on a server that has only this replica.
func (f *Faults) LoseHydration(cluster string, block bool) error { return nil }

// RestoreHydration ends LoseHydration.
func (f *Faults) RestoreHydration(cluster string) error { return nil }

// SetLag sets the lag reported for every dataflow of the cluster (negative: NULL, "not readable"; zero: none).
func (f *Faults) SetLag(cluster string, lag time.Duration) error { return nil }

// SetObjectLag is SetLag for one object ("prod.total").
func (f *Faults) SetObjectLag(object string, lag time.Duration) error { return nil }

// StopReplica makes a replica ("r1") report offline with a reason; its hydration rows stay as they were (stale),
// and reads wait when no other replica of the cluster is online. StartReplica ends it.
func (f *Faults) StopReplica(cluster, replica, reason string) error { return nil }

// StartReplica ends StopReplica and HangReplica.
func (f *Faults) StartReplica(cluster, replica string) error { return nil }

// HangReplica makes a replica hang: it still reports online and hydrated, but reads on it never answer, and its lag
// grows.
func (f *Faults) HangReplica(cluster, replica string) error { return nil }

// AddOOM adds n rows "offline, oom-killed" to the replica's history, all of now.
func (f *Faults) AddOOM(cluster, replica string, n int) error { return nil }

// SetLatency makes every read on the cluster take d longer (zero: ends it).
func (f *Faults) SetLatency(cluster string, d time.Duration) error { return nil }

// RefuseLogins answers every login with this FATAL error; an empty code ends it.
func (f *Faults) RefuseLogins(code, message string) {}

// SetReadOnly makes writes and DDL fail with 25006, as a server that waits for its promotion does.
func (f *Faults) SetReadOnly(on bool) {}

// HangCatalogReads makes reads of system relations wait until it is switched off.
func (f *Faults) HangCatalogReads(on bool) {}

// Restart cuts every connection at once, as the end of the process would. The catalog, its ids and the data stay;
// open transactions are gone.
func (f *Faults) Restart() {}
