package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// wrappings unwraps each wrapping of an any-of key by itself: of a key that one KEK
// opens nobody would notice that another one doesn't, until it is the last.
func (v *verification) wrappings(ctx context.Context, k vault.KeyInfo) (n int64, bad []failure, err error) {
	rec, err := v.s.store.GetKey(ctx, k.ID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && len(rec.Wrappings) == 0 {
		return 0, nil, nil // deleted or shredded meanwhile
	}
	if err != nil {
		return 0, nil, fmt.Errorf("reading key %s: %w", k.ID.Short(), err)
	}
	choice, err := v.s.policy.Choose(ctx, k.Context.Clone())
	if err == nil {
		choice, err = choice.Normalize(k.Context)
	}
	var keks []kek.Wrapper
	if err == nil {
		keks, err = choice.Match(rec.Quorum, rec.Wrappings)
	}
	if err != nil {
		return 0, []failure{v.wrapping(k, "", err)}, nil
	}
	for i, w := range keks {
		if err := opensAlone(ctx, w, rec, rec.Wrappings[i].Wrapped); ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		} else if err != nil {
			bad = append(bad, v.wrapping(k, w.URI(), err))
		}
	}
	return int64(len(keks)), bad, nil
}

func (v *verification) wrapping(k vault.KeyInfo, uri string, err error) failure {
	return failure{KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Version: k.Version, KEK: uri, Error: v.a.clean(err.Error())}
}

// Asking a KEK for one wrapping.
const (
	unwrapTimeout = 15 * time.Second
	unwrapTries   = 3 // of what is unavailable
)

// opensAlone reports whether a KEK gives the key of a record out of its own wrapping.
func opensAlone(ctx context.Context, w kek.Wrapper, rec storage.KeyRecord, wrapped []byte) (err error) {
	for range unwrapTries {
		if err = opensOnce(ctx, w, rec, wrapped); !errors.Is(err, kek.ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	return err
}

func opensOnce(ctx context.Context, w kek.Wrapper, rec storage.KeyRecord, wrapped []byte) error {
	ctx, cancel := context.WithTimeout(ctx, unwrapTimeout)
	defer cancel()
	secret, err := w.Unwrap(ctx, wrapped, kek.Binding{
		KeyID: rec.KeyID, ContextHash: rec.ContextHash, Purpose: rec.Purpose, Version: rec.Version, Context: rec.Context,
	})
	defer clear(secret)
	if err != nil {
		return err
	}
	return isKey(secret, rec.KeyID, rec.ContextHash, rec.Purpose, rec.Version)
}

// isKey reports whether secret is the key that has this ID.
func isKey(secret []byte, id keyctx.KeyID, hash keyctx.Hash, p keyctx.Purpose, version uint32) error {
	if len(secret) != envelope.KeySize {
		return fmt.Errorf("%w: the KEK gave %d bytes, want %d", kek.ErrCorrupt, len(secret), envelope.KeySize)
	}
	key, err := envelope.NewKey(secret, hash, p, version)
	if err != nil {
		return fmt.Errorf("%w: %w", kek.ErrCorrupt, err)
	}
	defer key.Destroy()
	if !key.ID().Equal(id) {
		return fmt.Errorf("%w: the unwrapped key doesn't have the key ID", kek.ErrCorrupt)
	}
	return nil
}
