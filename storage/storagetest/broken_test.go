package storagetest

import (
	"context"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// broken is a store in memory, some of whose methods are replaced.
type broken struct {
	*memstore.Store
	ping            func(ctx context.Context) error
	getKey          func(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error)
	latestKey       func(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error)
	insertKey       func(ctx context.Context, r storage.KeyRecord) error
	updateKey       func(ctx context.Context, r storage.KeyRecord) error
	updateKeys      func(ctx context.Context, rs []storage.KeyRecord) []error
	deleteKey       func(ctx context.Context, id keyctx.KeyID, revision uint64) error
	listKeys        func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error)
	putObject       func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error)
	getObject       func(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error)
	getObjects      func(ctx context.Context, h keyctx.Hash, names []string, now time.Time) ([]storage.ObjectRecord, error)
	deleteObject    func(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (storage.ObjectRecord, error)
	listObjects     func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error)
	listVersions    func(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error)
	deleteExpired   func(ctx context.Context, ns string, now time.Time, limit int) ([]storage.ObjectRecord, error)
	replaceEnvelope func(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error
	countByKey      func(ctx context.Context, id keyctx.KeyID) (int64, error)
	listByKey       func(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error)
	importVersion   func(ctx context.Context, r storage.ObjectRecord) error
	putSystem       func(ctx context.Context, r storage.SystemRecord) (uint64, error)
	listSystem      func(ctx context.Context, prefix, after string, limit int) ([]storage.SystemRecord, error)
}

// whole makes a store with nothing broken.
func newBroken() *broken {
	m := memstore.New()
	return &broken{
		Store: m, ping: m.Ping,
		getKey: m.GetKey, latestKey: m.LatestKey, insertKey: m.InsertKey, updateKey: m.UpdateKey, updateKeys: m.UpdateKeys, deleteKey: m.DeleteKey, listKeys: m.ListKeys,
		putObject: m.PutObject, getObject: m.GetObject, getObjects: m.GetObjects, deleteObject: m.DeleteObject,
		listObjects: m.ListObjects, listVersions: m.ListVersions, deleteExpired: m.DeleteExpired,
		replaceEnvelope: m.ReplaceEnvelope, countByKey: m.CountByKey, listByKey: m.ListByKey, importVersion: m.ImportVersion,
		putSystem: m.PutSystem, listSystem: m.ListSystem,
	}
}

func (b *broken) Ping(ctx context.Context) error { return b.ping(ctx) }

func (b *broken) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	return b.getKey(ctx, id)
}

func (b *broken) LatestKey(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
	return b.latestKey(ctx, h, p)
}

func (b *broken) InsertKey(ctx context.Context, r storage.KeyRecord) error {
	return b.insertKey(ctx, r)
}
func (b *broken) UpdateKey(ctx context.Context, r storage.KeyRecord) error {
	return b.updateKey(ctx, r)
}

func (b *broken) UpdateKeys(ctx context.Context, rs []storage.KeyRecord) []error {
	return b.updateKeys(ctx, rs)
}

func (b *broken) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error {
	return b.deleteKey(ctx, id, revision)
}

func (b *broken) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	return b.listKeys(ctx, q)
}

func (b *broken) PutObject(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
	return b.putObject(ctx, r, g)
}

func (b *broken) GetObject(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	return b.getObject(ctx, ref)
}

func (b *broken) GetObjects(ctx context.Context, h keyctx.Hash, names []string, now time.Time) ([]storage.ObjectRecord, error) {
	return b.getObjects(ctx, h, names, now)
}

func (b *broken) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (storage.ObjectRecord, error) {
	return b.deleteObject(ctx, ref, ifVersion)
}

func (b *broken) ListObjects(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
	return b.listObjects(ctx, q)
}

func (b *broken) ListVersions(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
	return b.listVersions(ctx, q)
}

func (b *broken) DeleteExpired(ctx context.Context, ns string, now time.Time, limit int) ([]storage.ObjectRecord, error) {
	return b.deleteExpired(ctx, ns, now, limit)
}

func (b *broken) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	return b.replaceEnvelope(ctx, object, version, oldKey, newKey, envelope)
}

func (b *broken) CountByKey(ctx context.Context, id keyctx.KeyID) (int64, error) {
	return b.countByKey(ctx, id)
}

func (b *broken) ListByKey(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
	return b.listByKey(ctx, q)
}

func (b *broken) ImportVersion(ctx context.Context, r storage.ObjectRecord) error {
	return b.importVersion(ctx, r)
}

func (b *broken) PutSystem(ctx context.Context, r storage.SystemRecord) (uint64, error) {
	return b.putSystem(ctx, r)
}

func (b *broken) ListSystem(ctx context.Context, prefix, after string, limit int) ([]storage.SystemRecord, error) {
	return b.listSystem(ctx, prefix, after, limit)
}

// impatience is patience for stores that are expected to hang.
const impatience = 2 * time.Second

// TestBrokenStoresAreCaught runs each broken store against the checks that
// should catch it.
func TestBrokenStoresAreCaught(t *testing.T) {
	byName := map[string]check{}
	for _, c := range checks {
		byName[c.name] = c
	}
	catches := map[string]bool{}
	for _, m := range mutants {
		for _, name := range m.caughtBy {
			catches[name] = true
			t.Run(m.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				c, ok := byName[name]
				if !ok {
					t.Fatal("there is no such check")
				}
				h := Harness{CursorDriver: "memstore", New: func(*testing.T) storage.Store {
					b := newBroken()
					m.breaks(b)
					return b
				}}
				if m.harness != nil {
					m.harness(&h)
				}
				for range 20 { // a race may have to be run more than once to be lost
					if len(runCheck(t, h, c, impatience)) > 0 {
						return
					}
				}
				t.Error("it was not caught")
			})
		}
	}
	for _, c := range checks {
		if !catches[c.name] {
			t.Errorf("nothing shows that the check %s can fail", c.name)
		}
	}
}

// TestWholeStorePasses shows that the wrapping itself breaks nothing.
func TestWholeStorePasses(t *testing.T) {
	Run(t, Harness{
		New:          func(*testing.T) storage.Store { return newBroken() },
		Reopen:       func(_ *testing.T, s storage.Store) storage.Store { return s },
		Second:       func(_ *testing.T, s storage.Store) storage.Store { return s },
		MaxEnvelope:  0,
		CursorDriver: "memstore",
	})
}
