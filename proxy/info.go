package proxy

import (
	"time"

	"mzcanary/router"
)

// SessionInfo is one session as the controller, the API and `sessions --why`
// see it. Durations are as of the moment of the call.
type SessionInfo struct {
	ID          string        `json:"id"`
	Deployment  string        `json:"deployment,omitempty"` // empty: unmanaged
	Reason      string        `json:"reason"`               // why it is managed or not
	Backend     uint32        `json:"backend"`              // the server's id of its connection
	User        string        `json:"user"`
	Database    string        `json:"database"`
	Application string        `json:"application_name"`
	Client      string        `json:"client"` // address and port
	Connected   time.Duration `json:"connected"`

	Arm    router.Arm      `json:"arm"`             // the arm its settings mean now
	Wanted router.Arm      `json:"wanted"`          // the arm it should be on
	Fixed  string          `json:"fixed,omitempty"` // what keeps it out of the weight; empty: it follows the weight
	Have   router.Settings `json:"have"`
	// ClientSet is what became of the client's last own SET, RESET or DISCARD that
	// changed cluster or search_path: mapped, reset, released, returned; ClientSets
	// is how many there were.
	ClientSet  string `json:"client_set,omitempty"`
	ClientSets uint64 `json:"client_sets"`
	// QualifiedNames is how many of its statements on the canary named a live schema
	// explicitly, Qualified the last one that is in the sample.
	QualifiedNames uint64          `json:"qualified_names,omitempty"`
	Qualified      string          `json:"qualified,omitempty"`
	HaveState      string          `json:"have_state"` // known, provisional, unknown
	Want           router.Settings `json:"want"`
	Moved          bool            `json:"moved"` // have is known and equals want

	Place     Place         `json:"place"`
	Why       string        `json:"why"` // why it is not at a boundary or not moved, in words
	Held      bool          `json:"held"`
	Statement string        `json:"statement,omitempty"` // first word of the running statement
	Age       time.Duration `json:"age"`                 // of the running exchange or transaction, 0 when idle
	Exchange  time.Duration `json:"exchange"`            // age of the running exchange alone, 0 when none runs
	Idle      time.Duration `json:"idle"`                // since the last exchange ended, 0 when one runs
	// OldVersion: its running exchange or transaction began before the last swap
	// and reads the version that is old now.
	OldVersion bool `json:"old"`

	Prepared    bool   `json:"prepared,omitempty"` // it may have named prepared statements
	Exchanges   uint64 `json:"exchanges"`
	Errors      uint64 `json:"errors"` // exchanges that ended in an ErrorResponse
	Retargets   uint64 `json:"retargets"`
	BytesIn     uint64 `json:"bytes_in"`  // from the client
	BytesOut    uint64 `json:"bytes_out"` // to the client
	FailedMoves uint64 `json:"failed_moves"`
}

// Survey is a look at the sessions of one deployment without closing a gate.
type Survey struct {
	Epoch    uint64
	Sessions [2]int // managed, by the arm they have
	Wanted   [2]int // managed, by the arm they should be on
	// Fixed counts, of Sessions, those that do not follow the weight: pins, own deploy
	// names, the client's option and the like.
	Fixed [2]int
	// Unmanaged sessions of the whole proxy, those still logging in left out.
	Unmanaged  int
	Starting   int           // connections that have not finished their login, of the whole proxy
	Stragglers []SessionInfo // not at a boundary and not streaming
	Streaming  []SessionInfo
	Old        []SessionInfo // still on the version that was replaced
}

// Which selects sessions for End and Cancel; all given conditions must hold.
type Which struct {
	Arm      *router.Arm // the arm they have
	IDs      []string
	Old      bool          // only those on the replaced version
	Streams  bool          // only streaming ones
	MinAge   time.Duration // of the running exchange or transaction
	AwayFrom bool          // only those whose have is not their want
}

// Place is where a session stands, in the words of the cut-over.
type Place string

// The places.
const (
	PlaceBoundary  Place = "at boundary" // idle: it can be held and moved
	PlaceStreaming Place = "streaming"   // planned already, runs on by id, untouched by a swap
	PlaceBusy      Place = "busy"        // transaction open, exchange in flight, COPY in, half a message sent
	PlaceUnknown   Place = "unknown"     // the tracker does not understand it
	PlaceStarting  Place = "starting"    // logging in; its gate is born closed
)

// Sessions lists the sessions of a deployment, or all with an empty name, those
// logging in and the unmanaged ones too, in the order in which they connected.
func (p *Proxy) Sessions(deployment string) []SessionInfo {
	list := p.reg.sessions(deployment)
	infos := make([]SessionInfo, len(list))
	for i, s := range list {
		infos[i] = s.info()
	}
	return infos
}

// Backends gives the server's ids of all proxied connections.
func (p *Proxy) Backends() []uint32 {
	var ids []uint32
	for _, s := range p.reg.sessions("") {
		s.mu.Lock()
		if s.backend.Secret != nil {
			ids = append(ids, s.backend.PID)
		}
		s.mu.Unlock()
	}
	return ids
}

// Survey looks at a deployment's sessions.
func (p *Proxy) Survey(deployment string) Survey {
	v := Survey{Epoch: p.table.Load().Epoch}
	for _, s := range p.reg.sessions("") {
		i := s.info()
		switch {
		case i.Place == PlaceStarting:
			v.Starting++
			continue
		case i.Deployment == "":
			v.Unmanaged++
			continue
		case i.Deployment != deployment:
			continue
		}
		v.Sessions[i.Arm]++
		v.Wanted[i.Wanted]++
		if i.Fixed != "" {
			v.Fixed[i.Arm]++
		}
		switch i.Place {
		case PlaceBoundary:
		case PlaceStreaming:
			v.Streaming = append(v.Streaming, i)
		default:
			v.Stragglers = append(v.Stragglers, i)
		}
		if i.OldVersion {
			v.Old = append(v.Old, i)
		}
	}
	return v
}

