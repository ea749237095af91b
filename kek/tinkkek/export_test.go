package tinkkek

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

var (
	Classify  = classify
	CheckFile = checkFile
)

// AtStep calls f at every step of writing files, until the test ends.
func AtStep(t testing.TB, f func(string)) {
	was := step
	step = f
	if t != nil {
		t.Cleanup(func() { step = was })
	}
}

// NoLinks makes a file system without hard links, until the test ends.
func NoLinks(t testing.TB) {
	was := link
	link = func(string, string) error { return &fs.PathError{Op: "link", Err: errors.ErrUnsupported} }
	if t != nil {
		t.Cleanup(func() { link = was })
	}
}

// Impatient shortens what is waited for, until the test ends.
func Impatient(t testing.TB) {
	wasEmpty, wasLock := emptyFor, lockFor
	emptyFor, lockFor = 50*time.Millisecond, 50*time.Millisecond
	t.Cleanup(func() { emptyFor, lockFor = wasEmpty, wasLock })
}
