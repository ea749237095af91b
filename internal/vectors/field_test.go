package vectors_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

func prefixed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// locationHash follows "Field"; it is a second reader.
func locationHash(v vectors.Field) []byte {
	b := slices.Concat([]byte("vault/field/v1"), prefixed([]byte(v.Table)), prefixed([]byte(v.Column)), []byte{byte(len(v.Row))})
	for _, id := range v.Row {
		b = append(b, prefixed(id)...)
	}
	sum := sha256.Sum256(b)
	return sum[:16]
}

// readField is what a reader makes of an envelope of a field.
func readField(v vectors.Field) ([]byte, vectors.Result) {
	r := reader{v.ContextHash, v.ContextKey, v.Purpose, v.Version, 9, nil}
	plain, result := r.read(v.Envelope)
	switch {
	case result != vectors.Valid:
		return nil, result
	case len(plain) < 18 || plain[0] != 1:
		return nil, vectors.Malformed
	case !bytes.Equal(plain[2:18], v.LocationHash):
		return nil, vectors.WrongLocation
	case plain[1] < 1 || plain[1] > 8:
		return nil, vectors.Malformed
	case plain[1] != v.WantedCodec:
		return nil, vectors.WrongType
	}
	value := plain[18:]
	if size := map[byte]int{3: 8, 4: 8, 5: 8, 6: 1, 7: 12}[plain[1]]; size != 0 && len(value) != size {
		return nil, vectors.Malformed
	}
	switch plain[1] {
	case 5:
		if n := binary.BigEndian.Uint64(value); n<<1 > 0x7ff0000000000000<<1 && n != 0x7ff8000000000000 {
			return nil, vectors.Malformed
		}
	case 6:
		if value[0] > 1 {
			return nil, vectors.Malformed
		}
	case 7:
		if binary.BigEndian.Uint32(value[8:]) > 999_999_999 {
			return nil, vectors.Malformed
		}
	case 8:
		if !json.Valid(value) {
			return nil, vectors.WrongType
		}
	}
	return value, vectors.Valid
}

func TestFields(t *testing.T) {
	results := map[vectors.Result]int{}
	for _, v := range read[vectors.Field](t, vectors.FieldFile) {
		results[v.Result]++
		t.Run(v.Name, func(t *testing.T) {
			if got := locationHash(v); !bytes.Equal(got, v.LocationHash) {
				t.Errorf("location hash: %x", got)
			}
			value, got := readField(v)
			if got != v.Result || got == vectors.Valid && !bytes.Equal(value, v.Value) {
				t.Errorf("%x, %q; want %q", value, got, v.Result)
			}
			sealed := v.Result // what the envelope alone says
			switch {
			case sealed == vectors.WrongLocation || sealed == vectors.WrongType, sealed == vectors.Malformed && opens(t, v):
				sealed = vectors.Valid
			}
			checkSealed(t, envelope.KindField, sealed, v.Sealed)
		})
	}
	for _, r := range []vectors.Result{vectors.Valid, vectors.Malformed, vectors.WrongContext, vectors.DecryptFailed, vectors.WrongLocation, vectors.WrongType} {
		if results[r] == 0 {
			t.Errorf("no vector has the result %q", r)
		}
	}
	if len(results) != 6 {
		t.Error(results)
	}
}

// opens reports whether a malformed field is malformed within.
func opens(t *testing.T, v vectors.Field) bool {
	_, r := reader{v.ContextHash, v.ContextKey, v.Purpose, v.Version, 9, nil}.read(v.Envelope)
	return r == vectors.Valid
}

func TestBlindIndexes(t *testing.T) {
	results := map[vectors.Result]int{}
	for _, v := range read[vectors.BlindIndex](t, vectors.BlindIndexFile) {
		results[v.Result]++
		t.Run(v.Name, func(t *testing.T) {
			k := newKey(t, v.Key)
			defer k.Destroy()
			if v.Purpose != uint8(keyctx.PurposeIndex) {
				t.Error("a key of another purpose")
			}
			if v.Result == vectors.NotIndexable {
				return // by the normaliser: package vault's to check
			}
			column := prefixed([]byte(v.Table))
			var message []byte
			for _, p := range v.Parts {
				column = slices.Concat(column, prefixed([]byte(p.Column)), prefixed([]byte(p.Normaliser)))
				if strings.HasPrefix(p.Normaliser, "lower") && !utf8.Valid(p.Normalised) {
					t.Error("not UTF-8")
				}
				if len(v.Parts) == 1 {
					message = p.Normalised
				} else {
					message = append(message, prefixed(p.Normalised)...)
				}
			}
			hash := sha256.Sum256(column)
			key := expand(v.ContextKey, slices.Concat([]byte("vault/v1/bidx"), hash[:]))
			mac := hmac.New(sha256.New, key)
			mac.Write(message)
			index := mac.Sum(nil)[:16]
			full, err := k.BlindIndex(hash, message)
			if err != nil || !bytes.Equal(full[:], index) {
				t.Errorf("package envelope: %x, %v", full, err)
			}
			if v.Bits != 0 {
				index = index[:(v.Bits+7)/8]
				index[len(index)-1] &= ^byte(0xff >> ((v.Bits-1)%8 + 1))
			}
			if !bytes.Equal(key, v.IndexKey) || !bytes.Equal(message, v.Message) || !bytes.Equal(index, v.Index) {
				t.Errorf("%x %x %x", key, message, index)
			}
		})
	}
	if len(results) != 2 || results[vectors.Valid] == 0 || results[vectors.NotIndexable] == 0 {
		t.Error(results)
	}
}
