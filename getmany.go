package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// GetMany returns the objects that kc has under these names, decrypted, by name.
// Those that aren't there are not in the map. If some can't be opened, or are denied
// (ErrAccessDenied), the error joins theirs, and the map holds the others.
//
// There is an event for each name, as of so many Gets; one only if the call
// fails before it comes to them.
func (v *Vault) GetMany(ctx context.Context, kc KeyContext, names ...string) (map[string]Object, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.getMany(ctx, c, names)
}

// manyAtOnce is how many objects GetMany asks the store for in one call.
const manyAtOnce = storage.MaxNames

func (v *Vault) getMany(ctx context.Context, c keyring.Context, names []string) (_ map[string]Object, err error) {
	defer v.trace(&ctx, "get_many", &c).end(&err)
	objects := make(map[string]Object, len(names))
	names, err = v.distinctNames(ctx, names)
	if err != nil {
		return objects, v.getManyFailed(ctx, c, err)
	}
	var errs []error
	for len(names) > 0 {
		n := min(len(names), manyAtOnce)
		errs = append(errs, v.getSome(ctx, c, names[:n], objects))
		names = names[n:]
	}
	return objects, errors.Join(errs...)
}

// distinctNames returns each name once if all of them are valid and a call about
// objects may go to the store.
func (v *Vault) distinctNames(ctx context.Context, names []string) ([]string, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(names))
	distinct := make([]string, 0, len(names))
	for _, name := range names {
		if err := validName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", quoteName(name), err)
		}
		if !seen[name] {
			seen[name] = true
			distinct = append(distinct, name)
		}
	}
	return distinct, nil
}

// getManyFailed makes the event of a call that failed as a whole.
func (v *Vault) getManyFailed(ctx context.Context, c keyring.Context, err error) error {
	return v.begin(ctx, DataRead, c).end(fmt.Errorf("vault: get many: %w", err))
}

// getSome reads up to manyAtOnce objects into the map.
func (v *Vault) getSome(ctx context.Context, c keyring.Context, names []string, objects map[string]Object) error {
	recs, err := v.askFor(ctx, c, names)
	if err != nil {
		return v.getManyFailed(ctx, c, err)
	}
	var errs []error
	for _, name := range names {
		obj, err := v.readRecord(ctx, c, name, recs[name])
		switch {
		case err == nil:
			objects[name] = obj
		case !errors.Is(err, ErrNotFound) || errors.Is(err, ErrEvent) || errors.Is(err, ErrAccessDenied):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// askFor returns the records of these names, by name.
func (v *Vault) askFor(ctx context.Context, c keyring.Context, names []string) (map[string]storage.ObjectRecord, error) {
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := v.cfg.Store.GetObjects(ctx, c.Hash, names, time.Now())
	if err != nil {
		return nil, err
	}
	recs := make(map[string]storage.ObjectRecord, len(rows))
	for _, rec := range rows {
		recs[rec.Name] = rec
	}
	return recs, nil
}

// readRecord opens one record of many, the zero record being that of an object
// that isn't there, and makes its event.
func (v *Vault) readRecord(ctx context.Context, c keyring.Context, name string, rec storage.ObjectRecord) (Object, error) {
	o := v.begin(ctx, DataRead, c)
	var obj Object
	err := ErrNotFound
	if !rec.ID.IsZero() {
		err = nil
	}
	if err = v.permitRow(ctx, AccessRequest{Operation: OpGet, Context: c.Pairs, Object: name}, rec, err); err == nil {
		obj, err = v.openObject(ctx, c, name, ID{}, rec)
	}
	if err != nil {
		err = fmt.Errorf("vault: get %s: %w", quoteName(name), err)
	}
	o.object(name, rec.ID, rec.VersionID, rec.KeyID)
	if err := o.end(err); err != nil {
		clear(obj.Value)
		return Object{}, err
	}
	return obj, nil
}
