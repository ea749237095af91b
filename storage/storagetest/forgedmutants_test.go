package storagetest

import (
	"context"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// forgedMutants begin a page where the cursor says, whosever that is.
var forgedMutants = []mutant{
	{"a made-up cursor lists other contexts' objects", []string{"ForgedCursors"}, func(b *broken) {
		b.listObjects = func(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
			pos, err := q.CursorPosition("memstore")
			if err == nil && len(pos) > 0 {
				q.Contexts = storage.ContextFilter{Hash: keyctx.Hash(pos)}
				q.Cursor = q.NextCursor("memstore", pos)
			}
			return b.Store.ListObjects(ctx, q)
		}
	}, nil},
	{"a made-up cursor lists other contexts' keys", []string{"ForgedCursors"}, func(b *broken) {
		b.listKeys = func(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
			pos, err := q.CursorPosition("memstore")
			if err == nil && len(pos) > 0 {
				q.Contexts = storage.ContextFilter{Hash: keyctx.Hash(pos)}
				q.Cursor = q.NextCursor("memstore", pos)
			}
			return b.Store.ListKeys(ctx, q)
		}
	}, nil},
	{"a made-up cursor lists another object's versions", []string{"ForgedCursors"}, func(b *broken) {
		var last storage.ID
		b.listVersions = func(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
			pos, err := q.CursorPosition("memstore")
			if err == nil && len(pos) > 0 && !last.IsZero() {
				q.Object = last
				q.Cursor = q.NextCursor("memstore", pos)
			}
			last = q.Object
			return b.Store.ListVersions(ctx, q)
		}
	}, nil},
	{"a made-up cursor lists what is under another key", []string{"ForgedCursors"}, func(b *broken) {
		var last keyctx.KeyID
		b.listByKey = func(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
			pos, err := q.CursorPosition("memstore")
			if err == nil && len(pos) > 0 && !last.IsZero() {
				q.KeyID = last
				q.Cursor = q.NextCursor("memstore", pos)
			}
			last = q.KeyID
			return b.Store.ListByKey(ctx, q)
		}
	}, nil},
	{"the harness doesn't name what makes the cursors", []string{"ForgedCursors"}, func(*broken) {},
		func(h *Harness) { h.CursorDriver = "" }},
	{"the harness names another", []string{"ForgedCursors"}, func(*broken) {},
		func(h *Harness) { h.CursorDriver = "sql" }},
	{"the number overflows", []string{"ImportHighest"}, func(b *broken) {
		b.putObject = func(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
			got, err := b.Store.PutObject(ctx, r, g)
			if err != nil {
				ref := storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name, Now: g.Now}
				if _, err := b.DeleteObject(ctx, ref, storage.ID{}); err != nil {
					return got, err
				}
				return b.Store.PutObject(ctx, r, storage.PutGuard{})
			}
			return got, nil
		}
	}, nil},
}
