package main

import (
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// perScript keeps a value for each script that runs.
type perScript[T any] struct{ m sync.Map }

func (p *perScript[T]) store(ts *testscript.TestScript, v T) {
	p.m.Store(ts, v)
	ts.Defer(func() { p.m.Delete(ts) })
}

func (p *perScript[T]) load(ts *testscript.TestScript) T {
	v, ok := p.m.Load(ts)
	if !ok {
		ts.Fatalf("it has not been started")
	}
	return v.(T)
}
