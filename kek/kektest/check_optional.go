package kektest

import (
	"sync"
	"testing"

	"github.com/embedvault/vault/kek"
)

// switcher is a switch of the harness's.
type switcher func(t testing.TB, w kek.Wrapper) (restore func())

// turn turns a switch for the suite's KEK. What was turned is restored at the
// end of the test, also of one that was given up, since the next test may have
// the same KEK.
func (s *suite) turn(on switcher) (restore func()) {
	s.Helper()
	restore = sync.OnceFunc(on(s, s.kek))
	s.Cleanup(restore)
	return restore
}

func (s *suite) rewrapper() kek.Rewrapper {
	s.Helper()
	w, ok := s.kek.(kek.Rewrapper)
	if !ok {
		s.Skip("not a Rewrapper")
	}
	return w
}

func (s *suite) checker() kek.Checker {
	s.Helper()
	w, ok := s.kek.(kek.Checker)
	if !ok {
		s.Skip("not a Checker")
	}
	return w
}

func checkRewrap(s *suite) {
	w := s.rewrapper()
	rewrapped, err := s.rewrap(s.Context(), w, s.mustWrap(w), s.binding)
	if err != nil {
		s.Fatalf("Rewrap: %v", brief(err))
	}
	s.mustOpen(w, rewrapped)
	for _, c := range s.differing() {
		s.wantCorrupt("rewrapped, "+c.what, rewrapped, c.binding)
	}
}

func checkRewrapRotated(s *suite) {
	w := s.rewrapper()
	old := s.mustWrap(w)
	s.h.Rotate(s, w)
	rewrapped, err := s.rewrap(s.Context(), w, old, s.binding)
	if err != nil {
		s.Fatalf("Rewrap: %v", brief(err))
	}
	s.mustOpen(w, rewrapped)
	s.mustOpen(w, old)
}

func checkRewrapCorrupt(s *suite) {
	w := s.rewrapper()
	wrapped := s.mustWrap(w)
	for _, c := range s.differing() {
		_, err := s.rewrap(s.Context(), w, wrapped, c.binding)
		s.wantClass("Rewrap: "+c.what, err, kek.ErrCorrupt)
	}
	for _, garbage := range [][]byte{nil, {}, wrapped[:1], wrapped[:len(wrapped)-1], random(100), random(1 << 20)} {
		_, err := s.rewrap(s.Context(), w, garbage, s.binding)
		s.wantClass("Rewrap of garbage", err, kek.ErrCorrupt)
	}
	if s.h.Another != nil {
		_, err := s.rewrap(s.Context(), w, s.mustWrap(s.h.Another(s)), s.binding)
		s.wantClass("Rewrap of what another key wrapped", err, kek.ErrCorrupt, kek.ErrDenied)
	}
}

// differing returns bindings that differ from the suite's, one for each field.
func (s *suite) differing() []changed {
	id, hash, purpose, version := s.binding, s.binding, s.binding, s.binding
	id.KeyID[31] ^= 1
	hash.ContextHash[0] ^= 1
	purpose.Purpose++
	version.Version++
	return []changed{
		{"the key ID changed", id}, {"the context hash changed", hash},
		{"the purpose changed", purpose}, {"the version changed", version},
	}
}

func checkStatus(s *suite) {
	status, err := s.status(s.Context(), s.checker())
	if err != nil {
		s.Fatalf("Check: %v", brief(err))
	}
	if !status.Usable {
		s.Errorf("Check says that a usable KEK is not: %q", status.Reason)
	}
}

// checkStatusDenied: where the KMS won't even be asked, Check fails as denied.
func checkStatusDenied(s *suite) {
	w := s.checker()
	restore := s.turn(s.h.Deny)
	status, err := s.status(s.Context(), w)
	switch {
	case err != nil:
		s.wantClass("Check when denied", err, kek.ErrDenied)
	case status.Usable:
		s.Error("Check says that a denied KEK is usable")
	case status.Reason == "":
		s.Error("Check gives no reason why the KEK is not usable")
	}
	restore()
	if status, err := s.status(s.Context(), w); err != nil || !status.Usable {
		s.Errorf("Check after it was restored: usable %v, error %v", status.Usable, brief(err))
	}
}

func checkStatusUnavailable(s *suite) {
	w := s.checker()
	restore := s.turn(s.h.Unavailable)
	_, err := s.status(s.Context(), w)
	s.wantClass("Check when unavailable", err, kek.ErrUnavailable)
	restore()
}
