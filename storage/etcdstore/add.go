package etcdstore

import (
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// retire makes the current version an older one.
func (s *Store) retire(w *writes, cur *row) {
	s.unlink(w, &cur.rec)
	w.put(s.historyKey(cur.rec.ID, cur.rec.Number), cur.raw)
}

// unlink removes the entries that only a current version has.
func (s *Store) unlink(w *writes, cur *storage.ObjectRecord) {
	w.del(s.updatedKey(cur))
	w.del(s.updatedDownKey(cur))
	if cur.ExpiresAt != 0 {
		w.del(s.expiryKey(cur))
	}
}

// add plans a current version. fresh is set if it is the object's first; marker
// is the entry that says whether its context is known.
func (s *Store) add(w *writes, rec *storage.ObjectRecord, versions uint64, fresh bool, marker *entry) error {
	raw, body, err := encodeRow(*rec, versions)
	if err != nil {
		return err
	}
	at := place(rec.ContextHash, rec.Name)
	w.put(s.objectKey(at), raw)
	if body != "" {
		w.put(s.bodyKey(rec.ID, rec.Number), body)
	}
	w.put(s.numberKey(rec.ID, rec.Number), numberValue(rec.VersionID, rec.KeyID))
	w.put(s.versionKey(rec.ID, rec.VersionID), u64(rec.Number))
	w.put(s.byKeyKey(rec.KeyID, rec.ID, rec.Number), at)
	w.put(s.updatedKey(rec), rec.Name)
	w.put(s.updatedDownKey(rec), rec.Name)
	if rec.ExpiresAt != 0 {
		w.put(s.expiryKey(rec), at)
	}
	if rec.UniqueName {
		w.put(s.uniqueKey(rec), holderValue(rec))
	}
	if !fresh {
		return nil
	}
	w.put(s.objectIDKey(rec.ID), at)
	w.put(s.nameDownKey(rec), rec.Name)
	s.linkContext(w, tagContext, rec.Context, rec.ContextHash, marker)
	return nil
}

// linkContext makes a context known that has got its first record.
func (s *Store) linkContext(w *writes, tag byte, kc keyctx.KeyContext, hash keyctx.Hash, marker *entry) {
	w.expect(s.markerKey(tag, hash), modRevision(marker))
	if marker == nil {
		for _, k := range s.contextKeys(tag, kc, hash) {
			w.put(k, "")
		}
	}
}
