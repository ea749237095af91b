package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// wideKey is a record with everything in it, as large as it gets.
func wideKey(kc keyctx.KeyContext) storage.KeyRecord {
	wrappings := func(n int) (ws []keyctx.Wrapping) {
		for i := range n {
			uri := fmt.Sprintf("kms://key/%d/", i)
			uri += strings.Repeat("x", keyctx.MaxURILen-len(uri))
			ws = append(ws, keyctx.Wrapping{URI: uri, Wrapped: randomBytes(keyctx.MaxWrappedLen)})
		}
		return ws
	}
	return key(kc, keyctx.PurposeWrapping, 1<<32-1, func(r *storage.KeyRecord) {
		r.State, r.StateBefore = storage.StateDisabled, storage.StateDecryptOnly
		r.Quorum, r.Wrappings = keyctx.AllOf, wrappings(keyctx.MaxWrappings)
		r.Previous = []storage.PreviousWrapping{
			{Quorum: keyctx.AnyOf, Wrappings: wrappings(keyctx.MaxWrappings), Until: base.Add(-time.Hour)},
			{Quorum: keyctx.AllOf, Wrappings: wrappings(2), Until: base.Add(-2 * time.Hour)},
		}
		r.ParentID = randomKeyID()
		r.RewrappedAt = base
	})
}

func checkKeyRoundTrip(e *env) {
	wide := wideKey(tenant("app", 1, "user_id", "ユーザー", "z", strings.Repeat("v", keyctx.MaxValueLen)))
	plain := key(tenant("", 1), keyctx.PurposeData, 1)
	tombstone := key(tenant("", 2), keyctx.PurposeData, 1, func(r *storage.KeyRecord) {
		r.State, r.Quorum, r.Wrappings = storage.StateShredded, 0, nil
	})
	own := key(keyctx.KeyContext{keyctx.ReservedSystem: "audit"}, keyctx.PurposeAuthentication, 1)
	odd := key(tenant("", 3), keyctx.PurposeIndex, 7, func(r *storage.KeyRecord) {
		r.Revision = 99 // ignored
		zone := time.FixedZone("", 3600)
		r.CreatedAt = base.Add(123_456_789).In(zone)
		r.StateChangedAt = time.Date(1960, 1, 1, 0, 0, 0, 1999, zone)
	})
	for _, r := range []storage.KeyRecord{wide, plain, tombstone, own, odd} {
		e.ok(e.s.InsertKey(e.ctx, r))
		r.Revision = 1
		e.sameKey(e.getKey(r.KeyID), r)
		latest, err := e.s.LatestKey(e.ctx, r.ContextHash, r.Purpose)
		e.ok(err)
		e.sameKey(latest, r)
	}
	if got := e.getKey(plain.KeyID); !got.RewrappedAt.IsZero() || !got.ParentID.IsZero() || got.StateBefore != 0 {
		e.errorf("zero fields came back as something: %+v", got)
	}
}

func checkKeyNotFound(e *env) {
	there := e.insert(key(tenant("", 1), keyctx.PurposeData, 1))
	_, err := e.s.GetKey(e.ctx, randomKeyID())
	e.is(err, storage.ErrNotFound)
	_, err = e.s.LatestKey(e.ctx, there.ContextHash, keyctx.PurposeIndex)
	e.is(err, storage.ErrNotFound)
	_, err = e.s.LatestKey(e.ctx, hashOf(tenant("", 2)), keyctx.PurposeData)
	e.is(err, storage.ErrNotFound)
	e.is(e.s.UpdateKey(e.ctx, key(tenant("", 1), keyctx.PurposeData, 1)), storage.ErrNotFound)
	e.is(e.s.DeleteKey(e.ctx, randomKeyID(), 1), storage.ErrNotFound)
}

func checkKeyInsertIfAbsent(e *env) {
	kc := tenant("", 1)
	first := e.insert(key(kc, keyctx.PurposeData, 1))
	e.is(e.s.InsertKey(e.ctx, key(kc, keyctx.PurposeData, 1)), storage.ErrExists)
	e.is(e.s.InsertKey(e.ctx, first), storage.ErrExists)
	sameID := key(kc, keyctx.PurposeData, 2, func(r *storage.KeyRecord) { r.KeyID = first.KeyID })
	e.is(e.s.InsertKey(e.ctx, sameID), storage.ErrExists)
	e.sameKey(e.getKey(first.KeyID), first)
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true}}, first)

	others := []storage.KeyRecord{
		first,
		e.insert(key(kc, keyctx.PurposeData, 2)),
		e.insert(key(kc, keyctx.PurposeIndex, 1)),
		e.insert(key(tenant("", 2), keyctx.PurposeData, 1)),
	}
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true}}, others...)
}

