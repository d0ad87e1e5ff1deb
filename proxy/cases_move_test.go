package proxy_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/internal/armstats"
	"mzcanary/proxy"
	"mzcanary/router"
)

func TestC4I13CancelDuringAUnitIsDropped(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		r.cancel(key)
		noBackend(r)
		s.moved("prod_deploy")
		turn(c, s, "SELECT 1")
		// A message that waits behind the unit is what the client means.
		r.toStable()
		c.send(query("SELECT 2"))
		s.expect(moveToStable)
		r.becomes("waiting", func(i proxy.SessionInfo) bool { return i.Why != "" })
		r.cancel(key)
		noBackend(r)
		s.moved("prod")
		c.expect("E ERROR 57014", "Z I")
		turn(c, s, "SELECT 3")
	})
}

func TestC5TheKeyStaysAcrossMoves(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		for _, to := range []struct {
			route func()
			unit  string
			name  string
		}{{r.toCanary, moveToCanary, "prod_deploy"}, {r.toStable, moveToStable, "prod"}} {
			to.route()
			c.send(query("SELECT slow"))
			s.expect(to.unit)
			s.moved(to.name)
			s.expect(`Q "SELECT slow"`)
			done := make(chan struct{})
			go func() { defer close(done); r.cancel(key) }()
			upstream := r.backend()
			got := make([]byte, len(wantCancel))
			readFull(r.t, upstream, got)
			if string(got) != wantCancel {
				r.t.Errorf("the server got %q", got)
			}
			upstream.Close()
			<-done
			s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014"}, ready('I'))
			c.expect("E ERROR 57014", "Z I")
		}
	})
}

func TestC7ClientThatDoesNotWaitForItsCancel(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		conn := r.conn()
		conn.Write(cancelPacket(key))
		conn.Close()
		upstream := r.backend()
		got := make([]byte, len(wantCancel))
		readFull(r.t, upstream, got)
		if string(got) != wantCancel {
			r.t.Errorf("the server got %q", got)
		}
		upstream.Close()
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014"}, ready('I'))
		c.expect("E ERROR 57014", "Z I")
	})
}

func TestC8CancelBurstIsBounded(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT slow"))
		s.expect(`Q "SELECT slow"`)
		const burst, slots = 200, 64
		var all sync.WaitGroup
		for range burst {
			all.Go(func() { r.cancel(key) })
		}
		synctest.Wait()
		if n := len(r.backends); n != slots {
			r.t.Errorf("%d connections to the server at once, want %d", n, slots)
		}
		for range burst {
			r.backend().Close()
		}
		all.Wait()
		noBackend(r)
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014"}, ready('I'))
		c.expect("E ERROR 57014", "Z I")
	})
}

// TestM13ParametersOfAMoveAreNotShown: the client keeps the names it asked for, and
// learns of everything else.
func TestM13ParametersOfAMoveAreNotShown(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		for range 3 {
			r.toCanary()
			c.send(query("SET application_name = 'x'"))
			s.expect(moveToCanary)
			s.moved("prod_deploy")
			s.expect(`Q "SET application_name = 'x'"`)
			s.send(&pgproto3.ParameterStatus{Name: "application_name", Value: "x"},
				&pgproto3.ParameterStatus{Name: "server_version", Value: "another"}, complete("SET"), ready('I'))
			c.expect("S application_name=x", "S server_version=another", `C "SET"`, "Z I")
			r.toStable()
			r.p.Nudge()
			s.expect(moveToStable)
			s.moved("prod")
		}
	})
}

// TestM21SlowReaderHoldsUpNobodyElse: the server's rows wait in the kernel; holding
// and cancelling go on.
func TestM21SlowReaderHoldsUpNobodyElse(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.begin()
		s.accept()
		key := c.awaitKey()
		c.send(query("SELECT everything"))
		s.expect(`Q "SELECT everything"`)
		row, _ := (&pgproto3.DataRow{Values: [][]byte{make([]byte, 1<<20)}}).Encode(nil)
		const rows = 24 // more than the sockets take
		wrote := make(chan error, 1)
		go func() {
			for range rows {
				if _, err := s.conn.Write(row); err != nil {
					wrote <- err
					return
				}
			}
			wrote <- nil
		}()
		r.becomes("running", func(i proxy.SessionInfo) bool { return i.BytesOut > 1<<16 })
		h := r.hold(time.Minute)
		if report := h.Gather(cancelled()); report.Held != 0 || len(report.Stragglers)+len(report.Streaming) != 1 {
			r.t.Errorf("report %+v", report)
		}
		h.Release()
		done := make(chan struct{})
		go func() { defer close(done); r.cancel(key) }()
		upstream := r.backend()
		readFull(r.t, upstream, make([]byte, len(wantCancel)))
		upstream.Close()
		<-done
		select {
		case err := <-wrote:
			r.t.Errorf("all rows were taken from the server, though the client reads none (%v)", err)
		default:
		}
		readFull(r.t, c.conn, make([]byte, rows*len(row)))
		if err := <-wrote; err != nil {
			r.t.Error(err)
		}
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014"}, ready('I'))
		c.expect("E ERROR 57014", "Z I")
	})
}

