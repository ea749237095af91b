package vaultsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"maps"
	"reflect"
	"slices"

	"github.com/embedvault/vault"
)

// field is a vault.Encrypted of some type, by value.
type field interface {
	SealField(ctx context.Context, b vault.FieldBinding) ([]byte, error)
	FieldState() vault.FieldState
}

// takeField reports whether an argument is a field, or leads to one by pointers, and
// makes it a field by value, which nobody else can change: nil if a pointer is nil.
func takeField(nv *driver.NamedValue) bool {
	v := reflect.ValueOf(nv.Value)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			if !leadsToField(v.Type()) {
				return false
			}
			nv.Value = nil
			return true
		}
		v = v.Elem()
	}
	if !v.IsValid() || !vault.IsFieldType(v.Type()) {
		return false
	}
	nv.Value = v.Interface()
	return true
}

func leadsToField(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return vault.IsFieldType(t)
}

// seal returns the arguments with sealed bytes in place of fields, as the inner driver
// takes them. s is the inner statement, if there is one; once is what was sealed for
// it already.
func (c *conn) seal(ctx context.Context, query string, args []driver.NamedValue, s driver.Stmt, once *sealedOnce) ([]driver.NamedValue, error) {
	out := args
	for i := range args {
		f, ok := args[i].Value.(field)
		if !ok {
			continue
		}
		if &out[0] == &args[0] {
			out = slices.Clone(args) // database/sql's own stay as they are
		}
		sealed, err := c.sealOne(ctx, query, f, once)
		if err != nil {
			return nil, argumentError(args[i], err)
		}
		out[i].Value = nil
		if sealed != nil {
			out[i].Value = sealed
		}
		if err := c.recheck(&out[i], s); err != nil {
			return nil, argumentError(args[i], err)
		}
	}
	return out, nil
}

func (c *conn) sealOne(ctx context.Context, query string, f field, once *sealedOnce) ([]byte, error) {
	if f.FieldState() == vault.FieldPending && onlySearches(query) {
		return nil, ErrSearch
	}
	if sealed, ok := once.take(ctx, f); ok {
		return sealed, nil
	}
	return f.SealField(ctx, vault.FieldBinding{Vault: c.v})
}

// recheck shows sealed bytes to what the inner driver checks and converts arguments
// with, as database/sql would have.
func (c *conn) recheck(nv *driver.NamedValue, s driver.Stmt) error {
	checker, ok := s.(driver.NamedValueChecker)
	if !ok {
		checker, ok = c.Conn.(driver.NamedValueChecker)
	}
	if ok {
		switch err := checker.CheckNamedValue(nv); {
		case errors.Is(err, driver.ErrSkip):
		case errors.Is(err, driver.ErrRemoveArgument):
			return errors.New("the driver takes sealed bytes for one of its options")
		default:
			return err
		}
	}
	cc, ok := s.(driver.ColumnConverter) //nolint:staticcheck // drivers have it
	if !ok {
		return nil
	}
	v, err := cc.ColumnConverter(nv.Ordinal - 1).ConvertValue(nv.Value)
	if err == nil {
		nv.Value = v
	}
	return err
}

// sealedOnce keeps what was sealed for a statement that the inner driver refused with
// driver.ErrSkip: database/sql prepares it then, and gives the same arguments once
// more. Without it each field would be sealed twice, with two events.
type sealedOnce struct {
	query string
	kc    vault.KeyContext // of the ctx that they were sealed with
	by    map[any][]byte   // field → sealed; a field with another value, or in another place, is another
}

func (c *conn) remember(ctx context.Context, query string, args, sealed []driver.NamedValue, err error) {
	if err != driver.ErrSkip { //nolint:errorlint // as database/sql compares it
		return
	}
	kc, _ := vault.KeyContextFrom(ctx)
	once := &sealedOnce{query: query, kc: kc, by: map[any][]byte{}}
	for i, a := range args {
		if b, ok := sealed[i].Value.([]byte); ok && isField(a.Value) {
			once.by[a.Value] = b
		}
	}
	c.skipped = once
}

func isField(v any) bool { _, ok := v.(field); return ok }

func (o *sealedOnce) take(ctx context.Context, f field) ([]byte, bool) {
	if o == nil {
		return nil, false
	}
	sealed, ok := o.by[f]
	if kc, _ := vault.KeyContextFrom(ctx); !ok || !maps.Equal(kc, o.kc) {
		return nil, false
	}
	delete(o.by, f)
	return sealed, true
}
