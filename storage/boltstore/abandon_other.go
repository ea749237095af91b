//go:build !(darwin || dragonfly || freebsd || (linux && !android) || netbsd || openbsd)

package boltstore

import "os"

// abandon closes a file that bbolt has panicked over, which gives up its lock.
func abandon(f *os.File) error { return f.Close() }
