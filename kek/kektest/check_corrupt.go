package kektest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// changed is a binding that differs from the suite's in one thing.
type changed struct {
	what    string
	binding kek.Binding
}

// checkBinds wraps with the suite's binding and refuses to find that it unwraps
// with another.
func (s *suite) checkBinds(others []changed) {
	s.Helper()
	wrapped := s.mustWrap(s.kek)
	for _, c := range others {
		s.wantCorrupt(c.what, wrapped, c.binding)
	}
	s.mustOpen(s.kek, wrapped) // that was not for another reason
}

func checkBindsKeyID(s *suite) {
	var others []changed
	for _, i := range s.sample(len(s.binding.KeyID)) {
		b := s.binding
		b.KeyID[i] ^= 1
		others = append(others, changed{fmt.Sprintf("byte %d of the key ID changed", i), b})
	}
	s.checkBinds(others)
}

func checkBindsHash(s *suite) {
	var others []changed
	for _, i := range s.sample(len(s.binding.ContextHash)) {
		b := s.binding
		b.ContextHash[i] ^= 0x80
		others = append(others, changed{fmt.Sprintf("byte %d of the context hash changed", i), b})
	}
	s.checkBinds(others)
}

func checkBindsPurpose(s *suite) {
	var others []changed
	for purpose := keyctx.PurposeData + 1; purpose.Valid(); purpose++ {
		b := s.binding
		b.Purpose = purpose
		others = append(others, changed{fmt.Sprintf("the purpose changed to %v", purpose), b})
	}
	s.checkBinds(others)
}

func checkBindsVersion(s *suite) {
	var others []changed
	for _, version := range []uint32{2, 1 << 8, 1 << 16, 1 << 24, 1<<8 | 1, 1<<31 | 1} {
		b := s.binding
		b.Version = version
		others = append(others, changed{fmt.Sprintf("the version changed from 1 to %d", version), b})
	}
	s.checkBinds(others)
}

// checkBindsContext changes the context as another tenant's would differ: the
// pairs and their hash.
func checkBindsContext(s *suite) {
	kc := s.binding.Context
	value := kc.Clone()
	value["organization_id"] += "x"
	more := kc.Clone()
	more["region"] = "region of nobody's"
	fewer := kc.Clone()
	delete(fewer, "user/id")
	renamed := kc.Clone()
	renamed["organization-id"] = renamed["organization_id"]
	delete(renamed, "organization_id")

	var others []changed
	for what, kc := range map[string]keyctx.KeyContext{
		"a value changed": value, "one pair more": more, "one pair fewer": fewer, "a key changed": renamed,
	} {
		b := s.bindingOf(kc)
		b.KeyID = s.binding.KeyID
		others = append(others, changed{"the context: " + what, b})
	}
	s.checkBinds(others)
}

func checkFlippedBits(s *suite) {
	wrapped := s.mustWrap(s.kek)
	for _, i := range s.sample(8 * len(wrapped)) {
		bad := slices.Clone(wrapped)
		bad[i/8] ^= 1 << (i % 8)
		s.wantCorrupt(fmt.Sprintf("bit %d of byte %d of %d flipped", i%8, i/8, len(wrapped)), bad, s.binding)
	}
	s.mustOpen(s.kek, wrapped)
}

func checkCutShort(s *suite) {
	wrapped := s.mustWrap(s.kek)
	for _, n := range s.sample(len(wrapped)) {
		s.wantCorrupt(fmt.Sprintf("the first %d of %d bytes", n, len(wrapped)), slices.Clone(wrapped[:n]), s.binding)
		if n > 0 {
			s.wantCorrupt(fmt.Sprintf("all but the first %d of %d bytes", n, len(wrapped)), slices.Clone(wrapped[n:]), s.binding)
		}
	}
}

func checkExtended(s *suite) {
	wrapped := s.mustWrap(s.kek)
	for _, tail := range [][]byte{{0}, {'\n'}, {' '}, {'='}, {'A'}, random(1), random(16), random(300), wrapped} {
		s.wantCorrupt(fmt.Sprintf("%d bytes appended", len(tail)), slices.Concat(wrapped, tail), s.binding)
	}
	s.wantCorrupt("a byte put before", slices.Concat(wrapped[:1], wrapped), s.binding)
}

func checkGarbage(s *suite) {
	s.wantCorrupt("nil", nil, s.binding)
	s.wantCorrupt("empty", []byte{}, s.binding)
	for _, first := range s.sample(256) {
		s.wantCorrupt(fmt.Sprintf("the one byte 0x%02x", first), []byte{byte(first)}, s.binding)
	}
	format := s.mustWrap(s.kek)[:1]
	for _, n := range []int{2, 16, 61, 100, keyctx.MaxWrappedLen, 1 << 20} {
		s.wantCorrupt(fmt.Sprintf("%d random bytes", n), random(n), s.binding)
		s.wantCorrupt(fmt.Sprintf("%d random bytes after the format byte", n), slices.Concat(format, random(n)), s.binding)
		s.wantCorrupt(fmt.Sprintf("%d zeros after the format byte", n), slices.Concat(format, make([]byte, n)), s.binding)
	}
	s.wantCorrupt("a text", slices.Concat(format, bytes.Repeat([]byte(`vault:v1:../%s{"a":`), 20)), s.binding)
}

// checkAnotherKey: a KMS that looks into the blob may well answer that the key
// in there is not allowed.
func checkAnotherKey(s *suite) {
	another := s.h.Another(s)
	_, err := s.unwrap(s.Context(), s.kek, s.mustWrap(another), s.binding)
	s.wantClass("Unwrap of what another key wrapped", err, kek.ErrCorrupt, kek.ErrDenied)
	_, err = s.unwrap(s.Context(), another, s.mustWrap(s.kek), s.binding)
	s.wantClass("Unwrap by another key", err, kek.ErrCorrupt, kek.ErrDenied)
}
