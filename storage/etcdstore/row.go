package etcdstore

import (
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

const (
	rowFormat = 0x41
	flagApart = 1 << 0
	rowHeader = 1 + 1 + 8 + 4

	// maxInline is how long an envelope is kept in its row.
	maxInline = 4 << 10
)

// row is a version as it is stored.
type row struct {
	rec      storage.ObjectRecord
	versions uint64 // of the object, if this is the current one
	apart    bool   // the envelope is elsewhere
	bodyLen  int    // of the envelope that is elsewhere
	raw      string
	revision int64 // of its last change
}

// encodeRow returns a version's row, and its envelope if that is kept apart.
func encodeRow(rec storage.ObjectRecord, versions uint64) (raw, body string, err error) {
	var flags byte
	if len(rec.Envelope) > maxInline {
		flags, body, rec.Envelope = flagApart, string(rec.Envelope), nil
	}
	b := append(make([]byte, 0, 1024), rowFormat, flags)
	b = binary.BigEndian.AppendUint64(b, versions)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b, err = storage.AppendObjectRecord(b, rec)
	return string(b), body, err
}

func (s *Store) decodeRow(e *entry) (*row, error) {
	b := e.Value
	if len(b) < rowHeader || b[0] != rowFormat || b[1]&^flagApart != 0 {
		return nil, fmt.Errorf("%w: an object's row", storage.ErrCorrupt)
	}
	w := &row{
		apart: b[1]&flagApart != 0, versions: binary.BigEndian.Uint64(b[2:]),
		bodyLen: int(binary.BigEndian.Uint32(b[10:])), raw: string(b), revision: e.ModRevision,
	}
	var err error
	w.rec, err = s.decoder.ObjectRecord(b[rowHeader:])
	return w, err
}

// currentRow decodes an entry of 'o' and checks that it is where it belongs. No
// entry, no row.
func (s *Store) currentRow(e *entry) (*row, error) {
	if e == nil {
		return nil, nil
	}
	w, err := s.decodeRow(e)
	if err == nil && s.objectKey(place(w.rec.ContextHash, w.rec.Name)) != string(e.Key) {
		err = fmt.Errorf("%w: an object's row is in another one's place", storage.ErrCorrupt)
	}
	return w, err
}

// oldRow is like currentRow for an entry of 'h'.
func (s *Store) oldRow(e *entry) (*row, error) {
	if e == nil {
		return nil, nil
	}
	w, err := s.decodeRow(e)
	if err == nil && s.historyKey(w.rec.ID, w.rec.Number) != string(e.Key) {
		err = fmt.Errorf("%w: a version's row is in another one's place", storage.ErrCorrupt)
	}
	return w, err
}

// currentByID returns the current version of the object with this ID, nil if
// there is none.
func (r *snap) currentByID(id storage.ID) (*row, error) {
	es, err := r.get(r.s.objectIDKey(id))
	if err != nil || es[0] == nil {
		return nil, err
	}
	es, err = r.get(r.s.objectKey(string(es[0].Value)))
	if err != nil {
		return nil, err
	}
	return r.indexed(es[0], id)
}

// indexed is currentRow where an index says that it is this object's.
func (r *snap) indexed(e *entry, id storage.ID) (*row, error) {
	w, err := r.s.currentRow(e)
	if err == nil && (w == nil || w.rec.ID != id) {
		err = fmt.Errorf("%w: the index has object %s where it isn't", storage.ErrCorrupt, id)
	}
	return w, err
}

// records returns the rows' records with the envelopes that are kept apart, or
// without any.
func (r *snap) records(rows []*row, withEnvelope bool) ([]storage.ObjectRecord, error) {
	var out []storage.ObjectRecord
	for _, w := range rows {
		if !withEnvelope {
			w.rec.Envelope = nil
		}
	}
	for i := 0; withEnvelope && i < len(rows); {
		var apart []*row
		for size := 0; i < len(rows) && len(apart) < maxOps && size < maxAnswer; i++ {
			if rows[i].apart {
				apart, size = append(apart, rows[i]), size+rows[i].bodyLen
			}
		}
		if err := r.loadBodies(apart); err != nil {
			return nil, err
		}
	}
	for _, w := range rows {
		out = append(out, w.rec)
	}
	return out, nil
}

func (r *snap) loadBodies(rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	keys := make([]string, len(rows))
	for i, w := range rows {
		keys[i] = r.s.bodyKey(w.rec.ID, w.rec.Number)
	}
	es, err := r.get(keys...)
	if err != nil {
		return err
	}
	for i, w := range rows {
		if es[i] == nil || len(es[i].Value) != w.bodyLen {
			return fmt.Errorf("%w: the envelope of version %d of object %s", storage.ErrCorrupt, w.rec.Number, w.rec.ID)
		}
		w.rec.Envelope = es[i].Value
	}
	return nil
}

// record is records for one.
func (r *snap) record(w *row, withEnvelope bool) (storage.ObjectRecord, error) {
	recs, err := r.records([]*row{w}, withEnvelope)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return recs[0], nil
}

// numbered is the value of 'm': what is needed to remove a version.
type numbered struct {
	number  uint64
	version storage.ID
	key     keyctx.KeyID
	entry   *entry
}

func numberValue(version storage.ID, key keyctx.KeyID) string {
	return string(version[:]) + string(key[:])
}

func decodeNumbered(e *entry) (n numbered, err error) {
	if len(e.Value) != idLen+keyIDLen || len(e.Key) < 8 {
		return n, fmt.Errorf("%w: an entry of the index by number", storage.ErrCorrupt)
	}
	return numbered{
		number:  binary.BigEndian.Uint64(e.Key[len(e.Key)-8:]),
		version: storage.ID(e.Value), key: keyctx.KeyID(e.Value[idLen:]), entry: e,
	}, nil
}

// decodeNumber reads a value that is a u64; 0 if it isn't there.
func decodeNumber(e *entry) (uint64, error) {
	switch {
	case e == nil:
		return 0, nil
	case len(e.Value) != 8:
		return 0, fmt.Errorf("%w: a number in the index", storage.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(e.Value), nil
}
