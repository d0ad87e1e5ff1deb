package checker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Script is one run, drawn from a seed: the same seed gives the same script. How
// the goroutines interleave is the machine's.
type Script struct {
	Seed    uint64
	Clients int
	Think   time.Duration
	// Share is the weight of the first step in basis points; the second is 100 %.
	Share  int
	Config Settings
	Cycles []Cycle
	// Child runs the program as a process of its own, so that it can be killed.
	Child bool
	// NoHold and NoRetarget switch a protection off.
	NoHold, NoRetarget bool
}

// Settings are the policies of a run.
type Settings struct {
	Method string // swap or rename
	Fence  bool
	// Wide: several schemas and clusters are one deployment, and move together.
	Wide                bool
	Then                string // what drain does at its end: terminate or wait
	TerminateStragglers bool
	Attempts            int
	Gather, MaxStall    time.Duration
	Bake, Window, Drain time.Duration
}

// Ending says how a rollout is to end.
type Ending string

// The endings.
const (
	EndCleaned    Ending = "cleaned up"
	EndHurried    Ending = "cleaned up at once"
	EndSwapBack   Ending = "swapped back"
	EndInRamp     Ending = "rolled back before the swap"
	EndWhileSwap  Ending = "rolled back while the swap is tried"
	EndLowerFirst Ending = "cleaned up, with the weight lowered by hand before"
)

// Cycle is one rollout of one version.
type Cycle struct {
	Ending Ending
	Faults []Fault
}

// Kind is what strikes.
type Kind string

// The faults.
const (
	SlowCommit    Kind = "slow COMMIT"
	SilentCommit  Kind = "silent COMMIT"
	SlowAlter     Kind = "slow ALTERs"
	SlowSet       Kind = "slow retargets"
	SlowReads     Kind = "slow reads"
	RaceCommit    Kind = "40001 at COMMIT"
	OtherDDL      Kind = "DDL of others"
	CutBefore     Kind = "cut before COMMIT applies"
	CutAfter      Kind = "cut after COMMIT applied"
	ServerRestart Kind = "server restart"
	LostHydration Kind = "lost hydration"
	FailingReads  Kind = "failing reads"
	LongTx        Kind = "long transaction"
	HalfMessage   Kind = "half message"
	StopStart     Kind = "program stopped and started"
	KillStart     Kind = "program killed and started"
	PauseResume   Kind = "paused and resumed"
	CutControl    Kind = "control connection cut"
)

// Moment is when a fault strikes: the first look at the status that shows it.
type Moment string

// The moments.
const (
	AtStart    Moment = "start"
	AtRamp     Moment = "ramp"
	AtFull     Moment = "100 %"
	AtPromote  Moment = "promoting"
	AtPrepared Moment = "swap prepared"
	AtWindow   Moment = "window"
	AtDrain    Moment = "draining"
)

// Fault is one strike.
type Fault struct {
	Kind  Kind
	When  Moment
	After time.Duration
	// For is how long it lasts, or how slow it makes things.
	For time.Duration
	N   int
}

func (f Fault) String() string {
	text := fmt.Sprintf("%s at %s", f.Kind, f.When)
	if f.After > 0 {
		text += "+" + f.After.String()
	}
	if f.For > 0 {
		text += " for " + f.For.String()
	}
	if f.N > 0 {
		text += fmt.Sprintf(" ×%d", f.N)
	}
	return text
}

func (s Script) String() string {
	var b strings.Builder
	c := s.Config
	fmt.Fprintf(&b, "seed %d: %d clients, first step %d %%, by %s, fence %t, several pairs %t, drain then %s, stragglers terminated %t, gather %s, max_stall %s",
		s.Seed, s.Clients, s.Share/100, c.Method, c.Fence, c.Wide, c.Then, c.TerminateStragglers, c.Gather, c.MaxStall)
	if s.Child {
		b.WriteString(", as a child")
	}
	if s.NoHold || s.NoRetarget {
		fmt.Fprintf(&b, ", without hold %t, without retarget %t", s.NoHold, s.NoRetarget)
	}
	for i, y := range s.Cycles {
		fmt.Fprintf(&b, "\n  version %d: %s", i+2, y.Ending)
		for _, f := range y.Faults {
			fmt.Fprintf(&b, "\n    %s", f)
		}
	}
	return b.String()
}

