package proxy

import (
	"strings"
	"testing"
)

// play plays a script to a tracker that is logged in. Words, in order:
//
//	>Q >P …  the client sends a message; >Q; holds several statements, >Q:fetch
//	         and >P:fetch begin with FETCH, >P:named has a named statement
//	<1 <D …  the server sends one; <Z <ZT <ZE with their status, <C:BEGIN with
//	         a tag ('_' for a space), <E! is FATAL, <E:copyfail answers a
//	         CopyFail, <E:data names a line of COPY data, <N! is the notice of a SUBSCRIBE
//	=phase   what the tracker must say now; =!reason for untrackable
//	owed:2   how many ReadyForQuery must be owed now
func play(t *testing.T, traits Traits, script string) *Tracker {
	t.Helper()
	tracker := NewTracker(traits)
	tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
	words := strings.Fields(script)
	for i, word := range words {
		past := strings.Join(words[:i+1], " ")
		switch {
		case word[0] == '>':
			tracker.Client(scriptClient(word[1:]))
		case word[0] == '<':
			tracker.Server(scriptServer(word[1:]))
		case strings.HasPrefix(word, "=!"):
			if got := tracker.State(); got.Phase != PhaseUntrackable || got.Reason.String() != word[2:] {
				t.Fatalf("%s: phase %v, reason %q", past, got.Phase, got.Reason)
			}
		case word[0] == '=':
			if got := tracker.State(); got.Phase.String() != word[1:] {
				t.Fatalf("%s: phase %v (%+v)", past, got.Phase, got)
			}
		case strings.HasPrefix(word, "owed:"):
			if got := tracker.State().Owed; got != int(word[5]-'0') {
				t.Fatalf("%s: owed %d", past, got)
			}
		default:
			t.Fatalf("script word %q", word)
		}
	}
	return tracker
}

func scriptClient(word string) ClientMessage {
	m := ClientMessage{Type: word[0]}
	m.Inner = strings.HasSuffix(word, ";")
	m.Fetch = strings.HasSuffix(word, ":fetch")
	m.Named = strings.HasSuffix(word, ":named")
	return m
}

func scriptServer(word string) ServerMessage {
	m := ServerMessage{Type: word[0]}
	rest := word[1:]
	switch word[0] {
	case 'Z':
		m.Status = 'I'
		if rest != "" {
			m.Status = rest[0]
		}
	case 'C':
		if tag, ok := strings.CutPrefix(rest, ":"); ok {
			m.Tag = ReadTag([]byte(strings.ReplaceAll(tag, "_", " ")))
		}
	case 'E':
		m.Fatal, m.CopyFail, m.CopyRead = rest == "!", rest == ":copyfail", rest == ":data"
	case 'N':
		m.Subscribe = rest == "!"
	}
	return m
}

var (
	onPostgres = refTraits["postgres"]
	onNew      = refTraits["materialize"]
	onOld      = refTraits["materialize-old"]
)

// playAll plays several, named.
func playAll(t *testing.T, traits Traits, all map[string]string) {
	t.Helper()
	for name, script := range all {
		t.Run(name, func(t *testing.T) { play(t, traits, script) })
	}
}

func TestLogin(t *testing.T) {
	tracker := NewTracker(onPostgres)
	for _, kind := range []byte{'R', 'p', 'R', 'S', 'K', 'N', 'v'} {
		if kind == 'p' {
			tracker.Client(ClientMessage{Type: kind})
		} else {
			tracker.Server(ServerMessage{Type: kind})
		}
		if got := tracker.State().Phase; got != PhaseLogin {
			t.Fatalf("after %c: %v", kind, got)
		}
	}
	tracker.Client(ClientMessage{Type: 'Q'}) // S22: pipelined behind the password
	tracker.Server(ServerMessage{Type: 'Z', Status: 'I'})
	if got := tracker.State(); got.Phase != PhaseBusy || got.Owed != 1 {
		t.Fatalf("a query behind the login is owed its answer: %+v", got)
	}
	play(t, onPostgres, "=boundary >p =!password_outside_login")
	play(t, onPostgres, "<R =!unexpected_answer")
}

