package vault_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// authorizer gives a vault a function as its authorizer.
func authorizer(f func(context.Context, vault.AccessRequest) error) func(*vault.Config) {
	return func(c *vault.Config) { c.Authorizer = vault.AuthorizerFunc(f) }
}

// atOnce is a function that promises to be an ImmediateAuthorizer.
type atOnce func(context.Context, vault.AccessRequest) error

func (f atOnce) Authorize(ctx context.Context, r vault.AccessRequest) error { return f(ctx, r) }
func (atOnce) DecidesAtOnce()                                               {}

// both runs a test with the function asked on its own goroutine, and on the call's.
func both(t *testing.T, f func(context.Context, vault.AccessRequest) error, test func(*testing.T, *vaulttest.Vault)) {
	t.Run("aside", func(t *testing.T) { test(t, vaulttest.New(t, authorizer(f))) })
	t.Run("at once", func(t *testing.T) {
		test(t, vaulttest.New(t, func(c *vault.Config) { c.Authorizer = atOnce(f) }))
	})
}

// A panic denies; the process lives, and its value, which may be a secret, shows nowhere.
func TestAuthorizerPanics(t *testing.T) {
	both(t, func(context.Context, vault.AccessRequest) error { panic("hunter2") }, func(t *testing.T, v *vaulttest.Vault) {
		_, err := v.Encrypt(t.Context(), orgA, []byte("x"), nil)
		wantClass(t, err, "ErrAccessDenied")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the panic's value shows: %v", err)
		}
		if v.KEK.Calls() != 0 || v.Stats().Undecided != 1 || len(v.Events(vault.MessageEncrypted)) != 1 {
			t.Errorf("%d calls, %+v", v.KEK.Calls(), v.Stats())
		}
	})
}

// What ends the goroutine has not allowed anything.
func TestAuthorizerEndsItsGoroutine(t *testing.T) {
	v := vaulttest.New(t, authorizer(func(context.Context, vault.AccessRequest) error { runtime.Goexit(); return nil }))
	_, err := v.Encrypt(t.Context(), orgA, []byte("x"), nil)
	wantClass(t, err, "ErrAccessDenied")
}

type noError struct{ text string }

func (e *noError) Error() string { return e.text }

// An error that holds a nil pointer is an error.
func TestAuthorizerReturnsAHollowError(t *testing.T) {
	var none *noError
	both(t, func(context.Context, vault.AccessRequest) error { return none }, func(t *testing.T, v *vaulttest.Vault) {
		_, err := v.Encrypt(t.Context(), orgA, nil, nil)
		wantClass(t, err, "ErrAccessDenied")
	})
}

type panicsInIs struct{}

func (panicsInIs) Error() string { return "the policy engine is down" }
func (panicsInIs) Is(error) bool { panic("hunter2") }
func (panicsInIs) As(any) bool   { panic("hunter2") }

type panicsInError struct{}

func (panicsInError) Error() string { panic("hunter2") }

// An error whose methods panic is a denial as any other, for the vault and for whoever
// looks at the call's error; the panic's value shows nowhere.
func TestAuthorizersErrorPanics(t *testing.T) {
	for _, bad := range []error{panicsInIs{}, panicsInError{}, errors.Join(errNo, panicsInError{}, panicsInIs{})} {
		both(t, func(context.Context, vault.AccessRequest) error { return bad }, func(t *testing.T, v *vaulttest.Vault) {
			for _, err := range []error{second(v.Encrypt(t.Context(), orgA, nil, nil)), second(v.Get(t.Context(), orgA, "x")), second(v.GetMany(t.Context(), orgA, "x"))} {
				wantClass(t, err, "ErrAccessDenied")
				var other *noError
				if strings.Contains(fmt.Sprintf("%v %+v", err, err), "hunter2") || errors.As(err, &other) {
					t.Errorf("%v", err)
				}
			}
			if n := len(v.Events(vault.DataRead)); n < 1 {
				t.Error("no event")
			}
		})
	}
}

// A long text is cut: it stands in every error and event.
func TestAuthorizersLongText(t *testing.T) {
	both(t, func(context.Context, vault.AccessRequest) error { return errors.New(strings.Repeat("ü", 1<<20)) }, func(t *testing.T, v *vaulttest.Vault) {
		err := second(v.Encrypt(t.Context(), orgA, nil, nil))
		wantClass(t, err, "ErrAccessDenied")
		if n := len(err.Error()); n > 1200 || !utf8.ValidString(err.Error()) {
			t.Errorf("%d bytes", n)
		}
	})
}

