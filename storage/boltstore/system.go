package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/embedvault/vault/storage"
)

// systemFormat starts the value of a system record.
const systemFormat = 0x31

const systemHeader = 1 + 8

func decodeSystem(name, value []byte) (storage.SystemRecord, error) {
	if len(value) < systemHeader || value[0] != systemFormat {
		return storage.SystemRecord{}, fmt.Errorf("%w: a system record", storage.ErrCorrupt)
	}
	return storage.SystemRecord{
		Name:     string(name),
		Revision: binary.BigEndian.Uint64(value[1:]),
		Value:    bytes.Clone(value[systemHeader:]),
	}, nil
}

// system returns a record, or ErrNotFound. bbolt has no empty keys, and there
// are no records without a name.
func (t *tx) system(name string) (storage.SystemRecord, error) {
	value := t.get(bucketSystem, []byte(name))
	if value == nil {
		return storage.SystemRecord{}, storage.ErrNotFound
	}
	return decodeSystem([]byte(name), value)
}

// systemAt checks that the record is at that revision.
func (t *tx) systemAt(name string, revision uint64) error {
	rec, err := t.system(name)
	if err == nil && rec.Revision != revision {
		err = fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, rec.Revision, revision)
	}
	return err
}

// GetSystem implements [storage.SystemStore].
func (s *Store) GetSystem(ctx context.Context, name string) (rec storage.SystemRecord, err error) {
	err = s.view(ctx, "get system record", func(t *tx) (err error) {
		rec, err = t.system(name)
		return err
	})
	return rec, err
}

// PutSystem implements [storage.SystemStore]. No revision is given twice, so
// that a record that was deleted and made again is seen to be another one.
func (s *Store) PutSystem(ctx context.Context, rec storage.SystemRecord) (revision uint64, err error) {
	err = s.update(ctx, "put system record", len(rec.Value), func(t *tx) error {
		if err := rec.Validate(); err != nil {
			return err
		}
		name := []byte(rec.Name)
		if rec.Revision == 0 {
			if t.get(bucketSystem, name) != nil {
				return storage.ErrExists
			}
		} else if err := t.systemAt(rec.Name, rec.Revision); err != nil {
			return err
		}
		t.wrote = true
		var err error
		if revision, err = t.bucket(bucketSystem).NextSequence(); err != nil {
			return err
		}
		value := append(make([]byte, 0, systemHeader+len(rec.Value)), systemFormat)
		value = binary.BigEndian.AppendUint64(value, revision)
		return t.put(bucketSystem, name, append(value, rec.Value...))
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// DeleteSystem implements [storage.SystemStore].
func (s *Store) DeleteSystem(ctx context.Context, name string, revision uint64) error {
	return s.update(ctx, "delete system record", 0, func(t *tx) error {
		if err := t.systemAt(name, revision); err != nil {
			return err
		}
		return t.del(bucketSystem, []byte(name))
	})
}

// ListSystem implements [storage.SystemStore].
func (s *Store) ListSystem(ctx context.Context, prefix, after string, limit int) (out []storage.SystemRecord, err error) {
	err = s.view(ctx, "list system records", func(t *tx) error {
		lo := []byte(prefix)
		if after != "" {
			lo = []byte(max(prefix, after+"\x00"))
		}
		scan := t.scan(bucketSystem, lo, nil, false)
		for len(out) < storage.PageLimit(limit) {
			name, value := scan.next()
			if name == nil || !strings.HasPrefix(string(name), prefix) {
				break
			}
			rec, err := decodeSystem(name, value)
			if err != nil {
				return err
			}
			out = append(out, rec)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
