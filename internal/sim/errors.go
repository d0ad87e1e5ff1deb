package sim

import (
	"errors"
	"fmt"

	"mzcanary/internal/sim/sql"
)

// refuse is the answer to everything the simulator does not do.
func refuse(format string, args ...any) error {
	return &sql.Error{Code: "0A000", Message: "mzcanary simulator: " + fmt.Sprintf(format, args...)}
}

// failf is an error with a SQLSTATE.
func failf(code, format string, args ...any) error {
	return &sql.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// sqlError is what the client is told about err.
func sqlError(err error) *sql.Error {
	if e, ok := errors.AsType[*sql.Error](err); ok {
		return e
	}
	return &sql.Error{Code: "XX000", Message: "internal error: " + err.Error()}
}

var errDDLRace = &sql.Error{
	Code:    "40001",
	Message: "another session modified the catalog while this DDL transaction was open",
	Hint:    "Currently, DDL transactions fail when any other DDL happens concurrently, even on unrelated schemas/clusters.",
}

func errCanceled() error { return failf("57014", "canceling statement due to user request") }

// notice is a NoticeResponse to be sent.
type notice struct {
	severity, code, message, detail, hint string
}
