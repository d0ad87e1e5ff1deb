package mz

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// randomSuffix keeps the objects of one test apart from everybody else's.
func randomSuffix() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func netAddress(cfg *pgconn.Config) string {
	return net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func containsComment(all []comment, name, text string) bool {
	return slices.ContainsFunc(all, func(c comment) bool { return c.ref.Name == name && c.text == text })
}
