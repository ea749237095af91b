package manytest

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// record has three processes, of those that are none, work in memory, and
// returns what they said and left.
func record(t *testing.T) ([]entry, *stored) {
	t.Helper()
	s := memstore.New()
	j := job{Dir: t.TempDir(), Seed: seedOf(t), Workers: 2, Timeout: 10 * time.Second}
	stop := make(chan struct{})
	ended := make(chan error)
	for j.Slot = range 3 {
		j.Rotates = j.Slot == 0
		p, err := j.open(s)
		must(t, err)
		defer func() { must(t, p.close()) }()
		go func(j job) { ended <- j.run(p, stop) }(j)
	}
	f, err := follow(filepath.Join(j.Dir, "journal"))
	must(t, err)
	defer func() { _ = f.f.Close() }()
	enough, err := f.until(20*time.Second, func(all []entry) bool { return len(all) > 5000 })
	close(stop)
	for range 3 {
		must(t, <-ended)
	}
	must(t, err)
	if !enough {
		t.Fatal("they are too slow")
	}
	must(t, f.read())
	p, err := j.open(s)
	must(t, err)
	defer func() { must(t, p.close()) }()
	var none problems
	st, err := readStored(t.Context(), s, p.plain, newHistory(f.all, &none))
	must(t, err)
	return f.all, st
}

// clone copies what st has, as deep as the tests below change it.
func (st *stored) clone() *stored {
	c := *st
	c.keys = slices.Clone(st.keys)
	c.counts, c.opened = map[vault.KeyID]int64{}, map[string]string{}
	for id, n := range st.counts {
		c.counts[id] = n
	}
	for op, whose := range st.opened {
		c.opened[op] = whose
	}
	c.objects = nil
	for _, o := range st.objects {
		o := *o
		o.versions, o.owners = slices.Clone(o.versions), slices.Clone(o.owners)
		c.objects = append(c.objects, &o)
	}
	return &c
}

// judge is the whole check.
func judge(all []entry, st *stored) (p problems) {
	h := newHistory(all, &p)
	h.checkOrder(&p)
	h.checkStored(st, &p)
	return p
}

func (p problems) has(kind string) bool {
	return slices.ContainsFunc(p, func(pr problem) bool { return pr.kind == kind })
}

// damage is one thing that is wrong.
type damage struct {
	name, kind string
	do         func(all []entry, st *stored) []entry
}

// find returns the index of the first entry that an operation ended with.
func find(all []entry, op, class string, more ...func(entry) bool) int {
	return slices.IndexFunc(all, func(e entry) bool {
		ok := e.What == saysEnd && e.Op == op && e.Class == class
		for _, f := range more {
			ok = ok && f(e)
		}
		return ok
	})
}

// twoPuts returns the ends of two puts of one object, one after the other.
func twoPuts(all []entry) (second, third int) {
	began := map[string]int{}
	ended := map[vault.ID]int{} // puts that got version 2
	for i, e := range all {
		switch {
		case e.What == saysBegin:
			began[e.id()] = i
		case e.What != saysEnd || e.Op != opPut || e.Class != "":
		case e.Number == 2:
			ended[*e.Object] = i
		case e.Number == 3 && ended[*e.Object] != 0 && ended[*e.Object] < began[e.id()]:
			return ended[*e.Object], i
		}
	}
	return -1, -1
}

// long returns an object with three versions or more that others are kept of.
func (st *stored) long() *storedObject {
	return st.objects[slices.IndexFunc(st.objects, func(o *storedObject) bool { return len(o.versions) > 2 && !isKept(o.Name) })]
}

func without[T any](s []T, i int) []T { return slices.Delete(slices.Clone(s), i, i+1) }

func onEntries(f func(all []entry) []entry) func([]entry, *stored) []entry {
	return func(all []entry, _ *stored) []entry { return f(all) }
}

func onStored(f func(st *stored)) func([]entry, *stored) []entry {
	return func(all []entry, st *stored) []entry {
		f(st)
		return all
	}
}

