package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"mzcanary/internal/pgtest"
	"mzcanary/internal/sim"
	"mzcanary/internal/wire"
	"mzcanary/proxy"
)

// certificate makes one for localhost that signs itself.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	cert, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// TestStormOverTLS: both legs encrypted.
func TestStormOverTLS(t *testing.T) {
	cert := certificate(t)
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	s, _ := onSimWith(t, sim.Options{Version: versions[1], TLS: serverTLS}, func(c *proxy.Config) {
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		dial := c.Dial
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return wire.ServerTLS{Mode: wire.TLSRequire}.Start(ctx, conn)
		}
	})
	here := maps.Clone(crowd)
	delete(here, "copy in")
	delete(here, "failed copy")
	runStorm(t, s, onProdCluster+" sslmode=require", here, 1500*time.Millisecond)
}

func TestTLSToClients(t *testing.T) {
	cert := certificate(t)
	s := onPostgres(t, func(c *proxy.Config) {
		c.ClientTLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		c.ClientTLSRequired = true
	})
	for name, options := range map[string]string{
		"negotiated": "sslmode=require", "direct": "sslmode=require sslnegotiation=direct",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), pgtest.DSN(s.addr, pgtest.RoleSCRAM, onProd, options))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			for _, want := range []string{"old", "new", "old"} {
				s.weigh(map[string]int{"old": 0, "new": 100}[want])
				if v := version(t, conn); v != want {
					t.Errorf("version %q, want %q", v, want)
				}
			}
			// Sizes around the records' limits come through whole.
			for _, size := range []int{8100, 8192, 8300, 16384, 80000, 1 << 20} {
				var text string
				if err := conn.QueryRow(t.Context(), "SELECT repeat('x', $1::int)", size).Scan(&text); err != nil || len(text) != size {
					t.Fatalf("size %d: got %d, %v", size, len(text), err)
				}
			}
			cancelsRunning(t, conn)
		})
	}
	t.Run("plain is refused", func(t *testing.T) {
		_, err := pgx.Connect(t.Context(), pgtest.DSN(s.addr, "postgres"))
		if err == nil || !strings.Contains(err.Error(), "08004") || !strings.Contains(err.Error(), "TLS is required") {
			t.Errorf("got %v", err)
		}
	})
}
