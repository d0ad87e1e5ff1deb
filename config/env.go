package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "MZCANARY_"

// testEnvPrefix is left to the program's own tests.
const testEnvPrefix = envPrefix + "TEST_"

// serviceEnv and servicePort match what Kubernetes puts into the environment of
// every container when a service is called mzcanary or mzcanary-something. Those are
// not meant for us.
var (
	serviceEnv  = regexp.MustCompile(`^MZCANARY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	servicePort = regexp.MustCompile(`^MZCANARY_([A-Z0-9_]+_)?PORT=(tcp|udp|sctp)://`)
)

// EnvName is the environment variable of a key outside lists, listen.tls.cert_file
// being MZCANARY_LISTEN_TLS_CERT_FILE.
func EnvName(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

// envKeys maps the variables to the keys they set: every scalar outside lists.
func envKeys() map[string]string {
	keys := map[string]string{}
	rootSchema().walk("", func(path string, s *schema) {
		if s.kind.scalar() && !strings.Contains(path, "[]") {
			keys[EnvName(path)] = path
		}
	})
	return keys
}

// environMap makes NAME=value pairs a map; the last one wins.
func environMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			m[name] = value
		}
	}
	return m
}

// environmentOf is the given environment, or that of the process.
func environmentOf(environ []string) map[string]string {
	if environ == nil {
		environ = os.Environ()
	}
	return environMap(environ)
}

// envTree reads the variables that set keys into a tree. An empty variable counts
// as absent, as viper has it.
func envTree(c *collector, env map[string]string) map[string]any {
	root, result := rootSchema(), map[string]any{}
	keys := envKeys()
	for _, name := range sortedKeys(keys) {
		text := env[name]
		if text == "" {
			continue
		}
		path := keys[name]
		s := root
		for key := range strings.SplitSeq(path, ".") {
			s = s.field(key)
		}
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
		if value, ok := namedReader(c, "environment "+name).value(s, node, path); ok {
			putPath(result, path, value)
		}
	}
	return result
}

// checkEnv reports variables with our prefix that nobody reads. It comes after the
// merge, because the configuration names one of them. Values are never shown.
func checkEnv(c *collector, env map[string]string, passwordEnv string) {
	keys := envKeys()
	known := append(sortedKeys(keys), DefaultPasswordEnv)
	for _, name := range sortedKeys(env) {
		switch {
		case !strings.HasPrefix(name, envPrefix), strings.HasPrefix(name, testEnvPrefix),
			serviceEnv.MatchString(name), servicePort.MatchString(name + "=" + env[name]), name == passwordEnv, slices.Contains(known, name):
			continue
		}
		remedy := "unset it; lists such as deployments are set in the file or with --set"
		if strings.HasSuffix(name, "_PASSWORD") {
			remedy = "did you mean " + DefaultPasswordEnv + "?"
		} else if near := nearest(name[len(envPrefix):], trimmed(known)); near != "" {
			remedy = fmt.Sprintf("did you mean %s?", envPrefix+near)
		}
		c.addAt(origin{where: "environment", order: orderAfterFile}, shownKey(name), "", "is an unknown variable", remedy)
	}
}

func trimmed(names []string) []string {
	short := make([]string, len(names))
	for i, name := range names {
		short[i] = strings.TrimPrefix(name, envPrefix)
	}
	return short
}
