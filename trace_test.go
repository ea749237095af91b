package vault_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// tale records what a tracer is told: each call as a path of what it was under.
type tale struct {
	mu    sync.Mutex
	begun []string
	ended map[string][]error
	ops   []vault.TracedOperation
	keks  []vault.TracedKEKCall
}

// pathInCtx is under what key the ctx of a tracer has the path.
type pathInCtx struct{}

func pathOf(ctx context.Context) string { path, _ := ctx.Value(pathInCtx{}).(string); return path }

func (r *tale) begin(ctx context.Context, what string) (context.Context, func(error)) {
	path := strings.TrimPrefix(pathOf(ctx)+"/"+what, "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, path)
	return context.WithValue(ctx, pathInCtx{}, path), func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.ended == nil {
			r.ended = make(map[string][]error)
		}
		r.ended[path] = append(r.ended[path], err)
	}
}

func (r *tale) tracer() vault.Tracer {
	return vault.Tracer{
		Operation: func(ctx context.Context, op vault.TracedOperation) (context.Context, func(error)) {
			r.mu.Lock()
			op.Context = op.Context.Clone()
			r.ops = append(r.ops, op)
			r.mu.Unlock()
			return r.begin(ctx, op.Name)
		},
		KEKCall: func(ctx context.Context, call vault.TracedKEKCall) (context.Context, func(error)) {
			r.mu.Lock()
			r.keks = append(r.keks, call)
			r.mu.Unlock()
			return r.begin(ctx, fmt.Sprintf("%s %d", call.Ask, call.Attempt))
		},
		StoreCall: func(ctx context.Context, call vault.TracedStoreCall) (context.Context, func(error)) {
			return r.begin(ctx, call.Method)
		},
	}
}

// take returns what was told since it was last called, and how often it had ended.
func (r *tale) take(t *testing.T) (begun []string, ended map[string][]error) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	begun, ended = r.begun, r.ended
	r.begun, r.ended, r.ops, r.keks = nil, nil, nil, nil
	return begun, ended
}

