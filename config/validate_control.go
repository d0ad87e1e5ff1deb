package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"regexp"
	"strings"
)

var envVarName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,127}$`)

func checkControl(c *collector, cfg *Config) {
	required(c, "control.user", cfg.Control.User, "name the role of the controller, such as mzcanary")
	required(c, "control.database", cfg.Control.Database, "name the database to connect to, such as materialize")
	env := cfg.Control.PasswordEnv
	switch {
	case env == "" || !c.ok("control.password_env"):
	case !envVarName.MatchString(env):
		// Not shown: it may be the password itself.
		c.add("control.password_env", "", "is not the name of an environment variable",
			"write a name in upper case, such as "+DefaultPasswordEnv+"; the password itself never stands in the configuration")
	case env != DefaultPasswordEnv && cfg.Control.PasswordFile != "":
		c.add("control.password_file", shown(cfg.Control.PasswordFile), "is a second source of the password beside control.password_env", "keep one of the two")
	}
}

// Password reads the control password anew, so that a rotated one is used by the
// next connection. The file wins when one is named; a single line end after the
// password is not part of it. The default variable being unset means no password.
func (c Control) Password() (Secret, error) {
	if c.PasswordFile != "" {
		return c.passwordOfFile()
	}
	if c.PasswordEnv == "" {
		return Secret{}, nil
	}
	value, ok := c.lookup(c.PasswordEnv)
	if !ok && c.PasswordEnv != DefaultPasswordEnv {
		return Secret{}, fmt.Errorf("control.password_env: environment variable %s is not set", c.PasswordEnv)
	}
	return NewSecret(value), nil
}

func (c Control) lookup(name string) (string, bool) {
	if c.environ == nil {
		return os.LookupEnv(name)
	}
	value, ok := environMap(c.environ)[name]
	return value, ok
}

func (c Control) passwordOfFile() (Secret, error) {
	data, err := readFile(c.PasswordFile)
	if err != nil {
		return Secret{}, fmt.Errorf("control.password_file: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case text == "":
		return Secret{}, fmt.Errorf("control.password_file: %s is empty", c.PasswordFile)
	case strings.ContainsAny(text, "\x00\r\n"):
		return Secret{}, fmt.Errorf("control.password_file: %s holds more than one line", c.PasswordFile)
	case len(data) > maxFileSize:
		return Secret{}, fmt.Errorf("control.password_file: %s is larger than 1 MiB", c.PasswordFile)
	}
	return NewSecret(text), nil
}

// checkFiles looks at everything outside the configuration that it names.
func checkFiles(c *collector, cfg *Config) {
	checkPassword(c, cfg)
	checkCertificates(c, cfg)
	if info, err := os.Stat(cfg.State.Dir); err == nil && !info.IsDir() {
		c.add("state.dir", shown(cfg.State.Dir), "is not a directory", "name a directory; it is made when it is missing")
	}
}

func checkPassword(c *collector, cfg *Config) {
	path := "control.password_env"
	if cfg.Control.PasswordFile != "" {
		path = "control.password_file"
	}
	if !c.ok(path) {
		return
	}
	if value, _ := cfg.Control.lookup(DefaultPasswordEnv); value != "" && cfg.Control.PasswordFile != "" && cfg.Control.PasswordEnv == DefaultPasswordEnv {
		c.add(path, shown(cfg.Control.PasswordFile), "is a second source of the password: "+DefaultPasswordEnv+" is set too",
			`unset the variable, write password_env: "", or leave the file out`)
		return
	}
	if _, err := cfg.Control.Password(); err != nil {
		if cfg.Control.PasswordFile == "" {
			c.add(path, cfg.Control.PasswordEnv, "is not set in the environment", "set that variable, or name a file in control.password_file")
			return
		}
		problem := strings.TrimPrefix(err.Error(), path+": ")
		if cause := causeOf(err); cause != err.Error() {
			problem = "cannot be read: " + cause
		} else {
			problem = strings.TrimPrefix(problem, cfg.Control.PasswordFile+" ")
		}
		c.add(path, shown(cfg.Control.PasswordFile), problem, "put the password into that file, readable by this user, alone on one line")
	}
}

func checkCertificates(c *collector, cfg *Config) {
	t := cfg.Listen.TLS
	const cert, key, ca = "listen.tls.cert_file", "listen.tls.key_file", "upstream.tls.ca_file"
	certPEM, certOK := readable(c, cert, t.CertFile)
	keyPEM, keyOK := readable(c, key, t.KeyFile)
	if certOK && keyOK {
		if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
			c.add(cert, shown(t.CertFile), "and "+key+" are no pair: "+strings.TrimPrefix(err.Error(), "tls: "), "name a PEM certificate (chain) and its own key")
		}
	}
	for _, trusted := range []struct{ path, file string }{{"listen.tls.client_ca_file", t.ClientCAFile}, {ca, cfg.Upstream.TLS.CAFile}} {
		if pem, ok := readable(c, trusted.path, trusted.file); ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			c.add(trusted.path, shown(trusted.file), "holds no certificate", "name a file of PEM certificates")
		}
	}
}

// readable reads a file a key names; ok is false when the key is empty or faulty.
func readable(c *collector, path, file string) (data []byte, ok bool) {
	if file == "" || !c.ok(path) {
		return nil, false
	}
	data, err := readFile(file)
	if err != nil {
		c.add(path, shown(file), "cannot be read: "+causeOf(err), "name a file that this user can read")
		return nil, false
	}
	return data, true
}
