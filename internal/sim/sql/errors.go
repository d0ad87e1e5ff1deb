package sql

import "fmt"

// Error is what a server reports in an ErrorResponse.
type Error struct {
	// Code is the SQLSTATE that Materialize 26.4 sends.
	Code string
	// NewCode is the SQLSTATE of servers from 26.29 on where it differs
	// (evaluation errors: XX000 before, class 22 since); empty: the same.
	NewCode string
	Message string
	Detail  string
	Hint    string
	// Position counts characters from 1 in the text given to Parse; 0: none.
	Position int
}

// Error returns the message with its SQLSTATE.
func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

// refuse is the error for everything the simulator does not do.
func refuse(format string, args ...any) *Error {
	return &Error{Code: "0A000", Message: "mzcanary simulator: " + fmt.Sprintf(format, args...)}
}

// planError is an error of planning: Materialize gives them all XX000.
func planError(format string, args ...any) *Error {
	return &Error{Code: "XX000", Message: fmt.Sprintf(format, args...)}
}

// evalError is an error found while computing a value; code is the class 22
// code that newer servers send.
func evalError(code, format string, args ...any) *Error {
	return &Error{Code: "XX000", NewCode: code, Message: fmt.Sprintf(format, args...)}
}
