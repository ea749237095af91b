package vault

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
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
		w.walk(v, fmt.Sprintf("argument %d", i+1), len(rows) > 1)
	}
	return w.open(ctx)
}

// openItem is a field that is to be opened.
type openItem struct {
	box   FieldBox
	where string
	err   error
}

// openWalk collects fields.
type openWalk struct {
	items []*openItem
	seen  map[any]bool // pointers that were followed: rows may refer to each other
}

func (w *openWalk) walk(v reflect.Value, where string, _ bool) {
	switch v.Kind() {
	case reflect.Pointer:
		w.walkPointer(v, where)
	case reflect.Interface:
		if !v.IsNil() {
			w.walk(v.Elem(), where, false)
		}
	case reflect.Slice, reflect.Array:
		if !mayHoldFields(v.Type().Elem()) {
			return
		}
		for i := range v.Len() {
			w.walk(v.Index(i), fmt.Sprintf("%s[%d]", where, i), false)
		}
	case reflect.Struct:
		if v.CanAddr() && IsFieldType(v.Type()) {
			w.add(v.Addr(), where)
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && mayHoldFields(f.Type) {
				w.walk(v.Field(i), where+"."+f.Name, false)
			}
		}
	}
}

func (w *openWalk) walkPointer(v reflect.Value, where string) {
	if v.IsNil() || !v.CanInterface() {
		return
	}
	if w.seen == nil {
		w.seen = map[any]bool{}
	}
	if p := v.Interface(); !w.seen[p] {
		w.seen[p] = true
		w.walk(v.Elem(), where, false)
	}
}

func (w *openWalk) add(v reflect.Value, where string) {
	box := v.Interface().(FieldBox)
	if box.FieldState() == FieldSealed {
		w.items = append(w.items, &openItem{box: box, where: where})
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
	hash ContextHash
	key  KeyID
}

// open opens the fields, those of one key one after another.
func (w *openWalk) open(ctx context.Context) error {
	groups := map[openGroup][]*openItem{}
	var order []openGroup
	for _, it := range w.items {
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
			for _, it := range groups[g] {
				it.err = it.box.OpenInPlace(ctx)
			}
		})
	}
	wg.Wait()
	var errs []error
	for _, it := range w.items {
		if it.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", it.where, it.err))
		}
	}
	return errors.Join(errs...)
}

// groupOf says which key a field needs, as far as can be seen.
func groupOf(ctx context.Context, b *box) openGroup {
	var g openGroup
	if s, _, err := b.where(ctx); err == nil {
		g.hash = s.c.Hash
	}
	if info, err := Inspect(b.sealed); err == nil {
		g.key = info.KeyID
	}
	return g
}
