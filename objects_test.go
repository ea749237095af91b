package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// far is a time that comes after the tests.
var far = time.Date(2200, 1, 2, 3, 4, 5, 678_000, time.UTC)

func TestPutAndGet(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v, cold := open(t, c), open(t, c)
		ctx := vault.WithActor(t.Context(), "ann")
		start := time.Now().Add(-time.Millisecond)
		labels := map[string]string{"env": "prod", "empty": ""}
		value := []byte("sk_live_1")
		meta, err := v.Put(ctx, orgA, "stripe/api-key", value, vault.Labels(labels), vault.ExpiresAt(far))
		if err != nil {
			t.Fatal(err)
		}
		value[0], labels["env"] = 'X', "changed" // the caller's own again
		for name, v := range map[string]*vault.Vault{"warm": v, "cold": cold} {
			obj, err := v.Get(t.Context(), orgA, "stripe/api-key")
			if err != nil || string(obj.Value) != "sk_live_1" {
				t.Fatalf("%s: %q, %v", name, obj.Value, err)
			}
			wantMeta(t, obj.Metadata, meta)
			byID, err := v.GetByID(t.Context(), orgA, meta.ID)
			if err != nil || !bytes.Equal(byID.Value, obj.Value) {
				t.Fatalf("%s, by ID: %v", name, err)
			}
			wantMeta(t, byID.Metadata, meta)
			at, err := v.Get(t.Context(), orgA, "stripe/api-key", vault.AtVersion(meta.VersionID))
			if err != nil || !bytes.Equal(at.Value, obj.Value) {
				t.Fatalf("%s, at its version: %v", name, err)
			}
			described, err := v.Describe(t.Context(), orgA, "stripe/api-key")
			if err != nil {
				t.Fatal(err)
			}
			wantMeta(t, described, meta)
			looked, err := v.Lookup(t.Context(), meta.ID)
			if err != nil {
				t.Fatal(err)
			}
			wantMeta(t, looked, meta)
		}
		if meta.Number != 1 || meta.Size != 9 || meta.UpdatedBy != "ann" || meta.Name != "stripe/api-key" ||
			meta.Labels["env"] != "prod" || len(meta.Labels) != 2 || !meta.ExpiresAt.Equal(far) ||
			!maps.Equal(meta.Context, orgA) || meta.KeyID.IsZero() || meta.ID.IsZero() || meta.VersionID.IsZero() || meta.ID == meta.VersionID {
			t.Fatalf("%+v", meta)
		}
		if meta.CreatedAt.Before(start) || meta.CreatedAt.After(time.Now()) || !meta.UpdatedAt.Equal(meta.CreatedAt) || meta.CreatedAt.Location() != time.UTC {
			t.Fatalf("created %v, updated %v", meta.CreatedAt, meta.UpdatedAt)
		}
	})
}

func wantMeta(t testing.TB, got, want vault.Metadata) {
	t.Helper()
	same := got.ID == want.ID && got.Name == want.Name && maps.Equal(got.Context, want.Context) && got.VersionID == want.VersionID &&
		got.Number == want.Number && got.KeyID == want.KeyID && got.Size == want.Size && got.CreatedAt.Equal(want.CreatedAt) &&
		got.UpdatedAt.Equal(want.UpdatedAt) && got.UpdatedBy == want.UpdatedBy && got.ExpiresAt.Equal(want.ExpiresAt) &&
		maps.Equal(got.Labels, want.Labels)
	if !same {
		t.Fatalf("got\n%+v, want\n%+v", got, want)
	}
}