// What could not decide denies: the error is also its own.
func TestAuthorizerIsDown(t *testing.T) {
	both(t, func(context.Context, vault.AccessRequest) error { return fmt.Errorf("policy engine: %w", errNo) }, func(t *testing.T, v *vaulttest.Vault) {
		_, err := v.Encrypt(t.Context(), orgA, nil, nil)
		wantErr(t, err, vault.ErrAccessDenied)
		wantErr(t, err, errNo)
	})
	own := &noError{"rule 7"}
	both(t, func(context.Context, vault.AccessRequest) error { return fmt.Errorf("policy: %w", own) }, func(t *testing.T, v *vaulttest.Vault) {
		var got *noError
		if _, err := v.Encrypt(t.Context(), orgA, nil, nil); !errors.As(err, &got) || got != own {
			t.Errorf("not its own error: %v", err)
		}
	})
}

// One that hangs is denied after the timeout, or when the call's ctx ends, whether it
// heeds its own ctx or not, and also if it then says yes.
func TestAuthorizerHangs(t *testing.T) {
	for name, hang := range map[string]func(ctx context.Context, release chan struct{}) error{
		"heeds ctx":        func(ctx context.Context, _ chan struct{}) error { <-ctx.Done(); return ctx.Err() },
		"then says yes":    func(ctx context.Context, _ chan struct{}) error { <-ctx.Done(); return nil },
		"ignores ctx":      func(_ context.Context, release chan struct{}) error { <-release; return nil },
		"and then panics":  func(ctx context.Context, _ chan struct{}) error { <-ctx.Done(); panic("late") },
		"says yes to late": func(context.Context, chan struct{}) error { time.Sleep(time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				v := vaulttest.New(t, authorizer(func(ctx context.Context, _ vault.AccessRequest) error { return hang(ctx, release) }))
				start := time.Now()
				_, err := v.Encrypt(t.Context(), orgA, nil, nil)
				wantClass(t, err, "ErrAccessDenied")
				if took := time.Since(start); took != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) && name != "and then panics" {
					t.Errorf("after %v: %v", took, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start = time.Now()
				_, err = v.Encrypt(ctx, orgA, nil, nil)
				wantClass(t, err, "ErrAccessDenied")
				if took := time.Since(start); took != time.Second {
					t.Errorf("after %v: %v", took, err)
				}
				if v.KEK.Calls() != 0 || len(v.Events(vault.MessageEncrypted)) != 2 {
					t.Errorf("%d calls, %d events", v.KEK.Calls(), len(v.Events()))
				}
				close(release)
				time.Sleep(time.Hour)
			})
		})
	}
}

// Config.AuthorizerTimeout is the bound.
func TestAuthorizerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := authorizer(func(ctx context.Context, _ vault.AccessRequest) error {
			select {
			case <-time.After(7 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		v := vaulttest.New(t, slow, func(c *vault.Config) { c.AuthorizerTimeout = 8 * time.Second })
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
		v = vaulttest.New(t, slow)
		wantErr(t, second(v.Encrypt(t.Context(), orgA, nil, nil)), vault.ErrAccessDenied)
	})
	_, err := vault.New(vault.Config{KEK: vaulttest.New(t).KEK, AuthorizerTimeout: -1})
	if err == nil {
		t.Error("a negative timeout was taken")
	}
	if _, err = vault.New(vault.Config{KEK: vaulttest.New(t).KEK, Authorizer: vault.AuthorizerFunc(nil)}); err == nil {
		t.Error("an authorizer that holds nil was taken: everything would be denied, or worse")
	}
}

// An authorizer that ignores its ctx leaves no more than a thousand goroutines behind.
// What is asked then is denied at once, and when they end it is asked again.
func TestHangingAuthorizersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		release := make(chan struct{})
		v := vaulttest.New(t, authorizer(func(context.Context, vault.AccessRequest) error {
			asked.Add(1)
			<-release
			return nil
		}))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { _, _ = v.Encrypt(ctx, orgA, nil, nil) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		start := time.Now()
		wantErr(t, second(v.Encrypt(t.Context(), orgA, nil, nil)), vault.ErrAccessDenied)
		if n := asked.Load(); n != 1000 || time.Since(start) != 0 {
			t.Errorf("%d were asked, %v were waited", n, time.Since(start))
		}
		close(release)
		synctest.Wait()
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
	})
}

