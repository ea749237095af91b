package storagetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

var objectMutants = []mutant{
	{"labels are lost", []string{"ObjectRoundTrip", "ObjectVersions"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			r.Labels = nil
			return r, err
		}
	}, nil},
	{"put returns the envelope", []string{"ObjectRoundTrip"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			got, err := b.Store.PutObject(ctx, r, g)
			got.Envelope = r.Envelope
			return got, err
		}
	}, nil},
	{"an unknown version is the current one", []string{"ObjectNotFound"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			if errors.Is(err, storage.ErrNotFound) {
				ref.Version = storage.ID{}
				r, err = b.Store.GetObject(ctx, ref)
			}
			return r, err
		}
	}, nil},
	{"invalid objects are dropped silently", []string{"ObjectInvalid"}, func(b *broken) {
		b.importVersion = func(ctx context.Context, r storage.ObjectRecord) error {
			if r.Validate() != nil {
				return nil
			}
			return b.Store.ImportVersion(ctx, r)
		}
	}, nil},
	{"put returns times with nanoseconds", []string{"ObjectTimes"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			got, err := b.Store.PutObject(ctx, r, g)
			got.UpdatedAt = r.UpdatedAt
			return got, err
		}
	}, nil},
	{"times are local", []string{"ObjectTimes", "ObjectRoundTrip"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			r.UpdatedAt = r.UpdatedAt.In(time.FixedZone("", 3600))
			return r, err
		}
	}, nil},
	{"a put with a taken version ID does nothing", []string{"ObjectSameIDs"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			got, err := b.Store.PutObject(ctx, r, g)
			if errors.Is(err, storage.ErrExists) && !g.IfAbsent && !r.UniqueName {
				return r, nil
			}
			return got, err
		}
	}, nil},
	{"values are cut at 64 KiB", []string{"ObjectLarge", "ObjectRoundTrip"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			r.Envelope = r.Envelope[:min(len(r.Envelope), 64<<10)]
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"what is too large is taken", []string{"ObjectTooLarge"}, func(*broken) {}, func(h *Harness) { h.MaxEnvelope = 1000 }},
	{"GetObjects repeats", []string{"ObjectGetMany"}, func(b *broken) {
		b.getObjects = func(ctx context.Context, h keyctx.Hash, names []string, now time.Time) (out []storage.ObjectRecord, err error) {
			for _, n := range names {
				rs, err := b.Store.GetObjects(ctx, h, []string{n}, now)
				if err != nil {
					return nil, err
				}
				out = append(out, rs...)
			}
			return out, nil
		}
	}, nil},
	{"GetObjects takes any number of names", []string{"ObjectGetMany"}, func(b *broken) {
		b.getObjects = func(ctx context.Context, h keyctx.Hash, names []string, now time.Time) ([]storage.ObjectRecord, error) {
			return b.Store.GetObjects(ctx, h, names[:min(len(names), storage.MaxNames)], now)
		}
	}, nil},
	{"delete ignores the guard", []string{"ObjectDelete"}, func(b *broken) {
		b.deleteObject = func(ctx context.Context, ref storage.ObjectRef, _ storage.ID) (storage.ObjectRecord, error) {
			return b.Store.DeleteObject(ctx, ref, storage.ID{})
		}
	}, nil},
	{"deleting nothing succeeds", []string{"ObjectDelete", "ObjectNotFound", "ExpiredReadsAsAbsent"}, func(b *broken) {
		b.deleteObject = func(ctx context.Context, ref storage.ObjectRef, v storage.ID) (storage.ObjectRecord, error) {
			r, err := b.Store.DeleteObject(ctx, ref, v)
			if errors.Is(err, storage.ErrNotFound) {
				err = nil
			}
			return r, err
		}
	}, nil},
	{"IfAbsent is ignored", []string{"GuardIfAbsent", "GuardIfAbsentRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			g.IfAbsent = false
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"IfAbsent is not atomic", []string{"GuardIfAbsentRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			if g.IfAbsent {
				if _, err := b.Store.GetObject(ctx, storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name}); err == nil {
					return storage.ObjectRecord{}, storage.ErrExists
				}
				pause()
				g.IfAbsent = false
			}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"IfVersion is ignored", []string{"GuardIfVersion", "GuardIfVersionRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			g.IfVersion = storage.ID{}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"IfVersion is not atomic", []string{"GuardIfVersionRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			cur, err := b.Store.GetObject(ctx, storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name})
			if err == nil && cur.VersionID == g.IfVersion {
				pause()
				g.IfVersion = storage.ID{}
			}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"puts at once are lost", []string{"PutRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			cur, err := b.Store.GetObject(ctx, storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name, NoEnvelope: true})
			if err != nil {
				return b.Store.PutObject(ctx, r, g)
			}
			pause()
			g.IfVersion = cur.VersionID
			got, err := b.Store.PutObject(ctx, r, g)
			if errors.Is(err, storage.ErrVersionConflict) {
				return cur, nil
			}
			return got, err
		}
	}, nil},
	{"deleting leaves entries by key", []string{"PutDeleteRace", "ByKey"}, func(b *broken) {
		var mu sync.Mutex
		left := map[keyctx.KeyID]int64{}
		b.deleteObject = func(ctx context.Context, ref storage.ObjectRef, v storage.ID) (storage.ObjectRecord, error) {
			r, err := b.Store.DeleteObject(ctx, ref, v)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				left[r.KeyID]++
			}
			return r, err
		}
		b.countByKey = func(ctx context.Context, id keyctx.KeyID) (int64, error) {
			n, err := b.Store.CountByKey(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			return n + left[id], err
		}
	}, nil},
	{"Keep is ignored", []string{"Keep", "ByKey"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			g.Keep = 0
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"Keep keeps one more", []string{"Keep"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			if g.Keep > 0 {
				g.Keep++
			}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"unique names are not", []string{"UniqueName", "UniqueNameRace"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			wanted := r.UniqueName
			r.UniqueName = false
			got, err := b.Store.PutObject(ctx, r, g)
			got.UniqueName = wanted
			return got, err
		}
	}, nil},
	{"unique names are never freed", []string{"UniqueNameFreed"}, func(b *broken) {
		var mu sync.Mutex
		held := map[[2]string]keyctx.Hash{}
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			mu.Lock()
			defer mu.Unlock()
			at := [2]string{r.Context.Namespace(), r.Name}
			if h, ok := held[at]; ok && r.UniqueName && h != r.ContextHash {
				return storage.ObjectRecord{}, storage.ErrExists
			}
			if r.UniqueName {
				held[at] = r.ContextHash
			}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"half a write is read", []string{"NeverHalfAWrite"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			r, err := b.Store.GetObject(ctx, ref)
			if err != nil {
				return r, err
			}
			pause()
			second, err := b.Store.GetObject(ctx, ref)
			r.Envelope = second.Envelope
			return r, err
		}
	}, nil},
	{"the envelope is replaced under any key", []string{"ReplaceEnvelope", "ReplaceEnvelopeRace"}, func(b *broken) {
		b.replaceEnvelope = func(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
			r, err := b.Store.GetObject(ctx, storage.ObjectRef{ID: object, Version: version})
			if err == nil {
				oldKey = r.KeyID
			}
			return b.Store.ReplaceEnvelope(ctx, object, version, oldKey, newKey, envelope)
		}
	}, nil},
	{"only current envelopes are replaced", []string{"ReplaceEnvelope", "ByKeyPaging"}, func(b *broken) {
		b.replaceEnvelope = func(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
			if r, err := b.Store.GetObject(ctx, storage.ObjectRef{ID: object}); err == nil && r.VersionID != version {
				return nil
			}
			return b.Store.ReplaceEnvelope(ctx, object, version, oldKey, newKey, envelope)
		}
	}, nil},
	{"only current versions are counted", []string{"ByKey", "ExpiredReadsAsAbsent"}, func(b *broken) {
		b.countByKey = func(ctx context.Context, id keyctx.KeyID) (n int64, err error) {
			page, err := b.Store.ListObjects(ctx, storage.ObjectQuery{Contexts: everything, Limit: 1000})
			for _, r := range page.Objects {
				if r.KeyID == id {
					n++
				}
			}
			return n, err
		}
	}, nil},
	{"the list by key is empty after its first page", []string{"ByKeyPaging"}, func(b *broken) {
		b.listByKey = func(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
			p, err := b.Store.ListByKey(ctx, q)
			if q.Cursor != "" {
				return storage.ObjectPage{}, err
			}
			return p, err
		}
	}, nil},
	{"an import that differs is taken for the same", []string{"ImportRefused"}, func(b *broken) {
		b.importVersion = func(ctx context.Context, r storage.ObjectRecord) error {
			err := b.Store.ImportVersion(ctx, r)
			if errors.Is(err, storage.ErrExists) {
				return nil
			}
			return err
		}
	}, nil},
	{"the same import twice fails", []string{"ImportVersion", "CopyStore"}, func(b *broken) {
		b.importVersion = func(ctx context.Context, r storage.ObjectRecord) error {
			if _, err := b.Store.GetObject(ctx, storage.ObjectRef{ID: r.ID, Version: r.VersionID}); err == nil {
				return storage.ErrExists
			}
			return b.Store.ImportVersion(ctx, r)
		}
	}, nil},
	{"imports are numbered anew", []string{"ImportVersion", "CopyStore"}, func(b *broken) {
		b.importVersion = func(ctx context.Context, r storage.ObjectRecord) error {
			err := b.Store.ImportVersion(ctx, r)
			if err == nil && r.Number > 3 {
				err = b.EditObject(r.ID, r.VersionID, func(o *storage.ObjectRecord) { o.Number = 4 })
			}
			return err
		}
	}, nil},
}

