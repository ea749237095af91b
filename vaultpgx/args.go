package vaultpgx

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault"
)

// ErrNested: an encrypted field was given to a statement inside another value, such as
// a struct for a JSON column. Encoders write "[ENCRYPTED]" in its place, and the value
// would be lost.
var ErrNested = errors.New("an encrypted field inside another value can't be stored: give it by itself, or seal the whole value as one vault.Encrypted")

// sealer seals arguments and binds what is read. The zero one takes the vault of ctx.
type sealer struct{ v *vault.Vault }

// sealable is an Encrypted, or a pointer to one.
type sealable interface {
	FieldLocation() vault.Location
	SealField(ctx context.Context, b vault.FieldBinding) ([]byte, error)
}

// statement seals the arguments of a statement. The caller's are not changed. It is
// done before a connection is taken: sealing may load a key from a store that is on the
// same pool.
func (s sealer) statement(ctx context.Context, sql string, args []any) (string, []any, error) {
	var options []any
	var rewriter pgx.QueryRewriter
	rest := args
options:
	for len(rest) > 0 {
		switch o := rest[0].(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			options = append(options, o)
		case pgx.QueryRewriter:
			rewriter = o
		default:
			break options
		}
		rest = rest[1:]
	}
	if rewriter == nil {
		sealed, err := s.args(ctx, args)
		return sql, sealed, err
	}
	var named map[string]any
	switch r := rewriter.(type) {
	case pgx.NamedArgs:
		named = r
	case pgx.StrictNamedArgs:
		named = r
	default: // it may want the connection
		return sql, append(append(options, sealingRewriter{rewriter, s}), rest...), nil
	}
	plain := true
	for _, v := range named {
		plain = plain && !holds(v)
	}
	if plain {
		return sql, args, nil
	}
	// Only what the statement uses is sealed; the rest may have no location.
	sql, rest, err := rewriter.RewriteQuery(ctx, nil, sql, rest)
	if err != nil {
		return "", nil, fmt.Errorf("vaultpgx: rewrite query: %w", err)
	}
	rest, err = s.args(ctx, rest)
	return sql, append(options, rest...), err
}

// sealingRewriter seals what another rewriter makes.
type sealingRewriter struct {
	next pgx.QueryRewriter
	s    sealer
}

// RewriteQuery implements [pgx.QueryRewriter].
func (r sealingRewriter) RewriteQuery(ctx context.Context, conn *pgx.Conn, sql string, args []any) (string, []any, error) {
	sql, args, err := r.next.RewriteQuery(ctx, conn, sql, args)
	if err == nil {
		args, err = r.s.args(ctx, args)
	}
	return sql, args, err
}

// Format prints what it wraps: a tracer logs it with the other arguments.
func (r sealingRewriter) Format(f fmt.State, verb rune) {
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), r.next)
}

// args returns args with fields sealed: the same slice if there are none.
func (s sealer) args(ctx context.Context, args []any) ([]any, error) {
	out := args
	for i, a := range args {
		v, changed, err := s.arg(ctx, a)
		if err != nil {
			return nil, fmt.Errorf("vaultpgx: argument %d: %w", i+1, err)
		}
		if !changed {
			continue
		}
		if &out[0] == &args[0] {
			out = append([]any{}, args...)
		}
		out[i] = v
	}
	return out, nil
}

// arg seals one argument. What is no field, and holds none, stays as it is.
func (s sealer) arg(ctx context.Context, a any) (v any, changed bool, err error) {
	switch a := a.(type) {
	case nil, []byte, string, bool, int, int16, int32, int64, float32, float64:
		return a, false, nil
	case sealable:
		v, err = s.seal(ctx, a)
		return v, true, err
	case Index:
		v, err = a.compute(ctx, s.v)
		return v, true, err
	}
	t := reflect.TypeOf(a)
	if !mayHold(t) {
		return a, false, nil
	}
	r := reflect.ValueOf(a)
	switch {
	case t.Kind() == reflect.Pointer && r.IsNil():
		return a, false, nil
	case t.Kind() == reflect.Pointer && t.Elem().Kind() != reflect.Interface && (isSealable(t.Elem()) || t.Elem().Kind() != reflect.Struct):
		if v, changed, err = s.arg(ctx, r.Elem().Interface()); changed {
			return v, true, err
		}
		return a, false, err
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && holds(a):
		v, err = s.array(ctx, r)
		return v, true, err
	case holds(a):
		return nil, false, fmt.Errorf("%w: it is a %T", ErrNested, a)
	}
	return a, false, nil
}

// seal returns sealed bytes, or an untyped nil for NULL.
func (s sealer) seal(ctx context.Context, f sealable) (any, error) {
	if r := reflect.ValueOf(f); r.Kind() == reflect.Pointer && r.IsNil() {
		return nil, nil
	}
	b, err := f.SealField(ctx, vault.FieldBinding{Vault: s.v})
	if err != nil || b == nil {
		return nil, err
	}
	return b, nil
}

// array seals the elements of an array: of unnest, for instance, where each is another
// row's. Two of one row would change places unnoticed.
func (s sealer) array(ctx context.Context, r reflect.Value) (any, error) {
	if r.Kind() == reflect.Slice && r.IsNil() {
		return nil, nil
	}
	out := make([]any, r.Len())
	bytes := make([][]byte, r.Len())
	onlyBytes := true
	seen := map[vault.Location]bool{}
	for i := range out {
		e := r.Index(i).Interface()
		v, _, err := s.arg(ctx, e)
		if err == nil {
			err = once(seen, e)
		}
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i+1, err)
		}
		out[i] = v
		b, ok := v.([]byte)
		bytes[i], onlyBytes = b, onlyBytes && (ok || v == nil)
	}
	if onlyBytes {
		return bytes, nil
	}
	return out, nil
}

func once(seen map[vault.Location]bool, e any) error {
	f, ok := e.(sealable)
	if !ok || reflect.ValueOf(e).Kind() == reflect.Pointer && reflect.ValueOf(e).IsNil() {
		return nil
	}
	at := f.FieldLocation()
	if at.HasRow() && seen[at] {
		return fmt.Errorf("%w: %v: another element of the array has the same row; seal the whole array as one vault.Encrypted", vault.ErrInvalidLocation, at)
	}
	seen[at] = true
	return nil
}