// Close ends a decision that is waited for.
func TestCloseWhileAnAuthorizerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		v := vaulttest.New(t, authorizer(func(context.Context, vault.AccessRequest) error { <-release; return nil }))
		calls := []func() error{
			func() error { return second(v.Encrypt(t.Context(), orgA, nil, nil)) },
			func() error { return second(v.Put(t.Context(), orgA, "x", nil)) },
			func() error { return second(v.Rewrap(t.Context(), vault.RewrapOptions{All: true})) },
		}
		ended := make(chan error, len(calls))
		for _, call := range calls {
			go func() { ended <- call() }()
		}
		synctest.Wait()
		start := time.Now()
		ok(t, v.Close())
		for range calls {
			wantClass(t, <-ended, "ErrClosed")
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
		close(release)
	})
}

// An authorizer that calls the vault that asks it is denied, and not asked for ever.
func TestAuthorizerCallsTheVault(t *testing.T) {
	for _, immediate := range []bool{false, true} {
		var v *vaulttest.Vault
		depth := 0
		f := func(ctx context.Context, _ vault.AccessRequest) error {
			depth++
			_, err := v.Get(ctx, orgB, "who may what")
			return err
		}
		v = vaulttest.New(t, func(c *vault.Config) {
			if c.Authorizer = vault.AuthorizerFunc(f); immediate {
				c.Authorizer = atOnce(f)
			}
		})
		wantClass(t, second(v.Encrypt(t.Context(), orgA, nil, nil)), "ErrAccessDenied")
		if depth != 1 {
			t.Errorf("it was asked %d times", depth)
		}
	}
}

// One that does so with a ctx of its own, which nobody can tell from another caller's,
// comes to an end, before the stack does or the memory.
func TestAuthorizerCallsTheVaultWithItsOwnCtx(t *testing.T) {
	var v *vaulttest.Vault
	var depth, deepest atomic.Int64
	f := func(context.Context, vault.AccessRequest) error {
		if n := depth.Add(1); n > deepest.Load() {
			deepest.Store(n)
		}
		defer depth.Add(-1)
		_, err := v.Describe(context.Background(), orgA, "grants")
		return err
	}
	v = vaulttest.New(t, func(c *vault.Config) { c.Authorizer = atOnce(f) })
	wantClass(t, second(v.Encrypt(t.Context(), orgA, nil, nil)), "ErrAccessDenied")
	if n := deepest.Load(); n != 10_000 {
		t.Errorf("it was asked within itself %d times", n)
	}
	if n := v.Stats().Undecided; n != 1 {
		t.Errorf("%d undecided", n)
	}
}

// What the vault does by itself is not asked about: it sweeps, and shreds what is due.
func TestBackgroundIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		v := vaulttest.New(t, withGate(g))
		must(v.Put(t.Context(), orgA, "short", nil, vault.ExpiresAt(time.Now().Add(time.Minute))))(t)
		must(v.Encrypt(t.Context(), orgB, nil, nil))(t)
		must(v.Shred(t.Context(), orgB, vault.ShredOptions{After: time.Minute}))(t)
		g.set(everything)
		g.take()
		time.Sleep(3 * time.Hour)
		if asked := g.take(); len(asked) != 0 {
			t.Errorf("asked %+v", asked)
		}
		if len(v.Events(vault.DataDeleted)) != 1 || len(v.Events(vault.KeyShredded)) != 1 {
			t.Errorf("%d deleted, %d shredded", len(v.Events(vault.DataDeleted)), len(v.Events(vault.KeyShredded)))
		}
	})
}

// The labels that are decided about are those of the version that is deleted, or that a
// put follows, although another writer comes between.
func TestLabelsDecidedAboutAreThoseThatCount(t *testing.T) {
	hold := vault.Labels(map[string]string{"hold": "yes"})
	held := func(r vault.AccessRequest) bool { return r.Labels["hold"] == "yes" }
	for what, tc := range map[string]struct {
		at   string
		call func(*vaulttest.Vault) error
	}{
		"Delete": {"DeleteObject", func(v *vaulttest.Vault) error { return v.Delete(context.Background(), orgA, "a") }},
		"Put":    {"PutObject", func(v *vaulttest.Vault) error { return second(v.Put(context.Background(), orgA, "a", nil)) }},
	} {
		t.Run(what, func(t *testing.T) {
			g := new(gate)
			v := vaulttest.New(t, withGate(g))
			must(v.Put(t.Context(), orgA, "a", nil))(t)
			g.set(held)
			rival := peerOf(t, v)
			v.Store.SetFault(func(op string) error {
				if op == tc.at { // decided about, and not yet done
					v.Store.SetFault(nil)
					must(rival.Put(t.Context(), orgA, "a", []byte("keep"), hold))(t)
				}
				return nil
			})
			wantClass(t, tc.call(v), "ErrAccessDenied")
			if obj := must(rival.Get(t.Context(), orgA, "a"))(t); string(obj.Value) != "keep" {
				t.Errorf("it holds %q", obj.Value)
			}
		})
	}
}

