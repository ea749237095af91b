package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// DecodeKeyRecord reads what [AppendKeyRecord] made, and nothing else: its
// errors match [ErrCorrupt]. The record shares nothing with b. It allocates no
// more than a small multiple of len(b).
func DecodeKeyRecord(b []byte) (KeyRecord, error) { return decodeKey(b, nil) }

func decodeKey(b []byte, d *Decoder) (KeyRecord, error) {
	var rec KeyRecord
	r := reader{b: b}
	if f := r.byte(); r.err == nil && f != keyFormat {
		r.fail(fmt.Errorf("format %#02x", f))
	}
	rec.KeyID = r.keyID()
	rec.ContextHash = r.hash()
	rec.Purpose = keyctx.Purpose(r.byte())
	rec.Version = r.uint32()
	rec.State, rec.StateBefore = State(r.byte()), State(r.byte())
	rec.Revision = r.uint64()
	rec.ParentID = r.keyID()
	rec.CreatedAt, rec.StateChangedAt, rec.RewrappedAt = r.time(), r.time(), r.time()
	rec.Context = r.context(rec.ContextHash, d)
	rec.Quorum, rec.Wrappings = r.wrappings()
	n := int(r.uint16())
	for i := 0; i < n && r.err == nil; i++ {
		p := PreviousWrapping{Until: r.time()}
		p.Quorum, p.Wrappings = r.wrappings()
		rec.Previous = append(rec.Previous, p)
	}
	err := r.end()
	if err == nil {
		err = rec.checkDecoded()
	}
	if err != nil {
		return KeyRecord{}, fmt.Errorf("storage: decode key record: %w: %w", ErrCorrupt, err)
	}
	return rec, nil
}

// checkDecoded is check without what the reader has checked.
func (r *KeyRecord) checkDecoded() error {
	switch {
	case r.KeyID.IsZero():
		return errors.New("no key ID")
	case !r.Purpose.Valid() || !r.State.Valid() || r.StateBefore != 0 && !r.StateBefore.Valid():
		return errors.New("unknown purpose or state")
	case r.Version == 0:
		return errors.New("version 0")
	}
	return nil
}

// context reads a canonical context that must have this hash.
func (r *reader) context(hash keyctx.Hash, d *Decoder) keyctx.KeyContext {
	b := r.part()
	if r.err != nil {
		return nil
	}
	if kc := d.get(hash, b); kc != nil {
		return kc
	}
	if sha256.Sum256(b) != hash {
		r.fail(errors.New("the context hash is another context's"))
		return nil
	}
	kc, err := keyctx.ParseCanonical(b)
	if err != nil {
		r.fail(err)
		return nil
	}
	d.put(hash, b, kc)
	return kc
}

func (r *reader) wrappings() (keyctx.Quorum, []keyctx.Wrapping) {
	q, n := keyctx.Quorum(r.byte()), int(r.byte())
	if r.err != nil {
		return 0, nil
	}
	var ws []keyctx.Wrapping
	for i := 0; i < n && r.err == nil; i++ {
		uri, wrapped := string(r.part()), slices.Clone(r.part())
		ws = append(ws, keyctx.Wrapping{URI: uri, Wrapped: wrapped})
	}
	if r.err == nil {
		if err := checkWrappings(q, ws); err != nil {
			r.fail(err)
		}
	}
	return q, ws
}

// DecodeObjectRecord reads what [AppendObjectRecord] made, and nothing else:
// its errors match [ErrCorrupt]. The record shares nothing with b. It
// allocates no more than a small multiple of len(b).
func DecodeObjectRecord(b []byte) (ObjectRecord, error) { return decodeObject(b, nil, true) }

// DecodeObjectMeta is like [DecodeObjectRecord] but leaves the Envelope out,
// and doesn't touch its bytes.
func DecodeObjectMeta(b []byte) (ObjectRecord, error) { return decodeObject(b, nil, false) }

func decodeObject(b []byte, d *Decoder, withEnvelope bool) (ObjectRecord, error) {
	var rec ObjectRecord
	r := reader{b: b}
	if f := r.byte(); r.err == nil && f != objectFormat {
		r.fail(fmt.Errorf("format %#02x", f))
	}
	flags := r.byte()
	rec.UniqueName = flags&flagUnique != 0
	rec.ID = r.id()
	rec.ContextHash = r.hash()
	rec.VersionID = r.id()
	rec.Number = r.uint64()
	rec.KeyID = r.keyID()
	rec.Size, rec.ExpiresAt = r.amount(maxSize), r.amount(maxMicros)
	rec.CreatedAt, rec.UpdatedAt = r.time(), r.time()
	rec.Context = r.context(rec.ContextHash, d)
	r.texts(&rec)
	envelope := r.take(r.length())
	err := r.end()
	if err == nil {
		err = rec.checkDecoded(flags)
	}
	if err != nil {
		return ObjectRecord{}, fmt.Errorf("storage: decode object record: %w: %w", ErrCorrupt, err)
	}
	if withEnvelope && len(envelope) > 0 {
		rec.Envelope = bytes.Clone(envelope)
	}
	return rec, nil
}

// checkDecoded is check without what the reader has checked.
func (r *ObjectRecord) checkDecoded(flags byte) error {
	switch {
	case flags&^flagUnique != 0:
		return fmt.Errorf("unknown flags %#02x", flags)
	case r.ID.IsZero() || r.VersionID.IsZero() || r.KeyID.IsZero():
		return errors.New("no object, version or key ID")
	case r.Number == 0:
		return errors.New("number 0")
	case len(r.Name) == 0 || len(r.Name) > MaxNameLen:
		return fmt.Errorf("a name of %d bytes", len(r.Name))
	}
	return nil
}

// length reads the u32 length of the last field. Comparing before converting
// keeps it right where int has 32 bits.
func (r *reader) length() int {
	n := r.uint32()
	if uint64(n) > uint64(len(r.b)) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// texts reads name, actor and labels. Their strings are cut from one copy of
// all of them: one allocation instead of many, on the path of every Get.
func (r *reader) texts(rec *ObjectRecord) {
	name, by := r.part(), r.part()
	labels := r.labels()
	n := len(name) + len(by)
	for _, p := range labels {
		n += len(p)
	}
	if r.err != nil {
		return
	}
	if n == len(name) { // nearly always
		rec.Name = string(name)
		return
	}
	buf := make([]byte, 0, n)
	buf = append(append(buf, name...), by...)
	for _, p := range labels {
		buf = append(buf, p...)
	}
	all := string(buf)
	cut := func(n int) (s string) { s, all = all[:n], all[n:]; return s }
	rec.Name, rec.UpdatedBy = cut(len(name)), cut(len(by))
	if len(labels) == 0 {
		return
	}
	rec.Labels = make(map[string]string, len(labels)/2)
	for i := 0; i < len(labels); i += 2 {
		k := cut(len(labels[i]))
		rec.Labels[k] = cut(len(labels[i+1]))
	}
}

// labels reads keys and values in turn.
func (r *reader) labels() (parts [][]byte) {
	n := int(r.uint16())
	for i := 0; i < n && r.err == nil; i++ {
		k, v := r.part(), r.part()
		if i > 0 && bytes.Compare(parts[len(parts)-2], k) >= 0 {
			r.fail(errors.New("the labels are not in order"))
		}
		parts = append(parts, k, v)
	}
	return parts
}