// snake is a method's name as an operation's. What differs from another in its form
// only has that one's.
func snake(method string) string {
	same := map[string]string{
		"AppendEncrypt": "encrypt", "AppendDecrypt": "decrypt", "EncryptString": "encrypt", "DecryptString": "decrypt",
		"AEAD.Encrypt": "encrypt", "AEAD.Decrypt": "decrypt", "AEADWithContext.Encrypt": "encrypt", "AEADWithContext.Decrypt": "decrypt",
		"GetByID": "get", "ListPage": "list", "VerifyKEK": "verify_kek",
	}
	if name, ok := same[method]; ok {
		return name
	}
	var b strings.Builder
	for i, r := range method {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// Every method is an operation of its name, and it ends with the method's error,
// whether it succeeds or fails. callsWith, scopeCalls and otherCalls have every
// method: TestClosed sees to it.
func TestTracerIsToldOfEveryMethod(t *testing.T) {
	var r tale
	v := vaulttest.New(t, func(c *vault.Config) { c.Tracer, c.NoBackground = r.tracer(), true })
	given := sampleOf(t, v.Vault, orgA)
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	for _, broken := range []bool{false, true} {
		all := map[string]map[string]func() error{
			"vault": callsWith(t, v.Vault, orgA, given), "scope": scopeCalls(t, v.Vault, v.Scope(orgA), given), "other": otherCalls(t, v.Vault),
		}
		delete(all["other"], "ShredReceipts") // iterate over what they read, and are no operations
		delete(all["other"], "ShreddedKeys")
		delete(all["other"], "Prepare") // of no context at all
		if broken {
			v.Store.SetFault(func(string) error { return errors.New("on fire") })
			v.KEK.SetFault(memkek.Denied)
		}
		for _, kind := range slices.Sorted(maps.Keys(all)) {
			for _, method := range slices.Sorted(maps.Keys(all[kind])) {
				r.take(t)
				got := all[kind][method]()
				begun, ended := r.take(t)
				name := snake(method)
				if len(begun) == 0 || begun[0] != name || len(ended[name]) == 0 {
					t.Errorf("%s %s, broken %v: began %q, ended %v", kind, method, broken, begun, ended)
					continue
				}
				if err := ended[name][0]; (err != nil) != (got != nil) || err != nil && !errors.Is(got, errors.Unwrap(err)) && !errors.Is(got, err) {
					t.Errorf("%s %s, broken %v: its error is %v, told %v", kind, method, broken, got, err)
				}
				for path, errs := range ended {
					if n := len(slices.DeleteFunc(slices.Clone(begun), func(p string) bool { return p != path })); n != len(errs) {
						t.Errorf("%s %s: %s began %d times and ended %d", kind, method, path, n, len(errs))
					}
				}
			}
		}
	}
	v.Store.SetFault(nil)
	v.KEK.SetFault(memkek.None)
	_, err := v.Decrypt(t.Context(), orgA, sealed, nil)
	ok(t, err)
}

// Calls to KEKs and to the store are under the operation that needs them, and a
// driver sees the ctx of its call; so does OnEvent that of its operation.
func TestTracerPutsCallsUnderTheirOperation(t *testing.T) {
	var r tale
	events := make(map[vault.EventName]string)
	store := &seeingStore{Store: vaulttest.New(t).Store}
	v := vaulttest.New(t, func(c *vault.Config) {
		c.Tracer, c.Store = r.tracer(), store
		c.OnEvent = func(ctx context.Context, e vault.Event) error { events[e.Name] = pathOf(ctx); return nil }
	})
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	begun, ended := r.take(t)
	want := []string{"encrypt", "encrypt/LatestKey", "encrypt/wrap 1", "encrypt/unwrap 1", "encrypt/InsertKey"}
	if !slices.Equal(begun, want) {
		t.Errorf("the first Encrypt tells of %q, want %q", begun, want)
	}
	for _, path := range want {
		if errs := ended[path]; len(errs) != 1 || (errs[0] != nil) != (path == "encrypt/LatestKey") {
			t.Errorf("%s ended with %v", path, errs)
		}
	}
	wantErr(t, ended["encrypt/LatestKey"][0], vault.ErrNotFound)
	if store.seen != "encrypt/LatestKey" {
		t.Errorf("the store sees a ctx of %q", store.seen)
	}
	if events[vault.MessageEncrypted] != "encrypt" || events[vault.KeyCreated] != "encrypt" {
		t.Errorf("OnEvent sees %v", events)
	}
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
	if begun, _ := r.take(t); !slices.Equal(begun, []string{"decrypt"}) {
		t.Errorf("a warm Decrypt tells of %q", begun)
	}
}

// seeingStore notes the ctx of the last LatestKey.
type seeingStore struct {
	storage.Store
	seen string
}

func (s *seeingStore) LatestKey(ctx context.Context, h vault.ContextHash, p vault.Purpose) (storage.KeyRecord, error) {
	s.seen = pathOf(ctx)
	return s.Store.LatestKey(ctx, h, p)
}

// Each try of a load is told, with its number, and a KEK's error has one class.
func TestTracerCountsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r tale
		v := vaulttest.New(t, func(c *vault.Config) { c.Tracer = r.tracer() })
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
		cold := peerOf(t, v, func(c *vault.Config) { c.Tracer = r.tracer() })
		cold.KEK.FailNext(2, memkek.Unavailable)
		r.take(t)
		must(cold.Decrypt(t.Context(), orgA, sealed, nil))(t)
		begun, ended := r.take(t)
		want := []string{"decrypt", "decrypt/GetKey", "decrypt/unwrap 1", "decrypt/unwrap 2", "decrypt/unwrap 3"}
		if !slices.Equal(begun, want) {
			t.Fatalf("it tells of %q, want %q", begun, want)
		}
		wantErr(t, ended["decrypt/unwrap 2"][0], kek.ErrUnavailable)
		wantErr(t, ended["decrypt/unwrap 3"][0], nil)
	})
}