func TestVersions(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		const n = 250 // more than a page
		var metas []vault.Metadata
		for i := range n {
			metas = append(metas, must(v.Put(ctx, orgA, "x", fmt.Append(nil, i)))(t))
		}
		i := n
		for m, err := range v.Versions(ctx, orgA, "x") {
			if err != nil {
				t.Fatal(err)
			}
			i--
			wantMeta(t, m, metas[i])
			if m.Number != uint64(i+1) || m.ID != metas[0].ID || !m.CreatedAt.Equal(metas[0].CreatedAt) {
				t.Fatalf("version %d: %+v", i, m)
			}
		}
		if i != 0 {
			t.Fatalf("%d versions are missing", i)
		}
		for _, i := range []int{0, 1, n / 2, n - 1} {
			for _, get := range []func() (vault.Object, error){
				func() (vault.Object, error) { return v.Get(ctx, orgA, "x", vault.AtVersion(metas[i].VersionID)) },
				func() (vault.Object, error) {
					return v.GetByID(ctx, orgA, metas[i].ID, vault.AtVersion(metas[i].VersionID))
				},
			} {
				obj, err := get()
				if err != nil || string(obj.Value) != fmt.Sprint(i) {
					t.Fatalf("version %d: %q, %v", i, obj.Value, err)
				}
				wantMeta(t, obj.Metadata, metas[i])
			}
			wantMeta(t, must(v.Describe(ctx, orgA, "x", vault.AtVersion(metas[i].VersionID)))(t), metas[i])
		}
		if got := must(v.Get(ctx, orgA, "x"))(t); string(got.Value) != fmt.Sprint(n-1) {
			t.Fatalf("the current version is %q", got.Value)
		}
		// A version of another object is not found.
		other := must(v.Put(ctx, orgA, "y", nil))(t)
		_, err := v.Get(ctx, orgA, "x", vault.AtVersion(other.VersionID))
		wantClass(t, err, "ErrNotFound")
		wantErr(t, firstErr(v.Versions(ctx, orgA, "absent")), vault.ErrNotFound)
		wantErr(t, firstErr(v.Versions(ctx, orgB, "x")), vault.ErrNotFound)
	})
}

// One list of versions can be ranged over again, and by several at once.
func TestVersionsRangedOverTwiceAtOnce(t *testing.T) {
	v := vaulttest.New(t)
	for range 150 {
		must(v.Put(t.Context(), orgA, "x", nil))(t)
	}
	seq := v.Versions(t.Context(), orgA, "x")
	done := make(chan int)
	for range 4 {
		go func() {
			n := 0
			for range seq {
				n++
			}
			done <- n
		}()
	}
	for range 4 {
		if n := <-done; n != 150 {
			t.Errorf("%d versions", n)
		}
	}
}

func TestGuards(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		_, err := v.Put(ctx, orgA, "x", nil, vault.IfVersion(vault.ID{1}))
		wantClass(t, err, "ErrVersionConflict")
		first := must(v.Put(ctx, orgA, "x", []byte("1"), vault.IfAbsent()))(t)
		_, err = v.Put(ctx, orgA, "x", []byte("2"), vault.IfAbsent())
		wantClass(t, err, "ErrExists")
		must(v.Put(ctx, orgB, "x", []byte("b"), vault.IfAbsent()))(t) // another context
		second := must(v.Put(ctx, orgA, "x", []byte("2"), vault.IfVersion(first.VersionID)))(t)
		_, err = v.Put(ctx, orgA, "x", []byte("3"), vault.IfVersion(first.VersionID))
		wantClass(t, err, "ErrVersionConflict")
		wantClass(t, v.Delete(ctx, orgA, "x", vault.IfVersion(first.VersionID)), "ErrVersionConflict")
		if got := must(v.Get(ctx, orgA, "x"))(t); string(got.Value) != "2" || got.Number != 2 {
			t.Fatalf("%q, version %d", got.Value, got.Number)
		}
		wantErr(t, v.Delete(ctx, orgA, "x", vault.IfVersion(second.VersionID)), nil)
		wantClass(t, v.Delete(ctx, orgA, "x"), "ErrNotFound")
		_, err = v.Get(ctx, orgA, "x")
		wantClass(t, err, "ErrNotFound")
		_, err = v.Get(ctx, orgA, "x", vault.AtVersion(first.VersionID))
		wantClass(t, err, "ErrNotFound")
		_, err = v.GetByID(ctx, orgA, first.ID)
		wantClass(t, err, "ErrNotFound")
		wantErr(t, firstErr(v.Versions(ctx, orgA, "x")), vault.ErrNotFound)
		again := must(v.Put(ctx, orgA, "x", []byte("new"), vault.IfAbsent()))(t)
		if again.ID == first.ID || again.Number != 1 {
			t.Fatalf("a deleted object came back: %+v", again)
		}
		if string(must(v.Get(ctx, orgB, "x"))(t).Value) != "b" {
			t.Fatal("another context's object was touched")
		}
	})
}

