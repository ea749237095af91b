package sqlcore

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

func TestLabels(t *testing.T) {
	for _, labels := range []map[string]string{nil, {"": ""}, {"a": "\x00\xff", "b": strings.Repeat("x", 65535)}} {
		b, err := encodeLabels(labels)
		if err != nil || b == nil {
			t.Fatalf("%v, nil: %v", err, b == nil)
		}
		back, err := decodeLabels(b)
		if err != nil || !maps.Equal(back, labels) {
			t.Errorf("%v, %v", back, err)
		}
		for n := 1; n < min(len(b), 20); n++ {
			if _, err := decodeLabels(b[:n]); err == nil {
				t.Errorf("%d bytes of %d were taken", n, len(b))
			}
		}
		if _, err := decodeLabels(append(b, 0)); err == nil {
			t.Error("a byte more was taken")
		}
	}
	large := map[string]string{}
	for i := range 300 {
		large[strings.Repeat("k", i)] = strings.Repeat("v", 65535)
	}
	if _, err := encodeLabels(large); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestWrappings(t *testing.T) {
	rec := storage.KeyRecord{
		Quorum: keyctx.AllOf, Wrappings: []keyctx.Wrapping{{URI: "a:b", Wrapped: []byte("one")}, {URI: "c:d", Wrapped: make([]byte, 4096)}},
		Previous: []storage.PreviousWrapping{{Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "e:f", Wrapped: []byte{1}}}, Until: time.UnixMicro(-5).UTC()}},
	}
	b, err := encodeWrappings(&rec)
	if err != nil {
		t.Fatal(err)
	}
	var back storage.KeyRecord
	if err := decodeWrappings(b, &back); err != nil {
		t.Fatal(err)
	}
	again, err := encodeWrappings(&back)
	if err != nil || !bytes.Equal(again, b) || !back.Previous[0].Until.Equal(rec.Previous[0].Until) {
		t.Errorf("%v, %+v", err, back)
	}
	for n := range b {
		if err := decodeWrappings(b[:n], &storage.KeyRecord{}); err == nil {
			t.Errorf("%d bytes of %d were taken", n, len(b))
		}
	}
}

// What decodes encodes to the same bytes.
func FuzzDecodeWrappings(f *testing.F) {
	f.Add([]byte{1, 1, 1, 0, 1, 'a', 0, 1, 9, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec storage.KeyRecord
		if decodeWrappings(b, &rec) != nil {
			return
		}
		again, err := encodeWrappings(&rec)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
	})
}
