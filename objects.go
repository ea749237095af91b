package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// maxName is the longest object name in bytes.
const maxName = 512

// Metadata describes an object and one of its versions. Of all this only the
// name, the version ID and the expiry are authenticated, and they only by Get
// and its kin, which decrypt.
type Metadata struct {
	ID        ID         // of the object
	Name      string     // unique within its context
	Context   KeyContext // without the namespace
	VersionID ID
	Number    uint64 // of the version: 1, 2, 3 …
	KeyID     KeyID  // of the key it is sealed under
	Size      int64  // of the value, in bytes
	CreatedAt time.Time
	UpdatedAt time.Time // when this version was put
	UpdatedBy string    // the actor who put this version
	ExpiresAt time.Time // zero: never
	Labels    map[string]string
}

// Object is an object with the value of one of its versions.
type Object struct {
	Metadata

	// Value is the plaintext. It is never nil. Package fmt prints it with no
	// verb, and packages encoding/json and encoding/xml leave it out; encoders
	// that know no tags (encoding/gob) don't.
	Value []byte `json:"-" xml:"-"`
}

// Format prints what identifies the object and no secret, whatever the verb.
func (o Object) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "vault.Object{%q, version %d, %d bytes}", o.Name, o.Number, o.Size)
}

// Put stores value, encrypted, under name: as a new object, or as a new version
// of the one that kc has under that name. value is neither kept nor changed.
//
// A name is 1 to 512 bytes of UTF-8 without control characters. Names are not
// secret: they are stored in clear.
//
// Options: IfAbsent, IfVersion, ExpiresAt, Labels. Errors: ErrNoStore,
// ErrInvalidContext, ErrInvalidName, ErrInvalidOption, ErrTooLarge, ErrExists,
// ErrVersionConflict; those of Encrypt; the store's.
func (v *Vault) Put(ctx context.Context, kc KeyContext, name string, value []byte, opts ...PutOption) (Metadata, error) {
	c, err := v.context(kc)
	if err != nil {
		return Metadata{}, err
	}
	return v.put(ctx, c, name, value, opts)
}

// Get returns the object that kc has under name, decrypted: its current
// version, or with AtVersion another. An object that has expired is not found.
//
// Errors: ErrNoStore, ErrInvalidContext, ErrInvalidName, ErrInvalidOption,
// ErrNotFound; those of Decrypt; the store's.
func (v *Vault) Get(ctx context.Context, kc KeyContext, name string, opts ...GetOption) (Object, error) {
	c, err := v.context(kc)
	if err != nil {
		return Object{}, err
	}
	return v.get(ctx, c, name, opts)
}

// GetByID is [Vault.Get] by the object's ID. Another context's ID is ErrNotFound.
// Who can write to the database can repoint an ID to another object of the same
// context: where that matters, compare the Name of what is returned.
func (v *Vault) GetByID(ctx context.Context, kc KeyContext, id ID, opts ...GetOption) (Object, error) {
	c, err := v.context(kc)
	if err != nil {
		return Object{}, err
	}
	return v.getByID(ctx, c, id, opts)
}

// Delete removes the object that kc has under name, all its versions with it.
//
// Options: IfVersion. Errors: ErrNoStore, ErrInvalidContext, ErrInvalidName,
// ErrNotFound, ErrVersionConflict; the store's.
func (v *Vault) Delete(ctx context.Context, kc KeyContext, name string, opts ...DeleteOption) error {
	c, err := v.context(kc)
	if err != nil {
		return err
	}
	return v.delete(ctx, c, name, opts)
}

// ready reports whether a call about an object may go to the store.
func (v *Vault) ready(ctx context.Context) error {
	switch {
	case v.closed.Load():
		return ErrClosed
	case v.cfg.Store == nil:
		return ErrNoStore
	}
	return ctx.Err()
}

func (v *Vault) put(ctx context.Context, c keyring.Context, name string, value []byte, opts []PutOption) (_ Metadata, err error) {
	defer v.trace(&ctx, "put", &c).end(&err)
	o := v.begin(ctx, DataUpdated, c)
	meta, err := v.putObject(ctx, c, name, value, opts)
	if err != nil {
		err = fmt.Errorf("vault: put %s: %w", quoteName(name), err)
	}
	if meta.Number == 1 {
		o.change(func(e *Event) { e.Name = DataCreated })
	}
	o.object(name, meta.ID, meta.VersionID, meta.KeyID)
	return meta, o.end(err)
}

