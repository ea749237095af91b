package memkek_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/kektest"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
)

func TestConformance(t *testing.T) {
	fault := func(f memkek.Fault) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() {
			w.(*memkek.KEK).SetFault(f)
			return func() { w.(*memkek.KEK).SetFault(memkek.None) }
		}
	}
	kektest.Run(t, kektest.Harness{
		New:         func(testing.TB) kek.Wrapper { return memkek.New("a") },
		Another:     func(testing.TB) kek.Wrapper { return memkek.New("b") },
		Peer:        func(_ testing.TB, w kek.Wrapper) kek.Wrapper { return w.(*memkek.KEK).Peer() },
		Rotate:      func(_ testing.TB, w kek.Wrapper) { w.(*memkek.KEK).Rotate() },
		Deny:        fault(memkek.Denied),
		Unavailable: fault(memkek.Unavailable),
		Hang:        fault(memkek.Hang),
	})
}

var binding = kek.Binding{KeyID: keyctx.KeyID{1}, Purpose: keyctx.PurposeData, Version: 1}

var key = []byte("32 bytes that are some one's key")

func wrap(t *testing.T, k *memkek.KEK) []byte {
	t.Helper()
	wrapped, err := k.Wrap(t.Context(), key, binding)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func opens(t *testing.T, k *memkek.KEK, wrapped []byte) bool {
	t.Helper()
	got, err := k.Unwrap(t.Context(), wrapped, binding)
	if err != nil && !errors.Is(err, kek.ErrCorrupt) {
		t.Fatal(err)
	}
	return err == nil && bytes.Equal(got, key)
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"a": "mem:a", "org_01/eu": "mem:org_01/eu", strings.Repeat("x", 508): "mem:" + strings.Repeat("x", 508),
		"": "", "a b": "", "é": "", "\x00": "", strings.Repeat("x", 509): "",
	} {
		k := memkek.New(name)
		if got := k.URI(); got != want {
			t.Errorf("name %.20q: URI %q, want %q", name, got, want)
		}
		choice := kek.Choice{KEKs: []kek.Wrapper{k}}
		_, err := choice.Normalize(keyctx.KeyContext{"a": "b"})
		if refused := errors.Is(err, kek.ErrPolicy); refused != (want == "") {
			t.Errorf("name %.20q: a policy refuses it: %v", name, refused)
		}
	}
}

func TestSameNameIsNotSameKey(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("a")
	if opens(t, b, wrap(t, a)) {
		t.Error("two KEKs have one key")
	}
}

func TestFaults(t *testing.T) {
	k := memkek.New("a")
	wrapped := wrap(t, k)
	calls := map[string]func() error{
		"wrap":   func() error { _, err := k.Wrap(t.Context(), key, binding); return err },
		"unwrap": func() error { _, err := k.Unwrap(t.Context(), wrapped, binding); return err },
		"rewrap": func() error { _, err := k.Rewrap(t.Context(), wrapped, binding); return err },
	}
	classes := map[memkek.Fault]error{
		memkek.None: nil, memkek.Denied: kek.ErrDenied, memkek.Unavailable: kek.ErrUnavailable, memkek.Corrupt: kek.ErrCorrupt,
	}
	only := map[string]func(memkek.Fault){"wrap": k.SetWrapFault, "unwrap": k.SetUnwrapFault, "rewrap": k.SetRewrapFault}
	for fault, want := range classes {
		k.SetFault(fault)
		for name, call := range calls {
			if got := kek.Class(call()); got != want {
				t.Errorf("%v, %s: class %v, want %v", fault, name, got, want)
			}
		}
		k.SetFault(memkek.None)
		for one, set := range only {
			set(fault)
			for name, call := range calls {
				expected := want
				if name != one {
					expected = nil
				}
				if got := kek.Class(call()); got != expected {
					t.Errorf("%v of %s alone, %s: class %v, want %v", fault, one, name, got, expected)
				}
			}
			set(memkek.None)
		}
	}
}

func TestStatus(t *testing.T) {
	k := memkek.New("a")
	usable := func(version string, usable bool) {
		t.Helper()
		status, err := k.Check(t.Context())
		if err != nil || status.Usable != usable || status.PrimaryVersion != version || (status.Reason == "") != usable {
			t.Errorf("status %+v, error %v", status, err)
		}
	}
	usable("1", true)
	k.Rotate()
	usable("2", true)
	for _, set := range []func(memkek.Fault){k.SetFault, k.SetWrapFault, k.SetUnwrapFault} {
		set(memkek.Denied)
		usable("2", false)
		set(memkek.None)
	}
	k.SetFault(memkek.Garbage)
	usable("2", true)
}

func TestGarbage(t *testing.T) {
	k := memkek.New("a")
	good := wrap(t, k)
	k.SetFault(memkek.Garbage)
	bad := wrap(t, k)
	got, err := k.Unwrap(t.Context(), good, binding)
	if err != nil || len(got) != 32 || bytes.Equal(got, key) {
		t.Errorf("Unwrap returned %d bytes, error %v", len(got), err)
	}
	rewrapped, err := k.Rewrap(t.Context(), good, binding)
	if err != nil {
		t.Fatal(err)
	}
	k.SetFault(memkek.None)
	if len(bad) != len(good) || bad[0] != good[0] || len(rewrapped) != len(good) {
		t.Error("the garbage is not plausible")
	}
	if opens(t, k, bad) || opens(t, k, rewrapped) || !opens(t, k, good) {
		t.Error("the garbage unwraps, or the good bytes don't")
	}
}

