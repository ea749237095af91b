package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

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
func (v *Vault) PrepareIndex(ctx context.Context, kc KeyContext, ixs ...Index) (err error) {
	defer v.trace(&ctx, "prepare_index", nil).end(&err)
	var errs []error
	for _, ix := range ixs {
		if err := v.prepareIndex(ctx, kc, ix); err != nil {
			errs = append(errs, fmt.Errorf("vault: prepare index %v: %w", ix, err))
		}
	}
	return errors.Join(errs...)
}

func (v *Vault) prepareIndex(ctx context.Context, kc KeyContext, ix Index) error {
	if err := ix.Validate(); err != nil {
		return err
	}
	c, err := v.indexContext(kc, ix)
	if err != nil {
		return err
	}
	if err := v.permit(ctx, AccessRequest{Operation: OpIndexField, Context: c.Pairs, Object: ix.String()}); err != nil {
		return err
	}
	k, err := v.indexKey(ctx, c, false)
	if err == nil {
		k.Release()
	}
	return err
}

// BlindIndex is [Vault.BlindIndex].
func (s *Scope) BlindIndex(ctx context.Context, ix Index, values ...any) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.blindIndex(ctx, s.c.Pairs, ix, values, false)
}

// BlindIndexQuery is [Vault.BlindIndexQuery].
func (s *Scope) BlindIndexQuery(ctx context.Context, ix Index, values ...any) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.blindIndex(ctx, s.c.Pairs, ix, values, true)
}

// PrepareIndex is [Vault.PrepareIndex].
func (s *Scope) PrepareIndex(ctx context.Context, ixs ...Index) error {
	if s.err != nil {
		return s.err
	}
	return s.v.PrepareIndex(ctx, s.c.Pairs, ixs...)
}

func (v *Vault) blindIndex(ctx context.Context, kc KeyContext, ix Index, values []any, query bool) (_ []byte, err error) {
	name := "blind_index"
	if query {
		name = "blind_index_query"
	}
	defer v.trace(&ctx, name, nil).end(&err)
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
	op := OpIndexField
	if query {
		op = OpQueryIndex
	}
	var out []byte
	var id KeyID
	err = v.authorizeAt(ctx, op, c, ix)
	if err == nil {
		out, id, err = v.indexUnder(ctx, c, ix, message, query)
	}
	o.key(id)
	if err := o.endMessage(err); err != nil {
		return nil, err
	}
	return out, nil
}

func (v *Vault) indexUnder(ctx context.Context, c keyring.Context, ix Index, message []byte, query bool) ([]byte, KeyID, error) {
	k, err := v.indexKey(ctx, c, query)
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

// indexKey returns the index key of a context. A query must not make one.
func (v *Vault) indexKey(ctx context.Context, c keyring.Context, query bool) (*keyring.Key, error) {
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