// clientsPerRun are one of every mode; crowdPerRun what some runs have.
const (
	clientsPerRun = 24
	crowdPerRun   = 10 * clientsPerRun
)

// Draw makes the script of a seed.
func Draw(seed uint64) Script {
	r := rand.New(rand.NewPCG(seed, 0x636865636b657273))
	s := Script{Seed: seed, Clients: clientsPerRun, Think: 12 * time.Millisecond, Share: 1000 * (1 + r.IntN(9)), Config: quiet()}
	s.Config.Fence = r.IntN(4) > 0
	s.Config.Wide = r.IntN(3) == 0
	if r.IntN(4) == 0 {
		s.Config.Method, s.Config.Fence = "rename", true // which is how it ends
	}
	if r.IntN(4) == 0 {
		s.Config.Then = "wait"
	}
	if r.IntN(8) == 0 { // the same load from many, who take longer to come to rest
		s.Clients, s.Think = crowdPerRun, s.Think*crowdPerRun/clientsPerRun
		s.Config.Gather, s.Config.MaxStall = 3*s.Config.Gather, 3*s.Config.MaxStall
	}
	s.Config.TerminateStragglers = r.IntN(3) == 0
	if s.Config.TerminateStragglers {
		s.Config.Attempts = 2
	}
	for range 2 + r.IntN(2) {
		s.Cycles = append(s.Cycles, drawCycle(r))
	}
	return s
}

func quiet() Settings {
	return Settings{Method: "swap", Fence: true, Then: "terminate", Attempts: 5, Gather: 400 * time.Millisecond, MaxStall: time.Second,
		Bake: 120 * time.Millisecond, Window: 150 * time.Millisecond, Drain: 200 * time.Millisecond}
}

// Quiet is a script without faults, for servers that cannot be told to misbehave.
func Quiet(seed uint64) Script {
	return Script{Seed: seed, Clients: clientsPerRun, Think: 12 * time.Millisecond, Share: 5000, Config: quiet(),
		Cycles: []Cycle{{Ending: EndCleaned}, {Ending: EndSwapBack}, {Ending: EndInRamp}, {Ending: EndHurried}}}
}

// Unprotected is a script that must break promises when a protection is off: a
// COMMIT so slow that many answers fall into it.
func Unprotected(seed uint64, noHold, noRetarget bool) Script {
	s := Quiet(seed)
	s.NoHold, s.NoRetarget = noHold, noRetarget
	s.Cycles = []Cycle{{Ending: EndCleaned, Faults: []Fault{{Kind: SlowCommit, When: AtStart, For: 500 * time.Millisecond}}}}
	return s
}

// Killed makes a script in which the program dies by signal 9 at a drawn moment
// of every rollout.
func Killed(seed uint64) Script {
	r := rand.New(rand.NewPCG(seed, 0x6b696c6c))
	s := Draw(seed)
	s.Child = true
	s.Cycles = s.Cycles[:2]
	for i := range s.Cycles {
		var kept []Fault
		for _, f := range s.Cycles[i].Faults {
			if f.Kind != StopStart && f.Kind != ServerRestart {
				kept = append(kept, f)
			}
		}
		kept = append(kept, Fault{Kind: SlowCommit, When: AtStart, For: 200 * time.Millisecond},
			Fault{Kind: KillStart, When: pick(r, AtRamp, AtFull, AtPromote, AtPrepared, AtPrepared, AtPrepared, AtWindow), After: milliseconds(r, 0, 250)})
		s.Cycles[i].Faults = kept
	}
	return s
}

// OnPostgres makes a script of a server that nobody can tell to misbehave: connections
// of the controller are cut, the program is stopped or killed, clients stand in the way.
func OnPostgres(seed uint64) Script {
	r := rand.New(rand.NewPCG(seed, 0x706f737467726573))
	s := Draw(seed)
	s.Clients, s.Think = clientsPerRun, 12*time.Millisecond // every session is a process
	s.Child = r.IntN(2) == 0
	for i := range s.Cycles {
		var kept []Fault
		for _, f := range s.Cycles[i].Faults {
			switch f.Kind {
			case LongTx, HalfMessage, PauseResume, StopStart:
				kept = append(kept, f)
			case SlowCommit, CutBefore, CutAfter, RaceCommit, SilentCommit, OtherDDL:
				kept = append(kept, Fault{Kind: CutControl, When: AtPrepared, After: milliseconds(r, 0, 60)})
			}
		}
		if s.Child {
			kept = slices.DeleteFunc(kept, func(f Fault) bool { return f.Kind == StopStart })
			kept = append(kept, Fault{Kind: KillStart, When: pick(r, AtRamp, AtFull, AtPromote, AtPrepared, AtPrepared, AtWindow), After: milliseconds(r, 0, 100)})
		}
		s.Cycles[i].Faults = kept
	}
	return s
}

