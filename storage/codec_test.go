package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
)

var testTime = time.Date(2025, 7, 1, 12, 0, 0, 123_456_000, time.UTC)

func testContext(t testing.TB, kc keyctx.KeyContext) (keyctx.KeyContext, keyctx.Hash) {
	t.Helper()
	h, err := kc.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return kc, h
}

// smallKey and smallObject have as little as a record may have, wideKey and
// wideObject everything.
func smallKey(t testing.TB) KeyRecord {
	kc, h := testContext(t, keyctx.KeyContext{"o": "1"})
	return KeyRecord{KeyID: keyctx.KeyID{1}, Context: kc, ContextHash: h, Purpose: keyctx.PurposeData, Version: 1, State: StateShredded}
}

func wideKey(t testing.TB) KeyRecord {
	kc, h := testContext(t, keyctx.KeyContext{"organization_id": "org_01", "user_id": "ä", keyctx.ReservedNamespace: "app"})
	ws := []keyctx.Wrapping{{URI: "a:1", Wrapped: []byte{1}}, {URI: "b:" + strings.Repeat("x", 510), Wrapped: make([]byte, keyctx.MaxWrappedLen)}}
	return KeyRecord{
		KeyID: keyctx.KeyID{1, 2}, Context: kc, ContextHash: h, Purpose: keyctx.PurposeWrapping, Version: 1<<32 - 1,
		State: StateDisabled, StateBefore: StateDecryptOnly, Quorum: keyctx.AllOf, Wrappings: ws,
		Previous: []PreviousWrapping{
			{Quorum: keyctx.AnyOf, Wrappings: ws[:1], Until: testTime},
			{Quorum: keyctx.AllOf, Wrappings: ws, Until: testTime.Add(-time.Hour)},
		},
		ParentID: keyctx.KeyID{9}, CreatedAt: testTime, StateChangedAt: testTime.Add(time.Hour),
		RewrappedAt: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC), Revision: 1<<64 - 1,
	}
}

func smallObject(t testing.TB) ObjectRecord {
	kc, h := testContext(t, keyctx.KeyContext{"o": "1"})
	return ObjectRecord{ID: ID{1}, Context: kc, ContextHash: h, Name: "n", VersionID: ID{2}, Number: 1, KeyID: keyctx.KeyID{3}}
}

func wideObject(t testing.TB) ObjectRecord {
	kc, h := testContext(t, keyctx.KeyContext{"organization_id": "org_01", "user_id": "ä", keyctx.ReservedNamespace: "app"})
	return ObjectRecord{
		ID: NewID(testTime), Context: kc, ContextHash: h, Name: strings.Repeat("ä", MaxNameLen/2), CreatedAt: testTime, UniqueName: true,
		VersionID: NewID(testTime), Number: 1<<64 - 1, KeyID: keyctx.KeyID{3}, Size: 1<<63 - 1, ExpiresAt: testTime.UnixMicro(),
		UpdatedAt: time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), UpdatedBy: "someone",
		Labels:   map[string]string{"": "", "b": "c", "a": strings.Repeat("v", 1000)},
		Envelope: bytes.Repeat([]byte{0xe1}, 1110),
	}
}

func TestKeyRecordRoundTrip(t *testing.T) {
	for _, want := range []KeyRecord{smallKey(t), wideKey(t)} {
		b, err := AppendKeyRecord([]byte("before"), want)
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		got, err := DecodeKeyRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		clear(b) // what was decoded shares nothing with it
		if !reflect.DeepEqual(got, want) {
			t.Error("the record changed with the bytes it was decoded from")
		}
	}
}

