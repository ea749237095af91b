package envelope_test

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"

	"github.com/embedvault/vault/envelope"
)

// Seal and Open beside their floor, cipher.NewGCMWithRandomNonce on a prebuilt
// AES-256 key: the physical limit of a design that uses one key for everything.
// The ratio within one run is what counts:
//
//	go test -run xxx -bench . -benchmem -count 3 ./envelope

var benchSizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

func floorAEAD(tb testing.TB) cipher.AEAD {
	block, err := aes.NewCipher(testSecret)
	noError(tb, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	noError(tb, err)
	return gcm
}

func bench(b *testing.B, name string, size int, op func() error) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(size))
		b.ReportAllocs()
		for b.Loop() {
			if err := op(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k, floor := newKey(b), floorAEAD(b)
	for _, size := range benchSizes {
		plaintext := make([]byte, size.n)
		buf := make([]byte, 0, size.n+envelope.Overhead)
		bench(b, size.name+"/fresh/floor", size.n, func() error {
			_ = floor.Seal(nil, nil, plaintext, nil)
			return nil
		})
		bench(b, size.name+"/fresh/envelope", size.n, func() error {
			_, err := k.Seal(nil, envelope.KindMessage, nil, plaintext, nil)
			return err
		})
		bench(b, size.name+"/append/floor", size.n, func() error {
			_ = floor.Seal(buf, nil, plaintext, nil)
			return nil
		})
		bench(b, size.name+"/append/envelope", size.n, func() error {
			_, err := k.Seal(buf, envelope.KindMessage, nil, plaintext, nil)
			return err
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	k, floor := newKey(b), floorAEAD(b)
	for _, size := range benchSizes {
		floorSealed := floor.Seal(nil, nil, make([]byte, size.n), nil)
		sealed := seal(b, k, envelope.KindMessage, make([]byte, size.n), nil)
		buf := make([]byte, 0, size.n)
		open := func(dst []byte) error {
			e, err := envelope.Parse(sealed)
			if err == nil {
				_, err = k.Open(dst, e, nil)
			}
			return err
		}
		bench(b, size.name+"/fresh/floor", size.n, func() error {
			_, err := floor.Open(nil, nil, floorSealed, nil)
			return err
		})
		bench(b, size.name+"/fresh/envelope", size.n, func() error { return open(nil) })
		bench(b, size.name+"/append/floor", size.n, func() error {
			_, err := floor.Open(buf, nil, floorSealed, nil)
			return err
		})
		bench(b, size.name+"/append/envelope", size.n, func() error { return open(buf) })
	}
}

func BenchmarkParse(b *testing.B) {
	k := newKey(b)
	for _, kind := range []envelope.Kind{envelope.KindMessage, envelope.KindMessageSelf} {
		sealed := seal(b, k, kind, make([]byte, 64), nil)
		bench(b, fmt.Sprint(uint8(kind)), len(sealed), func() error {
			_, err := envelope.Parse(sealed)
			return err
		})
	}
}

func BenchmarkNewKey(b *testing.B) {
	bench(b, "new", envelope.KeySize, func() error {
		_, err := envelope.NewKey(testSecret, testHash, 1, 1)
		return err
	})
}
