package mz

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"mzcanary/deploy"
)

// What a person can put right about an error is said with it.

// mended adds what mends an error of connecting, where that is known.
func (w *Warehouse) mended(err error) error {
	how := w.howToConnect(err)
	if how == "" {
		return err
	}
	return &deploy.Mendable{Err: err, Mend: how}
}

func (w *Warehouse) howToConnect(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case strings.HasPrefix(e.Code, "28"):
			return fmt.Sprintf("make the password of role %s right in %s", w.cfg.User, cmp.Or(w.cfg.PasswordFrom, "the configuration"))
		case e.Code == "53300":
			return "raise the server's limit of connections, or lower limits.max_sessions"
		case e.Code == "3D000":
			return "correct control.database"
		}
		return ""
	}
	if badCertificate(err) {
		return "correct upstream.tls (ca_file, server_name), or the server's certificate"
	}
	return ""
}

func badCertificate(err error) bool {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

var (
	needsRight = regexp.MustCompile(`^The '(.*)' role needs (.+) privileges on ([A-Z ]+?)(?: "(.*)")?$`)
	mustOwn    = regexp.MustCompile(`^must be owner of (.+)$`)
)

// rightMissing says which GRANT would have let a statement through.
func (w *Warehouse) rightMissing(e *pgconn.PgError) string {
	if e.Code != codeForbidden {
		return ""
	}
	if m := needsRight.FindStringSubmatch(e.Detail); m != nil {
		on := m[3]
		if m[4] != "" {
			on = grantable(m[3]) + " " + quoted(m[4])
		}
		return fmt.Sprintf("GRANT %s ON %s TO %s", m[2], on, quoted(m[1]))
	}
	if m := mustOwn.FindStringSubmatch(e.Message); m != nil {
		return fmt.Sprintf("GRANT the owner of %s TO %s", m[1], quoted(w.cfg.User))
	}
	return fmt.Sprintf("GRANT what is missing TO %s", quoted(w.cfg.User))
}

// grantable is the word that GRANT has for a type: views are granted as tables.
func grantable(kind string) string {
	switch kind {
	case "VIEW", "MATERIALIZED VIEW", "SOURCE":
		return "TABLE"
	}
	return kind
}

// quoted quotes each part of a name as the server prints it in errors.
func quoted(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = quoteIdent(p)
	}
	return strings.Join(parts, ".")
}
