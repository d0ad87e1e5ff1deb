package sim

import (
	"time"

	"mzcanary/internal/sim/sql"
)

// txnStatus is where a session's transaction stands.
//
//	         statement                    BEGIN
//	none ───────────────▶ started/implicit ───────▶ explicit ──error──▶ failed
//	 ▲                       │ end of the query,      │ COMMIT, ROLLBACK   │ COMMIT or ROLLBACK
//	 └───────────────────────┴─ Sync, or an error ────┴────────────────────┘
//
// started is the implicit transaction of one statement, implicit that of a Query with several.
type txnStatus int

const (
	txnNone txnStatus = iota
	txnStarted
	txnImplicit
	txnExplicit
	txnFailed
)

// txnKind is what a transaction has become by its first statement that does anything.
type txnKind int

const (
	opsNone txnKind = iota
	opsPeeks
	opsSubscribe
	opsWrites
	opsDDL
	opsSingle
)

// txn is a session's transaction.
type txn struct {
	status   txnStatus
	kind     txnKind
	readOnly bool

	// reads: the cluster is pinned by id, the domain is what may be read, data is the one logical time of all reads.
	timestamped bool
	cluster     string
	domain      map[string]bool
	data        *dataVersion
	now         time.Time

	writes []stagedWrite
	ddl    *draft
	base   uint64 // catalog revision the draft started from
	single sql.Statement
}

// stagedWrite is rows to be added to a table, by id.
type stagedWrite struct {
	table string
	rows  [][]sql.Value
}

// letter is the status of ReadyForQuery.
func (t *txn) letter() byte {
	switch t.status {
	case txnExplicit:
		return 'T'
	case txnFailed:
		return 'E'
	}
	return 'I'
}

func (t *txn) open() bool { return t.status == txnExplicit || t.status == txnFailed }

// admit lets a statement of the kind into the transaction, or says why it cannot be. constant reads mix with writes.
func (t *txn) admit(kind txnKind, constant bool) error {
	if t.readOnly && kind != opsPeeks && kind != opsSubscribe {
		return failf("25006", "transaction in read-only mode")
	}
	switch t.kind {
	case opsNone:
		t.kind = kind
		return nil
	case opsPeeks:
		if kind == opsPeeks {
			return nil
		}
		if kind == opsWrites && !t.timestamped {
			t.kind = opsWrites
			return nil
		}
		return &sql.Error{Code: "25006", Message: "transaction in read-only mode",
			Detail: "SELECT queries cannot be combined with other query types, including SUBSCRIBE."}
	case opsSubscribe:
		return failf("25000", "SUBSCRIBE in transactions must be the only read statement")
	case opsWrites:
		if kind == opsWrites || kind == opsPeeks && constant {
			return nil
		}
		return failf("25000", "transaction in write-only mode")
	case opsDDL:
		if kind == opsDDL {
			return nil
		}
		return failf("25000", "transactions which modify objects are restricted to just modifying objects")
	}
	return failf("25000", "this transaction can only execute a single statement")
}

// catalog is what the session's names mean: the dry run of an open DDL transaction, else the published state.
func (se *session) catalog() *catalog {
	if se.tx.ddl != nil {
		return se.tx.ddl.catalog
	}
	return se.s.catalog.Load()
}

// start opens an implicit transaction when none is open; n is how many statements it will have.
func (se *session) start(n int) {
	if se.tx.status != txnNone {
		return
	}
	se.tx = txn{status: txnStarted}
	if n > 1 {
		se.tx.status = txnImplicit
	}
}

// commit ends the transaction, applying what it staged. The changes of settings it made are returned for
// ParameterStatus; after an error the transaction is over too.
func (se *session) commit() ([]change, error) {
	t := se.tx
	se.tx = txn{}
	err := se.apply(&t)
	changed := se.vars.end(err == nil)
	se.endPortals()
	return changed, err
}

// rollback ends the transaction and forgets what it staged.
func (se *session) rollback() []change {
	se.tx = txn{}
	se.endPortals()
	return se.vars.end(false)
}

