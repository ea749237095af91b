package hashivault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// wrapMany wraps n keys, each with a binding of its own.
func wrapMany(t testing.TB, f *fixture, n int) (keys [][]byte, items []kek.BatchItem) {
	t.Helper()
	for i := range n {
		key, b := newKey(), binding(fmt.Sprint("org-", i))
		keys = append(keys, key)
		items = append(items, kek.BatchItem{Wrapped: mustWrap(t, f.kek, key, b), Binding: b})
	}
	return keys, items
}

// Six hundred items go in three calls; a rewrap takes one more to see that the key
// is the same, or, with a plain key, three for each of the three. The bad ones
// among them are nobody else's trouble, whatever the server's version.
func TestBatchOfMany(t *testing.T) {
	for _, version := range []hashivaulttest.Version{hashivaulttest.V1_11, hashivaulttest.V1_12, hashivaulttest.V1_13} {
		for _, derived := range []bool{true, false} {
			if !derived && version < hashivaulttest.V1_13 {
				continue // New refuses
			}
			t.Run(fmt.Sprint(version, derived), func(t *testing.T) {
				srv := hashivaulttest.New(t)
				srv.Imitate(version)
				f := setUpOn(t, srv, "root", hashivaulttest.KeyOptions{Derived: derived})
				keys, items := wrapMany(t, f, 600)
				for i := 7; i < len(items); i += 50 {
					items[i].Binding.Version++
				}
				f.key.Rotate()
				srv.ResetLog()
				wantKeys(t, f.kek.UnwrapBatch(t.Context(), items), keys)
				if n := srv.Calls(""); n != 3 {
					t.Errorf("unwrapping took %d calls, want 3", n)
				}
				srv.ResetLog()
				rewrapped := f.kek.RewrapBatch(t.Context(), items)
				if n, want := srv.Calls(""), map[bool]int{true: 4, false: 9}[derived]; n != want {
					t.Errorf("rewrapping took %d calls, want %d", n, want)
				}
				for i, r := range rewrapped {
					if r.Err == nil && f.kek.WrappedVersion(r.Bytes) != "2" {
						t.Fatalf("item %d was not rewrapped", i)
					}
					items[i].Wrapped = r.Bytes
				}
				wantKeys(t, f.kek.UnwrapBatch(t.Context(), items), keys)
			})
		}
	}
}

// wantKeys checks that all but every fiftieth, from 7 on, are the keys.
func wantKeys(t *testing.T, results []kek.BatchResult, keys [][]byte) {
	t.Helper()
	for i, r := range results {
		if i%50 == 7 {
			wantClass(t, fmt.Sprint("bad item ", i), r.Err, kek.ErrCorrupt)
		} else if r.Err != nil || !bytes.Equal(r.Bytes, keys[i]) {
			t.Fatalf("item %d: %v", i, r.Err)
		}
	}
}

// All items of a call fail: Vault then answers 400 whatever it was asked to.
func TestBatchAllBad(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		_, items := wrapMany(t, f, 3)
		for i := range items {
			items[i].Binding.Version++
		}
		for _, r := range append(f.kek.UnwrapBatch(t.Context(), items), f.kek.RewrapBatch(t.Context(), items)...) {
			wantClass(t, "item", r.Err, kek.ErrCorrupt)
		}
		f.key.SetMinDecryptionVersion(2)
		f.key.Rotate()
		for _, r := range f.kek.UnwrapBatch(t.Context(), items) {
			wantClass(t, "retired", r.Err, kek.ErrDenied)
		}
	})
}