func TestM1PipelineOfSeveralSyncs(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"queries":  ">Q >Q >Q owed:3 <T <D <C <Z =busy <T <C <Z =busy <C <Z =boundary",
		"batches":  ">P >B >E >S >B >E >S owed:2 <1 <2 <C <Z =busy owed:1 <2 <D <C <Z =boundary owed:0",
		"trailing": ">P >B >E >S >D <1 <2 <C <Z =busy <T =busy >S <Z =boundary",
		"bare":     ">S >S >S <Z <Z =busy <Z =boundary",
	})
}

func TestM2FlushWithoutSync(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"described": ">P >D >H <1 <t <T =busy >B >E >S <2 <D <C <Z =boundary",
		"alone":     ">H =boundary",
		"executed":  ">P >B >E >H <1 <2 <D <C =busy >S =busy <Z =boundary",
	})
}

func TestM3ErrorDiscardsUntilSync(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"query discarded":     ">P >Q >S owed:2 <E owed:1 <Z =boundary",
		"query sent later":    ">P <E =busy >Q owed:0 =busy >F >P >E >S owed:1 <Z =boundary",
		"second batch lives":  ">P >B >E >S >P >S <1 <E =busy <Z =busy <1 <Z =boundary",
		"queries then sync":   ">P >Q >Q >F >S >Q <E owed:2 <Z =busy <C <Z =boundary",
		"at the sync itself":  ">P >B >E >S >Q <1 <2 <C <E <Z =busy <C <Z =boundary",
		"in simple query":     ">Q >Q <E <Z =busy <C <Z =boundary",
		"long discarded runs": ">P >P >P >P >B >E >Q >P >E >S >Q <1 <1 <E <Z <C <Z =boundary",
	})
}

func TestM4QueryInsideUnsyncedBatch(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"savepoint":            ">P >D >Q >P >B >E >S owed:2 <1 <n <C <Z =busy <1 <2 <C <Z =boundary",
		"ends the batch":       ">P >Q <1 <C <Z =boundary",
		"error in the query":   ">P >Q >S <1 <E <Z =busy <Z =boundary",
		"error before the one": ">P >Q >S <E <Z =boundary",
	})
}

func TestM5ErrorWithoutSync(t *testing.T) {
	play(t, onPostgres, ">P <E =busy owed:0 >S =busy owed:1 <Z =boundary")
}

func TestM6CopyInSimple(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"done":               ">Q <G =copy_in >d >d >c =copy_in <C <Z =boundary",
		"error before done":  ">Q <G >d <E <Z =boundary >d >d >c =boundary >Q =busy <C <Z =boundary",
		"error after done":   ">Q <G >d >c <E <Z =boundary",
		"done late":          ">Q <G >d <E >c <Z =boundary",
		"client fails":       ">Q <G >d >f <E:copyfail <Z =boundary",
		"flush and sync":     ">Q <G >H >S >d >c <C <Z =boundary",
		"client terminates":  ">Q <G >d >X =closing",
		"two in one query":   ">Q; <G >d >c <C <G >d >c <C <Z =boundary",
		"query inside":       ">Q <G >Q =!message_inside_copy",
		"done without a end": ">Q <G >d <C =!unexpected_answer",
	})
}

