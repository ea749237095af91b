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
// that needs a field that is nil is left out. Give as many as the driver can.
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

// Run tests the harness's driver, each check as a subtest. Checks of what the
// driver doesn't have, or the harness has no means for, are left out and logged.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("kektest: Harness.New is nil")
	}
	w := h.New(t)
	for _, c := range checks {
		if c.needs != nil && !c.needs(h) || c.of != nil && !c.of(w) {
			t.Logf("left out: %s", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, h) })
	}
}

// check is one promise of the contract.
type check struct {
	name  string
	needs func(h Harness) bool // nil: nothing but New
	do    func(s *suite)
	of    func(w kek.Wrapper) bool // nil: of every KEK
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
	{"uri", nil, checkURI, nil},
	{"uri of a peer", hasPeer, checkURIPeer, nil},
	{"uri of another key", hasAnother, checkURIAnother, nil},

	{"round trip", nil, checkRoundTrip, nil},
	{"conceals the key", nil, checkConceals, nil},
	{"fresh each time", nil, checkFresh, nil},
	{"format byte", nil, checkFormat, nil},
	{"odd keys", nil, checkOddKeys, nil},
	{"peer", hasPeer, checkPeer, nil},
	{"rotation", hasRotate, checkRotation, nil},
	{"large context", nil, checkLargeContext, nil},
	{"reserved pairs", nil, checkReservedPairs, nil},
	{"concurrency", nil, checkConcurrency, nil},

	{"binds the key ID", nil, checkBindsKeyID, nil},
	{"binds the context hash", nil, checkBindsHash, nil},
	{"binds the purpose", nil, checkBindsPurpose, nil},
	{"binds the version", nil, checkBindsVersion, nil},
	{"binds the context", nil, checkBindsContext, nil},

	{"flipped bits", nil, checkFlippedBits, nil},
	{"cut short", nil, checkCutShort, nil},
	{"extended", nil, checkExtended, nil},
	{"garbage", nil, checkGarbage, nil},
	{"another key", hasAnother, checkAnotherKey, nil},

	{"inputs are not changed", nil, checkInputsUnchanged, nil},
	{"inputs are not kept", nil, checkInputsNotKept, nil},
	{"results are the caller's", nil, checkResultsOwned, nil},

	{"ended ctx", nil, checkEndedCtx, nil},
	{"ctx ends during a call", hasHang, checkCtxEnds, nil},
	{"denied", hasDeny, checkDenied, nil},
	{"unavailable", hasUnavailable, checkUnavailable, nil},

	{"rewrap", nil, checkRewrap, isRewrapper},
	{"rewrap after rotation", hasRotate, checkRewrapRotated, isRewrapper},
	{"rewrap of what is not ours", nil, checkRewrapCorrupt, isRewrapper},
	{"batch", nil, checkBatch, isBatcher},
	{"batch of many", nil, checkBatchOfMany, isBatcher},
	{"batches side by side", nil, checkBatchesSideBySide, isBatcher},
	{"batch when denied", hasDeny, checkBatchDenied, isBatcher},
	{"batch when unavailable", hasUnavailable, checkBatchUnavailable, isBatcher},
	{"versions", nil, checkVersions, isTeller},
	{"versions after rotation", hasRotate, checkVersionsRotated, isTeller},
	{"status", nil, checkStatus, isChecker},
	{"status when denied", hasDeny, checkStatusDenied, isChecker},
	{"status when unavailable", hasUnavailable, checkStatusUnavailable, isChecker},
}

func hasPeer(h Harness) bool        { return h.Peer != nil }
func hasAnother(h Harness) bool     { return h.Another != nil }
func hasRotate(h Harness) bool      { return h.Rotate != nil }
func hasDeny(h Harness) bool        { return h.Deny != nil }
func hasUnavailable(h Harness) bool { return h.Unavailable != nil }
func hasHang(h Harness) bool        { return h.Hang != nil }

func isRewrapper(w kek.Wrapper) bool { _, ok := w.(kek.Rewrapper); return ok }
func isBatcher(w kek.Wrapper) bool   { _, ok := w.(kek.Batcher); return ok }
func isTeller(w kek.Wrapper) bool    { _, ok := w.(kek.VersionTeller); return ok }
func isChecker(w kek.Wrapper) bool   { _, ok := w.(kek.Checker); return ok }
