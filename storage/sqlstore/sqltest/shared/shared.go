// Package shared keeps a server for all tests of a process: they start it when the first
// of them needs it.
package shared

import (
	"sync"
	"testing"
)

// Server is a server that is started once. The zero value is ready. It is safe for
// concurrent use.
type Server[S interface{ Close() }] struct {
	mu   sync.Mutex // guards the rest
	made bool
	s    S
	err  error
}

// Get returns the server, which start starts if it isn't there. A start that failed isn't
// tried again, and fails every test that needs the server; so does one that isn't
// installed: whoever runs these tests wants them to run.
func (s *Server[S]) Get(t testing.TB, start func() (S, error)) S {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made && s.err == nil {
		s.s, s.err = start()
		s.made = s.err == nil
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.s
}

// Close ends the server, if it was started: for TestMain, when all tests have ended.
func (s *Server[S]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made {
		s.s.Close()
	}
}