func checkKeyInsertRace(e *env) {
	for round := range 4 {
		kc := tenant("", round)
		recs := make([]storage.KeyRecord, 64)
		for i := range recs {
			recs[i] = key(kc, keyctx.PurposeData, 1)
		}
		errs := e.race(len(recs), func(s storage.Store, i int) error {
			if err := s.InsertKey(e.ctx, recs[i]); err != nil {
				return err
			}
			// An acknowledged insert is seen by everybody, at once.
			_, err := s.LatestKey(e.ctx, recs[i].ContextHash, keyctx.PurposeData)
			return err
		})
		won := recs[e.oneWins(errs, storage.ErrExists)]
		latest, err := e.second().LatestKey(e.ctx, won.ContextHash, keyctx.PurposeData)
		e.ok(err)
		e.sameKey(latest, won)
		for _, r := range recs {
			if r.KeyID != won.KeyID {
				_, err := e.s.GetKey(e.ctx, r.KeyID)
				e.is(err, storage.ErrNotFound)
			}
		}
	}
}

func checkKeyLatest(e *env) {
	kc := tenant("", 1)
	for _, version := range []uint32{3, 1, 300, 2} {
		e.insert(key(kc, keyctx.PurposeData, version))
	}
	e.insert(key(kc, keyctx.PurposeIndex, 400))
	e.insert(key(tenant("app", 1), keyctx.PurposeData, 500))
	latest, err := e.s.LatestKey(e.ctx, hashOf(kc), keyctx.PurposeData)
	e.ok(err)
	if latest.Version != 300 {
		e.errorf("the latest is version %d, want 300", latest.Version)
	}
	// Whatever its state: who may use it is not the store's to say.
	latest.State, latest.Quorum, latest.Wrappings = storage.StateShredded, 0, nil
	e.ok(e.s.UpdateKey(e.ctx, latest))
	if latest, err = e.s.LatestKey(e.ctx, hashOf(kc), keyctx.PurposeData); err != nil || latest.Version != 300 {
		e.errorf("the latest is version %d (%v), want 300, shredded", latest.Version, err)
	}
}

func checkKeyUpdate(e *env) {
	was := e.insert(key(tenant("", 1), keyctx.PurposeData, 1))
	bystander := e.insert(key(tenant("", 1), keyctx.PurposeData, 2))
	stale := was
	stale.Revision, stale.State = 2, storage.StateShredded
	e.is(e.s.UpdateKey(e.ctx, stale), storage.ErrVersionConflict)
	stale.Revision = 0
	e.is(e.s.UpdateKey(e.ctx, stale), storage.ErrVersionConflict)
	e.sameKey(e.getKey(was.KeyID), was)

	wide := wideKey(tenant("", 1))
	next := wide
	next.KeyID, next.Context, next.ContextHash = was.KeyID, was.Context, was.ContextHash
	next.Purpose, next.Version, next.CreatedAt, next.Revision = was.Purpose, was.Version, was.CreatedAt, 1
	e.ok(e.s.UpdateKey(e.ctx, next))
	next.Revision = 2
	e.sameKey(e.getKey(was.KeyID), next)
	e.is(e.s.UpdateKey(e.ctx, was), storage.ErrVersionConflict)

	// A driver may ignore or refuse what never changes; it must not change it.
	other := key(tenant("", 9), keyctx.PurposeIndex, 9)
	other.KeyID, other.Revision, other.CreatedAt = was.KeyID, 2, base.Add(time.Hour)
	_ = e.s.UpdateKey(e.ctx, other)
	got := e.getKey(was.KeyID)
	if got.ContextHash != was.ContextHash || got.Purpose != was.Purpose || got.Version != was.Version || !got.CreatedAt.Equal(was.CreatedAt) {
		e.errorf("UpdateKey changed what never changes: %+.300v", got)
	}
	if _, err := e.s.LatestKey(e.ctx, other.ContextHash, other.Purpose); err == nil {
		e.errorf("UpdateKey moved a key to another context")
	}
	e.sameKey(e.getKey(bystander.KeyID), bystander)
}

