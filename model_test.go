package vault_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

// model is what the object API should do, in plain lists.
type model struct {
	unique  bool
	keep    int
	objects []*modelObject
}

type modelObject struct {
	vault.Metadata // of the current version
	unique         bool
	versions       []modelVersion // the oldest first
}

type modelVersion struct {
	meta  vault.Metadata
	value []byte
}

func (o *modelObject) expired(now time.Time) bool {
	return !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(now)
}

// find returns the object that kc has under name, or nil if it isn't there or has
// expired.
func (m *model) find(kc vault.KeyContext, name string, now time.Time) *modelObject {
	for _, o := range m.objects {
		if maps.Equal(o.Context, kc) && o.Name == name && !o.expired(now) {
			return o
		}
	}
	return nil
}

func (m *model) remove(gone func(*modelObject) bool) (n int) {
	before := len(m.objects)
	m.objects = slices.DeleteFunc(m.objects, gone)
	return before - len(m.objects)
}

// put says which errors a put may give, none if it must be done.
func (m *model) putErrors(kc vault.KeyContext, name string, absent bool, ifVersion vault.ID, now time.Time) []string {
	var may []string
	o := m.find(kc, name, now)
	if absent && o != nil {
		may = append(may, "[ErrExists]")
	}
	if !ifVersion.IsZero() && (o == nil || o.VersionID != ifVersion) {
		may = append(may, "[ErrVersionConflict]")
	}
	if m.unique || o != nil && o.unique {
		for _, other := range m.objects {
			if other.unique && other.Name == name && !maps.Equal(other.Context, kc) && !other.expired(now) {
				may = append(may, "[ErrExists]")
			}
		}
	}
	return may
}

// put notes a put that was done.
func (m *model) put(meta vault.Metadata, value []byte, now time.Time) *modelObject {
	o := m.find(meta.Context, meta.Name, now)
	if o == nil {
		m.remove(func(o *modelObject) bool { return o.Name == meta.Name && maps.Equal(o.Context, meta.Context) })
		o = &modelObject{}
		m.objects = append(m.objects, o)
	}
	if o.unique = o.unique || m.unique; o.unique {
		m.remove(func(other *modelObject) bool {
			return other != o && other.unique && other.Name == meta.Name && other.expired(now)
		})
	}
	o.Metadata = meta
	o.versions = append(o.versions, modelVersion{meta, bytes.Clone(value)})
	if m.keep > 0 && len(o.versions) > m.keep {
		o.versions = slices.Clone(o.versions[len(o.versions)-m.keep:])
	}
	return o
}

// version returns a version that can be read at now.
func (o *modelObject) version(id vault.ID, now time.Time) *modelVersion {
	if o == nil {
		return nil
	}
	for i, v := range o.versions {
		last := i == len(o.versions)-1
		live := v.meta.ExpiresAt.IsZero() || v.meta.ExpiresAt.After(now)
		if live && (v.meta.VersionID == id || id.IsZero() && last) {
			return &o.versions[i]
		}
	}
	return nil
}

// list returns what a list must show.
func (m *model) list(kc vault.KeyContext, o vault.ListOptions, hash func(vault.KeyContext) vault.ContextHash, now time.Time) []vault.Metadata {
	var out []vault.Metadata
	for _, obj := range m.objects {
		in := maps.Equal(obj.Context, kc) || o.Within && obj.Context.Contains(kc)
		if in && !obj.expired(now) && strings.HasPrefix(obj.Name, o.Prefix) && (o.UpdatedAfter.IsZero() || obj.UpdatedAt.After(o.UpdatedAfter)) {
			out = append(out, obj.Metadata)
		}
	}
	slices.SortFunc(out, func(a, b vault.Metadata) int {
		ha, hb := hash(a.Context), hash(b.Context)
		by := bytes.Compare(ha[:], hb[:])
		if by == 0 && o.Order == vault.ByName {
			by = strings.Compare(a.Name, b.Name)
		}
		if by == 0 {
			by = cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), bytes.Compare(a.ID[:], b.ID[:]))
		}
		if o.Descending {
			by = -by
		}
		return by
	})
	return out
}

