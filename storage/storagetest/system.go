package storagetest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/embedvault/vault/storage"
)

func (e *env) putSystem(name string, value []byte, revision uint64) uint64 {
	next, err := e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: value, Revision: revision})
	e.ok(err)
	if next == 0 || next == revision {
		e.errorf("revision %d became %d", revision, next)
	}
	return next
}

func (e *env) wantSystem(name string, value []byte, revision uint64) {
	got, err := e.s.GetSystem(e.ctx, name)
	e.ok(err)
	if got.Name != name || !bytes.Equal(got.Value, value) || got.Revision != revision {
		e.errorf("got record %q at revision %d with %d bytes, want %q, %d, %d", got.Name, got.Revision, len(got.Value), name, revision, len(value))
	}
}

func checkSystem(e *env) {
	longest := strings.Repeat("~", storage.MaxSystemNameLen)
	largest := randomBytes(storage.MaxSystemValueLen)
	for name, value := range map[string][]byte{"a": []byte("1"), "a b/c": nil, longest: largest} {
		_, err := e.s.GetSystem(e.ctx, name)
		e.is(err, storage.ErrNotFound)
		e.is(e.s.DeleteSystem(e.ctx, name, 1), storage.ErrNotFound)
		_, err = e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Revision: 1})
		e.is(err, storage.ErrNotFound)

		r1 := e.putSystem(name, value, 0)
		e.wantSystem(name, value, r1)
		_, err = e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: []byte("x")})
		e.is(err, storage.ErrExists)
		r2 := e.putSystem(name, []byte("2"), r1)
		_, err = e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: []byte("x"), Revision: r1})
		e.is(err, storage.ErrVersionConflict)
		_, err = e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: []byte("x"), Revision: r2 + 1000})
		e.is(err, storage.ErrVersionConflict)
		e.is(e.s.DeleteSystem(e.ctx, name, r1), storage.ErrVersionConflict)
		e.is(e.s.DeleteSystem(e.ctx, name, 0), storage.ErrVersionConflict)
		e.wantSystem(name, []byte("2"), r2)

		e.ok(e.s.DeleteSystem(e.ctx, name, r2))
		_, err = e.s.GetSystem(e.ctx, name)
		e.is(err, storage.ErrNotFound)
		e.is(e.s.DeleteSystem(e.ctx, name, r2), storage.ErrNotFound)
		e.putSystem(name, value, 0)
	}
	_, err := e.s.PutSystem(e.ctx, storage.SystemRecord{Name: "large", Value: append(largest, 0)})
	e.is(err, storage.ErrTooLarge)
	for _, name := range []string{"", "ä", "a\n", "a\x00", "\x7f", longest + "~"} {
		_, err := e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: []byte("x")})
		e.refused(err)
	}
	if all, err := e.s.ListSystem(e.ctx, "", "", 0); err != nil || len(all) != 3 {
		e.errorf("%d records are there, want 3, %v", len(all), err)
	}
}

func checkSystemList(e *env) {
	var names []string
	for i := range 120 {
		names = append(names, fmt.Sprintf("job/%03d", i))
	}
	for _, name := range append(names, "A", "job", "job.", "job0", "jobs/1", "~") {
		e.putSystem(name, []byte(name), 0)
	}
	list := func(prefix, after string, limit int) (got []string) {
		rs, err := e.s.ListSystem(e.ctx, prefix, after, limit)
		e.ok(err)
		for _, r := range rs {
			if string(r.Value) != r.Name || r.Revision == 0 {
				e.errorf("record %q has value %q, revision %d", r.Name, r.Value, r.Revision)
			}
			got = append(got, r.Name)
		}
		return got
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"job/", "", 0, names[:100]},
		{"job/", "job/099", 0, names[100:]},
		{"job/", "job/0995", 3, names[100:103]},
		{"job/", "", 1000, names},
		{"job/", "A", 2, names[:2]},
		{"job/", "job/119", 0, nil},
		{"job/", "zzz", 0, nil},
		{"job/11", "job/115", 0, names[116:]},
		{"nothing", "", 0, nil},
		{"", "job/119", 0, []string{"job0", "jobs/1", "~"}},
		{"", "", 4, []string{"A", "job", "job.", "job/000"}},
		{"job", "job", 2, []string{"job.", "job/000"}},
	} {
		if got := list(c.prefix, c.after, c.limit); strings.Join(got, " ") != strings.Join(c.want, " ") {
			e.errorf("prefix %q, after %q, limit %d: got %v, want %v", c.prefix, c.after, c.limit, got, c.want)
		}
	}
	var all []string
	for after := ""; ; {
		got := list("job/", after, 7)
		if len(got) == 0 {
			break
		}
		all = append(all, got...)
		after = got[len(got)-1]
	}
	if strings.Join(all, " ") != strings.Join(names, " ") {
		e.errorf("in pages: %v", all)
	}
}

func checkSystemRace(e *env) {
	put := func(revision uint64) func(s storage.Store, i int) error {
		return func(s storage.Store, i int) error {
			_, err := s.PutSystem(e.ctx, storage.SystemRecord{Name: "r", Value: []byte{byte(i)}, Revision: revision})
			return err
		}
	}
	first := e.oneWins(e.race(64, put(0)), storage.ErrExists)
	got, err := e.s.GetSystem(e.ctx, "r")
	e.ok(err)
	e.wantSystem("r", []byte{byte(first)}, got.Revision)
	next := e.oneWins(e.race(64, put(got.Revision)), storage.ErrVersionConflict)
	now, err := e.s.GetSystem(e.ctx, "r")
	e.ok(err)
	e.wantSystem("r", []byte{byte(next)}, now.Revision)
	if now.Revision == got.Revision {
		e.errorf("the revision did not change")
	}
}
