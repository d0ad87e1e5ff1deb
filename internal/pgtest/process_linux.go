package pgtest

import "syscall"

// attributes run a program as cred (nil: as ourselves) and end it when the test
// process dies.
func attributes(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT}
}
