//go:build darwin || dragonfly || freebsd || (linux && !android) || netbsd || openbsd

package boltstore

import (
	"os"
	"syscall"
)

// abandon closes a file that bbolt has panicked over. Its memory map stays,
// and would keep the lock: that belongs to the open file, which the map is a
// part of. So the lock is given up first.
func abandon(f *os.File) error {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	return f.Close()
}
