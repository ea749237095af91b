package boltstore

import (
	"bytes"

	"go.etcd.io/bbolt"
)

// scan walks the entries of a bucket in [lo, hi) up or down, with changes laid
// over them. hi nil is no bound. The slices it gives are valid until the
// transaction ends and not to be changed.
type scan struct {
	cursor  *bbolt.Cursor
	lo, hi  []byte
	down    bool
	k, v    []byte    // the cursor's entry; k nil: none
	changes []*change // those not passed yet, in the scan's order
	started bool
}

// scan walks a bucket that is not the index.
func (t *tx) scan(bucket int, lo, hi []byte, down bool) *scan {
	return &scan{cursor: t.bucket(bucket).Cursor(), lo: lo, hi: hi, down: down}
}

// scanIndex walks the index.
func (t *tx) scanIndex(lo, hi []byte, down bool) (*scan, error) {
	changes, err := t.changesIn(lo, hi)
	if err != nil {
		return nil, err
	}
	s := t.scan(bucketIndex, lo, hi, down)
	if down {
		for i, j := 0, len(changes)-1; i < j; i, j = i+1, j-1 {
			changes[i], changes[j] = changes[j], changes[i]
		}
	}
	s.changes = changes
	return s, nil
}

// next returns the next entry and passes it; key nil is the end.
func (s *scan) next() (key, value []byte) {
	if !s.started {
		s.start()
	}
	key, value = s.head()
	switch {
	case key == nil:
	case s.k != nil && &key[0] == &s.k[0]:
		s.advance()
	default:
		s.changes = s.changes[1:]
	}
	return key, value
}

// peek moves on to the first entry that is not before key, and returns it
// without passing it. It doesn't move back.
func (s *scan) peek(key []byte) (k, v []byte) {
	for len(s.changes) > 0 && s.before(s.changes[0].key, key) {
		s.changes = s.changes[1:]
	}
	if !s.started || s.k != nil && s.before(s.k, key) {
		s.started = true
		s.hold(s.cursor.Seek(key))
		// Seek goes up. Going down, what it found lies before key unless it is key.
		if s.down && !bytes.Equal(s.k, key) {
			s.startDown(key)
		}
	}
	return s.head()
}

// head returns the entry that comes next: the cursor's, or a change's if that
// comes before it or is of the same entry.
func (s *scan) head() (key, value []byte) {
	for len(s.changes) > 0 {
		c := s.changes[0]
		if s.k != nil && s.before(s.k, c.key) {
			break
		}
		if bytes.Equal(s.k, c.key) {
			s.advance()
		}
		if !c.deleted {
			return c.key, c.value
		}
		s.changes = s.changes[1:]
	}
	return s.k, s.v
}

func (s *scan) before(a, b []byte) bool {
	if s.down {
		a, b = b, a
	}
	return bytes.Compare(a, b) < 0
}

func (s *scan) start() {
	s.started = true
	if s.down {
		s.startDown(s.hi)
	} else {
		s.hold(s.cursor.Seek(s.lo))
	}
}

// startDown goes to the last entry before hi.
func (s *scan) startDown(hi []byte) {
	if hi == nil {
		s.hold(s.cursor.Last())
		return
	}
	if k, _ := s.cursor.Seek(hi); k == nil {
		s.hold(s.cursor.Last())
	} else {
		s.hold(s.cursor.Prev())
	}
}

func (s *scan) advance() {
	if s.down {
		s.hold(s.cursor.Prev())
	} else {
		s.hold(s.cursor.Next())
	}
}

// hold takes the cursor's entry, if it is within the bounds.
func (s *scan) hold(k, v []byte) {
	s.k, s.v = nil, nil
	if k != nil && within(k, s.lo, s.hi) {
		s.k, s.v = k, v
	}
}

// prefixEnd returns the first key after all that start with prefix; nil if
// there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// after returns the first key after key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }
