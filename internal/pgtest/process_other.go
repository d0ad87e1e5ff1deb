//go:build unix && !linux

package pgtest

import "syscall"

// attributes run a program as cred (nil: as ourselves).
func attributes(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred}
}
