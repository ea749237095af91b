package kektest

import (
	"bytes"
	"maps"
	"slices"

	"github.com/embedvault/vault/kek"
)

// canary fills the room behind a slice's length, where a careless append would
// write.
const canary = 0xc5

// roomy returns a copy of b with canaries in 64 bytes of spare capacity.
func roomy(b []byte) []byte {
	c := slices.Concat(b, bytes.Repeat([]byte{canary}, 64))
	return c[:len(b)]
}

// intact reports whether b, made by roomy, still holds want and its canaries.
func intact(b, want []byte) bool {
	spare := b[len(b):cap(b)]
	return bytes.Equal(b, want) && bytes.Count(spare, []byte{canary}) >= 64
}

func checkInputsUnchanged(s *suite) {
	kc := s.binding.Context.Clone()
	key := roomy(s.key)
	wrapped := s.mustWrapKey(s.kek, key, s.binding)
	if !intact(key, s.key) {
		s.Error("Wrap changed the key it was given, or the bytes behind it")
	}

	in := roomy(wrapped)
	s.mustOpen(s.kek, in)
	if !intact(in, wrapped) {
		s.Error("Unwrap changed the wrapped bytes it was given, or those behind them")
	}

	bad := slices.Clone(wrapped)
	bad[len(bad)-1] ^= 1
	in = roomy(bad)
	s.wantCorrupt("the last bit flipped", in, s.binding)
	if !intact(in, bad) {
		s.Error("a failed Unwrap changed the wrapped bytes it was given, or those behind them")
	}

	if w, ok := s.kek.(kek.Rewrapper); ok {
		in = roomy(wrapped)
		_, err := s.rewrap(s.Context(), w, in, s.binding)
		if err != nil {
			s.Errorf("Rewrap: %v", brief(err))
		}
		if !intact(in, wrapped) {
			s.Error("Rewrap changed the wrapped bytes it was given, or those behind them")
		}
	}
	if !maps.Equal(kc, s.binding.Context) {
		s.Error("the binding's Context was changed")
	}
}

// checkInputsNotKept overwrites what was given and sees whether it matters.
func checkInputsNotKept(s *suite) {
	key := slices.Clone(s.key)
	b := s.binding
	b.Context = s.binding.Context.Clone()
	wrapped := s.mustWrapKey(s.kek, key, b)
	original := slices.Clone(wrapped)
	scribble(key)
	clear(b.Context)
	b.Context["organization_id"] = "scribbled"
	if !bytes.Equal(wrapped, original) {
		s.Error("what Wrap returned changes with the key it was given")
	}
	s.mustOpen(s.kek, original)

	in := slices.Clone(original)
	b.Context = s.binding.Context.Clone()
	got, err := s.unwrap(s.Context(), s.kek, in, b)
	if err != nil {
		s.Fatalf("Unwrap: %v", brief(err))
	}
	scribble(in)
	clear(b.Context)
	if !bytes.Equal(got, s.key) {
		s.Error("what Unwrap returned changes with the wrapped bytes it was given")
	}
	s.mustOpen(s.kek, original)
	s.mustOpen(s.kek, s.mustWrap(s.kek))
}

// checkResultsOwned overwrites what was returned, to the end of its capacity,
// and sees whether anything else changes.
func checkResultsOwned(s *suite) {
	key := roomy(s.key)
	wrapped := s.mustWrapKey(s.kek, key, s.binding)
	in := roomy(wrapped)
	second := s.mustWrapKey(s.kek, key, s.binding)
	secondWas := slices.Clone(second)
	scribble(wrapped)
	if !intact(key, s.key) {
		s.Error("what Wrap returned shares memory with the key it was given")
	}
	if !bytes.Equal(second, secondWas) {
		s.Error("what Wrap returned shares memory with what it returned next")
	}

	want := slices.Clone(in)
	first, err := s.unwrap(s.Context(), s.kek, in, s.binding)
	if err != nil {
		s.Fatalf("Unwrap: %v", brief(err))
	}
	again, err := s.unwrap(s.Context(), s.kek, in, s.binding)
	if err != nil {
		s.Fatalf("Unwrap: %v", brief(err))
	}
	scribble(first)
	if !intact(in, want) {
		s.Error("what Unwrap returned shares memory with the wrapped bytes it was given")
	}
	if !bytes.Equal(again, s.key) {
		s.Error("what Unwrap returned shares memory with what it returned before")
	}
	s.mustOpen(s.kek, want) // the caller zeroes what it gets; the KEK must not feel it
}

// scribble overwrites b to the end of its capacity.
func scribble(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] ^= 0x5a
	}
}
