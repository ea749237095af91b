package keyring

import (
	"context"
	"sync/atomic"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// watchedStore notes in a load's flight that the store is being asked, so that a
// store that hangs isn't taken for a KMS that does.
type watchedStore struct{ storage.KeyStore }

func atStore(ctx context.Context) (left func()) {
	return at(ctx, func(fl *flight) *atomic.Int32 { return &fl.atStore })
}

func atKEK(ctx context.Context) (left func()) {
	if fl, ok := ctx.Value(flightInCtx{}).(*flight); ok {
		fl.askedKEK.Store(true)
	}
	return at(ctx, func(fl *flight) *atomic.Int32 { return &fl.atKEK })
}

// at counts a call in the flight that ctx belongs to, if it does.
func at(ctx context.Context, where func(*flight) *atomic.Int32) (left func()) {
	fl, ok := ctx.Value(flightInCtx{}).(*flight)
	if !ok {
		return func() {}
	}
	n := where(fl)
	n.Add(1)
	return func() { n.Add(-1) }
}

func (w watchedStore) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	defer atStore(ctx)()
	return w.KeyStore.GetKey(ctx, id)
}

func (w watchedStore) LatestKey(ctx context.Context, context keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
	defer atStore(ctx)()
	return w.KeyStore.LatestKey(ctx, context, p)
}

func (w watchedStore) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	defer atStore(ctx)()
	return w.KeyStore.InsertKey(ctx, rec)
}

func (w watchedStore) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	defer atStore(ctx)()
	return w.KeyStore.UpdateKey(ctx, rec)
}
