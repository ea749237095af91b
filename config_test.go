package vault_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
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
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

// Every mistake is refused by New, by an error that names the field. That it
// does is part of its contract, and the only text that a test here looks at.
func TestInvalidConfig(t *testing.T) {
	var nilKEK *memkek.KEK
	var nilStore *memstore.Store
	var nilRules *kek.Rules
	onEvent := func(context.Context, vault.Event) error { return nil }
	for name, tc := range map[string]struct {
		field  string
		change func(*vault.Config)
	}{
		"nothing":             {"KEK", func(c *vault.Config) { *c = vault.Config{} }},
		"no KEK":              {"Policy", func(c *vault.Config) { c.KEK = nil }},
		"both":                {"KEK", func(c *vault.Config) { c.Policy = kek.Fixed(c.KEK) }},
		"KEK is a nil":        {"Config.KEK", func(c *vault.Config) { c.KEK = nilKEK }},
		"KEK has no URI":      {"Config.KEK", func(c *vault.Config) { c.KEK = memkek.New("") }},
		"KEK has a bad URI":   {"Config.KEK", func(c *vault.Config) { c.KEK = openKEK("a b") }},
		"KEK is the vault's":  {"Config.KEK", func(c *vault.Config) { c.KEK = openKEK("vault-key:" + strings.Repeat("0", 64)) }},
		"policy is a nil":     {"Config.Policy", func(c *vault.Config) { c.KEK, c.Policy = nil, nilRules }},
		"policy is nil too":   {"Config.Policy", func(c *vault.Config) { c.Policy = nilRules }},
		"policy func is nil":  {"Config.Policy", func(c *vault.Config) { c.KEK, c.Policy = nil, kek.PolicyFunc(nil) }},
		"policy map is nil":   {"Config.Policy", func(c *vault.Config) { c.KEK, c.Policy = nil, byTenant(nil) }},
		"store is a nil":      {"Config.Store", func(c *vault.Config) { c.Store = nilStore }},
		"unique, no store":    {"UniqueNames", func(c *vault.Config) { c.Store, c.UniqueNames = nil, true }},
		"keep, no store":      {"KeepVersions", func(c *vault.Config) { c.Store, c.KeepVersions = nil, 1 }},
		"namespace: control":  {"Config.Namespace", func(c *vault.Config) { c.Namespace = "a\n" }},
		"namespace: UTF-8":    {"Config.Namespace", func(c *vault.Config) { c.Namespace = "\xff" }},
		"namespace: too long": {"Config.Namespace", func(c *vault.Config) { c.Namespace = strings.Repeat("n", 1025) }},
		"cache size":          {"Cache.Size", func(c *vault.Config) { c.Cache.Size = -1 }},
		"cache TTL":           {"Cache.TTL", func(c *vault.Config) { c.Cache.TTL = -1 }},
		"active key TTL":      {"Cache.ActiveKeyTTL", func(c *vault.Config) { c.Cache.ActiveKeyTTL = -time.Second }},
		"MaxPlaintext":        {"MaxPlaintext", func(c *vault.Config) { c.MaxPlaintext = -1 }},
		"MaxObject":           {"MaxObject", func(c *vault.Config) { c.MaxObject = math.MinInt }},
		"KeepVersions":        {"KeepVersions", func(c *vault.Config) { c.KeepVersions = -1 }},
		"FailClosed":          {"FailClosed", func(c *vault.Config) { c.FailClosed = true }},
	} {
		c := vault.Config{KEK: memkek.New("k"), Store: memstore.New()}
		tc.change(&c)
		v, err := vault.New(c)
		if v != nil || err == nil || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("%s: %v; want an error that names %s", name, err, tc.field)
		}
	}
	// All that is wrong with the numbers is said at once.
	_, err := vault.New(vault.Config{KEK: memkek.New("k"), MaxPlaintext: -1, MaxObject: -1, Cache: vault.CacheConfig{Size: -1}})
	for _, field := range []string{"MaxPlaintext", "MaxObject", "Cache.Size"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v doesn't name %s", err, field)
		}
	}
	for name, c := range map[string]vault.Config{
		"KEK alone":        {KEK: memkek.New("k")},
		"policy alone":     {Policy: kek.Fixed(memkek.New("k"))},
		"longest":          {KEK: memkek.New("k"), Namespace: strings.Repeat("n", 1024)},
		"off by negatives": {KEK: memkek.New("k"), Store: memstore.New(), SweepEvery: -1, Cache: vault.CacheConfig{StaleIfUnavailable: -1}},
		"fail closed":      {KEK: memkek.New("k"), OnEvent: onEvent, FailClosed: true},
	} {
		v, err := vault.New(c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = v.Close()
	}
}