func (v *Vault) putObject(ctx context.Context, c keyring.Context, name string, value []byte, opts []PutOption) (Metadata, error) {
	if err := v.ready(ctx); err != nil {
		return Metadata{}, err
	}
	if err := validName(name); err != nil {
		return Metadata{}, err
	}
	p, err := putOptions(opts)
	if err != nil {
		return Metadata{}, err
	}
	guard := storage.PutGuard{IfAbsent: p.ifAbsent, IfVersion: p.ifVersion, Keep: v.cfg.KeepVersions}
	if guard, err = v.permitPut(ctx, c, name, p, guard); err != nil {
		return Metadata{}, err
	}
	version := storage.NewID(time.Now())
	sealed, id, err := v.seal(ctx, c, envelope.KindObject, v.cfg.MaxObject, nil, value, objectAAD(version, p.expiresAt, name))
	if err != nil {
		return Metadata{}, err
	}
	// Only now: sealing may have waited for a KMS. By an older time an object
	// that has expired meanwhile, and was not found, would come back to life.
	now := time.Now().UTC().Truncate(time.Microsecond)
	guard.Now = now
	rec, err := v.putAllowed(ctx, c, p, guard, storage.ObjectRecord{
		ID: storage.NewID(now), Name: name, UniqueName: v.cfg.UniqueNames,
		Context: c.Pairs.WithNamespace(v.cfg.Namespace), ContextHash: c.Hash,
		VersionID: version, KeyID: id, Size: int64(len(value)),
		ExpiresAt: p.expiresAt, UpdatedAt: now, UpdatedBy: actorOf(ctx), Labels: p.labels,
		Envelope: sealed,
	})
	if err != nil {
		return Metadata{}, err
	}
	return metadataOf(rec), nil
}

func (v *Vault) get(ctx context.Context, c keyring.Context, name string, opts []GetOption) (Object, error) {
	err := validName(name)
	ref := storage.ObjectRef{ContextHash: c.Hash, Name: name}
	return v.read(ctx, c, name, ref, opts, err)
}

func (v *Vault) getByID(ctx context.Context, c keyring.Context, id ID, opts []GetOption) (Object, error) {
	var err error
	if id.IsZero() {
		err = fmt.Errorf("%w: the zero ID is no object's", ErrNotFound)
	}
	return v.read(ctx, c, "", storage.ObjectRef{ID: id}, opts, err)
}

// read fetches and opens one object. name is the one asked for; "" if the
// object is asked for by ID. invalid is what is wrong with the call already.
func (v *Vault) read(ctx context.Context, c keyring.Context, name string, ref storage.ObjectRef, opts []GetOption, invalid error) (_ Object, err error) {
	defer v.trace(&ctx, "get", &c).end(&err)
	o := v.begin(ctx, DataRead, c)
	obj, err := v.fetch(ctx, c, name, ref, opts, invalid)
	if err != nil {
		err = fmt.Errorf("vault: get %s: %w", quoteRef(name, ref), err)
	}
	if name == "" {
		name = obj.Name
	}
	id := obj.ID
	if id.IsZero() {
		id = ref.ID
	}
	o.object(name, id, obj.VersionID, obj.KeyID)
	if err := o.end(err); err != nil {
		clear(obj.Value)
		return Object{}, err
	}
	return obj, nil
}

func (v *Vault) fetch(ctx context.Context, c keyring.Context, name string, ref storage.ObjectRef, opts []GetOption, invalid error) (Object, error) {
	if err := v.ready(ctx); err != nil {
		return Object{}, err
	}
	if invalid != nil {
		return Object{}, invalid
	}
	version, err := getOptions(opts)
	if err != nil {
		return Object{}, err
	}
	ref.Version, ref.Now = version, time.Now()
	rec, err := v.cfg.Store.GetObject(ctx, ref)
	if err == nil && !ref.ID.IsZero() && rec.ContextHash != c.Hash {
		err = fmt.Errorf("%w: no such object of this context", ErrNotFound)
	}
	if err := v.permitRow(ctx, AccessRequest{Operation: OpGet, Context: c.Pairs, Object: name, ObjectID: ref.ID}, rec, err); err != nil {
		return Object{}, err
	}
	if name == "" {
		name = rec.Name
	}
	return v.openObject(ctx, c, name, version, rec)
}