// Of many guarded writers at once exactly one wins.
func TestGuardsAreAtomic(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v, other := open(t, c), open(t, c)
		ctx := t.Context()
		race := func(name string, opt vault.PutOption, lost error) vault.ID {
			var won []vault.ID
			results := make(chan vault.ID)
			for i := range 20 {
				go func() {
					w := v
					if i%2 == 0 {
						w = other
					}
					m, err := w.Put(ctx, orgA, name, fmt.Append(nil, i), opt)
					if err != nil && !errors.Is(err, lost) {
						t.Errorf("%v", err)
					}
					results <- m.VersionID
				}()
			}
			for range 20 {
				if id := <-results; !id.IsZero() {
					won = append(won, id)
				}
			}
			if len(won) != 1 {
				t.Fatalf("%d writers won", len(won))
			}
			return won[0]
		}
		id := race("x", vault.IfAbsent(), vault.ErrExists)
		next := race("x", vault.IfVersion(id), vault.ErrVersionConflict)
		if got := must(v.Get(ctx, orgA, "x"))(t); got.VersionID != next || got.Number != 2 {
			t.Fatalf("version %d", got.Number)
		}
	})
}

func TestObjectsOfAnotherContextAreNotFound(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		meta := must(v.Put(ctx, orgA, "x", []byte("a")))(t)
		for _, kc := range []vault.KeyContext{orgB, userA} {
			for method, call := range map[string]func() error{
				"Get":      func() error { _, err := v.Get(ctx, kc, "x"); return err },
				"GetByID":  func() error { _, err := v.GetByID(ctx, kc, meta.ID); return err },
				"Describe": func() error { _, err := v.Describe(ctx, kc, "x"); return err },
				"Delete":   func() error { return v.Delete(ctx, kc, "x") },
				"Versions": func() error { return firstErr(v.Versions(ctx, kc, "x")) },
				"AtVersion": func() error {
					_, err := v.GetByID(ctx, kc, meta.ID, vault.AtVersion(meta.VersionID))
					return err
				},
			} {
				if got := classes(call()); !slices.Equal(got, []string{"ErrNotFound"}) {
					t.Errorf("%s: %v", method, got)
				}
			}
			if many, err := v.GetMany(ctx, kc, "x"); err != nil || len(many) != 0 {
				t.Errorf("GetMany: %d, %v", len(many), err)
			}
		}
		for _, id := range []vault.ID{{}, {1}, meta.VersionID} {
			_, err := v.GetByID(ctx, orgA, id)
			wantClass(t, err, "ErrNotFound")
			_, err = v.Lookup(ctx, id)
			wantClass(t, err, "ErrNotFound")
		}
	})
}

func TestGetMany(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, s setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		n := 2100 // more than the store is asked for at once
		if s.name == "bbolt" {
			n = 20
		}
		var asked []string
		for i := range n {
			name := fmt.Sprint("n", i)
			if i%2 == 0 {
				must(v.Put(ctx, orgA, name, []byte(name)))(t)
			}
			asked = append(asked, name, name, "absent")
		}
		got, err := v.GetMany(ctx, orgA, asked...)
		if err != nil || len(got) != n/2 {
			t.Fatalf("%d objects, %v", len(got), err)
		}
		for name, obj := range got {
			if obj.Name != name || string(obj.Value) != name || !maps.Equal(obj.Context, orgA) {
				t.Fatalf("%s: %+v", name, obj)
			}
		}
		if got, err := v.GetMany(ctx, orgA); err != nil || len(got) != 0 || got == nil {
			t.Fatalf("of no names: %v, %v", got, err)
		}
	})
}