// The defaults are those that the fields' comments say.
func TestDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		v := vaulttest.New(t, func(c *vault.Config) { c.NoBackground = true })
		_, err := v.Encrypt(ctx, orgA, make([]byte, 64<<20+1), nil)
		wantClass(t, err, "ErrTooLarge")
		_, err = v.Put(ctx, orgA, "x", make([]byte, 16<<20+1))
		wantClass(t, err, "ErrTooLarge")
		sealed := must(v.Encrypt(ctx, orgA, nil, nil))(t)
		check := func() error { _, err := v.Decrypt(ctx, orgA, sealed, nil); return err }

		// ActiveKeyTTL: a minute.
		reads := func() int { return v.Store.Calls("GetKey") + v.Store.Calls("LatestKey") }
		must(v.Decrypt(ctx, orgA, sealed, nil))(t)
		before := reads()
		time.Sleep(time.Minute - time.Second)
		wantErr(t, check(), nil)
		if reads() != before {
			t.Error("the store was asked within a minute")
		}
		time.Sleep(time.Second)
		wantErr(t, check(), nil)
		if reads() != before+1 {
			t.Error("the store was not asked after a minute")
		}
		// TTL: 15 minutes.
		unwraps := v.KEK.Unwraps()
		time.Sleep(13*time.Minute + 59*time.Second)
		wantErr(t, check(), nil)
		if v.KEK.Unwraps() != unwraps {
			t.Error("the KMS was asked within 15 minutes")
		}
		time.Sleep(time.Second)
		wantErr(t, check(), nil)
		if v.KEK.Unwraps() != unwraps+1 {
			t.Error("the KMS was not asked after 15 minutes")
		}
		// StaleIfUnavailable: an hour.
		v.KEK.SetFault(memkek.Unavailable)
		time.Sleep(74 * time.Minute)
		wantErr(t, check(), nil)
		time.Sleep(2 * time.Minute)
		wantClass(t, check(), "ErrKEKUnavailable")
	})
}

func TestStaleTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.Cache.StaleIfUnavailable, c.NoBackground = -1, true })
		sealed := must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
		v.KEK.SetFault(memkek.Unavailable)
		time.Sleep(15*time.Minute - time.Second)
		must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
		time.Sleep(time.Second)
		_, err := v.Decrypt(t.Context(), orgA, sealed, nil)
		wantClass(t, err, "ErrKEKUnavailable")
	})
}

// The longest durations there are mean "as good as never", not "at once".
func TestEndlessDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const forever = time.Duration(math.MaxInt64)
		v := vaulttest.New(t, func(c *vault.Config) {
			c.Cache = vault.CacheConfig{TTL: forever, ActiveKeyTTL: forever, StaleIfUnavailable: forever}
			c.SweepEvery = forever
		})
		ctx := t.Context()
		sealed := must(v.Encrypt(ctx, orgA, nil, nil))(t)
		v.KEK.SetFault(memkek.Unavailable)
		v.Store.SetFault(func(string) error { return vault.ErrStoreUnavailable })
		for range 10 {
			time.Sleep(24 * 365 * time.Hour)
			must(v.Decrypt(ctx, orgA, sealed, nil))(t)
			must(v.Encrypt(ctx, orgA, nil, nil))(t)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.Cache.TTL = math.MaxInt64 })
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
		wantErr(t, peerOf(t, v).Rotate(t.Context(), orgA), nil)
		v.KEK.SetFault(memkek.Unavailable)
		time.Sleep(time.Hour) // it knows of the new key, can't unwrap it, and goes on with its own
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
	})
}

func TestNewDoesNoIO(t *testing.T) {
	k, s := memkek.New("k"), memstore.New()
	k.SetFault(memkek.Panic)
	s.SetFault(func(string) error { panic("asked") })
	asked := false
	policy := kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) {
		asked = true
		return one(k), nil
	})
	for _, c := range []vault.Config{{KEK: k, Store: s}, {Policy: policy, Store: s, Namespace: "ns", UniqueNames: true}, {KEK: k}} {
		v := open(t, c)
		_ = v.Scope(orgA)
		_ = v.Stats()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if k.Calls() != 0 || s.Calls("") != 0 || asked {
		t.Fatalf("%d KEK calls, %d store calls, policy %v", k.Calls(), s.Calls(""), asked)
	}
}