func TestObjectRecordRoundTrip(t *testing.T) {
	for _, want := range []ObjectRecord{smallObject(t), wideObject(t)} {
		b, err := AppendObjectRecord([]byte("before"), want)
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		meta, err := DecodeObjectMeta(b)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		for range 2 { // the second time the context is remembered
			got, err := d.ObjectRecord(b)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
			got.Context["scribbled"] = "over"
		}
		got, err := DecodeObjectRecord(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
		clear(b)
		if !reflect.DeepEqual(got, want) {
			t.Error("the record changed with the bytes it was decoded from")
		}
		want.Envelope = nil
		if !reflect.DeepEqual(meta, want) {
			t.Errorf("got  %+v\nwant %+v", meta, want)
		}
	}
}

// The bytes of a record are on users' disks: they never change.
func TestRecordBytes(t *testing.T) {
	key, err := AppendKeyRecord(nil, smallKey(t))
	if err != nil {
		t.Fatal(err)
	}
	object, err := AppendObjectRecord(nil, smallObject(t))
	if err != nil {
		t.Fatal(err)
	}
	kc, h := testContext(t, keyctx.KeyContext{"o": "1"})
	canonical, err := kc.AppendCanonical(nil)
	if err != nil {
		t.Fatal(err)
	}
	context := hex.EncodeToString([]byte{0, byte(len(canonical))}) + hex.EncodeToString(canonical)
	zeros := func(n int) string { return strings.Repeat("00", n) }
	const yearOne = "ff23400100d44000" // the zero time, in microseconds since 1970
	if want := "11" + "01" + zeros(31) + h.String() + "01" + "00000001" + "04" + "00" + zeros(8) + zeros(32) +
		yearOne + yearOne + yearOne + context + "0000" + "0000"; hex.EncodeToString(key) != want {
		t.Errorf("key record:\ngot  %x\nwant %s", key, want)
	}
	if want := "21" + "00" + "01" + zeros(15) + h.String() + "02" + zeros(15) + zeros(7) + "01" + "03" + zeros(31) +
		zeros(8) + zeros(8) + yearOne + yearOne + context + "00016e" + "0000" + "0000" + "00000000"; hex.EncodeToString(object) != want {
		t.Errorf("object record:\ngot  %x\nwant %s", object, want)
	}
}

// TestDecodeRefuses changes good encodings, byte by byte: what is taken must
// encode to the very same bytes.
func TestDecodeRefuses(t *testing.T) {
	key, err := AppendKeyRecord(nil, wideKey(t))
	if err != nil {
		t.Fatal(err)
	}
	object, err := AppendObjectRecord(nil, wideObject(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		decode func([]byte) ([]byte, error) // and encode again
	}{"key": {key, recodeKey}, "object": {object, recodeObject}} {
		if len(c.b) == 0 {
			t.Fatal("nothing to change")
		}
		for n := range len(c.b) {
			if _, err := c.decode(c.b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		for _, more := range []string{"\x00", "\xff", string(c.b)} {
			if _, err := c.decode(append(bytes.Clone(c.b), more...)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s with %d bytes more: %v", name, len(more), err)
			}
		}
		for i := range c.b[:min(len(c.b), 1200)] {
			for _, bit := range []byte{1, 0x10, 0x80} {
				b := bytes.Clone(c.b)
				b[i] ^= bit
				again, err := c.decode(b)
				if err == nil && !bytes.Equal(again, b) {
					t.Errorf("%s with byte %d changed decodes, and encodes to other bytes", name, i)
				}
				if err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s with byte %d changed: %v", name, i, err)
				}
				if i == 0 && err == nil {
					t.Errorf("%s with format %#02x decodes", name, b[0])
				}
			}
		}
	}
	for name, b := range map[string][]byte{
		"a context that isn't sorted": swapPairs(t, object),
		"an unknown flag":             set(object, 1, 0x02),
		"size below zero":             set(object, 1+1+16+32+16+8+32, 0x80),
		"expiry below zero":           set(object, 1+1+16+32+16+8+32+8, 0x80),
		"a key record":                key,
		"nothing":                     nil,
	} {
		if _, err := DecodeObjectRecord(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"purpose 0":       set(key, 65, 0),
		"purpose 5":       set(key, 65, 5),
		"state 0":         set(key, 70, 0),
		"state 5":         set(key, 70, 5),
		"former state 5":  set(key, 71, 5),
		"another context": set(key, 33, key[33]^1),
		"an object":       object,
		"nothing":         nil,
	} {
		if _, err := DecodeKeyRecord(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func set(b []byte, i int, v byte) []byte {
	b = bytes.Clone(b)
	b[i] = v
	return b
}

// swapPairs changes the order of a context's pairs, and the hash with them.
func swapPairs(t *testing.T, object []byte) []byte {
	pair := func(k, v string) string {
		return string([]byte{0, byte(len(k))}) + k + string([]byte{0, byte(len(v))}) + v
	}
	a, b := pair("organization_id", "org_01"), pair("user_id", "ä")
	swapped := bytes.Replace(object, []byte(a+b), []byte(b+a), 1)
	if bytes.Equal(swapped, object) {
		t.Fatal("the pairs were not found")
	}
	start := objectFixedLen
	n := int(swapped[start])<<8 | int(swapped[start+1])
	hash := sha256Of(swapped[start+2 : start+2+n])
	copy(swapped[1+1+16:], hash[:])
	return swapped
}

func recodeKey(b []byte) ([]byte, error) {
	r, err := DecodeKeyRecord(b)
	if err != nil {
		return nil, err
	}
	return AppendKeyRecord(nil, r)
}

func recodeObject(b []byte) ([]byte, error) {
	r, err := DecodeObjectRecord(b)
	if err != nil {
		return nil, err
	}
	return AppendObjectRecord(nil, r)
}

// TestDecodeBounded gives lengths and counts far beyond what is there.
func TestDecodeBounded(t *testing.T) {
	key, err := AppendKeyRecord(nil, smallKey(t))
	if err != nil {
		t.Fatal(err)
	}
	object, err := AppendObjectRecord(nil, smallObject(t))
	if err != nil {
		t.Fatal(err)
	}
	huge := func(b []byte, from int) []byte {
		b = bytes.Clone(b)
		for i := from; i < len(b); i++ {
			b[i] = 0xff
		}
		return b
	}
	for _, b := range [][]byte{huge(key, len(key)-2), huge(object, len(object)-4), huge(object, len(object)-6), huge(object, len(object)-8)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if _, err := DecodeKeyRecord(b); !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
			if _, err := DecodeObjectRecord(b); !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / 200; n > 20*uint64(len(b))+4096 {
			t.Errorf("%d bytes were allocated for %d", n, len(b))
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for name, change := range map[string]func(*ObjectRecord){
		"label key":   func(r *ObjectRecord) { r.Labels = map[string]string{strings.Repeat("k", 1<<16): ""} },
		"label value": func(r *ObjectRecord) { r.Labels = map[string]string{"": strings.Repeat("v", 1<<16)} },
		"actor":       func(r *ObjectRecord) { r.UpdatedBy = strings.Repeat("u", 1<<16) },
	} {
		r := smallObject(t)
		change(&r)
		if _, err := AppendObjectRecord(nil, r); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := smallObject(t)
	r.Context = keyctx.KeyContext{"": ""}
	if _, err := AppendObjectRecord(nil, r); !errors.Is(err, keyctx.ErrInvalidContext) {
		t.Error(err)
	}
	for name, change := range map[string]func(*KeyRecord){
		"year 0":          func(r *KeyRecord) { r.CreatedAt = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"year 300000":     func(r *KeyRecord) { r.RewrappedAt = time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"previous":        func(r *KeyRecord) { r.Previous = make([]PreviousWrapping, 1<<16) },
		"quorum":          func(r *KeyRecord) { r.Quorum = 3 },
		"previous quorum": func(r *KeyRecord) { r.Previous = []PreviousWrapping{{Quorum: 3}} },
	} {
		r := smallKey(t)
		change(&r)
		if _, err := AppendKeyRecord(nil, r); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzDecodeKeyRecord(f *testing.F) {
	for _, r := range []KeyRecord{smallKey(f), wideKey(f)} {
		b, err := AppendKeyRecord(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) { recoded(t, b, recodeKey) })
}

func FuzzDecodeObjectRecord(f *testing.F) {
	for _, r := range []ObjectRecord{smallObject(f), wideObject(f)} {
		b, err := AppendObjectRecord(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) { recoded(t, b, recodeObject) })
}

// recoded wants b to be refused as corrupt, or to be decoded and encoded to
// itself.
func recoded(t *testing.T, b []byte, recode func([]byte) ([]byte, error)) {
	again, err := recode(b)
	switch {
	case err != nil && !errors.Is(err, ErrCorrupt):
		t.Errorf("neither decodes nor is corrupt: %v", err)
	case err == nil && !bytes.Equal(again, b):
		t.Errorf("%x decodes, and encodes to %x", b, again)
	}
}