// A tracer is told the key context and its hash where there is one, and nothing else
// of a call: its types have no field for more.
func TestTracerIsToldNoMore(t *testing.T) {
	var r tale
	v := vaulttest.New(t, func(c *vault.Config) { c.Tracer, c.Namespace = r.tracer(), "ns" })
	must(v.Put(t.Context(), orgA, "name", []byte("x")))(t)
	if len(r.ops) != 1 || r.ops[0].ContextHash != hashIn(t, orgA, "ns") || !maps.Equal(r.ops[0].Context, orgA) {
		t.Errorf("it is told of %+v", r.ops)
	}
	if len(r.keks) != 2 || r.keks[0] != (vault.TracedKEKCall{URI: "mem:test", Ask: "wrap", Items: 1, Attempt: 1}) {
		t.Errorf("it is told of %+v", r.keks)
	}
	for what, want := range map[reflect.Type]string{
		reflect.TypeFor[vault.TracedOperation](): "Name ContextHash Context",
		reflect.TypeFor[vault.TracedKEKCall]():   "URI Ask Items Attempt",
		reflect.TypeFor[vault.TracedStoreCall](): "Method",
	} {
		var fields []string
		for i := range what.NumField() {
			fields = append(fields, what.Field(i).Name)
		}
		if got := strings.Join(fields, " "); got != want {
			t.Errorf("%v has the fields %s, want %s", what, got, want)
		}
	}
}

// A tracer that panics, at the beginning or at the end, or gives nothing back, harms
// no operation, and is counted.
func TestTracerPanicsHarmNothing(t *testing.T) {
	for name, f := range map[string]func(context.Context) (context.Context, func(error)){
		"at the beginning": func(context.Context) (context.Context, func(error)) { panic("no") },
		"at the end":       func(ctx context.Context) (context.Context, func(error)) { return ctx, func(error) { panic("no") } },
		"nothing":          func(context.Context) (context.Context, func(error)) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			v := vaulttest.New(t, func(c *vault.Config) {
				c.Tracer = vault.Tracer{
					Operation: func(ctx context.Context, _ vault.TracedOperation) (context.Context, func(error)) { return f(ctx) },
					KEKCall:   func(ctx context.Context, _ vault.TracedKEKCall) (context.Context, func(error)) { return f(ctx) },
					StoreCall: func(ctx context.Context, _ vault.TracedStoreCall) (context.Context, func(error)) { return f(ctx) },
				}
			})
			must(v.Put(t.Context(), orgA, "name", []byte("x")))(t)
			if obj := must(v.Get(t.Context(), orgA, "name"))(t); string(obj.Value) != "x" {
				t.Errorf("Get gives %q", obj.Value)
			}
			// Put, LatestKey, wrap, unwrap, InsertKey, PutObject; Get, GetObject.
			want := uint64(8)
			if name == "nothing" {
				want = 0
			}
			if n := v.Stats().TracerPanics; n != want {
				t.Errorf("%d panics are counted, want %d", n, want)
			}
		})
	}
}

// An operation that a driver's panic ends is not told as done, and the panic goes on.
func TestTracerIsToldOfAPanic(t *testing.T) {
	var r tale
	v := vaulttest.New(t, func(c *vault.Config) { c.Tracer = r.tracer() })
	v.Store.SetFault(func(op string) error {
		if op == "GetObject" {
			panic("the driver")
		}
		return nil
	})
	func() {
		defer func() {
			if p := recover(); p != "the driver" {
				t.Errorf("it panics with %v", p)
			}
		}()
		_, _ = v.Get(t.Context(), orgA, "name")
	}()
	_, ended := r.take(t)
	for _, path := range []string{"get", "get/GetObject"} {
		if errs := ended[path]; len(errs) != 1 || errs[0] == nil {
			t.Errorf("%s ended with %v", path, errs)
		}
	}
}

