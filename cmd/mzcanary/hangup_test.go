//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"mzcanary/internal/sim"
)

// SIGHUP reads the certificate files again and ends nothing.
func TestHangUpReadsCertificatesAgain(t *testing.T) {
	s := newSite(t, sim.Options{}, twoVersions)
	open := s.connect("")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await("told", func() bool { return strings.Contains(s.errOut.String(), "SIGHUP: reading the certificate files again") })
	if _, err := open.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	}
}
