package storagetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
)

// env is what a check works with. Its methods may be called by any goroutine,
// save those that end the check: fatalf and what calls it.
type env struct {
	t   *testing.T // for the harness only
	h   Harness
	ctx context.Context
	s   storage.Store

	mu       sync.Mutex // guards failures
	failures []string
}

// runCheck runs a check and returns how it failed. A check that hangs is left
// behind.
func runCheck(t *testing.T, h Harness, c check, patience time.Duration) []string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := &env{t: t, h: h, ctx: ctx, s: h.New(t)}
	done := make(chan struct{})
	go func() { // its own, so that fatalf can end it
		defer close(done)
		c.run(e)
	}()
	select {
	case <-done:
	case <-time.After(patience + time.Second):
		e.errorf("it hangs")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failures
}

func (e *env) errorf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.failures) < 20 { // the rest says nothing new
		e.failures = append(e.failures, fmt.Sprintf(format, args...)+"\n\tat "+where())
	}
}

func (e *env) fatalf(format string, args ...any) {
	e.errorf(format, args...)
	runtime.Goexit()
}

// where says by which lines of this package a failure was met.
func where() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var lines []string
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "storagetest.") && !strings.HasSuffix(f.File, "env.go") {
			lines = append(lines, fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line))
		}
		if !more {
			return strings.Join(lines, ", ")
		}
	}
}

// ok ends the check if err isn't nil.
func (e *env) ok(err error) {
	if err != nil {
		e.fatalf("unexpected error: %v", err)
	}
}

// is wants an error that matches target, and none of the classes that would
// mislead the vault.
func (e *env) is(err, target error) {
	if !errors.Is(err, target) {
		e.errorf("got error %v, want one that matches %q", err, target)
		return
	}
	for _, other := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict} {
		if other != target && errors.Is(err, other) {
			e.errorf("error %v matches %q, and %q as well", err, target, other)
		}
	}
}

// refused wants an error that is none of the answers to a valid question.
func (e *env) refused(err error) {
	if err == nil {
		e.errorf("it was taken, it should be refused")
		return
	}
	for _, other := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict} {
		if errors.Is(err, other) {
			e.errorf("refused with %v, which matches %q", err, other)
		}
	}
}

// second returns another store on the same database, or the same store.
func (e *env) second() storage.Store {
	if e.h.Second == nil {
		return e.s
	}
	return e.h.Second(e.t, e.s)
}

// race runs f n times at once, on two stores in turn if the harness has two,
// and returns the errors.
func (e *env) race(n int, f func(s storage.Store, i int) error) []error {
	stores := [2]storage.Store{e.s, e.second()}
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(stores[i%2], i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWins wants exactly one success among the errors, and the others to match
// target. It returns the index of the winner.
func (e *env) oneWins(errs []error, target error) int {
	winner, wins := -1, 0
	for i, err := range errs {
		if err == nil {
			winner, wins = i, wins+1
		} else {
			e.is(err, target)
		}
	}
	if wins != 1 {
		e.fatalf("%d of %d won, want 1", wins, len(errs))
	}
	return winner
}
