package storage

import (
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
)

func benchObject(tb testing.TB) ObjectRecord {
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)
	return ObjectRecord{
		ID: NewID(now), Context: kc, ContextHash: hash, Name: "stripe/api-key", CreatedAt: now,
		VersionID: NewID(now), Number: 3, KeyID: keyctx.KeyID{1}, Size: 1024, UpdatedAt: now, UpdatedBy: "alice",
		Envelope: make([]byte, 1024+86),
	}
}

func BenchmarkDecodeObjectRecord(b *testing.B) {
	enc, err := AppendObjectRecord(nil, benchObject(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeObjectRecord(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	enc, err := AppendObjectRecord(nil, benchObject(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var d Decoder
	for b.Loop() {
		if _, err := d.ObjectRecord(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendObjectRecord(b *testing.B) {
	rec := benchObject(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendObjectRecord(nil, rec); err != nil {
			b.Fatal(err)
		}
	}
}
