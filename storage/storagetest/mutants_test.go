package storagetest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// mutant is a store that breaks one promise.
type mutant struct {
	name     string
	caughtBy []string
	breaks   func(b *broken)
	harness  func(h *Harness)
}

var mutants = slices.Concat(keyMutants, keyBatchMutants, objectMutants, expiryMutants, listMutants, forgedMutants, otherMutants)

// pause gives others the time to come between.
func pause() { runtime.Gosched(); time.Sleep(time.Millisecond) }

var keyMutants = []mutant{
	{"insert is not atomic", []string{"KeyInsertRace"}, func(b *broken) {
		b.insertKey = func(ctx context.Context, r storage.KeyRecord) error {
			if _, err := b.Store.LatestKey(ctx, r.ContextHash, r.Purpose); err == nil {
				return storage.ErrExists
			}
			pause()
			if err := b.Store.InsertKey(ctx, r); !errors.Is(err, storage.ErrExists) {
				return err
			}
			return nil
		}
	}, nil},
	{"insert takes a key ID twice", []string{"KeyInsertIfAbsent"}, func(b *broken) {
		b.insertKey = func(ctx context.Context, r storage.KeyRecord) error {
			err := b.Store.InsertKey(ctx, r)
			if _, e := b.Store.LatestKey(ctx, r.ContextHash, r.Purpose); e == nil && r.Version == 2 {
				return nil
			}
			return err
		}
	}, nil},
	{"insert keeps the revision given", []string{"KeyRoundTrip"}, func(b *broken) {
		b.insertKey = func(ctx context.Context, r storage.KeyRecord) error {
			err := b.Store.InsertKey(ctx, r)
			if err == nil {
				err = b.EditKey(r.KeyID, func(k *storage.KeyRecord) { k.Revision = r.Revision })
			}
			return err
		}
	}, nil},
	{"previous wrappings are lost", []string{"KeyRoundTrip", "KeyUpdate"}, func(b *broken) {
		b.getKey = func(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
			r, err := b.Store.GetKey(ctx, id)
			r.Previous = nil
			return r, err
		}
	}, nil},
	{"a missing key is a zero record", []string{"KeyNotFound", "KeyDelete"}, func(b *broken) {
		b.getKey = func(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
			r, err := b.Store.GetKey(ctx, id)
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			return r, err
		}
	}, nil},
	{"a failure is ErrNotFound", []string{"CancelledWritesNothing"}, func(b *broken) {
		b.latestKey = func(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
			r, err := b.Store.LatestKey(ctx, h, p)
			if err != nil {
				err = storage.ErrNotFound
			}
			return r, err
		}
	}, nil},
	{"a failure is ErrNotFound as well", []string{"CancelledWritesNothing"}, func(b *broken) {
		b.latestKey = func(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
			r, err := b.Store.LatestKey(ctx, h, p)
			if err != nil {
				err = errors.Join(storage.ErrNotFound, err)
			}
			return r, err
		}
	}, nil},
	{"latest skips tombstones", []string{"KeyLatest"}, func(b *broken) {
		b.latestKey = func(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
			page, err := b.Store.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{Hash: h}, Purpose: p, Limit: 1000})
			for _, k := range slices.Backward(page.Keys) {
				if k.State != storage.StateShredded {
					return k, nil
				}
			}
			return storage.KeyRecord{}, errors.Join(storage.ErrNotFound, err)
		}
	}, nil},
	{"latest lags behind", []string{"KeyInsertRace", "KeyLatest"}, func(b *broken) {
		var mu sync.Mutex
		was := map[keyctx.Hash]storage.KeyRecord{}
		b.latestKey = func(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
			now, err := b.Store.LatestKey(ctx, h, p)
			mu.Lock()
			defer mu.Unlock()
			old, ok := was[h]
			was[h] = now
			if !ok {
				return storage.KeyRecord{}, storage.ErrNotFound
			}
			return old, err
		}
	}, nil},
	{"update ignores the revision", []string{"KeyUpdate", "KeyUpdateRace"}, func(b *broken) {
		b.updateKey = func(ctx context.Context, r storage.KeyRecord) error {
			if now, err := b.Store.GetKey(ctx, r.KeyID); err == nil {
				r.Revision = now.Revision
			}
			return b.Store.UpdateKey(ctx, r)
		}
	}, nil},
	{"update is not atomic", []string{"KeyUpdateRace"}, func(b *broken) {
		b.updateKey = func(ctx context.Context, r storage.KeyRecord) error {
			now, err := b.Store.GetKey(ctx, r.KeyID)
			if err != nil || now.Revision != r.Revision {
				return b.Store.UpdateKey(ctx, r)
			}
			pause()
			return b.EditKey(r.KeyID, func(k *storage.KeyRecord) {
				*k = r.Clone()
				k.Revision++
			})
		}
	}, nil},
	{"update changes what never changes", []string{"KeyUpdate"}, func(b *broken) {
		b.updateKey = func(ctx context.Context, r storage.KeyRecord) error {
			err := b.Store.UpdateKey(ctx, r)
			if err == nil {
				err = b.EditKey(r.KeyID, func(k *storage.KeyRecord) { k.CreatedAt = r.CreatedAt })
			}
			return err
		}
	}, nil},
	{"delete ignores the revision", []string{"KeyDelete"}, func(b *broken) {
		b.deleteKey = func(ctx context.Context, id keyctx.KeyID, _ uint64) error {
			r, err := b.Store.GetKey(ctx, id)
			if err != nil {
				return err
			}
			return b.Store.DeleteKey(ctx, id, r.Revision)
		}
	}, nil},
	{"invalid keys are dropped silently", []string{"KeyInvalid"}, func(b *broken) {
		b.insertKey = func(ctx context.Context, r storage.KeyRecord) error {
			if r.Validate() != nil {
				return nil
			}
			return b.Store.InsertKey(ctx, r)
		}
	}, nil},
	{"the key list ignores the purpose", []string{"KeyList"}, func(b *broken) {
		b.listKeys = func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
			q.Purpose = 0
			return b.Store.ListKeys(ctx, q)
		}
	}, nil},
	{"the key list ignores the parent", []string{"KeyListParent"}, func(b *broken) {
		b.listKeys = func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
			q.ParentID = keyctx.KeyID{}
			return b.Store.ListKeys(ctx, q)
		}
	}, nil},
	{"the key list loses a page's last row", []string{"KeyListPaging"}, func(b *broken) {
		b.listKeys = func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
			p, err := b.Store.ListKeys(ctx, q)
			if p.Next != "" && len(p.Keys) > 1 {
				p.Keys = p.Keys[:len(p.Keys)-1]
			}
			return p, err
		}
	}, nil},
}