// info describes the session as of now.
func (s *session) info() SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.describe()
}

// describe is info under mu.
func (s *session) describe() SessionInfo {
	s.refresh()
	now := s.p.now()
	state := s.track.State()
	have, readable := s.have.Values()
	i := SessionInfo{
		ID: s.id, Reason: s.reason, Backend: s.backend.PID, User: s.user, Database: s.database,
		Application: s.application, Client: s.clientAddr, Connected: time.Duration(now - s.connected),
		Have: have, HaveState: s.have.Certain().String(), Held: s.hold != nil && s.rest == atBoundary,
		Exchanges: s.exchanges, Errors: s.errors, Retargets: s.retargets, FailedMoves: s.failedMoves,
		BytesIn: s.bytesIn, BytesOut: s.bytesOut, Place: s.place(state),
		ClientSet: ownSetNames[s.own], ClientSets: s.ownSets, QualifiedNames: s.qualifiedNames, Qualified: s.qualifiedText, Prepared: state.Named,
	}
	if s.fleet != nil {
		i.Deployment = s.fleet.name
		i.Want, i.Wanted = s.want, s.arm
		if s.onDeploy {
			i.Arm = router.Canary
		}
		if readable && s.have.Certain() == HaveKnown && have.Equal(s.want) {
			i.Moved, i.Arm = true, s.arm
		}
		i.Fixed = s.outsideWeight()
	}
	running := s.began != 0 || s.txnBegan != 0
	if running {
		since := s.began
		if s.txnBegan != 0 {
			since = s.txnBegan
		}
		i.Age = time.Duration(now - since)
		i.Statement = s.word()
		if s.began != 0 {
			i.Exchange = time.Duration(now - s.began)
		}
		i.OldVersion = s.readsOld()
	} else {
		i.Idle = time.Duration(now - s.lastEnd)
	}
	if s.fleet != nil && s.qualifiedNames > 0 {
		i.Reason += s.whyQualified()
	}
	i.Why = s.why(state, i)
	return i
}

// readsOld: the running exchange or transaction began before the last swap. Under mu.
func (s *session) readsOld() bool {
	return s.fleet != nil && (s.began != 0 || s.txnBegan != 0) && s.exVersion < s.swaps
}

// outsideWeight says what keeps a managed session out of the weight, "" when it
// follows it.
func (s *session) outsideWeight() string {
	switch {
	case s.decision.Fixed != router.NotFixed:
		return s.decision.Fixed.String()
	case s.decision.Key == "":
		return "no key"
	}
	if d := s.p.table.Load().Find(s.fleet.name); d != nil && s.isOff(d.Salt) {
		return "qualified names"
	}
	return ""
}

func (s *session) place(state State) Place {
	if s.attn&attnLogin != 0 {
		return PlaceStarting
	}
	switch state.Phase {
	case PhaseBoundary:
		if s.attn&attnUnit != 0 {
			return PlaceBusy
		}
		return PlaceBoundary
	case PhaseClosing:
		if state.Owed == 0 {
			return PlaceBoundary
		}
	case PhaseStreaming:
		return PlaceStreaming
	case PhaseUntrackable:
		return PlaceUnknown
	}
	return PlaceBusy
}

// why says why a session is not at a boundary, or not where it should be.
func (s *session) why(state State, i SessionInfo) string {
	switch {
	case i.Place == PlaceStarting:
		return "logging in"
	case s.attn&attnUnit != 0 && s.running.why == toAsk:
		return "being asked what the client has set"
	case s.attn&attnUnit != 0:
		return "being moved to " + s.running.want.String()
	case state.Phase == PhaseUntrackable:
		return "cannot be tracked: " + state.Reason.String()
	case s.waitSince != 0:
		return "its message waits at the closed gate"
	case state.Phase == PhaseStreaming:
		return "a " + i.Statement + " that was planned already runs on"
	case state.Phase == PhaseTransaction && state.Status == 'E':
		return "idle in a failed transaction"
	case state.Phase == PhaseTransaction && s.track.txn.declared > 0:
		return "idle in a transaction with an open cursor"
	case state.Phase == PhaseTransaction && i.Statement != "":
		return "idle in a transaction, behind " + i.Statement
	case state.Phase == PhaseTransaction:
		return "idle in a transaction"
	case state.Phase == PhaseCopyIn:
		return "COPY FROM STDIN is running"
	case state.Phase == PhaseClosing:
		return "closing"
	case state.Phase == PhaseBoundary:
		return s.whyNotMoved(i)
	case state.Partial:
		return "half a message was sent"
	case state.Owed == 0 && state.Unsynced:
		return "extended messages were sent without a Sync"
	case state.Status != 'I':
		return i.Statement + " is running in a transaction"
	}
	return i.Statement + " is running"
}

func (s *session) whyNotMoved(i SessionInfo) string {
	switch {
	case i.Deployment == "":
		return "unmanaged: " + i.Reason
	case i.Moved:
		return ""
	case s.p.cfg.Unsafe.NoRetarget:
		return "retargeting is switched off"
	case s.movesLater() && s.keepsNamed():
		return "has named prepared statements and stays where it is: the versions differ in shape (accept: shape-change)"
	case s.movesLater():
		return "has described a statement and is about to execute it: it is moved after that, or after " + describedWait.String()
	case s.stuckEpoch == s.epoch:
		return "the last move failed; it is tried again when the routing changes"
	}
	return "is moved before its next statement"
}