// Changing the Config after New changes nothing.
func TestConfigIsCopied(t *testing.T) {
	c := vault.Config{KEK: memkek.New("k"), Store: memstore.New()}
	v := open(t, c)
	c.KEK, c.Store, c.Namespace, c.MaxPlaintext = nil, nil, "other", 1
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("long enough"), nil))(t)
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

// After Close every method fails with ErrClosed, and no method is forgotten here.
func TestEveryMethodAfterClose(t *testing.T) {
	v := vaulttest.New(t)
	s := sampleOf(t, v.Vault, orgA)
	scope := v.Scope(orgA)
	list, versions := v.List(t.Context(), orgA, vault.ListOptions{}), v.Versions(t.Context(), orgA, "sample")
	for range 3 {
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	v.KEK.ResetCounts()
	v.Store.ResetCalls()
	calls := callsWith(t, v.Vault, orgA, s)
	maps.Copy(calls, otherCalls(t, v.Vault))
	calls["a list made before"] = func() error { return firstErr(list) }
	calls["versions made before"] = func() error { return firstErr(versions) }
	for name, call := range scopeCalls(t, v.Vault, scope, s) {
		calls["Scope."+name] = call
	}
	for name, call := range calls {
		if err := call(); !slices.Equal(classes(err), []string{"ErrClosed"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v.KEK.Calls() != 0 || v.Store.Calls("") != 0 {
		t.Errorf("%d KEK calls, %d store calls", v.KEK.Calls(), v.Store.Calls(""))
	}
	if n := v.Stats().CachedKeys; n != 0 {
		t.Errorf("%d keys are cached", n)
	}
	// Neither the store nor the KEK was closed.
	must(peerOf(t, v).Decrypt(t.Context(), orgA, s.message, nil))(t)

	none := []string{"Close", "Scope", "Stats", "AuditHead", "AuditHeads", "KeepAuditHead", "Err", "KeyContext", "AEAD", "AEADWithContext", "Format"}
	for what, typ := range map[string]reflect.Type{"": reflect.TypeFor[*vault.Vault](), "Scope.": reflect.TypeFor[*vault.Scope]()} {
		for m := range typ.NumMethod() {
			name := typ.Method(m).Name
			if _, ok := calls[what+name]; !ok && !slices.Contains(none, name) {
				t.Errorf("%s%s is not among the calls", what, name)
			}
		}
	}
}

// Close ends every goroutine, also one that a hanging KMS holds, and the
// background's.
func TestCloseEndsEveryGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
		time.Sleep(14*time.Minute + 50*time.Second)
		v.KEK.SetFault(memkek.Hang)
		must(v.Encrypt(t.Context(), orgA, nil, nil))(t) // starts a renewal in the background
		waiting := make(chan error)
		go func() { _, err := v.Encrypt(t.Context(), orgB, nil, nil); waiting <- err }()
		synctest.Wait()
		if v.KEK.InFlight() == 0 {
			t.Fatal("nothing hangs")
		}
		start := time.Now()
		if err := v.Close(); err != nil || time.Since(start) > time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		wantErr(t, <-waiting, vault.ErrClosed)
		if v.KEK.InFlight() != 0 {
			t.Error("a call goes on")
		}
	}) // which fails if a goroutine is left
}

func TestGoroutinesDontLeak(t *testing.T) {
	settle := func() int {
		n := runtime.NumGoroutine()
		for range 50 {
			time.Sleep(2 * time.Millisecond)
			if m := runtime.NumGoroutine(); m < n {
				n = m
			}
		}
		return n
	}
	before := settle()
	for range 50 {
		v, err := vault.New(vault.Config{KEK: memkek.New("k"), Store: memstore.New()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			must(v.Put(t.Context(), orgA, fmt.Sprint(i), nil))(t)
			for range v.List(t.Context(), orgA, vault.ListOptions{Limit: 1}) {
				break
			}
		}
		_ = v.Close()
	}
	if after := settle(); after > before+2 {
		t.Fatalf("%d goroutines before, %d after", before, after)
	}
}

// Close while calls run: each of them is done, or says ErrClosed.
func TestCloseWhileCallsRun(t *testing.T) {
	for range 20 {
		v := vaulttest.New(t, func(c *vault.Config) { c.Cache.Size = 2 })
		var wg sync.WaitGroup
		var sealedMu sync.Mutex
		sealed := map[string][]byte{}
		for g := range 8 {
			wg.Go(func() {
				for i := range 200 {
					kc := vault.KeyContext{"organization_id": fmt.Sprint("o", (g+i)%5)}
					b, err := v.Encrypt(t.Context(), kc, []byte(kc["organization_id"]), nil)
					if err == nil {
						sealedMu.Lock()
						sealed[kc["organization_id"]] = b
						sealedMu.Unlock()
						_, err = v.Put(t.Context(), kc, "x", b)
					}
					if err != nil {
						if !errors.Is(err, vault.ErrClosed) {
							t.Errorf("%v", err)
						}
						return
					}
				}
			})
		}
		for range 2 {
			wg.Go(func() { time.Sleep(time.Millisecond); _ = v.Close() })
		}
		wg.Wait()
		cold := peerOf(t, v)
		for org, b := range sealed {
			if got, err := cold.Decrypt(t.Context(), vault.KeyContext{"organization_id": org}, b, nil); err != nil || string(got) != org {
				t.Fatalf("%s: %q, %v", org, got, err)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []vault.KeyContext
		var mu sync.Mutex
		v := vaulttest.New(t, func(c *vault.Config) {
			k := c.KEK
			withPolicy(kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, maps.Clone(kc))
				return one(k), nil
			}))(c)
			c.Namespace = "ns"
		})
		ctx := t.Context()
		wantErr(t, v.Check(ctx), nil)
		if len(asked) != 1 || !maps.Equal(asked[0], vault.KeyContext{"vault:system": "check"}) {
			t.Fatalf("the policy was asked for %v", asked)
		}
		if v.KEK.Wraps() != 1 || v.KEK.Unwraps() != 1 || v.Store.Calls("") != 1 || v.Store.Calls("Ping") != 1 || v.Stats().CachedKeys != 0 {
			t.Fatal("it isn't one round trip each")
		}
		for fault, want := range map[memkek.Fault]string{
			memkek.Denied: "ErrKEKDenied", memkek.Unavailable: "ErrKEKUnavailable", memkek.Hang: "ErrKEKUnavailable",
			memkek.Corrupt: "ErrKEKCorrupt", memkek.Garbage: "ErrKEKCorrupt", memkek.Panic: "ErrKEKUnavailable",
		} {
			v.KEK.SetFault(fault)
			wantClass(t, v.Check(ctx), want)
			wantClass(t, v.VerifyKEK(ctx, orgA), want)
		}
		v.KEK.SetFault(memkek.None)
		v.Store.SetFault(func(string) error { return vault.ErrStoreUnavailable })
		wantClass(t, v.Check(ctx), "ErrStoreUnavailable")
		wantErr(t, v.VerifyKEK(ctx, orgA), nil) // which needs no store
		v.Store.SetFault(nil)
		if n := len(must(v.Store.ListKeys(ctx, allKeys))(t).Keys); n != 0 {
			t.Fatalf("%d keys were stored", n)
		}
	})
}

