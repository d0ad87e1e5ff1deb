package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the child that demo --break=crash kills.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// runProgram runs a command as main would and returns what it printed.
func runProgram(t *testing.T, limit time.Duration, args ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var o, e bytes.Buffer
	code = run(ctx, args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// playDemo runs a hurried demo and reads its account.
func playDemo(t *testing.T, args ...string) (int, demoAccount) {
	t.Helper()
	if testing.Short() {
		t.Skip("a demo takes a while; run without -short")
	}
	t.Parallel()
	code, out, errOut := runProgram(t, 2*time.Minute, append([]string{"demo", "--output", "json", "--speed", "3", "--clients", "36"}, args...)...)
	var a demoAccount
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatalf("exit %d, no account: %v\nout: %s\nerr: %s", code, err, out, errOut)
	}
	t.Logf("exit %d: %s", code, out)
	return code, a
}

// green asserts what a clean demo must show.
func green(t *testing.T, code int, a demoAccount) {
	t.Helper()
	if code != exitDone || !a.Green || a.ClientErrors != 0 || a.WrongVersions != 0 {
		t.Errorf("exit %d, green %t, %d client errors, %d wrong versions: %v %v", code, a.Green, a.ClientErrors, a.WrongVersions, a.Red, a.Examples)
	}
	if !a.FaultShown || len(a.Red) != 0 || len(a.Unsettled) != 0 {
		t.Errorf("fault shown %t, red %v, unsettled %v", a.FaultShown, a.Red, a.Unsettled)
	}
	if len(a.Modes) != 11 || len(a.Silent()) != 0 || len(a.Shares) == 0 {
		t.Errorf("%d modes, silent %v, shares %v", len(a.Modes), a.Silent(), a.Shares)
	}
	if a.SeenOld == 0 || a.SeenNew == 0 || a.SessionsMoved == 0 {
		t.Errorf("nothing happened: old %d, new %d, moved %d", a.SeenOld, a.SeenNew, a.SessionsMoved)
	}
}

func TestDemo(t *testing.T) {
	code, a := playDemo(t)
	green(t, code, a)
	if a.Outcome != "done" || a.Holds < 1 {
		t.Errorf("outcome %s after %d holds", a.Outcome, a.Holds)
	}
}

func TestDemoBreakErrors(t *testing.T) {
	code, a := playDemo(t, "--break=errors")
	green(t, code, a)
	if a.Outcome != "rolled_back" || a.Injected == 0 || a.Holds != 0 || a.AutomaticRollbacks != 1 {
		t.Errorf("outcome %s, %d injected errors, %d holds, %d automatic rollbacks; want one without any hold", a.Outcome, a.Injected, a.Holds, a.AutomaticRollbacks)
	}
}

func TestDemoBreakHydration(t *testing.T) {
	code, a := playDemo(t, "--break=hydration")
	green(t, code, a)
	if a.Outcome != "done" || a.WeightsTakenBack == 0 {
		t.Errorf("outcome %s, weight taken back %d times; it comes back when hydration does", a.Outcome, a.WeightsTakenBack)
	}
}

func TestDemoBreakSwapConflict(t *testing.T) {
	code, a := playDemo(t, "--break=swap-conflict")
	green(t, code, a)
	if a.Outcome != "done" || a.Holds < 3 || a.Conflicts != 2 {
		t.Errorf("outcome %s after %d holds and %d conflicts; two conflicts and the swap make three", a.Outcome, a.Holds, a.Conflicts)
	}
}

func TestDemoBreakCrash(t *testing.T) {
	code, a := playDemo(t, "--break=crash")
	green(t, code, a)
	if a.Outcome != "done" || a.LostByKill == 0 || a.Kills != 1 {
		t.Errorf("outcome %s, %d kills, %d connections lost by them", a.Outcome, a.Kills, a.LostByKill)
	}
}

// Without the hold, or without the retarget, the account must turn red: else it
// proves nothing when it is green.
func TestAccountTurnsRedWithoutHold(t *testing.T) {
	code, a := playDemo(t, "--unsafe=no-hold")
	if code != exitHuman || a.Green || a.WrongVersions+a.ClientErrors == 0 {
		t.Errorf("exit %d, green %t, %d wrong versions, %d errors", code, a.Green, a.WrongVersions, a.ClientErrors)
	}
}

func TestAccountTurnsRedWithoutRetarget(t *testing.T) {
	code, a := playDemo(t, "--unsafe=no-retarget")
	if code != exitHuman || a.Green || a.WrongVersions == 0 || len(a.Unsettled) == 0 {
		t.Errorf("exit %d, green %t, %d wrong versions, unsettled %v", code, a.Green, a.WrongVersions, a.Unsettled)
	}
}
