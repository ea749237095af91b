package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyring"
)

// GetMany returns the objects that kc has under these names, decrypted, by name.
// Those that aren't there are not in the map. If some can't be opened, the
// error joins theirs, and the map holds the others.
func (v *Vault) GetMany(ctx context.Context, kc KeyContext, names ...string) (map[string]Object, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.getMany(ctx, c, names)
}

// manyAtOnce is how many objects GetMany asks the store for in one call.
const manyAtOnce = 1000

func (v *Vault) getMany(ctx context.Context, c keyring.Context, names []string) (map[string]Object, error) {
	objects := make(map[string]Object, len(names))
	var errs []error
	for len(names) > 0 {
		n := min(len(names), manyAtOnce)
		if err := v.getSome(ctx, c, names[:n], objects); err != nil {
			errs = append(errs, err)
		}
		names = names[n:]
	}
	return objects, errors.Join(errs...)
}

func (v *Vault) getSome(ctx context.Context, c keyring.Context, names []string, objects map[string]Object) error {
	if err := v.ready(ctx); err != nil {
		return fmt.Errorf("vault: get many: %w", err)
	}
	asked := make(map[string]bool, len(names))
	for _, name := range names {
		if err := validName(name); err != nil {
			return fmt.Errorf("vault: get many: %s: %w", quoteName(name), err)
		}
		asked[name] = true
	}
	recs, err := v.cfg.Store.GetObjects(ctx, c.Hash, names, time.Now())
	if err != nil {
		return fmt.Errorf("vault: get many: %w", err)
	}
	var errs []error
	for _, rec := range recs {
		if !asked[rec.Name] {
			errs = append(errs, fmt.Errorf("vault: get many: %w: the store gave %s, which wasn't asked for", ErrStoreCorrupt, quoteName(rec.Name)))
			continue
		}
		o := v.begin(ctx, DataRead, c)
		obj, err := v.openObject(ctx, c, rec.Name, ID{}, rec)
		if err != nil && !isAbsent(err) {
			err = fmt.Errorf("vault: get %s: %w", quoteName(rec.Name), err)
		}
		o.object(rec.Name, rec.ID, rec.VersionID, rec.KeyID)
		if err := o.end(err); err != nil {
			clear(obj.Value)
			if !isAbsent(err) { // it expired in this moment
				errs = append(errs, err)
			}
			continue
		}
		objects[rec.Name] = obj
	}
	return errors.Join(errs...)
}