// openObject decrypts a record as what was asked for: the object that the
// context has under name and, unless it is zero, this version of it. What the
// row says of itself counts for nothing where the caller said it.
func (v *Vault) openObject(ctx context.Context, c keyring.Context, name string, version ID, rec storage.ObjectRecord) (Object, error) {
	if rec.ContextHash != c.Hash {
		return Object{}, fmt.Errorf("%w: the stored object is of context %s", ErrWrongContext, rec.ContextHash.Short())
	}
	if version.IsZero() {
		version = rec.VersionID
	}
	if rec.Expired(time.Now()) {
		return Object{}, fmt.Errorf("%w: it has expired", ErrNotFound)
	}
	value, id, err := v.open(ctx, c, envelope.KindObject, nil, rec.Envelope, objectAAD(version, rec.ExpiresAt, name))
	if err != nil {
		return Object{}, err
	}
	obj := Object{Metadata: metadataOf(rec), Value: value}
	obj.Name, obj.Context = name, c.Pairs.Clone()
	obj.VersionID, obj.KeyID, obj.Size = version, id, int64(len(value))
	return obj, nil
}

func (v *Vault) delete(ctx context.Context, c keyring.Context, name string, opts []DeleteOption) (err error) {
	defer v.trace(&ctx, "delete", &c).end(&err)
	o := v.begin(ctx, DataDeleted, c)
	rec, err := v.deleteObject(ctx, c, name, opts)
	if err != nil {
		err = fmt.Errorf("vault: delete %s: %w", quoteName(name), err)
	}
	o.object(name, rec.ID, rec.VersionID, rec.KeyID)
	return o.end(err)
}

func (v *Vault) deleteObject(ctx context.Context, c keyring.Context, name string, opts []DeleteOption) (storage.ObjectRecord, error) {
	if err := v.ready(ctx); err != nil {
		return storage.ObjectRecord{}, err
	}
	if err := validName(name); err != nil {
		return storage.ObjectRecord{}, err
	}
	ref := storage.ObjectRef{ContextHash: c.Hash, Name: name, Now: time.Now()}
	version, err := deleteOptions(opts)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return v.deleteAllowed(ctx, c, ref, version)
}

// objectAAD is the associated data of an object value:
//
//	"vault/obj/v1" ‖ version ID (16) ‖ i64 expires-at ‖ u16 len ‖ name
//
// SPEC: docs/SPEC.md, "Object value".
func objectAAD(version ID, expiresAt int64, name string) []byte {
	const label = "vault/obj/v1"
	b := make([]byte, 0, len(label)+len(version)+8+2+len(name))
	b = append(b, label...)
	b = append(b, version[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(expiresAt))
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// metadataOf takes over the record's maps: the store has no use for them.
func metadataOf(rec storage.ObjectRecord) Metadata {
	delete(rec.Context, keyctx.ReservedNamespace)
	m := Metadata{
		ID: rec.ID, Name: rec.Name, Context: rec.Context,
		VersionID: rec.VersionID, Number: rec.Number, KeyID: rec.KeyID, Size: rec.Size,
		CreatedAt: rec.CreatedAt, UpdatedAt: rec.UpdatedAt, UpdatedBy: rec.UpdatedBy, Labels: rec.Labels,
	}
	if rec.ExpiresAt != 0 {
		m.ExpiresAt = time.UnixMicro(rec.ExpiresAt).UTC()
	}
	return m
}

func validName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
	case len(name) > maxName:
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrInvalidName, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrInvalidName)
	}
	for _, r := range name {
		if isControl(r) {
			return fmt.Errorf("%w: it has a control character", ErrInvalidName)
		}
	}
	return nil
}

// quoteName names an object in an error, whatever it is made of.
func quoteName(name string) string { return fmt.Sprintf("%.80q", name) }

func quoteRef(name string, ref storage.ObjectRef) string {
	if !ref.ID.IsZero() {
		return ref.ID.String()
	}
	return quoteName(name)
}