func TestM7CopyInExtended(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"sync swallowed":              ">P >B >E >S <1 <2 <G =copy_in owed:0 >d >c >S owed:1 <C =busy <Z =boundary",
		"sync in answer":              ">P >B >E >H <1 <2 <G >S >d >c =copy_in <C =busy >S <Z =boundary",
		"no early sync":               ">P >B >E >H <1 <2 <G >d >c >S <C <Z =boundary",
		"optimistic":                  ">P >B >E >S >d >d >c >S owed:2 <1 <2 <G =copy_in owed:1 <C =busy <Z =boundary",
		"client fails":                ">P >B >E >S <1 <2 <G >d >f >S <E:copyfail =busy <Z =boundary",
		"error, sync read":            ">P >B >E >S <1 <2 <G <E =busy <Z =boundary >Q <C <Z =boundary",
		"error, sync was ignored":     ">P >B >E >S <1 <2 <G >d <E =busy >c >S <Z =busy >Q <C <Z =boundary",
		"error, both syncs count":     ">P >B >E >S <1 <2 <G >d <E =busy >c >S <Z =busy <Z =boundary",
		"both count, late":            ">P >B >E >S <1 <2 <G <E >c >S <Z =busy >Q =busy <Z =busy <C <Z =boundary",
		"error without early sync":    ">P >B >E >H <1 <2 <G >d <E =busy >d >c =busy >S <Z =boundary",
		"goes on while not settled":   ">P >B >E >S <1 <2 <G >d <E >P =!copy_failed_with_sync_in_flight",
		"given up, and on at once":    ">B >E >S <2 <G >d >f >S >P >D >S <E:copyfail owed:2 <Z owed:1 <1 <t <n <Z =boundary",
		"data refused":                ">P >B >E >S <1 <2 <G >d >c >S <E:data owed:1 <Z =boundary",
		"data refused early":          ">P >B >E >S <1 <2 <G >d <E:data >d >c >S <Z =boundary",
		"data refused, and on":        ">B >E >S <2 <G >d >d <E:data >f >S >P >B >E >S owed:2 <Z <1 <2 <C <Z =boundary",
		"data refused, on before":     ">B >E >S <2 <G >d >c >S >Q >B >E >S <E:data owed:3 <Z <C <Z <2 <C <Z =boundary",
		"data refused, sync within":   ">B >E >S <2 <G >d >S >d >c >S <E:data =busy <Z =busy >Q <C <Z =boundary",
		"sync within was read after":  ">B >E >S <2 <G >d >S >d >c >S <E:data =busy <Z =busy <Z =boundary",
		"data before the sync":        ">B >E >d >S <2 <G >c >S <E:data =busy <Z =busy <Z =boundary",
		"data on its way":             ">B >E >S >d >c >S <2 <G <E:data owed:1 <Z =boundary",
		"refused without the data":    ">B >E >S <2 <G >d >c >S >Q <E =!copy_failed_with_sync_in_flight",
		"parse behind the execute":    ">P >B >E >P >S <1 <2 <G =!message_inside_copy",
		"several copies in one batch": ">P >B >E >d >c >B >E >d >c >S <1 <2 <G <C <2 <G <C <Z =boundary",
	})
	t.Run("materialize reads all first", func(t *testing.T) {
		play(t, onNew, ">P >B >E >S <1 <2 <G >d >c >S <E =busy <Z =boundary")
		play(t, onOld, ">P >B >E >S <1 <2 <G >d >c >S <E =busy <Z =boundary")
	})
}

func TestM8StrayCopyMessages(t *testing.T) {
	optimistic := ">Q >d >d >c owed:1 <E <Z "
	play(t, onPostgres, optimistic+"=boundary >Q <C <Z =boundary")
	play(t, onNew, optimistic+"=boundary")
	// Before 26.33 the server discards everything until a Sync.
	play(t, onOld, optimistic+"=busy >Q owed:0 >S owed:1 <Z =boundary")
	play(t, onOld, ">Q >d >c >Q >S >Q owed:4 <E <Z owed:2 =busy <Z <C <Z =boundary")
	play(t, Traits{}, optimistic+"=!stray_copy_data")
	play(t, Traits{}, ">Q >d >c <G <C <Z =boundary")
	extended := ">P >B >E >S >d >c >S <1 <2 <E <Z "
	play(t, onPostgres, extended+"<Z =boundary")
	play(t, onOld, extended+"<Z =boundary")
}

func TestM9CopyOutAndSubscribeStream(t *testing.T) {
	playAll(t, onNew, map[string]string{
		"copy out":              ">Q =busy <H =streaming <d <d =streaming <c <C =busy <Z =boundary",
		"rows":                  ">Q <T =busy <D =streaming <C =busy <Z =boundary",
		"silent subscribe":      ">Q <T =busy <N! =streaming <E <Z =boundary",
		"extended":              ">P >B >D >E >S <1 <2 <T =busy <D =streaming <C =busy <Z =boundary",
		"row description alone": ">Q <T =busy <E <Z =boundary",
		"two statements":        ">Q; <T <D =busy",
		"two executes":          ">P >B >E >B >E >S <1 <2 <D =busy",
		"something queued":      ">Q >Q <T <D =busy",
		"query ends a batch":    ">P >Q <1 <T <D =busy",
		"unsynced":              ">P >B >E >H <1 <2 <D =busy >S =streaming",
		"batch behind":          ">Q <T <D =streaming >P =busy",
		"more in the batch":     ">P >B >E >C >S <1 <2 <D =busy <C <3 <Z =boundary",
		"in a transaction":      ">Q <C:BEGIN <ZT =transaction >Q <T <D =busy <C <ZT =transaction",
		"ended by a drop":       ">Q <T <D =streaming <E =busy <Z =boundary",
	})
}