// TestI1NothingIsInjectedAnywhereElse: want differs from have all the time, and the
// session is not at a boundary.
func TestI1NothingIsInjectedAnywhereElse(t *testing.T) {
	begin := func(c *player, s *scripted, status byte) {
		c.send(query("BEGIN"))
		s.expect(`Q "BEGIN"`)
		s.send(complete("BEGIN"), ready(status))
		c.expect(`C "BEGIN"`, "Z "+string(status))
	}
	for name, enter := range map[string]func(c *player, s *scripted){
		"in a transaction":        func(c *player, s *scripted) { begin(c, s, 'T') },
		"in a failed transaction": func(c *player, s *scripted) { begin(c, s, 'E') },
		"unsynced": func(c *player, s *scripted) {
			c.send(&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Flush{})
			s.expect(`P "" "SELECT 1"`, "*pgproto3.Flush")
			s.send(&pgproto3.ParseComplete{})
			c.expect("*pgproto3.ParseComplete")
		},
		"while the server discards": func(c *player, s *scripted) {
			c.send(&pgproto3.Parse{Query: "nonsense"})
			s.expect(`P "" "nonsense"`)
			s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42601"})
			c.expect("E ERROR 42601")
		},
		"in COPY": func(c *player, s *scripted) {
			c.send(query("COPY t FROM STDIN"))
			s.expect(`Q "COPY t FROM STDIN"`)
			s.send(&pgproto3.CopyInResponse{})
			c.expect("*pgproto3.CopyInResponse")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(r *rig) {
				c, s := r.login()
				enter(c, s)
				r.toCanary()
				r.p.Nudge()
				h := r.hold(time.Minute)
				if report := h.Gather(cancelled()); len(report.Stragglers) != 1 {
					r.t.Errorf("report %+v", report)
				}
				h.Release()
				c.send(&pgproto3.CopyData{Data: []byte("x")}, &pgproto3.CopyFail{}, &pgproto3.Sync{})
				s.expect("d 1", "*pgproto3.CopyFail", "S") // and no unit before them
			})
		})
	}
}

// TestI2OneWriter: the sweeper injects while the client begins a statement. Behind a
// unit nothing comes before its answer, and no message is torn.
func TestI2OneWriter(t *testing.T) {
	t.Cleanup(leaks(t))
	r := newRig(t, false, func(c *proxy.Config) { c.Sweep = time.Millisecond })
	c, s := r.login()
	const turns = 400
	units := 0
	served := make(chan error, 1)
	go func() {
		for seen := 0; seen < turns; {
			m, err := s.back.Receive()
			if err != nil {
				served <- err
				return
			}
			q, ok := m.(*pgproto3.Query)
			if !ok {
				served <- errors.New("the server got " + show(m))
				return
			}
			name, unit := strings.CutPrefix(q.String, `SET cluster = "`)
			if !unit {
				seen++
				s.back.Send(complete(q.String))
				s.back.Send(ready('I'))
				if err := s.back.Flush(); err != nil {
					served <- err
					return
				}
				continue
			}
			units++
			name, _, _ = strings.Cut(name, `"`)
			s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			if n, err := s.conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				served <- errors.New("bytes behind a unit before its answer")
				return
			}
			s.conn.SetReadDeadline(time.Now().Add(guard))
			s.moved(name)
		}
		served <- nil
	}()
	for i := range turns {
		if i%2 == 0 {
			r.toCanary()
		} else {
			r.toStable()
		}
		r.p.Nudge()
		c.send(query("SELECT 1"))
		c.expect(`C "SELECT 1"`, "Z I")
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if units < turns/4 {
		t.Errorf("%d units in %d turns: nothing was tested", units, turns)
	}
}

