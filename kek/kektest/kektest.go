// Package kektest is the conformance suite of KEK drivers: what
// [kek.Wrapper] promises, as tests. A driver's own test is a [Harness] and one
// call:
//
//	func TestConformance(t *testing.T) {
//		kektest.Run(t, kektest.Harness{
//			New: func(t testing.TB) kek.Wrapper { return mykms.New(client, key) },
//		})
//	}
//
// Run it under the race detector: that is what finds a driver that is not safe
// for concurrent use.
package kektest

import (
	"testing"

	"github.com/embedvault/vault/kek"
)

// Harness says how the suite gets at a driver's KEKs. New is needed; a check
// that needs a field that is nil is skipped. Give as many as the driver can.
//
// The functions may fail or skip the test through t. They are called from the
// test's own goroutine, one at a time.
type Harness struct {
	// New returns a KEK that is usable now. It may be the same key, and the same
	// Wrapper, each time.
	New func(t testing.TB) kek.Wrapper

	// Another returns a KEK of the same provider that is usable now and is
	// another key than New's, with another URI.
	Another func(t testing.TB) kek.Wrapper

	// Peer opens w's key again, as another process would.
	Peer func(t testing.TB, w kek.Wrapper) kek.Wrapper

	// Rotate makes the KMS use a new version of w's key for wrapping.
	Rotate func(t testing.TB, w kek.Wrapper)

	// Deny makes the KMS refuse w's key (disabled, revoked) until restore is
	// called.
	Deny func(t testing.TB, w kek.Wrapper) (restore func())

	// Unavailable makes the KMS fail to answer for w's key, at once (down,
	// throttling), until restore is called.
	Unavailable func(t testing.TB, w kek.Wrapper) (restore func())

	// Hang makes the KMS accept calls for w's key and never answer them, until
	// restore is called.
	Hang func(t testing.TB, w kek.Wrapper) (restore func())

	// Costly says that calls cost money or much time: the suite then tries a
	// sample of bits and lengths, some hundred calls in all, instead of every
	// one.
	Costly bool
}

// Run tests the harness's driver, each check as a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("kektest: Harness.New is nil")
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
}

// check is one promise of the contract.
type check struct {
	name  string
	needs func(h Harness) bool // nil: nothing but New
	do    func(s *suite)
}

func (c check) run(t testing.TB, h Harness) {
	t.Helper()
	if c.needs != nil && !c.needs(h) {
		t.Skip("the harness has no means for this")
	}
	c.do(newSuite(t, h))
}

// checks are all checks. A name says what fails.
var checks = []check{
	{"uri", nil, checkURI},
	{"uri of a peer", hasPeer, checkURIPeer},
	{"uri of another key", hasAnother, checkURIAnother},

	{"round trip", nil, checkRoundTrip},
	{"conceals the key", nil, checkConceals},
	{"fresh each time", nil, checkFresh},
	{"format byte", nil, checkFormat},
	{"odd keys", nil, checkOddKeys},
	{"peer", hasPeer, checkPeer},
	{"rotation", hasRotate, checkRotation},
	{"large context", nil, checkLargeContext},
	{"reserved pairs", nil, checkReservedPairs},
	{"concurrency", nil, checkConcurrency},

	{"binds the key ID", nil, checkBindsKeyID},
	{"binds the context hash", nil, checkBindsHash},
	{"binds the purpose", nil, checkBindsPurpose},
	{"binds the version", nil, checkBindsVersion},
	{"binds the context", nil, checkBindsContext},

	{"flipped bits", nil, checkFlippedBits},
	{"cut short", nil, checkCutShort},
	{"extended", nil, checkExtended},
	{"garbage", nil, checkGarbage},
	{"another key", hasAnother, checkAnotherKey},

	{"inputs are not changed", nil, checkInputsUnchanged},
	{"inputs are not kept", nil, checkInputsNotKept},
	{"results are the caller's", nil, checkResultsOwned},

	{"ended ctx", nil, checkEndedCtx},
	{"ctx ends during a call", hasHang, checkCtxEnds},
	{"denied", hasDeny, checkDenied},
	{"unavailable", hasUnavailable, checkUnavailable},

	{"rewrap", nil, checkRewrap},
	{"rewrap after rotation", hasRotate, checkRewrapRotated},
	{"rewrap of what is not ours", nil, checkRewrapCorrupt},
	{"batch", nil, checkBatch},
	{"batch of many", nil, checkBatchOfMany},
	{"batches side by side", nil, checkBatchesSideBySide},
	{"batch when denied", hasDeny, checkBatchDenied},
	{"batch when unavailable", hasUnavailable, checkBatchUnavailable},
	{"versions", nil, checkVersions},
	{"versions after rotation", hasRotate, checkVersionsRotated},
	{"status", nil, checkStatus},
	{"status when denied", hasDeny, checkStatusDenied},
	{"status when unavailable", hasUnavailable, checkStatusUnavailable},
}

func hasPeer(h Harness) bool        { return h.Peer != nil }
func hasAnother(h Harness) bool     { return h.Another != nil }
func hasRotate(h Harness) bool      { return h.Rotate != nil }
func hasDeny(h Harness) bool        { return h.Deny != nil }
func hasUnavailable(h Harness) bool { return h.Unavailable != nil }
func hasHang(h Harness) bool        { return h.Hang != nil }
