package vault

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyring"
)

// openAllAtOnce is how many keys OpenAll works with at the same time.
const openAllAtOnce = 8

// OpenAll opens every field in rows, in place: after it their [Encrypted.Open] costs
// nothing. rows are pointers to fields, pointers to structs, or slices of structs or
// of pointers to them; fields are found in exported fields of any depth. NULL and
// pending fields are left as they are, and so is the caller's data otherwise.
//
// Each key is loaded once, however many rows there are and in whatever order, with a
// few keys at the same time. The error joins those of the fields that couldn't be
// opened, each with its place in rows; the others are opened.
//
// Errors: [ErrInvalidOption] if there is something in rows that can't be opened in
// place; those of [Encrypted.Open].
func OpenAll(ctx context.Context, rows ...any) error {
	var w openWalk
	for i, r := range rows {
		v := reflect.ValueOf(r)
		if k := v.Kind(); k != reflect.Pointer && k != reflect.Slice || v.IsNil() && k == reflect.Pointer {
			return fmt.Errorf("vault: open all: %w: argument %d is a %T; want a pointer, or a slice", ErrInvalidOption, i+1, r)
		}
		w.walk(v, &place{name: "argument ", index: i + 1})
	}
	return w.open(ctx)
}

// place is where a field was found. It is put into words only if need be.
type place struct {
	above *place
	name  string // of a field; "" of an element
	index int
}

func (p *place) String() string {
	switch {
	case p.above == nil:
		return fmt.Sprint(p.name, p.index)
	case p.name == "":
		return fmt.Sprintf("%v[%d]", p.above, p.index)
	}
	return p.above.String() + "." + p.name
}

// openItem is a field that is to be opened.
type openItem struct {
	box   FieldBox
	where *place
	err   error
}

// openWalk collects fields.
type openWalk struct {
	items []openItem
	seen  map[any]bool // pointers that were followed: rows may refer to each other
}

func (w *openWalk) walk(v reflect.Value, at *place) {
	switch v.Kind() {
	case reflect.Pointer:
		w.walkPointer(v, at)
	case reflect.Interface:
		if !v.IsNil() {
			w.walk(v.Elem(), at)
		}
	case reflect.Slice, reflect.Array:
		if mayHoldFields(v.Type().Elem()) {
			for i := range v.Len() {
				w.walk(v.Index(i), &place{above: at, index: i})
			}
		}
	case reflect.Struct:
		w.walkStruct(v, at)
	}
}

func (w *openWalk) walkPointer(v reflect.Value, at *place) {
	if v.IsNil() || !v.CanInterface() {
		return
	}
	if w.seen == nil {
		w.seen = map[any]bool{}
	}
	if p := v.Interface(); !w.seen[p] {
		w.seen[p] = true
		w.walk(v.Elem(), at)
	}
}

func (w *openWalk) walkStruct(v reflect.Value, at *place) {
	t := v.Type()
	if IsFieldType(t) {
		if v.CanAddr() && v.Addr().CanInterface() {
			w.add(v.Addr().Interface().(FieldBox), at)
		}
		return
	}
	for i := range v.NumField() {
		f := t.Field(i)
		promotes := f.Anonymous && f.Type.Kind() == reflect.Struct
		if (f.IsExported() || promotes) && mayHoldFields(f.Type) {
			w.walk(v.Field(i), &place{above: at, name: f.Name})
		}
	}
}

func (w *openWalk) add(box FieldBox, at *place) {
	if box.FieldState() == FieldSealed {
		w.items = append(w.items, openItem{box: box, where: at})
	}
}

// mayHoldFields reports whether a type is worth walking into.
func mayHoldFields(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return mayHoldFields(t.Elem())
	case reflect.Struct, reflect.Interface:
		return t != timeType
	}
	return false
}

// openGroup is what needs the same key.
type openGroup struct {
	v    *Vault
	hash ContextHash
	key  KeyID
	self bool // the envelopes carry it: what they bring doesn't count for the others
}

// open opens the fields, those of one key one after another.
func (w *openWalk) open(ctx context.Context) error {
	groups := map[openGroup][]*openItem{}
	var order []openGroup
	for i := range w.items {
		it := &w.items[i]
		g := groupOf(ctx, it.box.look())
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], it)
	}
	places := make(chan struct{}, openAllAtOnce)
	var wg sync.WaitGroup
	for _, g := range order {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			openEach(ctx, groups[g])
		})
	}
	wg.Wait()
	var errs []error
	for _, it := range w.items {
		if it.err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", it.where, it.err))
		}
	}
	return errors.Join(errs...)
}

// openHeld is how many fields are opened with a key before it is looked up again, and
// so asked whether it may still serve.
const openHeld = 1000

// openEach opens fields that need the same key, which is held meanwhile: else one that
// the cache has no room for would be loaded for each of them.
func openEach(ctx context.Context, items []*openItem) {
	for len(items) > 0 {
		n := min(len(items), openHeld)
		var h heldKey
		for _, it := range items[:n] {
			it.err = it.box.openWith(ctx, &h)
		}
		h.release()
		items = items[n:]
	}
}

// groupOf says which key a field needs, as far as can be seen.
func groupOf(ctx context.Context, b *box) openGroup {
	var g openGroup
	if s, _, err := b.where(ctx); err == nil {
		g.v, g.hash = s.v, s.c.Hash
	}
	if e, err := envelope.Parse(b.sealed); err == nil {
		g.key, g.self = e.KeyID, e.Block != nil
	}
	return g
}

// heldKey keeps the key of the field that was opened last, for the next one of the same
// openGroup.
type heldKey struct {
	key     *keyring.Key
	hash    ContextHash
	forgets uint64 // of the keyring, when the key was had: a tenant that is cut off is so at once
}

func (h *heldKey) release() {
	if h != nil && h.key != nil {
		h.key.Release()
		h.key = nil
	}
}

// open is [Vault.open] for fields, with the key at hand if it is the one. h may be
// nil.
func (h *heldKey) open(ctx context.Context, v *Vault, c keyring.Context, data []byte) ([]byte, KeyID, error) {
	if h == nil {
		return v.open(ctx, c, envelope.KindField, nil, data, nil)
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return nil, KeyID{}, err
	}
	if e.Kind.Reference() != envelope.KindField {
		return nil, KeyID{}, fmt.Errorf("%w: it is a %v", ErrMalformed, e.Kind)
	}
	if err := ctx.Err(); err != nil {
		return nil, e.KeyID, err
	}
	if v.closed.Load() {
		return nil, e.KeyID, ErrClosed
	}
	if h.key == nil || h.key.ID() != e.KeyID || h.hash != c.Hash || h.forgets != v.ring.Forgets() {
		h.release()
		h.hash, h.forgets = c.Hash, v.ring.Forgets()
		if h.key, err = v.keyOf(ctx, c, e); err != nil {
			return nil, e.KeyID, err
		}
	}
	out, err := h.key.Open(nil, e, nil)
	return out, e.KeyID, err
}
