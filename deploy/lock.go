package deploy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// LockError means that another process owns the state directory.
type LockError struct {
	File  string
	Owner string // as the owner wrote it down: pid, host, since when
}

func (e *LockError) Error() string {
	return fmt.Sprintf("state directory is in use: %s is held by %s; stop that process, or use another state.dir", e.File, e.Owner)
}

// takeLock locks a file for as long as it is open; the kernel gives it free when
// the process dies, however it dies.
func takeLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory cannot be locked: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, readErr := io.ReadAll(io.LimitReader(f, 1024))
		return nil, errors.Join(&LockError{File: name, Owner: orUnknown(string(owner))}, readErr, f.Close())
	}
	if err == nil {
		err = writeOwner(f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s cannot be locked: %w", name, err), f.Close())
	}
	return f, nil
}

func orUnknown(owner string) string {
	if owner = strings.TrimSpace(owner); owner == "" {
		return "another process"
	}
	return owner
}

func writeOwner(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "process %d on %s since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339)), 0)
	return err
}