// Keys that serve beyond their time are counted.
func TestStatsCountStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) {
			c.Cache = vault.CacheConfig{TTL: time.Minute, ActiveKeyTTL: time.Minute, StaleIfUnavailable: time.Hour}
		})
		must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
		if n := v.Stats().CacheStale; n != 0 {
			t.Fatalf("%d are counted before there was an outage", n)
		}
		v.KEK.SetFault(memkek.Unavailable)
		time.Sleep(2 * time.Minute)
		for want := uint64(1); want <= 3; want++ {
			must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
			if n := v.Stats().CacheStale; n != want {
				t.Fatalf("%d are counted, want %d", n, want)
			}
		}
	})
}

// With the zero Tracer a warm call allocates what it allocated before there was one.
func TestTracerOffCostsNothing(t *testing.T) {
	if raceEnabled {
		return // the race detector's own allocations are counted too
	}
	v := open(t, vault.Config{KEK: memkek.New("k"), Store: vaulttest.New(t).Store, NoBackground: true})
	ctx, scope, buf, x := t.Context(), v.Scope(orgA), make([]byte, 0, 1000), []byte("x")
	sealed := must(scope.Encrypt(ctx, x, nil))(t)
	for name, f := range map[string]func() error{
		"encrypt": func() error { _, err := scope.AppendEncrypt(ctx, buf, x, nil); return err },
		"decrypt": func() error { _, err := scope.AppendDecrypt(ctx, buf, sealed, nil); return err },
	} {
		if n := testing.AllocsPerRun(200, func() { ok(t, f()) }); n > 2 {
			t.Errorf("%s: %v allocations, want 2: the AES key and GCM's", name, n)
		}
	}
}

// A batch is one call, of so many items.
func TestTracerIsToldOfBatches(t *testing.T) {
	var r tale
	v := vaulttest.New(t, func(c *vault.Config) { c.Tracer = r.tracer() })
	ok(t, v.Prepare(t.Context(), orgA, orgB, userA))
	v.KEK.Rotate()
	r.take(t)
	v.KEK.ResetCounts()
	if report := must(v.Rewrap(t.Context(), vault.RewrapOptions{All: true}))(t); report.Moved != 3 {
		t.Fatalf("it moved %d", report.Moved)
	}
	items := make(map[string]int)
	for _, call := range r.keks {
		items[call.Ask] += call.Items
	}
	if items["unwrap"] != v.KEK.Unwraps() || items["wrap"] != v.KEK.Wraps() || items["rewrap"] != v.KEK.Rewraps() || items["unwrap"] < 3 {
		t.Errorf("it tells of %v; the KEK counts %d unwraps, %d wraps, %d rewraps", items, v.KEK.Unwraps(), v.KEK.Wraps(), v.KEK.Rewraps())
	}
	_, ended := r.take(t)
	for path, errs := range ended {
		if err := errors.Join(errs...); err != nil && !strings.HasSuffix(path, "GetSystem") {
			t.Errorf("%s ended with %v", path, err)
		}
	}
}

// classless is a KEK whose errors have no class, or several, against its contract.
type classless struct {
	kek.Wrapper
	err error
}

func (k classless) Wrap(context.Context, []byte, kek.Binding) ([]byte, error) { return nil, k.err }

// Whatever a KEK's driver gives, the error that is told has one class.
func TestTracerIsToldOneClass(t *testing.T) {
	for want, given := range map[error]error{
		kek.ErrUnavailable: errors.New("no class"),
		kek.ErrDenied:      errors.Join(kek.ErrUnavailable, kek.ErrDenied),
	} {
		synctest.Test(t, func(t *testing.T) {
			var r tale
			v := vaulttest.New(t, func(c *vault.Config) { c.Tracer, c.KEK = r.tracer(), classless{memkek.New("k"), given} })
			_, err := v.Encrypt(t.Context(), orgA, nil, nil)
			wantErr(t, err, want)
			_, ended := r.take(t)
			if told := ended["encrypt/wrap 1"]; len(told) != 1 {
				t.Errorf("it ended with %v", told)
			} else if wantErr(t, told[0], want); len(classes(told[0])) != 1 {
				t.Errorf("it has the classes %v", classes(told[0]))
			}
		})
	}
}
