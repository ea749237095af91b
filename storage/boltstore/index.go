package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/embedvault/vault/storage"
)

// The index is a sorted map from keys to values, kept in two places: the
// bucket index, and over it the changes in the journal; in a writing
// transaction over both the changes that it made itself. All code reads and
// writes the index through the methods here.
//
// The journal is a list, oldest first, of
//
//	u8 1 ‖ u16 length of the key ‖ u16 length of the value ‖ key ‖ value
//	u8 2 ‖ u16 length of the key ‖ u16 0 ‖ key                             (deleted)

const (
	journalPut    = 1
	journalDelete = 2
	journalHeader = 1 + 2 + 2

	// maxJournal is how long the journal gets: some 70 new objects.
	maxJournal = 16 << 10
)

var (
	journalKey = []byte("journal")
	nothing    = []byte{} // not nil, which bbolt takes for absent
)

// change is a change of one entry of the index.
type change struct {
	key     []byte
	value   []byte // not nil, unless deleted
	deleted bool
}

// indexPut sets an entry. It keeps both slices.
func (t *tx) indexPut(key, value []byte) {
	t.wrote = true
	t.changes[string(key)] = &change{key: key, value: value}
}

// indexDelete removes an entry, if it is there. It keeps key.
func (t *tx) indexDelete(key []byte) {
	t.wrote = true
	t.changes[string(key)] = &change{key: key, deleted: true}
}

// indexGet returns an entry's value, valid until the transaction ends and not
// to be changed, or nil.
func (t *tx) indexGet(key []byte) ([]byte, error) {
	if c := t.changes[string(key)]; c != nil {
		return c.value, nil
	}
	var last change
	for c, err := range t.journaled() {
		if err != nil {
			return nil, err
		}
		if bytes.Equal(c.key, key) {
			last = c
		}
	}
	if last.key != nil {
		return last.value, nil
	}
	return t.get(bucketIndex, key), nil
}

// journaled yields the journal's changes, oldest first.
func (t *tx) journaled() func(yield func(change, error) bool) {
	if t.journal == nil {
		if t.journal = t.get(bucketJournal, journalKey); t.journal == nil {
			t.journal = nothing
		}
	}
	return func(yield func(change, error) bool) {
		for b := t.journal; len(b) > 0; {
			c, rest, ok := cutChange(b)
			if !ok {
				yield(change{}, fmt.Errorf("%w: the journal", storage.ErrCorrupt))
				return
			}
			if !yield(c, nil) {
				return
			}
			b = rest
		}
	}
}

func cutChange(b []byte) (c change, rest []byte, ok bool) {
	if len(b) < journalHeader {
		return change{}, nil, false
	}
	op := b[0]
	k, v := int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	b = b[journalHeader:]
	if k == 0 || len(b) < k+v || op != journalPut && (op != journalDelete || v != 0) {
		return change{}, nil, false
	}
	c.key, c.deleted = b[:k:k], op == journalDelete
	if !c.deleted {
		c.value = b[k : k+v : k+v]
	}
	return c, b[k+v:], true
}

func appendChange(b []byte, c *change) []byte {
	op := byte(journalPut)
	if c.deleted {
		op = journalDelete
	}
	b = append(b, op)
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.key)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.value)))
	return append(append(b, c.key...), c.value...)
}

// changesIn returns the changes of entries in [lo, hi), sorted, one per entry:
// the newest. hi nil is no bound.
func (t *tx) changesIn(lo, hi []byte) ([]*change, error) {
	found := map[string]*change{}
	for c, err := range t.journaled() {
		if err != nil {
			return nil, err
		}
		if within(c.key, lo, hi) {
			found[string(c.key)] = &c
		}
	}
	for k, c := range t.changes {
		if within(c.key, lo, hi) {
			found[k] = c
		}
	}
	return sorted(found), nil
}

func within(key, lo, hi []byte) bool {
	return bytes.Compare(key, lo) >= 0 && (hi == nil || bytes.Compare(key, hi) < 0)
}

func sorted(changes map[string]*change) []*change {
	return slices.SortedFunc(maps.Values(changes), func(a, b *change) int { return bytes.Compare(a.key, b.key) })
}

// writeChanges ends a writing transaction: it writes the changes that it made
// to the journal, or if that would be too long, both to the index.
func (t *tx) writeChanges() error {
	if len(t.changes) == 0 {
		return nil
	}
	_ = t.journaled() // have it loaded
	longer := slices.Clone(t.journal)
	for _, c := range sorted(t.changes) {
		longer = appendChange(longer, c)
	}
	if len(longer) <= t.s.journalLimit {
		return t.put(bucketJournal, journalKey, longer)
	}
	all, err := t.changesIn(nil, nil)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.deleted {
			err = t.del(bucketIndex, c.key)
		} else {
			err = t.put(bucketIndex, c.key, c.value)
		}
		if err != nil {
			return err
		}
	}
	return t.put(bucketJournal, journalKey, nothing)
}
