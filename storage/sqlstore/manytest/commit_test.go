package manytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore/manytest/wire"
)

// write is a call whose last message is lost, or the answer to it.
type write struct {
	name    string
	message string                          // what is in it; "" if it is a commit
	do      func(ctx context.Context) error // by the vault behind the proxy
	done    func(ctx context.Context) (int, error)
}

// A call has trapTimeout to send what is lost, however busy the machine is, and
// lostTimeout after that.
const (
	trapTimeout = 15 * time.Second
	lostTimeout = 300 * time.Millisecond
)

// trapped is a ctx whose time is up lostTimeout after a trap has sprung.
type trapped struct {
	context.Context
	done chan struct{}
}

func (c trapped) Done() <-chan struct{} { return c.done }

func (c trapped) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// endsLost runs a call of which a trap loses something, and fails if nothing was
// lost or the call doesn't end with its ctx.
func endsLost(t *testing.T, what string, trap *wire.Trap, p *wire.Proxy, do func(context.Context) error) error {
	t.Helper()
	ctx := trapped{t.Context(), make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	select {
	case <-trap.Sprung():
		time.AfterFunc(lostTimeout, func() { close(ctx.done) })
	case <-time.After(trapTimeout):
		close(ctx.done)
		t.Fatalf("%s: nothing was lost: %v", what, <-ended)
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(lostTimeout + slack):
		t.Errorf("%s: it doesn't end with its ctx", what)
		p.Reset() // so that it does
		return <-ended
	}
}

// writes are of all kinds, each with what tells how many times it was done.
func (c *client) writes(t *testing.T, e engine, round string) []write {
	t.Helper()
	kc := contextOf(1)
	old, gone := "old-"+round, "gone-"+round
	for _, name := range []string{old, gone} {
		must(t, errOf(c.other.Put(t.Context(), kc, name, []byte("v"))))
	}
	fresh := vault.KeyContext{"organization_id": "org_" + round}
	must(t, c.vault.Prepare(t.Context(), kc))
	number := func(name string) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			m, err := c.other.Describe(ctx, kc, name)
			if errors.Is(err, vault.ErrNotFound) {
				return 0, nil
			}
			return int(m.Number), err
		}
	}
	keys := func(kc vault.KeyContext) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			h, err := keyctx.HashIn(kc, namespace)
			if err != nil {
				return 0, err
			}
			page, err := c.direct.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{Hash: h}})
			return len(page.Keys), err
		}
	}
	all := []write{
		{"create", "new-" + round, func(ctx context.Context) error {
			return errOf(c.vault.Put(ctx, kc, "new-"+round, []byte("v"), vault.IfAbsent()))
		}, number("new-" + round)},
		{"add a version", old, func(ctx context.Context) error { return errOf(c.vault.Put(ctx, kc, old, []byte("v"))) }, number(old)},
		{"first use", "org_" + round, func(ctx context.Context) error { return c.vault.Prepare(ctx, fresh) }, keys(fresh)},
		{"delete", "", func(ctx context.Context) error { return c.vault.Delete(ctx, kc, gone) }, number(gone)},
	}
	for i := range all {
		// Not "READ COMMITTED", which is how transactions begin. In MariaDB all of
		// these are transactions.
		switch {
		case e.name == "mariadb":
			all[i].message = "\x03COMMIT"
		case all[i].message == "":
			all[i].message = "commit\x00"
		}
	}
	return all
}

// TestWireCommit loses the message that commits, or the answer to it, in each
// way. The call ends with its ctx and an error that says that nothing is known,
// or it succeeds; and it was done once, or not at all.
func TestWireCommit(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		c := newClient(t, e)
		round := 0
		for fault, name := range []string{wire.Cut: "cut", wire.Reset: "reset", wire.Hole: "hole"} {
			for _, after := range []bool{false, true} {
				round++
				for _, w := range c.writes(t, e, fmt.Sprint(round)) {
					c.lose(t, w, wire.Fault(fault), after, fmt.Sprintf("%s: %s, answered: %v", w.name, name, after))
				}
			}
		}
	}, wired...)
}

// TestWireRollback loses the message that rolls back, or the answer to it, after
// a call was refused: it ends with its ctx, and the refusal or the fault is told.
func TestWireRollback(t *testing.T) {
	message := map[string]string{"postgres": "rollback\x00", "mariadb": "\x03ROLLBACK"}
	each(t, func(t *testing.T, e engine) {
		c := newClient(t, e)
		kc := contextOf(2)
		must(t, errOf(c.other.Put(t.Context(), kc, "there", []byte("v"))))
		for fault, name := range []string{wire.Cut: "cut", wire.Reset: "reset", wire.Hole: "hole"} {
			for _, after := range []bool{false, true} {
				what := fmt.Sprintf("%s, answered: %v", name, after)
				c.warm(t, 2)
				trap := c.proxy.Trap(message[e.name], wire.Fault(fault), after)
				err := endsLost(t, what, trap, c.proxy, func(ctx context.Context) error { return c.vault.Delete(ctx, kc, "absent") })
				if class := classOf(err); class != "not found" && !isFault(class) {
					t.Errorf("%s: %s: %v", what, class, err)
				}
				c.recovers(t, what, func(ctx context.Context) error {
					m, err := c.vault.Put(ctx, kc, "there", []byte("v"))
					if err == nil && m.Number < 2 {
						err = errors.New("it isn't there any more")
					}
					return err
				})
			}
		}
	}, wired...)
}

func (c *client) lose(t *testing.T, w write, fault wire.Fault, after bool, what string) {
	t.Helper()
	before, err := w.done(t.Context())
	must(t, err)
	trap := c.proxy.Trap(w.message, fault, after)
	err = endsLost(t, what, trap, c.proxy, w.do)
	if err != nil && !isFault(classOf(err)) {
		t.Errorf("%s: %s: %v", what, classOf(err), err)
	}
	want := before
	if after || err == nil {
		want++
		if w.name == "delete" {
			want = 0
		}
	}
	got, err2 := w.done(t.Context())
	must(t, err2)
	if got != want {
		t.Errorf("%s: %v; there are %d, want %d", what, err, got, want)
	}
}