func TestCursorTransactionStreams(t *testing.T) {
	open := ">Q <C:BEGIN <ZT >Q <C:DECLARE_CURSOR <ZT "
	playAll(t, onNew, map[string]string{
		"not fetched":     open + "=transaction >Q:fetch <T =busy",
		"fetched":         open + ">Q:fetch <T <D <C:FETCH_1 <ZT =streaming",
		"in the next":     open + ">Q:fetch <C:FETCH_0 <ZT =streaming >Q:fetch =busy <T =streaming <D <C:FETCH_1 <ZT =streaming",
		"other statement": open + ">Q:fetch <C:FETCH_1 <ZT >Q =busy <T =busy <D =busy <C:SELECT_1 <ZT =transaction",
		"selected before": ">Q <C:BEGIN <ZT >Q <C:SELECT_1 <ZT >Q <C:DECLARE_CURSOR <ZT >Q:fetch <C:FETCH_1 <ZT =transaction",
		"two cursors":     open + ">Q <C:DECLARE_CURSOR <ZT >Q:fetch <C:FETCH_1 <ZT =transaction",
		"failed":          open + ">Q:fetch <C:FETCH_1 <ZT >Q:fetch <E <ZE =transaction",
		"error forgiven":  open + ">Q:fetch <C:FETCH_1 <ZT =streaming >Q <E <ZT =transaction",
		"ended":           open + ">Q:fetch <C:FETCH_1 <ZT >Q <C:COMMIT <Z =boundary >Q <C:BEGIN <ZT =transaction",
		"extended":        open + ">P:fetch >B >D >E >S <1 <2 <T <D <C:FETCH_1 <ZT =streaming >P:fetch >B >D >E >S <1 =busy <2 <T =streaming <D =streaming <C:FETCH_1 <ZT =streaming",
		"prepared fetch":  open + ">Q:fetch <C:FETCH_1 <ZT >B >E >S =busy <2 =busy",
		"dangling portal": open + ">Q:fetch <C:FETCH_1 <ZT =streaming >P >B >S <1 <2 <ZT =transaction",
		"queued behind":   open + ">Q:fetch <C:FETCH_1 <ZT >Q:fetch >Q =busy",
		"function call":   open + ">Q:fetch <C:FETCH_1 <ZT >F <V <ZT =transaction",
	})
}

func TestM10CopyBothIsNotTracked(t *testing.T) { play(t, onPostgres, ">Q <W =!copy_both") }

func TestM11CopyFail(t *testing.T) {
	play(t, onPostgres, ">Q <G >f =copy_in <E:copyfail =busy <Z =boundary")
}

func TestM12AsynchronousMessages(t *testing.T) {
	playAll(t, onPostgres, map[string]string{
		"idle":        "<N <S <A =boundary",
		"in a query":  ">Q <N <T <S <D <A <C <N <Z =boundary",
		"in a batch":  ">P >B >E >S <N <1 <S <2 <A <C <Z =boundary",
		"in copy":     ">Q <G <N >d <S >c <C <Z =boundary",
		"in copy out": ">Q <H <N <d <A <c <C <Z =boundary",
	})
}

func TestM14M18MultiStatementQuery(t *testing.T) {
	play(t, onPostgres, ">Q; owed:1 <C <T <D <C <H <d <c <C <G >d >c <C <Z =boundary")
	play(t, onPostgres, ">Q <I <Z =boundary")
}

