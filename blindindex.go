package vault

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

// Index describes a blind index: a second column beside an encrypted one, by which
// rows are found with an equal value, and by nothing else. There is no order, no
// prefix and no range. What it is computed from is bound into it: tables and columns
// are logical names, and like the normaliser's they must stay the same for ever.
//
// Whoever reads the database sees which rows have equal values, and how many; across
// tenants, if the index is global. docs/THREATMODEL.md says what follows from that.
type Index struct {
	Table      string
	Column     string // that is indexed
	Normaliser string // "exact@1", "lower@1", "email@1", "digits@1", "e164@1"

	// And makes it a compound index, over several columns together: found are rows in
	// which all are equal. The order counts.
	And []IndexPart

	// Global makes it one index across all key contexts of the namespace, under a key
	// of the vault's own: for what is looked up before it is known whose it is, such
	// as an e-mail address at login. Whoever reads the database then sees equal values
	// across tenants, and shredding a tenant's keys doesn't make its entries useless.
	Global bool

	// Generation is 2 or more for an index that is to replace one of the generation
	// before, under a new key. 0 and 1 are the first.
	Generation uint32

	// Bits, 4 to 64, makes it a bucketed index: so short that many values share one,
	// which hides which are equal. What is found must be filtered by its value, with
	// [Index.Matches], and it can't be unique. 0: the whole 128 bits.
	Bits int
}

// IndexPart is a further column of a compound index.
type IndexPart struct {
	Column     string
	Normaliser string
}

// Limits of bucketed indexes, in bits.
const (
	minIndexBits = 4
	maxIndexBits = 64
)

// Validate reports what is wrong with the index, or nil. Its errors match
// [ErrInvalidIndex].
func (ix Index) Validate() error {
	for _, name := range []string{ix.Table, ix.Column} {
		if reason := badLocationName(name); reason != "" {
			return fmt.Errorf("%w: %s", ErrInvalidIndex, reason)
		}
	}
	if len(ix.And) >= maxRowIDs {
		return fmt.Errorf("%w: of %v: it has %d columns, at most %d are allowed", ErrInvalidIndex, ix, len(ix.And)+1, maxRowIDs)
	}
	seen := map[string]bool{}
	for _, p := range ix.parts() {
		if reason := badLocationName(p.Column); reason != "" {
			return fmt.Errorf("%w: of %v: %s", ErrInvalidIndex, ix, reason)
		}
		if seen[p.Column] {
			return fmt.Errorf("%w: of %v: the column %q stands in it twice", ErrInvalidIndex, ix, p.Column)
		}
		seen[p.Column] = true
		if _, ok := normalisers[p.Normaliser]; !ok {
			return fmt.Errorf("%w: of %v: the normaliser %.40q is none of %s", ErrInvalidIndex, ix, p.Normaliser, normaliserNames())
		}
	}
	if ix.Bits != 0 && (ix.Bits < minIndexBits || ix.Bits > maxIndexBits) {
		return fmt.Errorf("%w: of %v: Bits is %d, want %d to %d, or 0 for the whole index", ErrInvalidIndex, ix, ix.Bits, minIndexBits, maxIndexBits)
	}
	return nil
}

// String returns table and column.
func (ix Index) String() string { return fmt.Sprintf("%.80s.%.80s", ix.Table, ix.Column) }

// Size returns the length of the index in bytes: 16, or that of its Bits.
func (ix Index) Size() int {
	if ix.Bits > 0 {
		return (ix.Bits + 7) / 8
	}
	return envelope.IndexSize
}

func (ix Index) parts() []IndexPart {
	return append([]IndexPart{{ix.Column, ix.Normaliser}}, ix.And...)
}

// hash is what the key of the index is derived for:
//
//	SHA-256(u16 len ‖ table ‖ for each column (u16 len ‖ column ‖ u16 len ‖ normaliser))
//
// SPEC: docs/SPEC.md, "Blind index".
func (ix Index) hash() [sha256.Size]byte {
	var buf [256]byte
	b := appendPrefixed(buf[:0], ix.Table)
	for _, p := range ix.parts() {
		b = appendPrefixed(b, p.Column)
		b = appendPrefixed(b, p.Normaliser)
	}
	return sha256.Sum256(b)
}

// cut shortens an index to its bits; those of the last byte that don't count are 0.
func (ix Index) cut(full [envelope.IndexSize]byte) []byte {
	b := full[:ix.Size()]
	if rest := ix.Bits % 8; rest != 0 {
		b[len(b)-1] &= 0xff << (8 - rest)
	}
	return b
}