func TestMaxObject(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.MaxObject, c.MaxPlaintext = 100, 10 })
	ctx := t.Context()
	must(v.Put(ctx, orgA, "x", someBytes(100)))(t)
	_, err := v.Put(ctx, orgA, "x", someBytes(101))
	wantClass(t, err, "ErrTooLarge")
	long := someBytes(101)
	must(peerOf(t, v).Put(ctx, orgA, "x", long))(t)
	if got := must(v.Get(ctx, orgA, "x"))(t); !bytes.Equal(got.Value, long) {
		t.Fatal("an object longer than today's limit isn't readable")
	}
}

func TestKeepVersions(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		c.KeepVersions = 3
		v := open(t, c)
		ctx := t.Context()
		var metas []vault.Metadata
		for range 5 {
			metas = append(metas, must(v.Put(ctx, orgA, "x", []byte("v")))(t))
		}
		var numbers []uint64
		for m, err := range v.Versions(ctx, orgA, "x") {
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, m.Number)
		}
		if !slices.Equal(numbers, []uint64{5, 4, 3}) {
			t.Fatalf("versions %v are kept", numbers)
		}
		_, err := v.Get(ctx, orgA, "x", vault.AtVersion(metas[1].VersionID))
		wantClass(t, err, "ErrNotFound")
		must(v.Get(ctx, orgA, "x", vault.AtVersion(metas[2].VersionID)))(t)
		if m := must(v.Describe(ctx, orgA, "x"))(t); !m.CreatedAt.Equal(metas[0].CreatedAt) {
			t.Fatal("the object's age was forgotten with its first version")
		}
	})
}

func TestUniqueNames(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		plain := open(t, c)
		c.UniqueNames = true
		v := open(t, c)
		ctx := t.Context()
		must(v.Put(ctx, orgA, "x", []byte("a")))(t)
		_, err := v.Put(ctx, orgB, "x", []byte("b"))
		wantClass(t, err, "ErrExists")
		must(v.Put(ctx, orgA, "x", []byte("a2")))(t)
		if string(must(v.Get(ctx, orgA, "x"))(t).Value) != "a2" {
			t.Fatal("the holder's own put was lost")
		}
		// It holds for objects that were written while it was set.
		must(plain.Put(ctx, orgB, "x", []byte("b")))(t)
		must(plain.Put(ctx, orgA, "y", []byte("a")))(t)
		must(v.Put(ctx, orgB, "y", []byte("b")))(t)
		if err := v.Delete(ctx, orgA, "x"); err != nil {
			t.Fatal(err)
		}
		must(v.Put(ctx, orgB, "x", []byte("b2")))(t)
		_, err = v.Put(ctx, orgA, "x", nil)
		wantClass(t, err, "ErrExists")
		// Another namespace is another world.
		c.Namespace = "other"
		must(open(t, c).Put(ctx, orgA, "x", nil))(t)
	})
}