func TestI3HeldAtAHeaderBoundary(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		raw, _ := query("SELECT 1").Encode(nil)
		c.conn.Write(raw[:8])
		got := make([]byte, len(raw))
		readFull(r.t, s.conn, got[:8])
		h := r.hold(time.Minute)
		r.toCanary()
		r.p.Nudge()
		if report := h.Gather(cancelled()); len(report.Stragglers) != 1 {
			r.t.Errorf("half a message sent: %+v", report)
		}
		// The message is let through to its end, and what is behind it is not.
		next, _ := query("SELECT 2").Encode(nil)
		c.conn.Write(append(raw[8:], next...))
		readFull(r.t, s.conn, got[8:])
		if string(got) != string(raw) {
			r.t.Errorf("the server got %q", got)
		}
		s.send(complete("SELECT 1"), ready('I'))
		c.expect(`C "SELECT 1"`, "Z I")
		r.waits()
		if report := h.Gather(r.t.Context()); !report.Complete() {
			r.t.Errorf("report %+v", report)
		}
		h.Release()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		s.expect(`Q "SELECT 2"`)
	})
}

func TestI11NamedStatementsReadTheOtherArm(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			s, _ := onSim(t, version)
			conn, err := pgx.Connect(t.Context(), dsnOf(s, onProdCluster))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			raw := conn.PgConn()
			if _, err := raw.Prepare(t.Context(), "kept", "SELECT version, k FROM answer WHERE k = 1", nil); err != nil {
				t.Fatal(err)
			}
			for i := range 6 {
				s.weigh(100 * (i % 2))
				res := raw.ExecPrepared(t.Context(), "kept", nil, nil, nil).Read()
				if res.Err != nil || len(res.Rows) != 1 {
					t.Fatalf("round %d: %+v", i, res)
				}
				if got, want := string(res.Rows[0][0]), []string{"old", "new"}[i%2]; got != want {
					t.Errorf("round %d: version %q, want %q", i, got, want)
				}
			}
		})
	}
}

// TestI12StateOfTheConnectionStays: what a move must not touch, on a real server.
func TestI12StateOfTheConnectionStays(t *testing.T) {
	s := onPostgres(t)
	conn := s.connect(onProd)
	exec := func(text string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), text, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"CREATE TEMP TABLE mine (a int)", "INSERT INTO mine VALUES (42)", "LISTEN here", "PREPARE p AS SELECT 7", "SET application_name = 'kept'",
		"SELECT pg_advisory_lock(1)", "DECLARE c CURSOR WITH HOLD FOR SELECT version FROM answer WHERE k < 4", // planned on the old arm
	} {
		exec(text)
	}
	s.weigh(100)
	if v := version(t, conn); v != "new" {
		t.Fatalf("version %q", v)
	}
	for text, want := range map[string]string{
		"FETCH 1 FROM c": "old", "SELECT a::text FROM mine": "42", "EXECUTE p": "7", "SHOW application_name": "kept",
		"SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()": "1",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), text, pgx.QueryExecModeSimpleProtocol).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", text, got, err, want)
		}
	}
	exec("NOTIFY here, 'word'")
	ctx, done := context.WithTimeout(t.Context(), 5*time.Second)
	defer done()
	if n, err := conn.WaitForNotification(ctx); err != nil || n.Payload != "word" {
		t.Errorf("notification %+v, %v", n, err)
	}
}

func TestI16UnitsAreNotTheArms(t *testing.T) {
	onBoth(t, func(r *rig) {
		c, s := r.login()
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		time.Sleep(5 * time.Millisecond)
		s.moved("prod_deploy")
		r.becomes("moved", func(i proxy.SessionInfo) bool { return i.Retargets == 1 })
		sn := r.stats.Find(shop).Snapshot()
		if sn.Injected.Count[armstats.Retargeted] != 1 || sn.Injected.Took[armstats.Retargeted] < 5*time.Millisecond {
			r.t.Errorf("injected %+v, want one that took 5 ms", sn.Injected)
		}
		if n := sn.Arms[router.Stable].Exchanges + sn.Arms[router.Canary].Exchanges; n != 0 {
			r.t.Errorf("%d exchanges of the arms, want none", n)
		}
		turn(c, s, "SELECT 1")
		sn = r.stats.Find(shop).Snapshot()
		if canary := sn.Arms[router.Canary]; canary.Exchanges != 1 {
			r.t.Errorf("canary %+v, want one exchange without the unit's time", canary)
		}
		if i := r.session(); i.Exchanges != 1 {
			r.t.Errorf("session %+v", i)
		}
	})
}