// machine runs the same calls on a vault and on the model.
type machine struct {
	model
	t    *testing.T
	open func() (storage.Store, func())
	kek  *memkek.KEK

	namespace string
	v         *vault.Vault
	close     func()
	ids       []vault.ID // object and version IDs that were seen
	times     []time.Time
}

var (
	modelContexts = []vault.KeyContext{orgA, orgB, userA}
	modelNames    = []string{"a", "ab", "a/1", "b", "ü"}
)

func drawContext(t *rapid.T) vault.KeyContext {
	return rapid.SampledFrom(modelContexts).Draw(t, "context")
}
func drawName(t *rapid.T) string { return rapid.SampledFrom(modelNames).Draw(t, "name") }

func (m *machine) drawID(t *rapid.T) vault.ID {
	return rapid.SampledFrom(append(m.ids, vault.ID{1})).Draw(t, "id")
}

func (m *machine) hash(kc vault.KeyContext) vault.ContextHash { return hashIn(m.t, kc, m.namespace) }

// start opens the store and a vault on it, with new settings.
func (m *machine) start(t *rapid.T) {
	store, closeStore := m.open()
	m.keep = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "keep")
	m.unique = rapid.Bool().Draw(t, "unique")
	v, err := vault.New(vault.Config{
		KEK: m.kek, Store: store, Namespace: m.namespace, NoBackground: true,
		KeepVersions: m.keep, UniqueNames: m.unique, SelfContained: rapid.Bool().Draw(t, "self-contained"),
		Cache: vault.CacheConfig{Size: rapid.SampledFrom([]int{0, 1}).Draw(t, "cache")},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.v, m.close = v, func() { _ = v.Close(); closeStore() }
}

func (m *machine) Reopen(t *rapid.T) {
	m.close()
	m.start(t)
}

func (m *machine) Put(t *rapid.T) {
	kc, name := drawContext(t), drawName(t)
	value := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "value")
	var opts []vault.PutOption
	var absent bool
	var ifVersion vault.ID
	now := time.Now()
	switch rapid.IntRange(0, 5).Draw(t, "guard") {
	case 0:
		absent = true
		opts = append(opts, vault.IfAbsent())
	case 1:
		ifVersion = m.drawID(t)
	case 2:
		if o := m.find(kc, name, now); o != nil {
			ifVersion = o.VersionID
		}
	}
	if !ifVersion.IsZero() {
		opts = append(opts, vault.IfVersion(ifVersion))
	}
	want := vault.Metadata{Name: name, Context: kc, Size: int64(len(value)), UpdatedAt: now.UTC().Truncate(time.Microsecond)}
	if rapid.IntRange(0, 2).Draw(t, "expires") == 0 {
		want.ExpiresAt = now.UTC().Add(time.Duration(rapid.IntRange(-5, 40).Draw(t, "seconds")) * time.Second).Truncate(time.Microsecond)
		opts = append(opts, vault.ExpiresAt(want.ExpiresAt))
	}
	if rapid.Bool().Draw(t, "labels") {
		want.Labels = map[string]string{"k": string(value[:min(1, len(value))])}
		if err := putLabel(want.Labels); err == nil {
			opts = append(opts, vault.Labels(want.Labels))
		} else {
			want.Labels = nil
		}
	}
	want.UpdatedBy = rapid.SampledFrom([]string{"", "ann"}).Draw(t, "actor")
	may := m.putErrors(kc, name, absent, ifVersion, now)
	got, err := m.v.Put(vault.WithActor(m.t.Context(), want.UpdatedBy), kc, name, value, opts...)
	if err != nil || len(may) > 0 {
		if !slices.Contains(may, fmt.Sprint(classes(err))) {
			t.Fatalf("put: %v, want %v", err, may)
		}
		return
	}
	want.Number, want.CreatedAt, want.ID = 1, want.UpdatedAt, got.ID
	if o := m.find(kc, name, now); o != nil {
		want.Number, want.CreatedAt, want.ID = o.Number+1, o.CreatedAt, o.ID
	} else if slices.Contains(m.ids, got.ID) {
		t.Fatalf("put: a new object has an old ID")
	}
	if got.VersionID.IsZero() || slices.Contains(m.ids, got.VersionID) || got.KeyID.IsZero() {
		t.Fatalf("put: version %v, key %v", got.VersionID, got.KeyID)
	}
	want.VersionID, want.KeyID = got.VersionID, got.KeyID
	m.same(t, "put", got, want)
	m.put(want, value, now)
	m.ids = append(m.ids, got.VersionID, got.ID)
	m.times = append(m.times, want.UpdatedAt)
}