// Without labels that matter, a put and a delete that another writer overtakes go on.
func TestOvertakenPutsAndDeletesGoOn(t *testing.T) {
	ctx := t.Context()
	for _, present := range []bool{false, true} {
		v := vaulttest.New(t, withGate(new(gate)))
		if present {
			must(v.Put(ctx, orgA, "a", nil))(t)
		}
		rival := peerOf(t, v)
		overtake := func(at string, do func()) {
			v.Store.SetFault(func(op string) error {
				if op == at {
					v.Store.SetFault(nil)
					do()
				}
				return nil
			})
		}
		overtake("PutObject", func() { must(rival.Put(ctx, orgA, "a", nil))(t) })
		must(v.Put(ctx, orgA, "a", []byte("mine")))(t)
		overtake("PutObject", func() { ok(t, rival.Delete(ctx, orgA, "a")) })
		must(v.Put(ctx, orgA, "a", []byte("mine")))(t)
		overtake("DeleteObject", func() { must(rival.Put(ctx, orgA, "a", nil))(t) })
		ok(t, v.Delete(ctx, orgA, "a"))
		overtake("PutObject", func() { must(rival.Put(ctx, orgA, "a", nil))(t) })
		_, err := v.Put(ctx, orgA, "a", nil, vault.IfAbsent())
		wantClass(t, err, "ErrExists")
	}
}

// A put guarded for its labels gives UniqueNames' error as it is.
func TestPutOfANameThatAnotherContextHolds(t *testing.T) {
	v := vaulttest.New(t, withGate(new(gate)), func(c *vault.Config) { c.UniqueNames = true })
	must(v.Put(t.Context(), orgA, "a", nil))(t)
	_, err := v.Put(t.Context(), orgB, "a", nil)
	wantClass(t, err, "ErrExists")
	if n := v.Store.Calls("PutObject"); n != 2 {
		t.Errorf("%d puts", n)
	}
}

// A read is decided with the labels of the version that is read, before its key is used.
func TestLabelsOfWhatIsRead(t *testing.T) {
	ctx, g := t.Context(), new(gate)
	v := vaulttest.New(t, withGate(g))
	first := must(v.Put(ctx, orgA, "a", []byte("1"), vault.Labels(map[string]string{"level": "secret"})))(t)
	must(v.Put(ctx, orgA, "a", []byte("2")))(t)
	must(v.Put(ctx, orgA, "b", []byte("3"), vault.Labels(map[string]string{"level": "secret"})))(t)
	secret := func(r vault.AccessRequest) bool { return r.Labels["level"] == "secret" }
	cold := peerOf(t, v, withGate(g))
	g.set(secret)
	for what, call := range map[string]func() error{
		"an old version": func() error { return second(cold.Get(ctx, orgA, "a", vault.AtVersion(first.VersionID))) },
		"Get":            func() error { return second(cold.Get(ctx, orgA, "b")) },
		"GetByID":        func() error { return second(cold.GetByID(ctx, orgA, first.ID, vault.AtVersion(first.VersionID))) },
		"GetMany":        func() error { return second(cold.GetMany(ctx, orgA, "b")) },
		"Describe":       func() error { return second(cold.Describe(ctx, orgA, "b")) },
		"Versions":       func() error { return firstErr(cold.Versions(ctx, orgA, "b")) },
		"Delete":         func() error { return cold.Delete(ctx, orgA, "b") },
	} {
		g.take()
		err := call()
		if wantErr(t, err, vault.ErrAccessDenied); cold.KEK.Calls() != 0 {
			t.Errorf("%s: the key was used", what)
		}
		if asked := g.take(); len(asked) != 1 || asked[0].Object == "" {
			t.Errorf("%s asked %+v", what, asked)
		}
	}
	obj := must(cold.Get(ctx, orgA, "a"))(t)
	if string(obj.Value) != "2" {
		t.Errorf("read %q", obj.Value)
	}
}

// The store fails before it is asked about: who is allowed sees the store's error.
func TestAllowedSeesTheStoresError(t *testing.T) {
	v := vaulttest.New(t, withGate(new(gate)))
	v.Store.SetFault(func(string) error { return storage.ErrUnavailable })
	for _, err := range []error{
		second(v.Get(t.Context(), orgA, "a")), second(v.Describe(t.Context(), orgA, "a")),
		v.Delete(t.Context(), orgA, "a"), second(v.Put(t.Context(), orgA, "a", nil)),
	} {
		wantClass(t, err, "ErrStoreUnavailable")
	}
}