var damages = []damage{
	{"a version is gone", "lost", onStored(func(st *stored) {
		o := st.long()
		o.versions, o.owners = without(o.versions, 1), without(o.owners, 1)
	})},
	{"a version is gone, and leaves a gap", "gap", onStored(func(st *stored) {
		o := st.long()
		o.versions, o.owners = without(o.versions, 1), without(o.owners, 1)
	})},
	{"more are kept than asked for", "gap", onStored(func(st *stored) {
		o := st.objects[slices.IndexFunc(st.objects, func(o *storedObject) bool { return isKept(o.Name) && len(o.versions) == keep })]
		o.versions, o.owners = append(o.versions[:1:1], o.versions...), append(o.owners[:1:1], o.owners...)
	})},
	{"an object is gone", "lost", onStored(func(st *stored) {
		i := slices.Index(st.objects, st.long())
		st.objects = without(st.objects, i)
	})},
	{"an object is there twice", "duplicate", onStored(func(st *stored) { st.objects = append(st.objects, st.objects[0]) })},
	{"a deleted object is there", "undead", func(all []entry, st *stored) []entry {
		o := *st.long()
		o.ID = *all[find(all, opDelete, "")].Object
		st.objects = append(st.objects, &o)
		return all
	}},
	{"a value doesn't decrypt", "decrypt", onStored(func(st *stored) { st.long().owners[0] = "" })},
	{"a value is another's", "foreign", onStored(func(st *stored) { o := st.long(); o.owners[0], o.owners[1] = o.owners[1], o.owners[0] })},
	{"a put was done twice", "duplicate", onStored(func(st *stored) { o := st.long(); o.owners[0] = o.owners[1] })},
	{"a put that was refused was done", "refused", func(all []entry, st *stored) []entry {
		o := st.long()
		i := find(all, opPut, "", func(e entry) bool { return e.id() == o.owners[0] })
		all[i].Class, all[i].Guard, all[i].Object, all[i].Version = "exists", guardAbsent, nil, nil
		return all
	}},
	{"a message doesn't decrypt", "decrypt", func(all []entry, st *stored) []entry {
		st.opened[all[find(all, opEncrypt, "")].id()] = ""
		return all
	}},
	{"a key is gone", "orphan", onStored(func(st *stored) {
		id := st.long().KeyID
		st.keys = slices.DeleteFunc(st.keys, func(k storage.KeyRecord) bool { return k.KeyID == id })
	})},
	{"a key version is there twice", "keys", onStored(func(st *stored) {
		k := st.keys[0]
		k.KeyID[0]++
		st.keys = append([]storage.KeyRecord{k}, st.keys...)
	})},
	{"two keys are active", "keys", onStored(func(st *stored) {
		st.keys[slices.IndexFunc(st.keys, func(k storage.KeyRecord) bool { return k.State == storage.StateDecryptOnly })].State = storage.StateActive
	})},
	{"no key is active", "keys", onStored(func(st *stored) { st.keys[len(st.keys)-1].State = storage.StateDecryptOnly })},
	{"a version is sealed under a key of another context", "orphan", onStored(func(st *stored) {
		o := st.long()
		i := slices.IndexFunc(st.keys, func(k storage.KeyRecord) bool { return k.KeyID == o.versions[0].KeyID })
		st.keys[i].ContextHash = keyctx.Hash{1}
	})},
	{"a count is wrong", "index", onStored(func(st *stored) { st.counts[st.long().versions[0].KeyID]++ })},
	{"a list leaves one out", "index", onStored(func(st *stored) { st.updated-- })},
	{"two puts got one number", "duplicate", onEntries(func(all []entry) []entry {
		_, third := twoPuts(all)
		all[third].Number = 2
		return all
	})},
	{"a later put got a lower number", "order", onEntries(func(all []entry) []entry {
		second, _ := twoPuts(all)
		all[second].Number = 1000
		return all
	})},
	{"a guard didn't hold", "guard", onEntries(func(all []entry) []entry {
		all[find(all, opPut, "", func(e entry) bool { return e.Guard != "" && e.Guard != guardAbsent })].Number += 100
		return all
	})},
	{"if absent, it was there", "guard", onEntries(func(all []entry) []entry {
		all[find(all, opPut, "", func(e entry) bool { return e.Guard == guardAbsent })].Number = 7
		return all
	})},
	{"a read is stale", "stale", func(all []entry, _ *stored) []entry {
		// The last get of an object, as if it were the first.
		i := find(all, opGet, "", func(e entry) bool { return e.Number > 3 })
		first := find(all, opPut, "", func(e entry) bool { return *e.Object == *all[i].Object && e.Number == 1 })
		all[i].Number, all[i].Version, all[i].Value = 1, all[first].Version, all[first].id()
		return all
	}},
	{"a read gives what nobody put", "read", onEntries(func(all []entry) []entry {
		all[find(all, opGet, "")].Value = "9.9.9"
		return all
	})},
	{"a read finds nothing", "lost", onEntries(func(all []entry) []entry {
		deleted := map[place]bool{}
		for _, e := range all {
			if e.Op == opDelete && e.Class == "" {
				deleted[place{e.Context, e.Name}] = true
			}
		}
		i := find(all, opGet, "", func(e entry) bool { return !deleted[place{e.Context, e.Name}] && e.Number > 3 })
		all[i].Class, all[i].Object = "not found", nil
		return all
	})},
	{"an error is none of those allowed", "error", onEntries(func(all []entry) []entry {
		all[find(all, opList, "")].Class = "other"
		return all
	})},
	{"a call fails while all is well", "error", onEntries(func(all []entry) []entry {
		all[find(all, opList, "")].Class = "unavailable"
		return all
	})},
	{"a call didn't end", "journal", onEntries(func(all []entry) []entry { return without(all, find(all, opList, "")) })},
	{"a process saw something", "wrong", onEntries(func(all []entry) []entry { return append(all, entry{What: saysWrong}) })},
	{"a rotation isn't heeded", "unheeded", onEntries(func(all []entry) []entry {
		for i := range all {
			if all[i].Op == opEncrypt { // many of them before a rotation
				all[i].At += time.Hour.Milliseconds()
			}
		}
		return all
	})},
}

// TestCheckFindsDamage damages a history, or what is stored, in each way, and
// wants that to be found; and nothing in one that is as it was.
func TestCheckFindsDamage(t *testing.T) {
	all, st := record(t)
	for _, pr := range judge(all, st) {
		t.Errorf("as it was: %s: %s", pr.kind, pr.text)
	}
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			st := st.clone()
			if p := judge(d.do(slices.Clone(all), st), st); !p.has(d.kind) {
				t.Errorf("want %q, found %v", d.kind, p)
			}
		})
	}
}