// putLabel reports whether a label's value is text.
func putLabel(l map[string]string) error {
	for _, v := range l {
		if len(v) == 1 && (v[0] < 0x20 || v[0] > 0x7e) {
			return vault.ErrInvalidOption
		}
	}
	return nil
}

func (m *machine) same(t *rapid.T, what string, got, want vault.Metadata) {
	same := got.ID == want.ID && got.Name == want.Name && maps.Equal(got.Context, want.Context) && got.VersionID == want.VersionID &&
		got.Number == want.Number && got.KeyID == want.KeyID && got.Size == want.Size && got.CreatedAt.Equal(want.CreatedAt) &&
		got.UpdatedAt.Equal(want.UpdatedAt) && got.UpdatedBy == want.UpdatedBy && got.ExpiresAt.Equal(want.ExpiresAt) && maps.Equal(got.Labels, want.Labels)
	if !same {
		t.Fatalf("%s: got\n%+v, want\n%+v", what, got, want)
	}
}

// check compares an object that was read, or why not, with a version.
func (m *machine) check(t *rapid.T, what string, got vault.Object, err error, want *modelVersion) {
	if want == nil {
		if fmt.Sprint(classes(err)) != "[ErrNotFound]" {
			t.Fatalf("%s: version %d, %v; want it not to be found", what, got.Number, err)
		}
		return
	}
	if err != nil || !bytes.Equal(got.Value, want.value) {
		t.Fatalf("%s: %q, %v; want %q", what, got.Value, err, want.value)
	}
	m.same(t, what, got.Metadata, want.meta)
}

func (m *machine) Get(t *rapid.T) {
	kc, name := drawContext(t), drawName(t)
	got, err := m.v.Get(m.t.Context(), kc, name)
	o := m.find(kc, name, time.Now())
	m.check(t, "get", got, err, o.version(vault.ID{}, time.Now()))
	if err == nil {
		byID, err := m.v.GetByID(m.t.Context(), kc, got.ID)
		m.check(t, "get by ID", byID, err, o.version(vault.ID{}, time.Now()))
		_, err = m.v.GetByID(m.t.Context(), vault.KeyContext{"organization_id": "stranger"}, got.ID)
		m.check(t, "get by a stranger", vault.Object{}, err, nil)
		looked, err := m.v.Lookup(m.t.Context(), got.ID)
		if err != nil {
			t.Fatalf("lookup: %v", err)
		}
		m.same(t, "lookup", looked, o.Metadata)
	}
}

func (m *machine) GetAnyID(t *rapid.T) {
	kc, id := drawContext(t), m.drawID(t)
	var o *modelObject
	for _, have := range m.objects {
		if have.ID == id && maps.Equal(have.Context, kc) && !have.expired(time.Now()) {
			o = have
		}
	}
	got, err := m.v.GetByID(m.t.Context(), kc, id)
	m.check(t, "get by ID", got, err, o.version(vault.ID{}, time.Now()))
}

