//go:build !linux

package proxy

import "syscall"

// rawPath is off: connections are read and written through net.Conn.
const rawPath = false

func readSocket(uintptr, []byte) (int, error)  { return -1, syscall.EINVAL }
func writeSocket(uintptr, []byte) (int, error) { return -1, syscall.EINVAL }
func socketHungUp(uintptr) bool                { return false }
func socketEnded(uintptr) bool                 { return false }
func socketReadable(uintptr) bool              { return true }