var expiryMutants = []mutant{
	{"expired objects are read", []string{"ExpiredReadsAsAbsent", "ExpiredVersion"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			ref.Now = time.Time{}
			return b.Store.GetObject(ctx, ref)
		}
	}, nil},
	{"expired objects are listed", []string{"ExpiredReadsAsAbsent"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			q.Now = time.Time{}
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"versions of expired objects are listed", []string{"ExpiredReadsAsAbsent", "ExpiredVersion"}, func(b *broken) {
		b.listVersions = func(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
			q.Now = time.Time{}
			return b.Store.ListVersions(ctx, q)
		}
	}, nil},
	{"expiry comes a microsecond late", []string{"ExpiredReadsAsAbsent"}, func(b *broken) {
		b.getObject = func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
			if !ref.Now.IsZero() {
				ref.Now = ref.Now.Add(-time.Microsecond)
			}
			return b.Store.GetObject(ctx, ref)
		}
	}, nil},
	{"a put goes on with an expired object", []string{"ExpiredIsReplaced", "UniqueNameFreed"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			g.Now = time.Time{}
			return b.Store.PutObject(ctx, r, g)
		}
	}, nil},
	{"the sweep takes all namespaces", []string{"DeleteExpired", "ListNamespaces"}, func(b *broken) {
		b.deleteExpired = func(ctx context.Context, ns string, now time.Time, limit int) (out []storage.ObjectRecord, err error) {
			for _, other := range []string{ns, "", "app", "app2", "ab"} {
				rs, err := b.Store.DeleteExpired(ctx, other, now, limit)
				if err != nil {
					return nil, err
				}
				if other == ns {
					out = rs
				}
			}
			return out, nil
		}
	}, nil},
	{"the sweep has no limit", []string{"DeleteExpired"}, func(b *broken) {
		b.deleteExpired = func(ctx context.Context, ns string, now time.Time, _ int) ([]storage.ObjectRecord, error) {
			return b.Store.DeleteExpired(ctx, ns, now, 1000)
		}
	}, nil},
}
