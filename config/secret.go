package config

import (
	"fmt"
	"io"
	"log/slog"
)

const secretText = "[secret]"

// Secret is a value that cannot print itself: every way of formatting, logging or
// encoding it gives "[secret]". Only Reveal gives the value. The zero value is the
// empty secret.
type Secret struct {
	// A pointer, because fmt prints unexported fields of structs around this one
	// without asking its methods; then an address appears, not the value.
	value *string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{value: &value}
}

// Reveal gives the value itself. Callers hand it on to the server and nowhere else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s.value == nil }

// String gives "[secret]".
func (s Secret) String() string { return secretText }

// GoString gives "[secret]".
func (s Secret) GoString() string { return secretText }

// Format gives "[secret]" under every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	// A Formatter has nobody to hand a write error to; fmt keeps it itself.
	_, _ = io.WriteString(f, secretText)
}

// MarshalJSON gives "[secret]".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + secretText + `"`), nil }

// MarshalText gives "[secret]".
func (s Secret) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// MarshalYAML gives "[secret]".
func (s Secret) MarshalYAML() (any, error) { return secretText, nil }

// LogValue gives "[secret]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(secretText) }