// TestI9WhatIsPipelinedBehindASetWaitsForIt: nothing runs on one name of the client's
// and one of ours.
func TestI9WhatIsPipelinedBehindASetWaitsForIt(t *testing.T) {
	type messages = []pgproto3.FrontendMessage
	batch := func(name, text string) messages {
		return messages{&pgproto3.Parse{Name: name, Query: text}, &pgproto3.Bind{PreparedStatement: name}, &pgproto3.Execute{}, &pgproto3.Sync{}}
	}
	for name, sent := range map[string]messages{
		"path":        {query("SET search_path = prod")},
		"cluster":     {query("/* x */ set SESSION Cluster TO prod")},
		"schema":      {query("SELECT 1; SET SCHEMA 'prod'")},
		"quoted":      {query(`SET "search_path" = prod`)},
		"late":        {query("SELECT '" + strings.Repeat("x", 200) + "'; SET search_path = prod")},
		"batch":       batch("", "SET search_path = prod"),
		"batch reset": batch("", "DISCARD ALL"),
		"named":       batch("s1", "RESET ALL"),
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(r *rig) {
				c, s := r.onCanary()
				c.send(append(sent, query("SELECT v FROM answer"))...)
				for _, m := range sent {
					s.expect(show(m))
				}
				s.hearsNothing("behind it, before its answer,")
				if len(sent) > 1 {
					s.send(&pgproto3.ParseComplete{}, &pgproto3.BindComplete{})
				}
				s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, complete("SET"), ready('I'))
				s.expect(moveToCanary)
				s.moved("prod_deploy")
				s.expect(`Q "SELECT v FROM answer"`)
			})
		})
	}
}

// TestI9AStatementPreparedToReset is the same for one that was prepared before.
func TestI9AStatementPreparedToReset(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.login()
		prepare(c, s, "reset", "DISCARD ALL")
		prepare(c, s, "s1", "SELECT 1")
		r.toCanary()
		r.p.Nudge()
		s.expect(moveToCanary)
		s.moved("prod_deploy")
		synctest.Wait()
		c.send(&pgproto3.Bind{PreparedStatement: "reset"}, &pgproto3.Execute{}, &pgproto3.Sync{}, query("SELECT v FROM answer"))
		s.expect("B", "E", "S")
		s.hearsNothing("behind it, before its answer,")
		s.send(&pgproto3.BindComplete{}, complete("DISCARD ALL"), ready('I'))
		s.expect(moveToCanary)
	})
}

// TestI9WhatIsPipelinedBehindACommit: a SET takes effect for what comes behind its
// transaction, whose end may be pipelined.
func TestI9WhatIsPipelinedBehindACommit(t *testing.T) {
	inMemory(t, func(r *rig) {
		c, s := r.onCanary()
		c.send(query("BEGIN"), query("SET search_path = prod"), query("COMMIT"), query("SELECT v FROM answer"))
		s.expect(`Q "BEGIN"`, `Q "SET search_path = prod"`)
		s.send(complete("BEGIN"), ready('T'), &pgproto3.ParameterStatus{Name: "search_path", Value: "prod"}, complete("SET"), ready('T'))
		s.expect(`Q "COMMIT"`)
		s.hearsNothing("behind the COMMIT, before its answer,")
		s.send(complete("COMMIT"), ready('I'))
		s.expect(moveToCanary)
	})
}

