package manytest

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
)

// verify holds a journal against what is stored, as somebody sees it who has no
// part in it.
func verify(t *testing.T, e engine, target, dir string, heard *follower) {
	t.Helper()
	store, closeStore, err := e.open(target)
	must(t, err)
	defer func() { must(t, closeStore()) }()
	key, err := tinkkek.Load(filepath.Join(dir, "keyset.json"))
	must(t, err)
	v, err := vault.New(vault.Config{KEK: key, Store: store, Namespace: namespace})
	must(t, err)
	defer func() { must(t, v.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var p problems
	h := newHistory(heard.all, &p)
	st, err := readStored(ctx, store, v, h)
	must(t, err)
	h.checkOrder(&p)
	h.checkStored(st, &p)
	kills := 0
	for _, e := range heard.all {
		if e.What == saysKilled {
			kills++
		}
	}
	if heard.torn > kills {
		p.add("journal", "%d lines are torn, %d processes were killed", heard.torn, kills)
	}
	for i, pr := range p {
		if i == 20 {
			t.Errorf("… and %d more", len(p)-i)
			break
		}
		t.Errorf("%s: %s", pr.kind, pr.text)
	}
	h.log(t, st, kills)
}

// log says what was tested.
func (h *history) log(t *testing.T, st *stored, kills int) {
	t.Helper()
	done, failed, refused := map[string]int{}, map[string]int{}, map[string]int{}
	for _, o := range h.ops {
		switch {
		case o.succeeded():
			done[o.Op]++
		case o.refused():
			refused[o.Op+": "+o.Class]++
		case o.answered:
			failed[o.Class]++
		default:
			failed["cut off"]++
		}
	}
	versions := 0
	for _, o := range st.objects {
		versions += len(o.versions)
	}
	t.Logf("done %v, refused %v, failed %v; %d killed; stored: %d keys, %d objects, %d versions", done, refused, failed, kills, len(st.keys), len(st.objects), versions)
}

// TestManyProcesses has 8 processes use the same contexts, from the first use
// on: no call fails but by its guard, and what is left is what they were told.
func TestManyProcesses(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		c := newCrew(t, e, 20*time.Second)
		c.progress("at first", 5)
		time.Sleep(lasting(1500 * time.Millisecond))
		c.someOfAll()
		c.stop()
		verify(t, e, c.db.target, c.dir, c.heard)
	})
}

// TestProcessesKilled kills processes (-9) at random, and starts others in their
// place.
func TestProcessesKilled(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		c := newCrew(t, e, 20*time.Second)
		c.progress("at first", 1)
		for end := time.Now().Add(lasting(2 * time.Second)); time.Now().Before(end); {
			time.Sleep(time.Duration(c.rand.IntN(200)) * time.Millisecond)
			c.kill(c.rand.IntN(processes))
		}
		c.progress("after the last was killed", 1)
		c.someOfAll()
		c.stop()
		verify(t, e, c.db.target, c.dir, c.heard)
	})
}

// TestDatabaseRestarted ends the database at once, in the middle: immediately
// and by kill -9, with durable settings; of etcd, one member of three, the
// leader or not. The same processes go on.
func TestDatabaseRestarted(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		c := newCrew(t, e, 3*time.Second)
		for how := range 2 {
			c.progress("before", 3)
			c.mark(saysDown)
			must(t, c.db.crash(how))
			time.Sleep(lasting(300 * time.Millisecond))
			if e.name == "etcd" {
				c.progress("with a member away", 2)
			}
			start := time.Now()
			must(t, c.db.start())
			t.Logf("started in %v", time.Since(start))
			c.progress("after the restart", 3)
			time.Sleep(time.Second) // until no connection is left that the database has ended
			c.mark(saysSettled)
		}
		c.progress("at last", 3)
		c.someOfAll()
		c.stop()
		verify(t, e, c.db.target, c.dir, c.heard)
		if e.name != "etcd" && !slices.ContainsFunc(c.heard.all, func(e entry) bool { return isFault(e.Class) }) {
			t.Error("nobody noticed")
		}
	})
}