func (m *machine) GetAtVersion(t *rapid.T) {
	kc, name, id := drawContext(t), drawName(t), m.drawID(t)
	o := m.find(kc, name, time.Now())
	if o != nil && rapid.Bool().Draw(t, "one of its own") {
		id = rapid.SampledFrom(o.versions).Draw(t, "version").meta.VersionID
	}
	want := o.version(id, time.Now())
	got, err := m.v.Get(m.t.Context(), kc, name, vault.AtVersion(id))
	m.check(t, "get at a version", got, err, want)
	meta, err := m.v.Describe(m.t.Context(), kc, name, vault.AtVersion(id))
	if want == nil {
		m.check(t, "describe a version", vault.Object{}, err, nil)
	} else {
		m.same(t, "describe a version", meta, want.meta)
	}
}

func (m *machine) GetMany(t *rapid.T) {
	kc := drawContext(t)
	asked := rapid.SliceOfN(rapid.SampledFrom(append(modelNames, "never")), 0, 8).Draw(t, "names")
	got, err := m.v.GetMany(m.t.Context(), kc, asked...)
	if err != nil {
		t.Fatalf("get many: %v", err)
	}
	n := 0
	for _, name := range slices.Compact(slices.Sorted(slices.Values(asked))) {
		o := m.find(kc, name, time.Now())
		obj, there := got[name]
		if there != (o != nil) {
			t.Fatalf("get many: %q is there: %v", name, there)
		}
		if o != nil {
			n++
			m.check(t, "get many", obj, nil, o.version(vault.ID{}, time.Now()))
		}
	}
	if n != len(got) {
		t.Fatalf("get many: %d objects, want %d", len(got), n)
	}
}

func (m *machine) Delete(t *rapid.T) {
	kc, name := drawContext(t), drawName(t)
	o := m.find(kc, name, time.Now())
	var opts []vault.DeleteOption
	want := "[]"
	if o == nil {
		want = "[ErrNotFound]"
	}
	if rapid.Bool().Draw(t, "guarded") {
		id := m.drawID(t)
		if o != nil && rapid.Bool().Draw(t, "rightly") {
			id = o.VersionID
		}
		opts = append(opts, vault.IfVersion(id))
		if o != nil && id != o.VersionID {
			want = "[ErrVersionConflict]"
		}
	}
	err := m.v.Delete(m.t.Context(), kc, name, opts...)
	if fmt.Sprint(classes(err)) != want {
		t.Fatalf("delete: %v, want %s", err, want)
	}
	if err == nil {
		m.remove(func(other *modelObject) bool { return other == o })
	}
}

func (m *machine) Versions(t *rapid.T) {
	kc, name := drawContext(t), drawName(t)
	o := m.find(kc, name, time.Now())
	if o == nil {
		m.check(t, "versions", vault.Object{}, firstErr(m.v.Versions(m.t.Context(), kc, name)), nil)
		return
	}
	var want []vault.Metadata
	for _, v := range slices.Backward(o.versions) {
		if o.version(v.meta.VersionID, time.Now()) != nil {
			want = append(want, v.meta)
		}
	}
	m.sameList(t, "versions", m.v.Versions(m.t.Context(), kc, name), want)
}

func (m *machine) sameList(t *rapid.T, what string, seq func(func(vault.Metadata, error) bool), want []vault.Metadata) {
	i := 0
	for got, err := range seq {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if i == len(want) {
			t.Fatalf("%s: more than %d", what, len(want))
		}
		m.same(t, what, got, want[i])
		i++
	}
	if i != len(want) {
		t.Fatalf("%s: %d, want %d", what, i, len(want))
	}
}