func TestPanic(t *testing.T) {
	k := memkek.New("a")
	k.SetWrapFault(memkek.Panic)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it doesn't panic")
			}
		}()
		_, _ = k.Wrap(t.Context(), key, binding)
	}()
	if k.InFlight() != 0 || k.Wraps() != 1 {
		t.Errorf("%d in flight, %d wraps", k.InFlight(), k.Wraps())
	}
}

func TestFailNext(t *testing.T) {
	k := memkek.New("a")
	fails := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			if _, err := k.Wrap(t.Context(), key, binding); (err != nil) != w {
				t.Errorf("call %d: error %v", i, err)
			}
		}
	}
	k.FailNext(2, memkek.Unavailable)
	fails(true, true, false)
	k.SetFault(memkek.Denied)
	k.FailNext(1, memkek.None)
	fails(false, true)
	k.FailNext(5, memkek.None)
	k.FailNext(0, memkek.None)
	fails(true)
}

func TestUnwrapResult(t *testing.T) {
	k := memkek.New("a")
	wrapped := wrap(t, k)
	for _, n := range []int{0, 31, 32, 33} {
		result := make([]byte, n)
		k.SetUnwrapResult(result)
		for i := range result {
			result[i] = 0xff // it was copied
		}
		got, err := k.Unwrap(t.Context(), wrapped, binding)
		if err != nil || got == nil || !bytes.Equal(got, make([]byte, n)) {
			t.Errorf("want %d zero bytes, got %x, error %v", n, got, err)
		}
		for i := range got {
			got[i] = 0xff // it is the caller's
		}
	}
	k.SetUnwrapFault(memkek.Denied)
	if _, err := k.Unwrap(t.Context(), wrapped, binding); !errors.Is(err, kek.ErrDenied) {
		t.Errorf("a fault comes first, got error %v", err)
	}
	k.SetUnwrapFault(memkek.None)
	k.SetUnwrapResult(nil)
	if !opens(t, k, wrapped) {
		t.Error("nil doesn't end it")
	}
}

func TestRotation(t *testing.T) {
	k := memkek.New("a")
	peer := k.Peer()
	old := wrap(t, k)
	peer.Rotate()
	if !opens(t, k, old) || !opens(t, peer, old) || !opens(t, peer, wrap(t, k)) {
		t.Error("rotation loses keys")
	}
	rewrapped, err := k.Rewrap(t.Context(), old, binding)
	if err != nil {
		t.Fatal(err)
	}
	k.DestroyOld()
	if opens(t, k, old) || opens(t, peer, old) {
		t.Error("what an old version wrapped still opens")
	}
	if !opens(t, peer, rewrapped) {
		t.Error("what was rewrapped doesn't open")
	}
	peer.SetFault(memkek.Denied)
	if !opens(t, k, rewrapped) {
		t.Error("the peer's fault is its own")
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := memkek.New("a")
		k.SetLatency(3 * time.Second)
		start := time.Now()
		wrapped := wrap(t, k)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.Unwrap(ctx, wrapped, binding)
		if !errors.Is(err, kek.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v", err)
		}
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("both took %v", took)
		}
	})
}

func TestHangAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := memkek.New("a")
		wrapped := wrap(t, k)
		k.SetFault(memkek.Hang)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				_, err := k.Unwrap(ctx, wrapped, binding)
				if !errors.Is(err, kek.ErrUnavailable) || !errors.Is(err, context.Canceled) {
					t.Errorf("got error %v", err)
				}
			})
		}
		synctest.Wait()
		if got := k.InFlight(); got != 5 {
			t.Errorf("%d in flight, want 5", got)
		}
		k.ResetCounts()
		if k.Calls() != 0 || k.MaxConcurrent() != 5 {
			t.Errorf("after the reset: %d calls, %d at once", k.Calls(), k.MaxConcurrent())
		}
		cancel()
		wg.Wait()
		k.SetFault(memkek.None)
		k.ResetCounts()

		wrap(t, k)
		opens(t, k, wrapped)
		opens(t, k, wrapped)
		_, _ = k.Rewrap(t.Context(), wrapped, binding)
		_, _ = k.Check(t.Context())
		got := []int{k.Wraps(), k.Unwraps(), k.Rewraps(), k.Calls(), k.InFlight(), k.MaxConcurrent()}
		if want := []int{1, 2, 1, 5, 0, 1}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("counts %v, want %v", got, want)
		}
	})
}

// Switches may be thrown while the KEK is in use; -race watches.
func TestSwitchesWhileInUse(t *testing.T) {
	k := memkek.New("a")
	wrapped := wrap(t, k)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				_, _ = k.Wrap(t.Context(), key, binding)
				_, _ = k.Unwrap(t.Context(), wrapped, binding)
				_, _ = k.Check(t.Context())
			}
		})
	}
	for i := range 200 {
		k.SetFault(memkek.Fault(i%2) * memkek.Denied)
		k.FailNext(i%3, memkek.Unavailable)
		k.SetLatency(time.Duration(i % 2))
		k.SetUnwrapResult(nil)
		_, _, _ = k.Calls(), k.InFlight(), k.MaxConcurrent()
	}
	wg.Wait()
}

func TestPrintsNothingButItsURI(t *testing.T) {
	k := memkek.New("a")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		if got := fmt.Sprintf(verb, k); got != "mem:a" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	for f := memkek.None; f <= memkek.Panic; f++ {
		if s := f.String(); s == "" || strings.HasPrefix(s, "fault(") {
			t.Errorf("fault %d is called %q", f, s)
		}
	}
}
