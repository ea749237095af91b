package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/embedvault/vault/storage"
)

// checkIndex works out from the records what the index must hold, and returns
// how it differs: an entry too many hurts nobody at once, and grows for ever.
func checkIndex(t *tx) (problems []string) {
	want := map[string]string{}
	add := func(key, value []byte) { want[string(key)] = string(value) }
	each := func(bucket int, f func(k, v []byte) error) {
		scan := t.scan(bucket, nil, nil, false)
		for k, v := scan.next(); k != nil; k, v = scan.next() {
			if err := f(k, v); err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	each(bucketObjects, func(k, v []byte) error {
		r, err := storage.DecodeObjectMeta(v)
		add(objectIDKey(r.ID), k)
		add(updatedKey(&r), []byte(r.Name))
		add(byKeyKey(&r), nil)
		if r.ExpiresAt != 0 {
			add(expiryKey(&r), nil)
		}
		if r.UniqueName {
			add(uniqueKey(&r), r.ID[:])
		}
		for _, p := range pairKeys(tagObjectPair, r.Context, r.ContextHash) {
			add(p, nil)
		}
		return err
	})
	each(bucketHistory, func(_, v []byte) error {
		r, err := storage.DecodeObjectMeta(v)
		add(versionIDKey(r.ID, r.VersionID), binary.BigEndian.AppendUint64(nil, r.Number))
		add(byKeyKey(&r), nil)
		return err
	})
	each(bucketKeys, func(k, v []byte) error {
		r, err := storage.DecodeKeyRecord(v)
		add(keyIDKey(r.KeyID), k)
		if !r.ParentID.IsZero() {
			add(parentKey(&r), nil)
		}
		for _, p := range pairKeys(tagKeyPair, r.Context, r.ContextHash) {
			add(p, nil)
		}
		return err
	})
	scan, err := t.scanIndex(nil, nil, false)
	if err != nil {
		return append(problems, err.Error())
	}
	for k, v := scan.next(); k != nil; k, v = scan.next() {
		w, ok := want[string(k)]
		if !ok && k[0] == tagUnique && heldByEarlierVersion(t, v) {
			continue
		}
		if !ok || w != string(v) {
			problems = append(problems, fmt.Sprintf("%q → %q, want %q (%v)", k, v, w, ok))
		}
		delete(want, string(k))
	}
	for k := range want {
		problems = append(problems, fmt.Sprintf("%q is missing", k))
	}
	return problems
}

// heldByEarlierVersion is the one case in which a unique name is held that the
// current version doesn't ask for: imports are stored as they are.
func heldByEarlierVersion(t *tx, id []byte) bool {
	_, ok, err := t.currentByID(storage.ID(id), false)
	return ok && err == nil
}

// TestScan lays random changes over random entries and compares what a scan
// gives with a plain map.
func TestScan(t *testing.T) {
	s := newStore(t)
	s.db.NoSync = true
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.Custom(func(t *rapid.T) []byte {
			return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 1, 4).Draw(t, "key")
		})
		model := map[string]string{}
		_ = s.update(t.Context(), "scan", 0, func(t *tx) error {
			for i := range rapid.IntRange(0, 30).Draw(rt, "entries") {
				k := key.Draw(rt, "entry")
				if err := t.put(bucketIndex, k, fmt.Append(nil, i)); err != nil {
					rt.Fatal(err)
				}
				model[string(k)] = fmt.Sprint(i)
			}
			t.journal = nothing
			for i := range rapid.IntRange(0, 30).Draw(rt, "changes") {
				k := key.Draw(rt, "change")
				c := &change{key: k, value: fmt.Append(nil, "c", i)}
				if c.deleted = rapid.Bool().Draw(rt, "deleted"); c.deleted {
					c.value = nil
					delete(model, string(k))
				} else {
					model[string(k)] = string(c.value)
				}
				if rapid.Bool().Draw(rt, "journaled") && t.changes[string(k)] == nil {
					t.journal = appendChange(t.journal, c)
				} else {
					t.changes[string(k)] = c
				}
			}
			lo, hi := key.Draw(rt, "lo"), rapid.OneOf(rapid.Just([]byte(nil)), key).Draw(rt, "hi")
			down := rapid.Bool().Draw(rt, "down")
			compareScan(rt, t, model, lo, hi, down, key)
			for k, want := range model {
				if got, err := t.indexGet([]byte(k)); err != nil || string(got) != want {
					rt.Fatalf("%q is %q, want %q, %v", k, got, want, err)
				}
			}
			return errFull // so that nothing of it stays
		})
	})
}

func compareScan(rt *rapid.T, t *tx, model map[string]string, lo, hi []byte, down bool, key *rapid.Generator[[]byte]) {
	all := map[string]*change{}
	for k, v := range model {
		if within([]byte(k), lo, hi) {
			all[k] = &change{key: []byte(k), value: []byte(v)}
		}
	}
	want := sorted(all)
	if down {
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	s, err := t.scanIndex(lo, hi, down)
	if err != nil {
		rt.Fatal(err)
	}
	for i := 0; ; i++ {
		for rapid.IntRange(0, 3).Draw(rt, "peek") == 0 {
			from := key.Draw(rt, "from")
			if !within(from, lo, hi) || i > 0 && s.before(from, want[i-1].key) {
				continue // it never goes back, nor out of its bounds
			}
			for i < len(want) && s.before(want[i].key, from) {
				i++
			}
			k, _ := s.peek(from)
			if i == len(want) && k != nil || i < len(want) && !bytes.Equal(k, want[i].key) {
				rt.Fatalf("peek at %q gives %q", from, k)
			}
		}
		k, v := s.next()
		if i >= len(want) {
			if k != nil {
				rt.Fatalf("%q comes after the end", k)
			}
			return
		}
		if !bytes.Equal(k, want[i].key) || !bytes.Equal(v, want[i].value) {
			rt.Fatalf("entry %d is %q → %q, want %q → %q", i, k, v, want[i].key, want[i].value)
		}
	}
}

func TestDamagedJournal(t *testing.T) {
	good := appendChange(nil, &change{key: []byte("k"), value: []byte("v")})
	good = appendChange(good, &change{key: []byte("k"), deleted: true})
	for n := range good {
		c, rest, ok := cutChange(good[:n])
		if ok && len(rest) == 0 && n != journalHeader+2 {
			t.Errorf("%d bytes of %d are a change of %q", n, len(good), c.key)
		}
	}
	s := newStore(t)
	for _, bad := range [][]byte{{0}, {3, 0, 1, 0, 0, 'k'}, {2, 0, 1, 0, 1, 'k', 'v'}, {1, 0, 0, 0, 1, 'v'}, {1, 0xff, 0xff, 0xff, 0xff, 'k'}, good[:len(good)-1]} {
		if err := s.update(t.Context(), "damage", 0, func(t *tx) error { return t.put(bucketJournal, journalKey, bad) }); err != nil {
			t.Fatal(err)
		}
		err := s.view(t.Context(), "look", func(t *tx) error { _, err := t.indexGet([]byte("other")); return err })
		if class(err) != storage.ErrCorrupt.Error() {
			t.Errorf("journal %x: %v", bad, err)
		}
	}
}
