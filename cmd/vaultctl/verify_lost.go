package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
)

// lost finds the versions under a key that a list of objects doesn't show: of objects
// that aren't there, or whose current version isn't. The list comes from the objects'
// side and this from the keys'. What is written or deleted meanwhile is told from that
// by a second look.
//
// What neither side shows are an object that has no version left, and a version of a
// lost object whose key is gone too.
func (v *verification) lost(ctx context.Context, k vault.KeyInfo) error {
	first, err := v.orphans(ctx, k.ID)
	if err == nil && (len(first.found) > 0 || first.rows > 0) {
		var again orphans
		again, err = v.orphans(ctx, k.ID)
		first = first.and(again)
	}
	if errors.Is(err, storage.ErrCorrupt) { // the list itself breaks off at what is lost
		v.tally(func(o *verifyOut) {
			o.VersionsLost++
			o.fail(failure{KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Error: v.a.clean(err.Error())})
		})
		return nil
	}
	if err != nil {
		return err
	}
	v.tally(func(o *verifyOut) { o.lost(k, first) })
	return nil
}

func (o *verifyOut) lost(k vault.KeyInfo, lost orphans) {
	for _, rec := range lost.found {
		o.VersionsLost++
		o.fail(failure{
			KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Object: rec.Name, VersionID: rec.VersionID.String(),
			Error: "its object's current version isn't in the store, and so nobody can read the object: restore those rows from a backup",
		})
	}
	if lost.rows > 0 {
		o.VersionsLost += lost.rows
		o.fail(failure{
			KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Objects: lost.rows,
			Error: fmt.Sprintf("%d versions under it are in the store and can't be listed with an object: restore those rows from a backup", lost.rows),
		})
	}
}

// orphans are versions under one key that nobody can read.
type orphans struct {
	found map[vault.ID]storage.ObjectRecord // by version: those whose object has no current version
	rows  int64                             // that are counted and not listed
}

// and returns what is in both.
func (o orphans) and(again orphans) orphans {
	for id := range o.found {
		if _, still := again.found[id]; !still {
			delete(o.found, id)
		}
	}
	o.rows = min(o.rows, again.rows)
	return o
}

// orphans returns the versions under a key whose object isn't whole.
func (v *verification) orphans(ctx context.Context, key vault.KeyID) (orphans, error) {
	o := orphans{found: map[vault.ID]storage.ObjectRecord{}}
	counted, err := v.s.store.CountByKey(ctx, key)
	if err != nil {
		return o, fmt.Errorf("count the versions under key %s: %w", key.Short(), err)
	}
	var object vault.ID // the last one that was looked for
	whole, listed := false, int64(0)
	for q := (storage.ByKeyQuery{KeyID: key, Limit: 1000}); ; {
		page, err := v.s.store.ListByKey(ctx, q)
		if err != nil {
			return o, fmt.Errorf("list the versions under key %s: %w", key.Short(), err)
		}
		for _, rec := range page.Objects {
			listed++
			if rec.ID != object {
				object = rec.ID
				if whole, err = v.hasCurrent(ctx, object); err != nil {
					return o, err
				}
			}
			if !whole {
				o.found[rec.VersionID] = rec
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	now, err := v.s.store.CountByKey(ctx, key) // what was deleted meanwhile isn't lost
	if err != nil {
		return o, fmt.Errorf("count the versions under key %s: %w", key.Short(), err)
	}
	o.rows = max(0, min(counted, now)-listed)
	return o, nil
}

// hasCurrent reports whether an object has its current version, expired or not.
func (v *verification) hasCurrent(ctx context.Context, object vault.ID) (bool, error) {
	_, err := v.s.store.GetObject(ctx, storage.ObjectRef{ID: object, NoEnvelope: true})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return false, fmt.Errorf("read object %s: %w", object, err)
	}
	return err == nil, nil
}
