package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// Decisions about objects, which heed the stored row: its labels and, where the object
// is asked for by its ID, its name.

// permitRow decides about a stored row that was read, or could not be: it is also asked
// then, so that only who is allowed learns whether there is such an object, and what is
// wrong with it. It returns the denial, or what reading said.
func (v *Vault) permitRow(ctx context.Context, r AccessRequest, rec storage.ObjectRecord, read error) error {
	if v.cfg.Authorizer == nil || errors.Is(read, ErrClosed) || errors.Is(read, ErrNoStore) {
		return read
	}
	if read == nil {
		if r.Labels = rec.Labels; r.Labels == nil {
			r.Labels = map[string]string{} // it is there, and has none
		}
		if r.Object == "" {
			r.Object = rec.Name
		}
	}
	if err := v.decide(ctx, r); err != nil {
		return err
	}
	return read
}

// permitList decides about a list, once for all its rows.
func (v *Vault) permitList(ctx context.Context, c keyring.Context, opts ListOptions) error {
	if v.cfg.Authorizer == nil {
		return nil
	}
	r := AccessRequest{Operation: OpList, Context: c.Pairs, Prefix: opts.Prefix}
	if opts.Within {
		r.Context, r.Match = nil, c.Pairs
	}
	return v.decide(ctx, r)
}

// permitVersions decides about each version that is to be shown, since each has labels of
// its own. Where they are those of the one before, it would be the same question.
func (v *Vault) permitVersions(ctx context.Context, c keyring.Context, name string, list *versionList, recs []storage.ObjectRecord) error {
	for _, rec := range recs {
		if maps.Equal(rec.Labels, list.allowed) {
			continue
		}
		if err := v.permitRow(ctx, AccessRequest{Operation: OpVersions, Context: c.Pairs, Object: name}, rec, nil); err != nil {
			return err
		}
		list.allowed = maps.Clone(rec.Labels) // what is shown is the caller's to change
	}
	return nil
}

// permitPut decides about a put, and returns the guard by which it holds: the version
// whose labels were decided about must be the one that it follows.
func (v *Vault) permitPut(ctx context.Context, c keyring.Context, name string, p putOpts, guard storage.PutGuard) (storage.PutGuard, error) {
	if v.cfg.Authorizer == nil {
		return guard, nil
	}
	rec, err := v.current(ctx, c, name)
	absent := errors.Is(err, ErrNotFound)
	if absent {
		rec, err = storage.ObjectRecord{}, nil
	}
	r := AccessRequest{Operation: OpPut, Context: c.Pairs, Object: name, NewLabels: p.labels}
	if err := v.permitRow(ctx, r, rec, err); err != nil {
		return guard, err
	}
	if !p.guarded() {
		guard.IfAbsent, guard.IfVersion = absent, rec.VersionID
	}
	return guard, nil
}

func (p putOpts) guarded() bool { return p.ifAbsent || !p.ifVersion.IsZero() }

// putAllowed writes what was decided about, and decides anew if another writer was
// faster and the caller doesn't mind.
func (v *Vault) putAllowed(ctx context.Context, c keyring.Context, p putOpts, guard storage.PutGuard, rec storage.ObjectRecord) (storage.ObjectRecord, error) {
	for try := 1; ; try++ {
		stored, err := v.cfg.Store.PutObject(ctx, rec, guard)
		if v.cfg.Authorizer == nil || p.guarded() || try == maxOvertaken || !guardFailed(err) {
			return stored, err
		}
		if err := v.giveWay(ctx, try); err != nil {
			return storage.ObjectRecord{}, err
		}
		again, decided := v.permitPut(ctx, c, rec.Name, p, guard)
		if decided != nil {
			return storage.ObjectRecord{}, decided
		}
		if guard.IfAbsent && again.IfAbsent && v.cfg.UniqueNames {
			return storage.ObjectRecord{}, err // the name is another context's
		}
		guard = again
		guard.Now = time.Now().UTC().Truncate(time.Microsecond)
	}
}

// maxOvertaken is how often a put or a delete without a guard is tried that others
// overtake, which takes most of a minute.
const maxOvertaken = 200

// giveWay waits before an overtaken writer tries again, longer each time and each for
// another time, so that any number of them come through: without an authorizer they
// would not be in each other's way.
func (v *Vault) giveWay(ctx context.Context, try int) error {
	pause := time.NewTimer(rand.N(time.Millisecond << min(try, 9)))
	defer pause.Stop()
	select {
	case <-pause.C:
		return nil
	case <-v.root.Done():
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deleteAllowed decides about the version that is current, and deletes if it still is.
func (v *Vault) deleteAllowed(ctx context.Context, c keyring.Context, ref storage.ObjectRef, version ID) (storage.ObjectRecord, error) {
	if v.cfg.Authorizer == nil {
		return v.cfg.Store.DeleteObject(ctx, ref, version)
	}
	for try := 1; try <= maxOvertaken; try++ {
		rec, err := v.current(ctx, c, ref.Name)
		r := AccessRequest{Operation: OpDelete, Context: c.Pairs, Object: ref.Name}
		if err := v.permitRow(ctx, r, rec, err); err != nil {
			return storage.ObjectRecord{}, err
		}
		decided := version
		if version.IsZero() {
			decided = rec.VersionID
		}
		rec, err = v.cfg.Store.DeleteObject(ctx, ref, decided)
		if !version.IsZero() || !errors.Is(err, ErrVersionConflict) {
			return rec, err
		}
		if err := v.giveWay(ctx, try); err != nil {
			return storage.ObjectRecord{}, err
		}
	}
	return storage.ObjectRecord{}, fmt.Errorf("%w: it changes all the time", ErrVersionConflict)
}

// current reads the current version's row, without its value.
func (v *Vault) current(ctx context.Context, c keyring.Context, name string) (storage.ObjectRecord, error) {
	return v.cfg.Store.GetObject(ctx, storage.ObjectRef{
		ContextHash: c.Hash, Name: name, NoEnvelope: true, Now: time.Now(),
	})
}