func (m *machine) List(t *rapid.T) {
	kc := rapid.SampledFrom(append(modelContexts, vault.KeyContext{"user_id": "u_1"})).Draw(t, "context")
	o := vault.ListOptions{
		Within:     rapid.Bool().Draw(t, "within"),
		Prefix:     rapid.SampledFrom([]string{"", "", "a", "a/", "ü", "none"}).Draw(t, "prefix"),
		Order:      rapid.SampledFrom([]vault.Order{vault.ByName, vault.ByUpdated}).Draw(t, "order"),
		Descending: rapid.Bool().Draw(t, "descending"),
		Limit:      rapid.IntRange(0, 4).Draw(t, "limit"),
	}
	if o.Order == vault.ByUpdated && len(m.times) > 0 && rapid.Bool().Draw(t, "after") {
		o.UpdatedAfter = rapid.SampledFrom(m.times).Draw(t, "updated after")
	}
	want := m.list(kc, o, m.hash, time.Now())
	m.sameList(t, "list", m.v.List(m.t.Context(), kc, o), want)
	m.sameList(t, "pages", func(yield func(vault.Metadata, error) bool) {
		for {
			page, err := m.v.ListPage(m.t.Context(), kc, o)
			if err != nil {
				yield(vault.Metadata{}, err)
				return
			}
			if o.Limit > 0 && len(page.Objects) != o.Limit && page.Next != "" {
				t.Fatalf("a page of %d", len(page.Objects))
			}
			for _, meta := range page.Objects {
				if !yield(meta, nil) {
					return
				}
			}
			if o.Cursor = page.Next; o.Cursor == "" {
				return
			}
		}
	}, want)
}

func (m *machine) Wait(t *rapid.T) {
	time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 1000, 1_000_000, 20_000_000}).Draw(t, "microseconds")) * time.Microsecond)
}

func (m *machine) Sweep(t *rapid.T) {
	want := m.remove(func(o *modelObject) bool { return o.expired(time.Now()) })
	if got, err := m.v.Sweep(m.t.Context()); err != nil || got != want {
		t.Fatalf("sweep: %d, %v; want %d", got, err, want)
	}
}

func (m *machine) Rotate(t *rapid.T) {
	if err := m.v.Rotate(m.t.Context(), drawContext(t)); err != nil && fmt.Sprint(classes(err)) != "[ErrKeyNotFound]" {
		t.Fatalf("rotate: %v", err)
	}
}

// Check is run after every step: all there is, read in full.
func (m *machine) Check(t *rapid.T) {
	for _, kc := range modelContexts {
		m.sameList(t, "all", m.v.List(m.t.Context(), kc, vault.ListOptions{}), m.list(kc, vault.ListOptions{}, m.hash, time.Now()))
	}
}

// The object API does what a plain model does, on each store, through
// expiries, retention, unique names, rotations and reopening.
func TestObjectsAgainstTheModel(t *testing.T) {
	for name, stores := range map[string]func(t *testing.T) func() func() (storage.Store, func()){
		"memory": func(*testing.T) func() func() (storage.Store, func()) {
			return func() func() (storage.Store, func()) {
				s := memstore.New()
				return func() (storage.Store, func()) { return s, func() {} }
			}
		},
		"bbolt": func(t *testing.T) func() func() (storage.Store, func()) {
			n := 0
			return func() func() (storage.Store, func()) {
				n++
				path := filepath.Join(t.TempDir(), fmt.Sprint(n, ".db"))
				return func() (storage.Store, func()) {
					s, err := boltstore.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					return s, func() { _ = s.Close() }
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := stores(t)
				// Wrapped, since rapid would ask a *testing.T for its deadline, which
				// there is none of in a bubble.
				rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) {
					m := &machine{t: t, open: next(), kek: memkek.New("k")}
					m.namespace = rapid.SampledFrom([]string{"", "ns"}).Draw(rt, "namespace")
					m.start(rt)
					defer func() { m.close() }()
					rt.Repeat(map[string]func(*rapid.T){
						"Put": m.Put, "Put2": m.Put, "Put3": m.Put, "Get": m.Get, "GetAnyID": m.GetAnyID,
						"GetAtVersion": m.GetAtVersion, "GetMany": m.GetMany, "Delete": m.Delete, "Versions": m.Versions,
						"List": m.List, "Wait": m.Wait, "Sweep": m.Sweep, "Rotate": m.Rotate, "Reopen": m.Reopen, "": m.Check,
					})
				})
			})
		})
	}
}
