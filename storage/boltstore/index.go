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
	var last []byte // the newest change of this entry, and what follows
	for b := t.loadJournal(); len(b) > 0; {
		k, v, ok := changeSize(b)
		if !ok {
			return nil, errJournal
		}
		if k == len(key) && string(b[journalHeader:journalHeader+k]) == string(key) {
			last = b
		}
		b = b[journalHeader+k+v:]
	}
	if last != nil {
		c, _, _ := cutChange(last)
		return c.value, nil
	}
	return t.get(bucketIndex, key), nil
}

var errJournal = fmt.Errorf("%w: the journal", storage.ErrCorrupt)

// loadJournal returns the journal as it is stored.
func (t *tx) loadJournal() []byte {
	if t.journal == nil {
		if t.journal = t.get(bucketJournal, journalKey); t.journal == nil {
			t.journal = nothing
		}
	}
	return t.journal
}

// changeSize returns the lengths of the first change's key and value; ok is
// false if it isn't one.
func changeSize(b []byte) (key, value int, ok bool) {
	if len(b) < journalHeader {
		return 0, 0, false
	}
	op, key, value := b[0], int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	ok = key > 0 && len(b) >= journalHeader+key+value && (op == journalPut || op == journalDelete && value == 0)
	return key, value, ok
}

func cutChange(b []byte) (c change, rest []byte, ok bool) {
	k, v, ok := changeSize(b)
	if !ok {
		return change{}, nil, false
	}
	c.deleted = b[0] == journalDelete
	b = b[journalHeader:]
	c.key = b[:k:k]
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
	for b := t.loadJournal(); len(b) > 0; {
		c, rest, ok := cutChange(b)
		if !ok {
			return nil, errJournal
		}
		if within(c.key, lo, hi) {
			found[string(c.key)] = &c
		}
		b = rest
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
	journal := t.loadJournal()
	n := len(journal)
	for _, c := range t.changes {
		n += journalHeader + len(c.key) + len(c.value)
	}
	if n <= t.s.journalLimit {
		longer := append(make([]byte, 0, n), journal...)
		for _, c := range t.changes { // one per entry, so their order says nothing
			longer = appendChange(longer, c)
		}
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
