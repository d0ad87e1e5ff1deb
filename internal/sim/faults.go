package sim

import (
	"cmp"
	"regexp"
	"strings"
	"sync"
	"time"

	"mzcanary/internal/sim/sql"
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
// follows contents through a swap, and hits whatever reads them, through views too.
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
type Faults struct {
	s  *Server
	mu sync.Mutex

	raceCommits int
	raced       int
	cuts        int
	cutWhen     CommitCut
	delays      []delay
	selects     []*boundSelectFault
	loginCode   string
	loginText   string
	readOnly    bool
	swapError   error
	passwords   map[string]string // that were changed since the start
}

type delay struct {
	pattern *regexp.Regexp
	d       time.Duration
}

// boundSelectFault is a SelectFault whose name has become an id.
type boundSelectFault struct {
	SelectFault
	schemaID, objectID string
	seen               int
}

// defaultScope is where names given to Faults are looked up.
var defaultScope = scope{database: "materialize", path: []string{"public"}}

// FailDDLCommits makes the next n COMMITs of DDL transactions fail with 40001.
func (f *Faults) FailDDLCommits(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.raceCommits = n
}

// FailedDDLCommits is how many COMMITs have failed by FailDDLCommits.
func (f *Faults) FailedDDLCommits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.raced
}

// CutAtCommit cuts the connection at the next n COMMITs of DDL transactions.
func (f *Faults) CutAtCommit(n int, when CommitCut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts, f.cutWhen = n, when
}

// takeCommit uses up what is planned for one COMMIT of a DDL transaction.
func (f *Faults) takeCommit() (race bool, cut CommitCut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raceCommits > 0 {
		f.raceCommits--
		f.raced++
		return true, 0
	}
	if f.cuts > 0 {
		f.cuts--
		return false, f.cutWhen
	}
	return false, 0
}

// Delay makes every statement whose text matches wait for d before it is executed, until ClearDelays.
func (f *Faults) Delay(pattern *regexp.Regexp, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delays = append(f.delays, delay{pattern, d})
}

// ClearDelays ends all delays; statements already waiting wait on.
func (f *Faults) ClearDelays() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delays = nil
}

func (f *Faults) delayOf(text string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var sum time.Duration
	for _, d := range f.delays {
		if d.pattern.MatchString(text) {
			sum += d.d
		}
	}
	return sum
}

// FailSelects adds a failure of reads. The error says which name is unknown.
func (f *Faults) FailSelects(fault SelectFault) error {
	b := &boundSelectFault{SelectFault: fault}
	b.Code = cmp.Or(b.Code, "XX000")
	b.Message = cmp.Or(b.Message, "Evaluation error: division by zero")
	c := f.s.catalog.Load()
	if fault.Schema != "" {
		s, err := c.lookupSchema(defaultScope, strings.Split(fault.Schema, "."))
		if err != nil {
			return err
		}
		b.schemaID = s.id
	} else {
		o, err := c.lookup(defaultScope, strings.Split(fault.Object, "."))
		if err != nil {
			return err
		}
		b.objectID = o.id
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.selects = append(f.selects, b)
	return nil
}

// ClearSelectFaults ends all failures of reads.
func (f *Faults) ClearSelectFaults() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.selects = nil
}

// selectError draws whether a read of these objects fails now.
func (f *Faults) selectError(c *catalog, reads map[string]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.selects {
		if !b.matches(c, reads) {
			continue
		}
		b.seen++
		hit := b.Every > 0 && b.seen%b.Every == 0
		if b.Every == 0 {
			hit = float64(f.s.random()>>11)/(1<<53) < b.Share
		}
		if hit {
			return &sql.Error{Code: b.Code, Message: b.Message}
		}
	}
	return nil
}

func (b *boundSelectFault) matches(c *catalog, reads map[string]bool) bool {
	if b.objectID != "" {
		return reads[b.objectID]
	}
	for id := range reads {
		if o := c.objects[id]; o != nil && o.schema == b.schemaID {
			return true
		}
	}
	return false
}

// RefuseLogins answers every login with this FATAL error; an empty code ends it.
func (f *Faults) RefuseLogins(code, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loginCode, f.loginText = code, message
}

func (f *Faults) loginError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loginCode == "" {
		return nil
	}
	return failf(f.loginCode, "%s", f.loginText)
}

// SetReadOnly makes writes and DDL fail with 25006, as a server that waits for its promotion does.
func (f *Faults) SetReadOnly(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readOnly = on
}

func (f *Faults) writable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readOnly {
		return failf("25006", "cannot write in read-only mode")
	}
	return nil
}

// SwapSupport is what a server makes of ALTER … SWAP.
type SwapSupport int

// The servers.
const (
	SwapOn      SwapSupport = iota
	SwapOff                 // enable_alter_swap is off
	SwapUnknown             // the parser of an old server
)

// SetSwap makes ALTER … SWAP fail as on such a server.
func (f *Faults) SetSwap(how SwapSupport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch how {
	case SwapOff:
		f.swapError = &sql.Error{Code: "XX000", Message: "the ALTER SWAP feature for objects is not available",
			Detail: "The requested feature (enable_alter_swap) is in private preview."}
	case SwapUnknown:
		f.swapError = failf("42601", "Expected one of RENAME or SET or OWNER, found identifier \"swap\"")
	default:
		f.swapError = nil
	}
}

func (f *Faults) maySwap() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.swapError
}

// SetPassword changes a user's password, for logins from now on.
func (f *Faults) SetPassword(user, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.passwords == nil {
		f.passwords = map[string]string{}
	}
	f.passwords[user] = password
}

func (f *Faults) passwordOf(user string) (password string, changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	password, changed = f.passwords[user]
	return password, changed
}

// Upgrade is Restart into another version: what it prints and what changed with it.
func (f *Faults) Upgrade(version string) {
	f.s.release.Store(newRelease(version))
	f.Restart()
}

// Restart cuts every connection at once, as the end of the process would. The catalog, its ids and the data stay;
// open transactions are gone.
func (f *Faults) Restart() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for c := range f.s.conns {
		c.Close()
	}
	f.s.started = f.s.now()
	f.s.o.Log.Info("simulated server restarted", "connections", len(f.s.conns))
}