var allKeys = storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}}

func TestVerifyKEKAsksEveryKEKOfTheContext(t *testing.T) {
	a, b, c := memkek.New("a"), memkek.New("b"), memkek.New("c")
	p := byTenant{"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AnyOf}, "org_02": one(c)}
	v := vaulttest.New(t, withPolicy(p))
	ctx := t.Context()
	wantErr(t, v.VerifyKEK(ctx, orgA), nil)
	if a.Calls() != 2 || b.Calls() != 2 || c.Calls() != 0 {
		t.Fatalf("%d, %d and %d calls", a.Calls(), b.Calls(), c.Calls())
	}
	b.SetFault(memkek.Denied) // one of two is enough to unwrap, and still not well
	wantClass(t, v.VerifyKEK(ctx, orgA), "ErrKEKDenied")
	wantClass(t, v.VerifyKEK(ctx, vault.KeyContext{"organization_id": "unknown"}), "ErrPolicy")
	if v.Store.Calls("") != 0 {
		t.Fatal("the store was asked")
	}
}

// A policy or a KEK that panics is an error of the call, whichever it is.
func TestPanickingPolicy(t *testing.T) {
	v := vaulttest.New(t, withPolicy(kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { panic("told to") })))
	ctx := t.Context()
	_, err := v.Encrypt(ctx, orgA, nil, nil)
	for name, err := range map[string]error{"Encrypt": err, "VerifyKEK": v.VerifyKEK(ctx, orgA), "Check": v.Check(ctx), "Prepare": v.Prepare(ctx, orgA)} {
		if got := classes(err); !slices.Equal(got, []string{"ErrKEKUnavailable"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v.Store.Calls("InsertKey") != 0 {
		t.Error("a key was stored")
	}
}

func TestPrepare(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	var kcs []vault.KeyContext
	for i := range 100 {
		kcs = append(kcs, vault.KeyContext{"organization_id": fmt.Sprint(i)})
	}
	kcs = append(kcs, kcs[0], vault.KeyContext{"k": ""}, nil)
	err := v.Prepare(ctx, kcs...)
	wantClass(t, err, "ErrInvalidContext")
	if v.KEK.Wraps() != 100 || v.KEK.MaxConcurrent() > 16 {
		t.Fatalf("%d wraps, %d at once", v.KEK.Wraps(), v.KEK.MaxConcurrent())
	}
	// The others are prepared: no call is needed any more.
	cold := peerOf(t, v)
	wantErr(t, cold.Prepare(ctx, kcs[:100]...), nil)
	for _, v := range []*vaulttest.Vault{v, cold} {
		v.KEK.ResetCounts()
		v.KEK.SetFault(memkek.Denied)
		v.Store.SetFault(func(op string) error { return errors.New("asked for " + op) })
		for _, kc := range kcs[:100] {
			must(v.Encrypt(ctx, kc, nil, nil))(t)
		}
		if v.KEK.Calls() != 0 {
			t.Fatalf("%d calls", v.KEK.Calls())
		}
		v.Store.SetFault(nil)
	}
	if cold.KEK.Wraps() != 0 {
		t.Fatal("a second process made keys anew")
	}

	// Partial failure: the error joins those that failed.
	bad := memkek.New("bad")
	bad.SetFault(memkek.Denied)
	p := vaulttest.New(t, withPolicy(byTenant{"org_01": one(memkek.New("good")), "org_02": one(bad)}))
	wantClass(t, p.Prepare(ctx, orgA, orgB, vault.KeyContext{"organization_id": "unknown"}), "ErrKEKDenied", "ErrPolicy")
	must(p.Encrypt(ctx, orgA, nil, nil))(t)
	wantErr(t, p.Prepare(ctx), nil)
	wantErr(t, p.Scope(orgA).Prepare(ctx), nil)
	wantClass(t, p.Scope(orgB).Prepare(ctx), "ErrKEKDenied")
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		other := peerOf(t, v)
		ctx := t.Context()
		old := must(v.Encrypt(ctx, orgA, []byte("old"), nil))(t)
		obj := must(v.Put(ctx, orgA, "x", []byte("old")))(t)
		must(other.Encrypt(ctx, orgA, nil, nil))(t)
		wantErr(t, v.Rotate(ctx, orgA), nil)
		id := func(v *vaulttest.Vault) vault.KeyID {
			return must(vault.Inspect(must(v.Encrypt(ctx, orgA, nil, nil))(t)))(t).KeyID
		}
		fresh := id(v)
		if fresh == obj.KeyID {
			t.Fatal("this process seals under the old key")
		}
		for _, v := range []*vaulttest.Vault{v, other, peerOf(t, v)} {
			if string(must(v.Decrypt(ctx, orgA, old, nil))(t)) != "old" || string(must(v.Get(ctx, orgA, "x"))(t).Value) != "old" {
				t.Fatal("what was sealed before doesn't open")
			}
		}
		time.Sleep(time.Minute)
		if id(other) != fresh {
			t.Fatal("another process seals under the old key after ActiveKeyTTL")
		}
		if meta := must(v.Put(ctx, orgA, "x", nil))(t); meta.KeyID != fresh {
			t.Fatal("the new version is sealed under the old key")
		}
		wantClass(t, v.Rotate(ctx, orgB), "ErrKeyNotFound")
		if keys := keysOf(t, v, orgA); len(keys) != 2 || keys[0].State != storage.StateDecryptOnly || keys[1].State != storage.StateActive {
			t.Fatalf("%d keys", len(keys))
		}
		// A rotation that fails changes nothing.
		v.KEK.SetFault(memkek.Denied)
		wantClass(t, v.Rotate(ctx, orgA), "ErrKEKDenied")
		if id(v) != fresh || len(keysOf(t, v, orgA)) != 2 {
			t.Fatal("a failed rotation left something")
		}
		v.KEK.SetFault(memkek.None)
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		asked := v.Store.Calls("LatestKey")
		for range 50 {
			wantErr(t, v.Rotate(cancelled, orgA), context.Canceled)
			synctest.Wait()
		}
		if n := v.Store.Calls("LatestKey") - asked; n != 0 {
			t.Fatalf("a rotation that was cancelled before it began asked the store %d times", n)
		}
		if n := len(keysOf(t, v, orgA)); n != 2 {
			t.Fatalf("a rotation that was cancelled before it began made %d keys", n-2)
		}
	})
}

// Many who rotate at once, in several processes, make no more versions than they
// are, and everything opens.
func TestRotateAtOnce(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	first := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
	peers := []*vaulttest.Vault{v, peerOf(t, v), peerOf(t, v)}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if err := peers[i%3].Rotate(ctx, orgA); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if n := len(keysOf(t, v, orgA)); n < 2 || n > 13 {
		t.Fatalf("%d versions", n)
	}
	for _, p := range peers {
		must(p.Decrypt(ctx, orgA, first, nil))(t)
		for _, q := range peers {
			must(q.Decrypt(ctx, orgA, must(p.Encrypt(ctx, orgA, nil, nil))(t), nil))(t)
		}
	}
}

func TestStats(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.Cache.Size = 2 })
	ctx := t.Context()
	orgs := []vault.KeyContext{orgA, orgB, userA}
	for _, kc := range orgs {
		for range 5 {
			must(v.Encrypt(ctx, kc, nil, nil))(t)
		}
	}
	s := v.Stats()
	k := s.KEKs["mem:test"]
	if s.CachedKeys != 2 || s.CacheEvictions != 1 || s.CacheMisses != 3 || s.CacheHits != 12 || len(s.KEKs) != 1 ||
		k.Wraps != 3 || k.Unwraps != 3 || k.Calls() != 6 || k.Denied+k.Unavailable+k.Corrupt != 0 || k.Time <= 0 {
		t.Fatalf("%+v", s)
	}
	for fault, count := range map[memkek.Fault]func(vault.KEKStats) uint64{
		memkek.Denied:      func(k vault.KEKStats) uint64 { return k.Denied },
		memkek.Unavailable: func(k vault.KEKStats) uint64 { return k.Unavailable },
		memkek.Corrupt:     func(k vault.KEKStats) uint64 { return k.Corrupt },
	} {
		v.KEK.SetFault(fault)
		before := v.Stats().KEKs["mem:test"]
		if err := v.VerifyKEK(ctx, orgA); err == nil {
			t.Fatal("it works")
		}
		after := v.Stats().KEKs["mem:test"]
		if count(after) != count(before)+1 || after.Denied+after.Unavailable+after.Corrupt != before.Denied+before.Unavailable+before.Corrupt+1 {
			t.Errorf("%v: %+v", fault, after)
		}
	}
	if k := v.Stats().KEKs["mem:test"]; k.Slowest <= 0 || k.Slowest > k.Time {
		t.Errorf("the slowest call took %v of %v", k.Slowest, k.Time)
	}
	v.Stats().KEKs["mem:test"] = vault.KEKStats{} // the caller's own
	if v.Stats().KEKs["mem:test"].Wraps == 0 {
		t.Error("the map is shared")
	}
}

// Calls are counted by how long they took.
func TestStatsLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		bounds := vault.KEKLatencyBounds()
		took := append([]time.Duration{0}, bounds[:]...)
		for i, d := range append(took, bounds[3]+1) {
			v.KEK.SetLatency(d)
			ok(t, v.VerifyKEK(t.Context(), vault.KeyContext{"organization_id": fmt.Sprint(i)})) // a wrap and an unwrap
		}
		k := v.Stats().KEKs["mem:test"]
		if want := [5]uint64{4, 2, 2, 2, 2}; k.Took != want || k.Slowest != bounds[3]+1 {
			t.Errorf("took %v, want %v; the slowest %v", k.Took, want, k.Slowest)
		}
	})
}