// TestI6UnitThatDiffers: the server does not report what was set. The session goes
// back; where that cannot be seen either it is asked; and nobody is let on with
// names that are unknown or of both arms.
func TestI6UnitThatDiffers(t *testing.T) {
	const asks = `Q "SHOW cluster; SHOW search_path"`
	differs := func(s *scripted) {
		s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod_deploy"}, complete("SET"), complete("SET"), ready('I'))
	}
	says := func(s *scripted, cluster, path string) {
		s.send(&pgproto3.DataRow{Values: [][]byte{[]byte(cluster)}}, complete("SHOW"), &pgproto3.DataRow{Values: [][]byte{[]byte(path)}}, complete("SHOW"), ready('I'))
	}
	test := func(name string, rest func(r *rig, c *player, s *scripted)) {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(r *rig) {
				c, s := r.login()
				r.toCanary()
				c.send(query("SELECT 1"))
				s.expect(moveToCanary)
				differs(s)
				s.expect(moveToStable)
				rest(r, c, s)
			})
		})
	}
	stays := func(r *rig, s *scripted) {
		s.expect(`Q "SELECT 1"`)
		if i := r.session(); i.HaveState != "known" || i.Arm != router.Stable || i.FailedMoves != 1 || i.Retargets != 0 {
			r.t.Errorf("session %+v", i)
		}
	}
	test("set back", func(r *rig, c *player, s *scripted) { s.moved("prod"); stays(r, s) })
	test("asked", func(r *rig, c *player, s *scripted) { differs(s); s.expect(asks); says(s, "prod", "prod"); stays(r, s) })
	test("refused and asked", func(r *rig, c *player, s *scripted) {
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42501"}, ready('I'))
		s.expect(asks)
		says(s, "prod", "prod")
		stays(r, s)
	})
	test("moved after all", func(r *rig, c *player, s *scripted) {
		differs(s)
		s.expect(asks)
		says(s, "prod_deploy", "prod_deploy")
		s.expect(`Q "SELECT 1"`)
		if i := r.session(); !i.Moved || i.Arm != router.Canary {
			r.t.Errorf("session %+v", i)
		}
	})
	test("a mixture", func(r *rig, c *player, s *scripted) {
		differs(s)
		s.expect(asks)
		says(s, "prod_deploy", "prod")
		c.expect("E FATAL 57P01")
	})
	test("no answer", func(r *rig, c *player, s *scripted) {
		differs(s)
		s.expect(asks)
		s.send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "42704"}, ready('I'))
		c.expect("E FATAL 57P01")
	})
}

// TestM12LongParameterStatus: a path too long to be shown is not taken for the old
// one: it is asked for, read whole, and swallowed whole where it is ours.
func TestM12LongParameterStatus(t *testing.T) {
	long := strings.Repeat("another_schema, ", 200)
	onBoth(t, func(r *rig) {
		c, s := r.login()
		c.send(query("SET search_path = x"), query("SELECT 1"))
		s.expect(`Q "SET search_path = x"`)
		s.expect(`Q "SELECT 1"`) // on stable nothing is kept back
		s.send(&pgproto3.ParameterStatus{Name: "search_path", Value: long + "prod_deploy"}, complete("SET"), ready('I'), complete("SELECT 1"), ready('I'))
		c.front.Receive()
		c.expect(`C "SET"`, "Z I", `C "SELECT 1"`, "Z I")
		c.send(query("SELECT 2"))
		s.expect(`Q "SHOW cluster; SHOW search_path"`)
		s.send(&pgproto3.DataRow{Values: [][]byte{[]byte("prod")}}, complete("SHOW"),
			&pgproto3.DataRow{Values: [][]byte{[]byte(long + "prod_deploy")}}, complete("SHOW"), ready('I'))
		s.expect(`Q "SELECT 2"`)
		if i := r.session(); i.Deployment != "" || i.HaveState != "known" || len(i.Have.Path) != 201 {
			r.t.Errorf("session %+v", i)
		}
	})
	t.Run("ours", func(t *testing.T) {
		onBoth(t, func(r *rig) {
			path := long + "prod"
			c, s := r.begin("search_path", path)
			s.send(&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "cluster", Value: "prod"}, &pgproto3.ParameterStatus{Name: "search_path", Value: path},
				&pgproto3.ParameterStatus{Name: "mz_version", Value: "v26.39.0"}, &pgproto3.BackendKeyData{ProcessID: serverPID, SecretKey: []byte(serverSecret)}, ready('I'))
			c.awaitReady()
			if i := r.session(); i.Deployment != shop || len(i.Have.Path) != 201 {
				r.t.Fatalf("session %+v", i)
			}
			r.toCanary()
			c.send(query("SELECT 1"))
			if m, err := s.back.Receive(); err != nil || !strings.Contains(show(m), "prod_deploy") {
				r.t.Fatal(m, err)
			}
			s.send(&pgproto3.ParameterStatus{Name: "cluster", Value: "prod_deploy"}, complete("SET"),
				&pgproto3.ParameterStatus{Name: "search_path", Value: path + "_deploy"}, complete("SET"), ready('I'))
			s.expect(`Q "SELECT 1"`)
			s.send(complete("SELECT 1"), ready('I'))
			c.expect(`C "SELECT 1"`, "Z I") // and no ParameterStatus before
			if i := r.session(); !i.Moved {
				r.t.Errorf("session %+v", i)
			}
		})
	})
}
