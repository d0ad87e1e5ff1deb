// Package config turns a file, the environment and --set flags into one checked
// value. It imports nothing else of this program.
//
// The life of a Config:
//
//  1. The file is parsed into YAML nodes, not into maps: nodes still know
//     duplicate keys, spelling and line numbers.
//  2. Every node is compared with the schema, which is read off the Go types
//     (schema.go). What fits becomes a typed value; what does not becomes a Fault
//     and leaves the key at its default, so that reading goes on.
//  3. Environment variables and --set values pass through the same schema.
//  4. viper merges the layers: --set over environment over file over default.
//     Only keys of the schema reach it, all lower case and without dots, so its
//     folding and splitting cannot touch a name: names are values in lists. A list
//     is replaced whole by a layer above; each deployment is itself merged over
//     the defaults of a deployment.
//  5. The merged value is checked for contradictions (validate*.go). A rule is
//     silent about keys that already have a fault: one mistake, one line.
//  6. Load returns the value, or a *Faults with everything that was found.
//
// Secrets are not part of the value: Control.Password reads them when asked, so
// that a rotated file takes effect at the next connection.
package config
