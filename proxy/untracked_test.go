package proxy_test

import (
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"mzcanary/proxy"
)

// TestDisagreement: what the tracker does not understand, at run time, makes the
// session unmovable, is counted once with its reason, and is relayed to the last byte
// in both directions, before, while and after a hold and a change of weight.
func TestDisagreement(t *testing.T) {
	unknown := "~\x00\x00\x00\x07abc"
	row, _ := (&pgproto3.DataRow{Values: [][]byte{[]byte("unasked")}}).Encode(nil)
	wrong, _ := (&pgproto3.ReadyForQuery{TxStatus: 'I'}).Encode(nil)
	strange, _ := (&pgproto3.ReadyForQuery{TxStatus: 'q'}).Encode(nil)
	for _, c := range []struct {
		reason       string
		fromClient   string
		fromServer   string
		afterAClient string // a whole Query before the server speaks
	}{
		{reason: "unknown_client_message", fromClient: unknown},
		{reason: "unknown_server_message", fromServer: unknown},
		{reason: "unexpected_answer", fromServer: string(row)},
		{reason: "ready_not_owed", fromServer: string(wrong)},
		{reason: "unknown_status", afterAClient: "SELECT 1", fromServer: "C\x00\x00\x00\x0dSELECT 1\x00" + string(strange)},
		{reason: "copy_both", afterAClient: "START_REPLICATION", fromServer: "W\x00\x00\x00\x07\x00\x00\x00"},
		{reason: "password_outside_login", fromClient: "p\x00\x00\x00\x06x\x00"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			onBoth(t, func(r *rig) {
				cl, s := r.login()
				if c.afterAClient != "" {
					cl.send(query(c.afterAClient))
					s.expect(`Q "` + c.afterAClient + `"`)
				}
				pass(r, cl.conn, s.conn, c.fromClient)
				pass(r, s.conn, cl.conn, c.fromServer)
				r.becomes("unmovable", func(i proxy.SessionInfo) bool {
					return i.Place == proxy.PlaceUnknown && i.Why == "cannot be tracked: "+c.reason
				})
				if n := metric(r.t, r.p, "mzcanary_untrackable_sessions_total", c.reason); n != 1 {
					r.t.Errorf("counted %v times, want once", n)
				}
				r.toCanary()
				r.p.Nudge()
				h := r.hold(time.Minute)
				if report := h.Gather(cancelled()); len(report.Stragglers) != 1 || report.Stragglers[0].Place != proxy.PlaceUnknown {
					r.t.Errorf("report %+v", report)
				}
				everything := ""
				for kind := range 256 { // every type there could be, with bodies that mean nothing
					everything += string([]byte{byte(kind)}) + "\x00\x00\x00\x06\x00" + string([]byte{byte(kind)})
				}
				pass(r, s.conn, cl.conn, everythingBut(everything, "Z123nsIKcE")) // types that the server's framing bounds or reads, and errors
				h.Release()
				raw, _ := query("SELECT 2").Encode(nil)
				pass(r, cl.conn, s.conn, string(raw))
				pass(r, cl.conn, s.conn, everythingBut(everything, "XSHc"))
				if n := metric(r.t, r.p, "mzcanary_untrackable_sessions_total", c.reason); n != 1 {
					r.t.Errorf("counted %v times, want once", n)
				}
				if i := r.session(); i.Retargets != 0 || i.FailedMoves != 0 {
					r.t.Errorf("session %+v", i)
				}
			})
		})
	}
}

// everythingBut takes the messages of the given types out of a string of messages of
// seven bytes.
func everythingBut(messages, types string) string {
	out := ""
	for i := 0; i < len(messages); i += 7 {
		keep := true
		for k := range types {
			keep = keep && messages[i] != types[k]
		}
		if keep {
			out += messages[i : i+7]
		}
	}
	return out
}

// pass writes bytes at one end and wants exactly them at the other.
func pass(r *rig, from io.Writer, to io.Reader, text string) {
	r.t.Helper()
	if text == "" {
		return
	}
	if _, err := io.WriteString(from, text); err != nil {
		r.t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		r.t.Fatalf("%q became %q: %v", text, got, err)
	}
}