func TestM15UnknownMessages(t *testing.T) {
	play(t, onPostgres, ">y =!unknown_client_message")
	play(t, onPostgres, "<y =!unknown_server_message")
	play(t, onPostgres, ">Q <m =!unknown_server_message")
	play(t, onPostgres, "<Z =!ready_not_owed")
	play(t, onPostgres, "<D =!unexpected_answer")
	play(t, onPostgres, "<E =!unexpected_answer")
	play(t, onPostgres, ">Q <Z =!ready_not_owed")
	play(t, onPostgres, ">P >S <Z =!ready_not_owed")
	play(t, onPostgres, ">Q <1 =!unexpected_answer")
	play(t, onPostgres, ">Q <C <Zx =!unknown_status")
	play(t, onPostgres, ">F <C =!unexpected_answer")
	play(t, onPostgres, ">S <C =!unexpected_answer")
}

func TestM16ErrorWithoutCode(t *testing.T) { play(t, onPostgres, ">Q <E <Z =boundary") }

func TestM17FunctionCall(t *testing.T) {
	play(t, onPostgres, ">F owed:1 =busy <V =busy <Z =boundary")
	play(t, onPostgres, ">F <E <Z =boundary")
	play(t, onPostgres, ">P >F >S <1 <V <Z <Z =boundary")
}

func TestM19TransactionStatus(t *testing.T) {
	play(t, onPostgres, ">Q <C:BEGIN <ZT =transaction >Q <E <ZE =transaction >Q <C:ROLLBACK <Z =boundary")
}

func TestM20Terminate(t *testing.T) {
	play(t, onPostgres, ">X =closing")
	play(t, onPostgres, ">Q >X <T <D <C <Z =closing")
	play(t, onPostgres, ">P <E >X =closing")
}

func TestE1FatalEnds(t *testing.T) {
	play(t, onPostgres, "<E! =closing")
	play(t, onPostgres, ">Q <E! =closing")
}

func TestM21PartialMessages(t *testing.T) {
	tracker := play(t, onPostgres, "=boundary")
	for _, part := range []func(bool){tracker.ClientPartial, tracker.ServerPartial} {
		part(true)
		if s := tracker.State(); s.Phase != PhaseBusy || !s.Partial || tracker.AtBoundary() {
			t.Fatalf("half a message: %+v", s)
		}
		part(false)
	}
	if !tracker.AtBoundary() {
		t.Fatal("whole again, and no boundary")
	}
}

func TestDescribedOnly(t *testing.T) {
	for script, want := range map[string]bool{
		">P >D >S <1 <t <T <Z =boundary":                       true,
		">P >D >S <1 <t <T <Z >B >E >S <2 <C <Z =boundary":     false,
		">P >B >E >S <1 <2 <C <Z =boundary":                    false,
		">P >D >S <1 <t <T <Z >Q <C <Z =boundary":              false,
		">P >D >S >B >E >S <1 <t <T <Z <2 <C <Z =boundary":     false,
		">P:named >S <1 <Z =boundary":                          true,
		">P >D >S <1 <t <T <Z <N <S =boundary":                 true,
		">P >D >S <E <Z >S <Z =boundary":                       false,
		">P >D >S <1 <t <n <Z >P >D >S <1 <t <T <Z =boundary ": true,
	} {
		if got := play(t, onPostgres, script).State().DescribedOnly; got != want {
			t.Errorf("%s: %v", script, got)
		}
	}
}

func TestNamedStatements(t *testing.T) {
	for script, want := range map[string]bool{
		">P >S <1 <Z":                                     false,
		">P:named >S <1 <Z":                               true,
		">P:named >S <1 <Z >Q <C:DISCARD_ALL <Z":          false,
		">P:named >S <1 <Z >Q <C:DEALLOCATE_ALL <Z":       false,
		">P:named >S <1 <Z >Q >P:named >S <C:DISCARD_ALL": true,
		">Q <C:PREPARE <Z":                                true,
	} {
		if got := play(t, onPostgres, script).State().Named; got != want {
			t.Errorf("%s: %v", script, got)
		}
	}
}

func TestOwes(t *testing.T) {
	for _, c := range []struct {
		script string
		want   string
	}{
		{"=boundary", "QFS"},
		{">P", "QFS"},
		{">P <E", "S"},
		{">Q <G", ""},
		{">Q <G >c", "QFS"},
	} {
		tracker, got := play(t, onPostgres, c.script), ""
		for _, kind := range []byte("QFSPBDECHdcfX") {
			if tracker.Owes(kind) {
				got += string(kind)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.script, got, c.want)
		}
	}
}
