package fieldtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// env is what a check works with. Its methods may be called by any goroutine, save
// those that end the check: fatalf and what calls it.
type env struct {
	t   *testing.T // for the harness, and the vaults
	h   Harness
	ctx context.Context
	v   *vaulttest.Vault
	db  *DB

	mu       sync.Mutex // guards the rest
	failures []string
	secrets  []string        // every plaintext
	said     []string        // every error's text
	spoilt   map[string]bool // what the check itself wrote into encrypted columns
}

// runCheck runs a check and returns how it failed. A check that hangs is left behind.
func runCheck(t *testing.T, h Harness, c check, patience time.Duration) []string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := &env{t: t, h: h, ctx: ctx, v: vaulttest.New(t)}
	e.db = h.New(t, e.v.Vault)
	done := make(chan struct{})
	go func() { // its own, so that fatalf can end it
		defer close(done)
		defer e.nothingLeaked()
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
		if strings.Contains(f.Function, "fieldtest.") && !strings.HasSuffix(f.File, "env.go") {
			lines = append(lines, fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line))
		}
		if !more {
			return strings.Join(lines, ", ")
		}
	}
}

// hear keeps an error's text, which must hold no plaintext, in whatever form it is
// printed.
func (e *env) hear(err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, err.Error(), fmt.Sprintf("%+v %#v", err, err))
}

// ok ends the check if err isn't nil.
func (e *env) ok(err error) {
	e.hear(err)
	if err != nil {
		e.fatalf("unexpected error: %v", err)
	}
}

// refused wants an error.
func (e *env) refused(err error, what string) {
	e.hear(err)
	if err == nil {
		e.errorf("%s: it was taken, it should be an error", what)
	}
}

// is wants an error that matches one of the targets.
func (e *env) is(err error, targets ...error) {
	e.hear(err)
	for _, t := range targets {
		if errors.Is(err, t) {
			return
		}
	}
	e.errorf("got error %v, want one that matches %q", err, targets)
}

// tenant returns the key context of an organisation.
func tenant(org string) vault.KeyContext { return vault.KeyContext{"organization_id": org} }

// of returns the ctx of an organisation.
func (e *env) of(org string) context.Context { return vault.WithKeyContext(e.ctx, tenant(org)) }

// secret returns a new plaintext, which must be nowhere when the check ends.
func (e *env) secret(prefix, suffix string) string {
	s := prefix + strings.ToLower(rand.Text()) + suffix
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets = append(e.secrets, s)
	return s
}

func (e *env) email() string { return e.secret("mail", "@example.org") }
func (e *env) note() string  { return e.secret("note ", "") }

// weight is what patients weigh: a number that no database says by chance.
const weight = 1_977_419_043

// person returns a patient with every column set, and a copy of what is in it.
func (e *env) person(id, org string) (*Patient, content) {
	c := content{email: e.email(), note: e.note()}
	return &Patient{
		ID: id, OrgID: org, Name: "Name of " + id,
		Email: vault.Seal(c.email), Note: vault.Seal(c.note), Weight: vault.Seal(weight),
	}, c
}

// content is what a patient's fields hold.
type content struct{ email, note string }

// created creates a patient.
func (e *env) created(id, org string) (*Patient, content) {
	p, c := e.person(id, org)
	e.unchanged(p, func() { e.ok(e.db.Create(e.of(org), p)) })
	return p, c
}

// unchanged wants a call to leave a struct as it is.
func (e *env) unchanged(p *Patient, call func()) {
	before := *p
	call()
	e.same(before, *p)
}

func (e *env) same(before, after Patient) {
	if e.h.FillsIndex {
		after.EmailBidx = before.EmailBidx
	}
	if !reflect.DeepEqual(before, after) {
		e.errorf("the caller's struct was changed")
	}
}

// get reads a patient.
func (e *env) get(id, org string) *Patient {
	p, err := e.db.Get(e.of(org), id)
	e.ok(err)
	if p == nil || p.ID != id {
		e.fatalf("the row %s was not read", id)
	}
	return p
}

// opens wants a field to hold a value.
func (e *env) opens(ctx context.Context, f vault.Encrypted[string], want string) {
	got, err := f.Open(ctx)
	e.hear(err)
	if err != nil {
		e.errorf("open: %v", err)
	} else if got != want {
		e.errorf("the field opens as something else than what was written")
	}
}

// fails wants a field not to open, with one of these errors.
func (e *env) fails(ctx context.Context, f vault.Encrypted[string], targets ...error) {
	if got, err := f.Open(ctx); err == nil {
		e.errorf("a field of %d bytes was opened, want an error that matches %q", len(got), targets)
	} else {
		e.is(err, targets...)
	}
}

// holds wants a patient that was read to hold c; it is opened without help from ctx,
// besides the key context.
func (e *env) holds(p *Patient, c content) {
	ctx := e.of(p.OrgID)
	e.opens(ctx, p.Email, c.email)
	e.opens(ctx, p.Note, c.note)
	if w, err := p.Weight.Open(ctx); err != nil || w != weight {
		e.errorf("the number opens with %v", err)
	}
}

// count returns how many events of this name there were.
func (e *env) count(name vault.EventName) int { return len(e.v.Events(name)) }
