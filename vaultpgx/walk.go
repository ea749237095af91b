package vaultpgx

import (
	"reflect"
	"sync"

	"github.com/embedvault/vault"
)

// maxDepth is how deep fields are looked for in what a row was scanned into.
const maxDepth = 8

var indexType = reflect.TypeFor[Index]()

// isSealable reports whether values of a type are sealed when they are arguments.
func isSealable(t reflect.Type) bool { return t == indexType || vault.IsFieldType(t) }

// mayHolds remembers mayHold: reflect.Type → bool.
var mayHolds sync.Map

// mayHold reports whether values of a type are fields, or can have fields somewhere in
// them, behind interfaces too.
func mayHold(t reflect.Type) bool {
	if known, ok := mayHolds.Load(t); ok {
		return known.(bool)
	}
	m := typeHolds(t, map[reflect.Type]bool{})
	mayHolds.Store(t, m)
	return m
}

func typeHolds(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false // whoever is looking at it already has its answer
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return typeHolds(t.Elem(), seen)
	case reflect.Struct:
		if isSealable(t) {
			return true
		}
		for i := range t.NumField() {
			if typeHolds(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// holds reports whether a value is a field or has one somewhere in it, in unexported
// fields of structs too.
func holds(v any) bool {
	return v != nil && mayHold(reflect.TypeOf(v)) && valueHolds(reflect.ValueOf(v), map[visit]bool{})
}

// visit is a map, slice or pointer that was looked into: values may refer to
// themselves, and in many ways.
type visit struct {
	at  uintptr
	len int
	t   reflect.Type
}

func valueHolds(v reflect.Value, seen map[visit]bool) bool {
	if !v.IsValid() || !mayHold(v.Type()) {
		return false
	}
	if isSealable(v.Type()) {
		return true
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		at := visit{at: v.Pointer(), t: v.Type()}
		if v.Kind() == reflect.Slice {
			at.len = v.Len()
		}
		if seen[at] {
			return false
		}
		seen[at] = true
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return valueHolds(v.Elem(), seen)
	case reflect.Slice, reflect.Array:
		if isSealable(v.Type().Elem()) {
			return true // an empty one too: its type is no type of the database's
		}
		for i := range v.Len() {
			if valueHolds(v.Index(i), seen) {
				return true
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if valueHolds(it.Value(), seen) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if valueHolds(v.Field(i), seen) {
				return true
			}
		}
	}
	return false
}

// boxes calls f for the fields in what a row was scanned into.
func boxes(dest any, f func(vault.FieldBox)) {
	if box, ok := dest.(vault.FieldBox); ok {
		if !reflect.ValueOf(dest).IsNil() {
			f(box)
		}
		return
	}
	switch dest.(type) {
	case nil, *string, *[]byte, *bool, *int, *int16, *int32, *int64, *float32, *float64, *any:
		return
	}
	if mayHold(reflect.TypeOf(dest)) {
		eachBox(reflect.ValueOf(dest), f, 0)
	}
}

func eachBox(v reflect.Value, f func(vault.FieldBox), depth int) {
	if !v.IsValid() || depth > maxDepth || !mayHold(v.Type()) {
		return
	}
	if v.CanAddr() && vault.IsFieldType(v.Type()) {
		f(v.Addr().Interface().(vault.FieldBox))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		eachBox(v.Elem(), f, depth+1)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			eachBox(v.Index(i), f, depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				eachBox(v.Field(i), f, depth+1)
			}
		}
	}
}