// fail is what an error does to the transaction: an explicit one waits for its ROLLBACK, an implicit one is over.
func (se *session) fail() []change {
	if se.tx.open() {
		readOnly := se.tx.readOnly
		se.tx = txn{status: txnFailed, readOnly: readOnly}
		return nil
	}
	return se.rollback()
}

func (se *session) apply(t *txn) error {
	switch t.kind {
	case opsWrites:
		return se.applyWrites(t.writes)
	case opsDDL:
		return se.applyDDL(t)
	case opsSingle:
		return se.alone(t.single)
	}
	return nil
}

func (se *session) applyWrites(writes []stagedWrite) error {
	if len(writes) == 0 {
		return nil
	}
	if err := se.s.faults.writable(); err != nil {
		return err
	}
	_, err := se.s.changeData(func(tables map[string]*tableData) error {
		c := se.s.catalog.Load()
		for _, w := range writes {
			if c.objects[w.table] == nil {
				return failf("XX000", "unknown catalog item '%s'", w.table)
			}
			old := (&dataVersion{tables: tables}).rows(w.table)
			tables[w.table] = &tableData{rows: append(old[:len(old):len(old)], w.rows...)}
		}
		return nil
	})
	return err
}

// applyDDL publishes the draft of a DDL transaction, unless the catalog moved since it was begun.
func (se *session) applyDDL(t *txn) error {
	s := se.s
	race, cut := s.faults.takeCommit()
	if cut == CutBeforeApply {
		return se.cut()
	}
	if err := s.publishDraft(t, race); err != nil {
		return err
	}
	if cut == CutAfterApply {
		return se.cut()
	}
	return nil
}

func (s *Server) publishDraft(t *txn, race bool) error {
	s.catalogMu.Lock()
	defer s.catalogMu.Unlock()
	if race || s.catalog.Load().revision != t.base {
		return errDDLRace
	}
	now := s.now() // one time for the whole COMMIT
	for i := len(s.catalog.Load().audit); i < len(t.ddl.audit); i++ {
		t.ddl.audit[i].OccurredAt = now
	}
	s.publish(t.ddl)
	return nil
}

// cut closes the connection under the client's feet.
func (se *session) cut() error {
	if se.conn != nil {
		se.conn.Close()
	}
	return errGone
}

// runDDL executes a change of the catalog according to the transaction it is in.
func (se *session) runDDL(stmt sql.Statement) error {
	if err := se.s.faults.writable(); err != nil {
		return err
	}
	switch {
	case transactional(stmt) && se.tx.status != txnStarted:
		return se.inDDLTransaction(stmt)
	case se.tx.status == txnImplicit:
		return failf("25001", "%s cannot be run inside a transaction block", stmt.String())
	case se.tx.status == txnExplicit:
		if err := se.tx.admit(opsSingle, false); err != nil {
			return err
		}
		se.tx.single = stmt
		return nil
	}
	if err := se.tx.admit(opsDDL, false); err != nil {
		return err
	}
	se.tx.kind = opsNone // done at once: nothing is left for the commit
	return se.alone(stmt)
}

// alone executes one change of the catalog by itself.
func (se *session) alone(stmt sql.Statement) error {
	var notices []notice
	err := se.s.changeCatalog(se.user, func(d *draft) error {
		x := &ddl{draft: d, by: se.actor()}
		err := x.apply(stmt)
		notices = x.notices
		return err
	})
	if err == errSkipped {
		err = nil
	}
	for _, n := range notices {
		se.post(n)
	}
	return err
}

// inDDLTransaction executes a SWAP or RENAME against the transaction's own draft.
func (se *session) inDDLTransaction(stmt sql.Statement) error {
	if err := se.tx.admit(opsDDL, false); err != nil {
		return err
	}
	current := se.s.catalog.Load()
	if se.tx.ddl == nil {
		se.tx.ddl = se.s.newDraft(se.user)
		se.tx.base = se.tx.ddl.revision
	} else if current.revision != se.tx.base {
		return errDDLRace
	}
	x := &ddl{draft: se.tx.ddl, by: se.actor()}
	err := x.apply(stmt)
	for _, n := range x.notices {
		se.post(n)
	}
	if err == errSkipped {
		return nil
	}
	return err
}
