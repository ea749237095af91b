package vault

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// Order is the order of a list.
type Order = storage.Order

// The orders. Objects of different contexts come one context after the other.
const (
	ByName    = storage.OrderByName    // by the bytes of the name
	ByUpdated = storage.OrderByUpdated // by the time of the last put
)

// ListOptions says which objects to list and how. The zero value lists the
// objects of exactly one context by name.
type ListOptions struct {
	// Within lists the objects of every context that contains the given pairs,
	// and not only of the context that is exactly these.
	Within bool

	Prefix       string    // names that start with it
	UpdatedAfter time.Time // last put strictly later; needs Order ByUpdated
	Order        Order
	Descending   bool

	// Limit is the length of a page: at most 1000, 100 if it is 0.
	Limit int

	// Cursor is where the last page ended; "" for the first. It is good for the
	// same options only.
	Cursor string
}

// Page is a page of a list.
type Page struct {
	Objects []Metadata
	Next    string // the Cursor of the next page; "" after the last
}

// ListPage returns one page of the objects of kc, or with Within of every
// context that contains it. Nothing is decrypted.
//
// Errors: ErrNoStore, ErrInvalidContext, ErrInvalidOption; the store's.
func (v *Vault) ListPage(ctx context.Context, kc KeyContext, opts ListOptions) (Page, error) {
	c, err := v.context(kc)
	if err != nil {
		return Page{}, err
	}
	return v.listPage(ctx, c, opts)
}

// List iterates over the objects of kc, or with Within of every context that
// contains it, a page at a time. Nothing is decrypted, and nothing is locked
// while the loop's body runs: it may put and delete. After an error the
// iteration ends.
func (v *Vault) List(ctx context.Context, kc KeyContext, opts ListOptions) iter.Seq2[Metadata, error] {
	c, err := v.context(kc)
	return v.list(ctx, c, opts, err)
}

// Versions iterates over the versions of the object that kc has under name,
// the newest first. Nothing is decrypted. If an authorizer denies one of them, by its
// labels, the iteration ends there with ErrAccessDenied, up to a page before it: a list
// that is short without saying so would be worse.
func (v *Vault) Versions(ctx context.Context, kc KeyContext, name string) iter.Seq2[Metadata, error] {
	c, err := v.context(kc)
	return v.versions(ctx, c, name, err)
}

// Describe returns the metadata of the object that kc has under name: of its
// current version, or with AtVersion of another. Nothing is decrypted, and so
// nothing of it is authenticated.
func (v *Vault) Describe(ctx context.Context, kc KeyContext, name string, opts ...GetOption) (Metadata, error) {
	c, err := v.context(kc)
	if err != nil {
		return Metadata{}, err
	}
	return v.describe(ctx, c, name, opts)
}

// Lookup returns the metadata of an object by its ID alone, whatever its
// context within this vault's namespace: for administrators. Nothing is
// decrypted, and so nothing of it is authenticated.
func (v *Vault) Lookup(ctx context.Context, id ID) (_ Metadata, err error) {
	defer v.trace(&ctx, "lookup", nil).end(&err)
	o := v.begin(ctx, MetadataRead, keyring.Context{})
	rec, err := v.lookup(ctx, id)
	err = v.permitRow(ctx, AccessRequest{Operation: OpLookup, Context: rec.Context.WithoutNamespace(), ObjectID: id}, rec, err)
	if err != nil {
		err = fmt.Errorf("vault: look up %s: %w", id, err)
		if !errors.Is(err, ErrAccessDenied) || rec.ID.IsZero() { // the event of a denial says what of
			rec = storage.ObjectRecord{ID: id}
		}
	}
	o.change(func(e *Event) {
		e.ContextHash = rec.ContextHash
		if v.cfg.EventContext {
			e.Context = rec.Context.WithoutNamespace()
		}
	})
	o.object(rec.Name, rec.ID, rec.VersionID, rec.KeyID)
	if err := o.end(err); err != nil {
		return Metadata{}, err
	}
	return metadataOf(rec), nil
}