// Nothing that can't be parsed is sent.
func TestBatchOfGarbage(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	f.srv.ResetLog()
	for _, r := range f.kek.UnwrapBatch(t.Context(), []kek.BatchItem{{}, {Wrapped: []byte{1}}, {Wrapped: make([]byte, 65)}}) {
		wantClass(t, "item", r.Err, kek.ErrCorrupt)
	}
	if n := f.srv.Calls(""); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// A server that swaps results, leaves some out, adds some or gives none; that
// gives references to some of them and not to all.
func TestBatchResultsThatDontMatch(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		for name, c := range map[string]struct {
			spoil func(results []any) []any
			class error
		}{
			"swapped": {func(r []any) []any { r[0], r[1] = r[1], r[0]; return r }, kek.ErrCorrupt},
			"rotated": {func(r []any) []any { return append(r[1:], r[0]) }, kek.ErrCorrupt},
			"swapped, and the first has no reference": {func(r []any) []any {
				delete(r[0].(map[string]any), "reference")
				r[1], r[2] = r[2], r[1]
				return r
			}, kek.ErrCorrupt},
			"the last has no reference": {func(r []any) []any { delete(r[2].(map[string]any), "reference"); return r }, kek.ErrCorrupt},
			"cut":                       {func(r []any) []any { return r[:len(r)-1] }, kek.ErrCorrupt},
			"longer":                    {func(r []any) []any { return append(r, r[0]) }, kek.ErrCorrupt},
			"none":                      {func(r []any) []any { return nil }, kek.ErrUnavailable},
			"empty":                     {func(r []any) []any { return []any{} }, kek.ErrCorrupt},
			"hollow":                    {func(r []any) []any { return []any{map[string]any{}, map[string]any{}, map[string]any{}} }, kek.ErrUnavailable},
		} {
			f := setUp(t, o)
			_, items := wrapMany(t, f, 3)
			f.srv.Rewrite(func(_ hashivaulttest.Entry, status int, body []byte) (int, []byte) {
				var answer map[string]any
				if json.Unmarshal(body, &answer) != nil {
					return status, body
				}
				if data, ok := answer["data"].(map[string]any); ok {
					if results, ok := data["batch_results"].([]any); ok {
						data["batch_results"] = c.spoil(results)
					}
				}
				b, _ := json.Marshal(answer)
				return status, b
			})
			for _, r := range append(f.kek.UnwrapBatch(t.Context(), items), f.kek.RewrapBatch(t.Context(), items)...) {
				if r.Bytes != nil {
					t.Errorf("%s: an item has bytes", name)
				}
				wantClass(t, name, r.Err, c.class)
			}
		}
	})
}

// Results are those of a 400 only: whatever stands before the server may answer
// otherwise, and still have them in its answer.
func TestBatchResultsOfAnotherStatus(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		_, items := wrapMany(t, f, 2)
		f.srv.Rewrite(func(_ hashivaulttest.Entry, _ int, body []byte) (int, []byte) {
			return http.StatusServiceUnavailable, body
		})
		for _, r := range append(f.kek.UnwrapBatch(t.Context(), items), f.kek.RewrapBatch(t.Context(), items)...) {
			if r.Bytes != nil {
				t.Error("an item has bytes")
			}
			wantClass(t, "503", r.Err, kek.ErrUnavailable)
		}
	})
}

// A batch that fails as a whole fails each item, and each as a single call would.
func TestBatchFailsAsAWhole(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		_, items := wrapMany(t, f, 3)
		f.srv.SetPolicy("root", nil)
		for _, r := range append(f.kek.UnwrapBatch(t.Context(), items), f.kek.RewrapBatch(t.Context(), items)...) {
			wantClass(t, "no permission", r.Err, kek.ErrDenied)
		}
		f.srv.Seal()
		for _, r := range append(f.kek.UnwrapBatch(t.Context(), items), f.kek.RewrapBatch(t.Context(), items)...) {
			wantClass(t, "sealed", r.Err, kek.ErrUnavailable)
		}
		f.srv.Unseal()
		f.srv.Rewrite(func(hashivaulttest.Entry, int, []byte) (int, []byte) {
			return http.StatusBadRequest, []byte(`{"errors":["failed to parse batch input"]}`)
		})
		for _, r := range f.kek.UnwrapBatch(t.Context(), items) {
			wantClass(t, "a 400 of its own", r.Err, kek.ErrUnavailable)
		}
	})
}