// BlindIndex returns the blind index of a value, to be stored beside the encrypted
// column: one value for the index's column, and one for each of its And. A value is a
// string, a []byte, an integer or a time, a type made of one of these, a pointer to
// one, or a field; see docs/SPEC.md, "Blind index". If any is nil or NULL the index is
// NULL: nil, and no error. A field that is sealed is opened.
//
// The context's index key is made if this is its first use, and it is never rotated by
// age: its indexes would be lost. kc isn't looked at if the index is global.
//
// Errors: ErrInvalidIndex; ErrNotIndexable if the normaliser refuses a value;
// ErrNoStore; ErrInvalidContext; of fields those of [Encrypted.Open]; those of Encrypt
// about the key.
func (v *Vault) BlindIndex(ctx context.Context, kc KeyContext, ix Index, values ...any) ([]byte, error) {
	return v.blindIndex(ctx, kc, ix, values, false)
}

// BlindIndexQuery is [Vault.BlindIndex] for a query. It makes no key: where the
// context has none, nothing was ever indexed for it in this database, and it fails with
// ErrKeyNotFound instead of finding nothing. NULL is refused with ErrNotIndexable:
// query with IS NULL.
func (v *Vault) BlindIndexQuery(ctx context.Context, kc KeyContext, ix Index, values ...any) ([]byte, error) {
	return v.blindIndex(ctx, kc, ix, values, true)
}

// PrepareIndex makes the keys of these indexes for the context, where there are none,
// and loads them: ahead of a transaction, and so that a query before the first write
// finds nothing instead of failing.
func (v *Vault) PrepareIndex(ctx context.Context, kc KeyContext, ixs ...Index) error {
	var errs []error
	for _, ix := range ixs {
		err := ix.Validate()
		if err == nil {
			var k *keyring.Key
			if _, k, err = v.indexKey(ctx, kc, ix, false); err == nil {
				k.Release()
				continue
			}
		}
		errs = append(errs, fmt.Errorf("vault: prepare index %v: %w", ix, err))
	}
	return errors.Join(errs...)
}

func (v *Vault) blindIndex(ctx context.Context, kc KeyContext, ix Index, values []any, query bool) ([]byte, error) {
	out, err := v.computeIndex(ctx, kc, ix, values, query)
	if err != nil && !errors.Is(err, ErrEvent) {
		err = fmt.Errorf("vault: blind index %v: %w", ix, err)
	}
	return out, err
}

func (v *Vault) computeIndex(ctx context.Context, kc KeyContext, ix Index, values []any, query bool) ([]byte, error) {
	if err := ix.Validate(); err != nil {
		return nil, err
	}
	message, err := ix.message(ctx, values)
	if err != nil {
		return nil, err
	}
	defer clear(message)
	if message == nil && query {
		return nil, fmt.Errorf("%w: it is NULL: query with IS NULL", ErrNotIndexable)
	}
	if message == nil {
		return nil, nil
	}
	c, err := v.indexContext(kc, ix)
	if err != nil {
		return nil, err
	}
	o := v.begin(ctx, IndexComputed, c)
	o.change(func(e *Event) { e.Object = ix.String() })
	out, id, err := v.indexUnder(ctx, c, ix, message, query)
	o.key(id)
	if err := o.endMessage(err); err != nil {
		return nil, err
	}
	return out, nil
}

func (v *Vault) indexUnder(ctx context.Context, c keyring.Context, ix Index, message []byte, query bool) ([]byte, KeyID, error) {
	k, err := v.indexKeyOf(ctx, c, query)
	if err != nil {
		return nil, KeyID{}, err
	}
	defer k.Release()
	full, err := k.BlindIndex(ix.hash(), message)
	if err != nil {
		return nil, k.ID(), err
	}
	return ix.cut(full), k.ID(), nil
}

func (v *Vault) indexKey(ctx context.Context, kc KeyContext, ix Index, query bool) (keyring.Context, *keyring.Key, error) {
	c, err := v.indexContext(kc, ix)
	if err != nil {
		return c, nil, err
	}
	k, err := v.indexKeyOf(ctx, c, query)
	return c, k, err
}

// indexKeyOf returns the index key of a context. A query must not make one.
func (v *Vault) indexKeyOf(ctx context.Context, c keyring.Context, query bool) (*keyring.Key, error) {
	if v.closed.Load() {
		return nil, ErrClosed
	}
	if v.cfg.Store == nil {
		return nil, fmt.Errorf("%w: an index key that isn't stored is lost with its index", ErrNoStore)
	}
	if query {
		return v.ring.Existing(ctx, c, keyctx.PurposeIndex)
	}
	return v.ring.Active(ctx, c, keyctx.PurposeIndex)
}