func (v *Vault) lookup(ctx context.Context, id ID) (storage.ObjectRecord, error) {
	if err := v.ready(ctx); err != nil {
		return storage.ObjectRecord{}, err
	}
	if id.IsZero() {
		return storage.ObjectRecord{}, fmt.Errorf("%w: the zero ID is no object's", ErrNotFound)
	}
	rec, err := v.cfg.Store.GetObject(ctx, storage.ObjectRef{ID: id, NoEnvelope: true, Now: time.Now()})
	if err == nil && rec.Context.Namespace() != v.cfg.Namespace {
		rec, err = storage.ObjectRecord{}, fmt.Errorf("%w in this namespace", ErrNotFound)
	}
	return rec, err
}

func (v *Vault) describe(ctx context.Context, c keyring.Context, name string, opts []GetOption) (_ Metadata, err error) {
	defer v.trace(&ctx, "describe", &c).end(&err)
	o := v.begin(ctx, MetadataRead, c)
	version, err := getOptions(opts)
	var rec storage.ObjectRecord
	if err == nil {
		rec, err = v.row(ctx, OpDescribe, c, name, version)
	}
	if err != nil {
		err = fmt.Errorf("vault: describe %s: %w", quoteName(name), err)
	}
	o.object(name, rec.ID, rec.VersionID, rec.KeyID)
	if err := o.end(err); err != nil {
		return Metadata{}, err
	}
	return metadataOf(rec), nil
}