func drawCycle(r *rand.Rand) Cycle {
	c := Cycle{Ending: pick(r, EndCleaned, EndCleaned, EndHurried, EndHurried, EndSwapBack, EndSwapBack, EndSwapBack, EndInRamp, EndWhileSwap, EndLowerFirst)}
	for range r.IntN(4) {
		f := drawFault(r)
		if f.Kind == SilentCommit && c.has(CutBefore, CutAfter) || f.Kind == ServerRestart && c.has(ServerRestart) || f.Kind == StopStart && c.has(StopStart) {
			continue // one of these is enough to wait for
		}
		c.Faults = append(c.Faults, f)
	}
	return c
}

func (c Cycle) has(kinds ...Kind) bool {
	for _, f := range c.Faults {
		for _, k := range kinds {
			if f.Kind == k {
				return true
			}
		}
	}
	return false
}

func drawFault(r *rand.Rand) Fault {
	anywhere := pick(r, AtStart, AtRamp, AtFull, AtPromote, AtPrepared, AtPrepared, AtWindow, AtDrain)
	before := pick(r, AtStart, AtRamp, AtFull)
	switch pick(r, SlowCommit, SlowCommit, SilentCommit, SlowAlter, SlowSet, SlowReads, RaceCommit, OtherDDL, OtherDDL, CutBefore, CutAfter,
		ServerRestart, LostHydration, FailingReads, LongTx, LongTx, HalfMessage, StopStart, StopStart, PauseResume) {
	case SlowCommit:
		return Fault{Kind: SlowCommit, When: before, For: milliseconds(r, 30, 500)}
	case SilentCommit:
		return Fault{Kind: SilentCommit, When: before, For: milliseconds(r, 1100, 1500)} // beyond max_stall, but for a crowd
	case SlowAlter:
		return Fault{Kind: SlowAlter, When: before, For: milliseconds(r, 5, 80)}
	case SlowSet:
		return Fault{Kind: SlowSet, When: pick(r, AtStart, AtRamp, AtFull, AtPromote), For: milliseconds(r, 5, 60)}
	case SlowReads:
		return Fault{Kind: SlowReads, When: AtStart, For: milliseconds(r, 2, 40)}
	case RaceCommit:
		return Fault{Kind: RaceCommit, When: pick(r, AtFull, AtPromote), N: 1 + r.IntN(2)}
	case OtherDDL:
		return Fault{Kind: OtherDDL, When: pick(r, AtRamp, AtFull, AtPromote), For: milliseconds(r, 100, 500)}
	case CutBefore:
		return Fault{Kind: CutBefore, When: before, N: 1}
	case CutAfter:
		return Fault{Kind: CutAfter, When: before, N: 1}
	case ServerRestart:
		return Fault{Kind: ServerRestart, When: anywhere, After: milliseconds(r, 0, 150)}
	case LostHydration:
		return Fault{Kind: LostHydration, When: pick(r, AtRamp, AtFull, AtPromote), For: milliseconds(r, 100, 400)}
	case FailingReads:
		return Fault{Kind: FailingReads, When: pick(r, AtRamp, AtFull), For: milliseconds(r, 50, 300), N: 3 + r.IntN(4)}
	case LongTx:
		return Fault{Kind: LongTx, When: pick(r, AtFull, AtPromote), For: milliseconds(r, 200, 900)}
	case HalfMessage:
		return Fault{Kind: HalfMessage, When: pick(r, AtFull, AtPromote), For: milliseconds(r, 100, 700)}
	case StopStart:
		return Fault{Kind: StopStart, When: anywhere, After: milliseconds(r, 0, 200)}
	}
	return Fault{Kind: PauseResume, When: pick(r, AtRamp, AtFull, AtPromote, AtPrepared, AtWindow), For: milliseconds(r, 20, 200)}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func milliseconds(r *rand.Rand, from, to int) time.Duration {
	return time.Duration(from+r.IntN(to-from)) * time.Millisecond
}