// indexContext returns the context whose key an index is under: the caller's, or the
// vault's own one of global indexes, and with the pair of its generation if that
// isn't the first.
func (v *Vault) indexContext(kc KeyContext, ix Index) (keyring.Context, error) {
	if !ix.Global {
		c, err := v.context(kc)
		if err != nil || ix.Generation <= 1 {
			return c, err
		}
	}
	pairs := KeyContext{keyctx.ReservedScope: keyctx.ScopeGlobal}
	if !ix.Global {
		pairs = maps.Clone(kc)
	}
	if ix.Generation > 1 {
		pairs[keyctx.ReservedIndex] = strconv.FormatUint(uint64(ix.Generation), 10)
	}
	hash, err := pairs.WithNamespace(v.cfg.Namespace).Hash()
	if err != nil {
		return keyring.Context{}, err
	}
	return keyring.Context{Hash: hash, Pairs: pairs}, nil
}

// message returns what is authenticated: of one column its normalised value, of
// several each with its length before it. nil if any is NULL.
func (ix Index) message(ctx context.Context, values []any) ([]byte, error) {
	parts := ix.parts()
	if len(values) != len(parts) {
		return nil, fmt.Errorf("%w: it has %d columns, got %d values", ErrInvalidIndex, len(parts), len(values))
	}
	message := []byte{}
	for i, p := range parts {
		text, isNull, err := indexText(ctx, values[i])
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", p.Column, err)
		}
		if isNull {
			return nil, nil
		}
		b, err := normalise(p.Normaliser, text)
		if err != nil {
			return nil, fmt.Errorf("column %q: %s: %w", p.Column, p.Normaliser, err)
		}
		if len(parts) > 1 {
			message = binary.BigEndian.AppendUint16(message, uint16(len(b)))
		}
		message = append(message, b...)
	}
	return message, nil
}

// Matches reports whether values are, after normalisation, the same as want: the
// filter after a query by a bucketed index. Each has as many values as BlindIndex
// takes; NULL matches nothing. Fields are opened.
func (ix Index) Matches(ctx context.Context, want, values []any) (bool, error) {
	if err := ix.Validate(); err != nil {
		return false, err
	}
	a, err := ix.message(ctx, want)
	if err != nil {
		return false, fmt.Errorf("vault: match index %v: %w", ix, err)
	}
	b, err := ix.message(ctx, values)
	if err != nil {
		return false, fmt.Errorf("vault: match index %v: %w", ix, err)
	}
	return a != nil && b != nil && subtle.ConstantTimeCompare(a, b) == 1, nil
}

// indexText returns a value as text, before it is normalised.
func indexText(ctx context.Context, v any) (text []byte, isNull bool, err error) {
	if f, ok := v.(interface {
		look() *box
		FieldType() reflect.Type
	}); ok {
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() || f.look() == nil {
			return nil, true, nil
		}
		err := f.look().open(ctx, f.FieldType(), func(c codec, value []byte) error {
			text, err = codecText(c, value)
			return err
		})
		return text, false, err
	}
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	if !r.IsValid() || r.Kind() == reflect.Pointer {
		return nil, true, nil
	}
	c, b, err := encodeField(r)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotIndexable, err)
	}
	text, err = codecText(c, b)
	return text, false, err
}

// codecText returns an encoded value as text: strings and bytes as they are, integers
// in decimal, times in UTC as RFC 3339 with as many fractional digits as they need.
func codecText(c codec, b []byte) ([]byte, error) {
	switch c {
	case codecString, codecBytes:
		return append([]byte{}, b...), nil
	case codecInt:
		return strconv.AppendInt(nil, int64(binary.BigEndian.Uint64(b)), 10), nil
	case codecUint:
		return strconv.AppendUint(nil, binary.BigEndian.Uint64(b), 10), nil
	case codecTime:
		var t time.Time
		if err := decodeField(c, b, reflect.ValueOf(&t).Elem()); err != nil {
			return nil, err
		}
		return t.AppendFormat(nil, time.RFC3339Nano), nil
	}
	return nil, fmt.Errorf("%w: it is a %v", ErrNotIndexable, c)
}

// BlindIndex is [Vault.BlindIndex] with the vault and the key context that f and ctx
// give: for adapters. A global index needs no key context.
func (f FieldBinding) BlindIndex(ctx context.Context, ix Index, values ...any) ([]byte, error) {
	return f.blindIndex(ctx, ix, values, false)
}

// BlindIndexQuery is [Vault.BlindIndexQuery] with the vault and the key context that f
// and ctx give.
func (f FieldBinding) BlindIndexQuery(ctx context.Context, ix Index, values ...any) ([]byte, error) {
	return f.blindIndex(ctx, ix, values, true)
}

func (f FieldBinding) blindIndex(ctx context.Context, ix Index, values []any, query bool) ([]byte, error) {
	v := f.Vault
	if v == nil {
		v, _ = VaultFrom(ctx)
	}
	if ix.Global && v != nil {
		return v.blindIndex(ctx, nil, ix, values, query)
	}
	s, err := scopeFor(ctx, f.Vault, f.Context)
	if err != nil {
		return nil, fmt.Errorf("vault: blind index %v: %w", ix, err)
	}
	return s.v.blindIndex(ctx, s.c.Pairs, ix, values, query)
}