// row reads an object's record without its value, for an operation that it decides about.
func (v *Vault) row(ctx context.Context, op Operation, c keyring.Context, name string, version ID) (storage.ObjectRecord, error) {
	if err := v.ready(ctx); err != nil {
		return storage.ObjectRecord{}, err
	}
	if err := validName(name); err != nil {
		return storage.ObjectRecord{}, err
	}
	rec, err := v.cfg.Store.GetObject(ctx, storage.ObjectRef{
		ContextHash: c.Hash, Name: name, Version: version, NoEnvelope: true, Now: time.Now(),
	})
	if err := v.permitRow(ctx, AccessRequest{Operation: op, Context: c.Pairs, Object: name}, rec, err); err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

func (v *Vault) listPage(ctx context.Context, c keyring.Context, opts ListOptions) (Page, error) {
	o := v.begin(ctx, NamesListed, c)
	page, err := v.page(ctx, c, opts, true)
	if err := o.end(err); err != nil {
		return Page{}, err
	}
	return page, nil
}

// page reads a page; with decide it is the first of an operation, which is decided now.
func (v *Vault) page(ctx context.Context, c keyring.Context, opts ListOptions, decide bool) (_ Page, err error) {
	defer v.trace(&ctx, "list", &c).end(&err)
	if err := v.ready(ctx); err != nil {
		return Page{}, fmt.Errorf("vault: list: %w", err)
	}
	if err := opts.validate(); err != nil {
		return Page{}, fmt.Errorf("vault: list: %w", err)
	}
	if decide {
		if err := v.permitList(ctx, c, opts); err != nil {
			return Page{}, fmt.Errorf("vault: list: %w", err)
		}
	}
	q := storage.ObjectQuery{
		Contexts:   storage.ContextFilter{Hash: c.Hash},
		NamePrefix: opts.Prefix, UpdatedAfter: opts.UpdatedAfter,
		Order: opts.Order, Descending: opts.Descending,
		Now: time.Now(), Cursor: opts.Cursor, Limit: opts.Limit,
	}
	if opts.Within {
		q.Contexts = storage.ContextFilter{Match: c.Pairs, Namespace: v.cfg.Namespace}
	}
	rows, err := v.cfg.Store.ListObjects(ctx, q)
	if err == nil {
		err = selected(rows.Objects, q.Contexts)
	}
	if err != nil {
		return Page{}, fmt.Errorf("vault: list: %w", err)
	}
	return pageOf(rows), nil
}

// selected checks that rows are of the contexts that were asked for. A cursor comes
// from outside the process, and what a store makes of it must not show one tenant
// the names of another.
func selected(rows []storage.ObjectRecord, f storage.ContextFilter) error {
	for _, rec := range rows {
		if f.Match == nil && rec.ContextHash != f.Hash ||
			f.Match != nil && (!rec.Context.Contains(f.Match) || rec.Context.Namespace() != f.Namespace) {
			return fmt.Errorf("%w: the store listed an object of a context that wasn't asked for", ErrStoreCorrupt)
		}
	}
	return nil
}

func (o ListOptions) validate() error {
	switch {
	case o.Order != ByName && o.Order != ByUpdated:
		return fmt.Errorf("%w: ListOptions.Order %d is unknown", ErrInvalidOption, o.Order)
	case !o.UpdatedAfter.IsZero() && o.Order != ByUpdated:
		return fmt.Errorf("%w: ListOptions.UpdatedAfter needs Order ByUpdated", ErrInvalidOption)
	case !o.UpdatedAfter.IsZero() && (o.UpdatedAfter.UTC().Year() < 1 || o.UpdatedAfter.UTC().Year() > 9999):
		return fmt.Errorf("%w: ListOptions.UpdatedAfter must be from the year 1 on and before the year 10000", ErrInvalidOption)
	case o.Limit < 0:
		return fmt.Errorf("%w: ListOptions.Limit is %d", ErrInvalidOption, o.Limit)
	case len(o.Prefix) > maxName:
		return fmt.Errorf("%w: ListOptions.Prefix is longer than a name can be", ErrInvalidOption)
	}
	return nil
}

func pageOf(rows storage.ObjectPage) Page {
	page := Page{Objects: make([]Metadata, len(rows.Objects)), Next: rows.Next}
	for i, rec := range rows.Objects {
		page.Objects[i] = metadataOf(rec)
	}
	return page
}

// list iterates over pages. The whole list is one operation and one event: when
// its first page is read, or when a page fails.
func (v *Vault) list(ctx context.Context, c keyring.Context, opts ListOptions, invalid error) iter.Seq2[Metadata, error] {
	if invalid != nil {
		return failed(invalid)
	}
	c.Pairs = c.Pairs.Clone() // the caller may change its map before it iterates
	return v.iterate(ctx, c, "", func(cursor string) (Page, error) {
		o := opts
		if cursor != "" {
			o.Cursor = cursor
		}
		return v.page(ctx, c, o, cursor == "")
	})
}

func (v *Vault) versions(ctx context.Context, c keyring.Context, name string, invalid error) iter.Seq2[Metadata, error] {
	if invalid != nil {
		return failed(invalid)
	}
	c.Pairs = c.Pairs.Clone()
	return func(yield func(Metadata, error) bool) {
		var list versionList // of this iteration: there may be several at once
		v.iterate(ctx, c, name, func(cursor string) (Page, error) {
			page, err := v.versionPage(ctx, c, name, &list, cursor)
			if err != nil {
				return Page{}, fmt.Errorf("vault: versions of %s: %w", quoteName(name), err)
			}
			return page, nil
		})(yield)
	}
}

// versionList is a list of versions under way.
type versionList struct {
	object  ID
	allowed map[string]string // the labels that were decided about last
}

func (v *Vault) versionPage(ctx context.Context, c keyring.Context, name string, list *versionList, cursor string) (_ Page, err error) {
	defer v.trace(&ctx, "versions", &c).end(&err)
	if cursor == "" {
		rec, err := v.row(ctx, OpVersions, c, name, ID{})
		if err != nil {
			return Page{}, err
		}
		*list = versionList{rec.ID, maps.Clone(rec.Labels)}
	}
	if err := v.ready(ctx); err != nil {
		return Page{}, err
	}
	rows, err := v.cfg.Store.ListVersions(ctx, storage.VersionQuery{Object: list.object, Cursor: cursor, Now: time.Now()})
	if err == nil {
		err = selected(rows.Objects, storage.ContextFilter{Hash: c.Hash})
	}
	if err == nil {
		err = v.permitVersions(ctx, c, name, list, rows.Objects)
	}
	if err != nil {
		return Page{}, err
	}
	return pageOf(rows), nil
}

// iterate yields the rows of one page after the other.
func (v *Vault) iterate(ctx context.Context, c keyring.Context, object string, next func(cursor string) (Page, error)) iter.Seq2[Metadata, error] {
	return func(yield func(Metadata, error) bool) {
		for cursor, first := "", true; first || cursor != ""; first = false {
			o := v.begin(ctx, NamesListed, c)
			o.change(func(e *Event) { e.Object = object })
			page, err := next(cursor)
			if first || err != nil {
				err = o.end(err)
			}
			if err != nil {
				yield(Metadata{}, err)
				return
			}
			for _, m := range page.Objects {
				if !yield(m, nil) {
					return
				}
			}
			cursor = page.Next
		}
	}
}

func failed(err error) iter.Seq2[Metadata, error] {
	return func(yield func(Metadata, error) bool) { yield(Metadata{}, err) }
}