func checkKeyUpdateRace(e *env) {
	was := e.insert(key(tenant("", 1), keyctx.PurposeData, 1))
	errs := e.race(32, func(s storage.Store, i int) error {
		next := was
		next.StateChangedAt = base.Add(time.Duration(i) * time.Second)
		return s.UpdateKey(e.ctx, next)
	})
	winner := e.oneWins(errs, storage.ErrVersionConflict)
	got := e.getKey(was.KeyID)
	if got.Revision != 2 || !got.StateChangedAt.Equal(base.Add(time.Duration(winner)*time.Second)) {
		e.errorf("the winner of the race was not stored: revision %d, %v", got.Revision, got.StateChangedAt)
	}
}

func checkKeyDelete(e *env) {
	kc := tenant("", 1)
	v1 := e.insert(key(kc, keyctx.PurposeData, 1))
	v2 := e.insert(key(kc, keyctx.PurposeData, 2))
	e.is(e.s.DeleteKey(e.ctx, v2.KeyID, 2), storage.ErrVersionConflict)
	e.is(e.s.DeleteKey(e.ctx, v2.KeyID, 0), storage.ErrVersionConflict)
	e.sameKey(e.getKey(v2.KeyID), v2)

	e.ok(e.s.DeleteKey(e.ctx, v2.KeyID, 1))
	e.is(e.s.DeleteKey(e.ctx, v2.KeyID, 1), storage.ErrNotFound)
	_, err := e.s.GetKey(e.ctx, v2.KeyID)
	e.is(err, storage.ErrNotFound)
	latest, err := e.s.LatestKey(e.ctx, v1.ContextHash, keyctx.PurposeData)
	e.ok(err)
	e.sameKey(latest, v1)
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true}}, v1)

	again := e.insert(key(kc, keyctx.PurposeData, 2))
	e.ok(e.s.DeleteKey(e.ctx, v1.KeyID, 1))
	e.ok(e.s.DeleteKey(e.ctx, again.KeyID, 1))
	_, err = e.s.LatestKey(e.ctx, v1.ContextHash, keyctx.PurposeData)
	e.is(err, storage.ErrNotFound)
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true}})
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{Match: kc}})
}

func checkKeyInvalid(e *env) {
	kc := tenant("", 1)
	for name, f := range map[string]func(*storage.KeyRecord){
		"no key ID":            func(r *storage.KeyRecord) { r.KeyID = keyctx.KeyID{} },
		"no context":           func(r *storage.KeyRecord) { r.Context = nil },
		"another context":      func(r *storage.KeyRecord) { r.Context = tenant("", 2) },
		"no purpose":           func(r *storage.KeyRecord) { r.Purpose = 0 },
		"unknown purpose":      func(r *storage.KeyRecord) { r.Purpose = 5 },
		"no version":           func(r *storage.KeyRecord) { r.Version = 0 },
		"no state":             func(r *storage.KeyRecord) { r.State = 0 },
		"unknown former state": func(r *storage.KeyRecord) { r.StateBefore = 5 },
		"no quorum":            func(r *storage.KeyRecord) { r.Quorum = 0 },
		"an empty wrapping":    func(r *storage.KeyRecord) { r.Wrappings[0].Wrapped = nil },
		"a URI with a space":   func(r *storage.KeyRecord) { r.Wrappings[0].URI = "a b" },
		"nine wrappings": func(r *storage.KeyRecord) {
			for len(r.Wrappings) < 9 {
				r.Wrappings = append(r.Wrappings, r.Wrappings[0])
			}
		},
		"the year 10000": func(r *storage.KeyRecord) { r.CreatedAt = base.AddDate(8000, 0, 0) },
	} {
		if err := e.s.InsertKey(e.ctx, key(kc, keyctx.PurposeData, 1, f)); err == nil {
			e.errorf("a key with %s was taken", name)
		}
	}
	e.wantKeys(storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}})

	was := e.insert(key(kc, keyctx.PurposeData, 1))
	bad := was.Clone()
	bad.Wrappings[0].Wrapped = nil
	e.refused(e.s.UpdateKey(e.ctx, bad))
	e.sameKey(e.getKey(was.KeyID), was)
}
