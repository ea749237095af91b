package storagetest

import (
	"context"
	"errors"

	"github.com/embedvault/vault/storage"
)

// each is UpdateKeys by single calls.
func (b *broken) each(ctx context.Context, rs []storage.KeyRecord, f func(context.Context, storage.KeyRecord) error) []error {
	results, try := storage.PlanKeyUpdates(ctx, rs)
	for _, i := range try {
		results[i] = f(ctx, rs[i])
	}
	return results
}

var keyBatchMutants = []mutant{
	{"a batch ignores the revision", []string{"KeyBatch", "KeyBatchRace"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			return b.each(ctx, rs, func(ctx context.Context, r storage.KeyRecord) error {
				if now, err := b.Store.GetKey(ctx, r.KeyID); err == nil {
					r.Revision = now.Revision
				}
				return b.Store.UpdateKey(ctx, r)
			})
		}
	}, nil},
	{"a lost race of a batch fails all", []string{"KeyBatch"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			results := b.Store.UpdateKeys(ctx, rs)
			return storage.FailKeyUpdates(results, nil, errors.Join(results...))
		}
	}, nil},
	{"a batch doesn't say who lost", []string{"KeyBatch", "KeyBatchRefused", "KeyBatchRace"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			clear(b.Store.UpdateKeys(ctx, rs))
			return make([]error, len(rs))
		}
	}, nil},
	{"a batch drops an invalid record", []string{"KeyBatch"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			results := b.Store.UpdateKeys(ctx, rs)
			for i := range rs {
				if rs[i].Validate() != nil {
					results[i] = nil
				}
			}
			return results
		}
	}, nil},
	{"a batch writes the first hundred", []string{"KeyBatchFull"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			if len(rs) > 100 && len(rs) <= storage.MaxKeyUpdates {
				return append(b.Store.UpdateKeys(ctx, rs[:100]), make([]error, len(rs)-100)...)
			}
			return b.Store.UpdateKeys(ctx, rs)
		}
	}, nil},
	{"a batch takes any number", []string{"KeyBatchRefused"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			if n := storage.MaxKeyUpdates; len(rs) > n {
				return append(b.Store.UpdateKeys(ctx, rs[:n]), b.Store.UpdateKeys(ctx, rs[n:])...)
			}
			return b.Store.UpdateKeys(ctx, rs)
		}
	}, nil},
	{"a batch is written though ctx has ended", []string{"KeyBatchRefused"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			b.Store.UpdateKeys(context.WithoutCancel(ctx), rs)
			return b.Store.UpdateKeys(ctx, rs)
		}
	}, nil},
	{"results of a batch are in another order", []string{"KeyBatch"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			results, try := storage.PlanKeyUpdates(ctx, rs)
			for n, i := range try {
				results[try[len(try)-1-n]] = b.Store.UpdateKey(ctx, rs[i])
			}
			return results
		}
	}, nil},
	{"a batch is not atomic", []string{"KeyBatchRace"}, func(b *broken) {
		b.updateKeys = func(ctx context.Context, rs []storage.KeyRecord) []error {
			return b.each(ctx, rs, func(ctx context.Context, r storage.KeyRecord) error {
				now, err := b.Store.GetKey(ctx, r.KeyID)
				if err != nil || now.Revision != r.Revision {
					return b.Store.UpdateKey(ctx, r)
				}
				pause()
				return b.EditKey(r.KeyID, func(k *storage.KeyRecord) {
					*k = r.Clone()
					k.Revision++
				})
			})
		}
	}, nil},
}