// Two applications on one database and one KEK see nothing of each other.
func TestNamespacesAreSeparate(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		ctx := t.Context()
		spaces := []string{"", "billing", "crm"}
		var vs []*vault.Vault
		var ids []vault.ID
		var sealed [][]byte
		for _, ns := range spaces {
			c.Namespace = ns
			v := open(t, c)
			vs = append(vs, v)
			ids = append(ids, must(v.Put(ctx, orgA, "x", []byte(ns)))(t).ID)
			must(v.Put(ctx, orgA, "expired", nil, vault.ExpiresAt(time.Now().Add(-time.Second))))(t)
			sealed = append(sealed, must(v.Encrypt(ctx, orgA, []byte(ns), nil))(t))
		}
		for i, v := range vs {
			if obj := must(v.Get(ctx, orgA, "x"))(t); string(obj.Value) != spaces[i] || !maps.Equal(obj.Context, orgA) {
				t.Fatalf("%q: %q of %v", spaces[i], obj.Value, obj.Context)
			}
			for _, within := range []bool{false, true} {
				list := must(v.ListPage(ctx, orgA, vault.ListOptions{Within: within}))(t)
				if len(list.Objects) != 1 || list.Objects[0].ID != ids[i] || !maps.Equal(list.Objects[0].Context, orgA) {
					t.Fatalf("%q lists %+v", spaces[i], list.Objects)
				}
			}
			for j := range vs {
				_, err := v.Decrypt(ctx, orgA, sealed[j], nil)
				_, err2 := v.GetByID(ctx, orgA, ids[j])
				_, err3 := v.Lookup(ctx, ids[j])
				if i == j {
					wantErr(t, errors.Join(err, err2, err3), nil)
					continue
				}
				wantErr(t, err, vault.ErrWrongContext)
				wantClass(t, err2, "ErrNotFound")
				wantClass(t, err3, "ErrNotFound")
			}
			if n, err := v.Sweep(ctx); n != 1 || err != nil { // its own alone, or the next would find none
				t.Fatalf("%q swept %d, %v", spaces[i], n, err)
			}
		}
	})
}

func TestActors(t *testing.T) {
	v := vaulttest.New(t)
	for in, want := range map[string]string{
		"":                                     "",
		"ann":                                  "ann",
		"a\nlevel=INFO\x1b[31m\u0085\x7fb":     "a\ufffdlevel=INFO\ufffd[31m\ufffd\ufffdb",
		"a\xff\xfeb":                           "a\ufffdb",
		string(bytes.Repeat([]byte("x"), 300)): string(bytes.Repeat([]byte("x"), 256)),
		string(bytes.Repeat([]byte("x"), 256)): string(bytes.Repeat([]byte("x"), 256)),
		string(bytes.Repeat([]byte("x"), 255)) + "ü":                         string(bytes.Repeat([]byte("x"), 255)),
		string(bytes.Repeat([]byte("日"), 100)):                               string(bytes.Repeat([]byte("日"), 85)),
		string(bytes.Repeat([]byte("x"), 254)) + "\U0001F600":                string(bytes.Repeat([]byte("x"), 254)),
		string(bytes.Repeat([]byte("\x00"), 100)):                            string(bytes.Repeat([]byte("\ufffd"), 85)),
		string(bytes.Repeat([]byte("x"), 252)) + "\U0001F600" + "afterwards": string(bytes.Repeat([]byte("x"), 252)) + "\U0001F600",
	} {
		ctx := vault.WithReason(vault.WithActor(t.Context(), in), in)
		meta := must(v.Put(ctx, orgA, "x", nil))(t)
		if meta.UpdatedBy != want || must(v.Describe(t.Context(), orgA, "x"))(t).UpdatedBy != want {
			t.Errorf("%q is stored as %q", in, meta.UpdatedBy)
		}
		events := v.Events(vault.DataCreated, vault.DataUpdated)
		if e := events[len(events)-1]; e.Actor != want || e.Reason != want {
			t.Errorf("%q is %q and %q in the event", in, e.Actor, e.Reason)
		}
	}
}

func TestNoStore(t *testing.T) {
	v := open(t, vault.Config{KEK: openKEK("open:k")})
	s := sampleOf(t, v, orgA)
	works := []string{"Encrypt", "Decrypt", "AppendEncrypt", "AppendDecrypt", "EncryptString", "DecryptString", "CreateDataKey", "DecryptDataKey", "RekeyDataKey", "Prepare", "VerifyKEK", "Check", "SealField", "OpenField"}
	calls := callsWith(t, v, orgA, s)
	maps.Copy(calls, otherCalls(t, v))
	for name, call := range calls {
		err := call()
		if slices.Contains(works, name) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !slices.Equal(classes(err), []string{"ErrNoStore"}) {
			t.Errorf("%s without a store: %v", name, err)
		}
	}
}
