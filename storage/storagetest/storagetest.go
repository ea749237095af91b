// Package storagetest is the conformance suite of [storage.Store]: it checks,
// sentence by sentence, what the interfaces there promise. A driver's test is
// a harness and one call:
//
//	func TestStore(t *testing.T) {
//		storagetest.Run(t, storagetest.Harness{
//			New: func(t *testing.T) storage.Store { … },
//		})
//	}
//
// Stores that have them are also held to what the optional interfaces of package
// storage promise. The suite is itself tested against stores that break one promise
// each.
package storagetest

import (
	"context"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
)

// Harness says how to get at the stores to be tested. New is needed; what else
// is nil leaves out the checks that need it.
type Harness struct {
	// New returns an empty store. It is called for every check, and registers
	// with t.Cleanup what has to be done in the end.
	New func(t *testing.T) storage.Store

	// Reopen closes s, a store that New or Reopen returned, and opens the same
	// database again.
	Reopen func(t *testing.T, s storage.Store) storage.Store

	// Second returns another store on the database of s, as another process
	// would have it, if the database can be used by two at a time. The races are
	// then run between both.
	Second func(t *testing.T, s storage.Store) storage.Store

	// MaxEnvelope is how long an envelope the database takes, if that is less
	// than 16 MiB: longer ones must give [storage.ErrTooLarge].
	MaxEnvelope int

	// CursorDriver is the name that the store gives NextCursor, with which the
	// suite makes cursors up. It is empty for stores that make theirs by other
	// means only.
	CursorDriver string
}

// patience is how long one check may take before it is said to hang.
const patience = 3 * time.Minute

const largeEnvelope = 16 << 20

// Run runs the suite, each check as a subtest. Checks for which the harness has no
// means are left out.
func Run(t *testing.T, h Harness) {
	for _, c := range checks {
		if c.needs != nil && !c.needs(h) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, failure := range runCheck(t, h, c, patience) {
				t.Error(failure)
			}
		})
	}
}

// check is one check. It fails by its env, not by testing.T, so that the
// suite's own test can run it and see it fail.
type check struct {
	name  string
	run   func(*env)
	needs func(Harness) bool
}

var checks = []check{
	{name: "Ping", run: checkPing},

	{name: "KeyRoundTrip", run: checkKeyRoundTrip},
	{name: "KeyNotFound", run: checkKeyNotFound},
	{name: "KeyInsertIfAbsent", run: checkKeyInsertIfAbsent},
	{name: "KeyInsertRace", run: checkKeyInsertRace},
	{name: "KeyLatest", run: checkKeyLatest},
	{name: "KeyUpdate", run: checkKeyUpdate},
	{name: "KeyUpdateRace", run: checkKeyUpdateRace},
	{name: "KeyDelete", run: checkKeyDelete},
	{name: "KeyBatch", run: checkKeyBatch},
	{name: "KeyBatchRefused", run: checkKeyBatchRefused},
	{name: "KeyBatchFull", run: checkKeyBatchFull},
	{name: "KeyBatchRace", run: checkKeyBatchRace},
	{name: "KeyInvalid", run: checkKeyInvalid},
	{name: "KeyList", run: checkKeyList},
	{name: "KeyListPaging", run: checkKeyListPaging},
	{name: "KeyListParent", run: checkKeyListParent},

	{name: "ObjectRoundTrip", run: checkObjectRoundTrip},
	{name: "ObjectVersions", run: checkObjectVersions},
	{name: "ObjectNotFound", run: checkObjectNotFound},
	{name: "ObjectInvalid", run: checkObjectInvalid},
	{name: "ObjectTimes", run: checkObjectTimes},
	{name: "ObjectSameIDs", run: checkObjectSameIDs},
	{name: "ObjectLarge", run: checkObjectLarge},
	{name: "ObjectTooLarge", run: checkObjectTooLarge, needs: func(h Harness) bool { return h.MaxEnvelope > 0 }},
	{name: "ObjectGetMany", run: checkObjectGetMany},
	{name: "ObjectDelete", run: checkObjectDelete},
	{name: "GuardIfAbsent", run: checkGuardIfAbsent},
	{name: "GuardIfVersion", run: checkGuardIfVersion},
	{name: "GuardIfAbsentRace", run: checkGuardIfAbsentRace},
	{name: "GuardIfVersionRace", run: checkGuardIfVersionRace},
	{name: "PutRace", run: checkPutRace},
	{name: "PutDeleteRace", run: checkPutDeleteRace},
	{name: "Keep", run: checkKeep},
	{name: "UniqueName", run: checkUniqueName},
	{name: "UniqueNameFreed", run: checkUniqueNameFreed},
	{name: "UniqueNameRace", run: checkUniqueNameRace},
	{name: "ExpiredReadsAsAbsent", run: checkExpiredReadsAsAbsent},
	{name: "ExpiredIsReplaced", run: checkExpiredIsReplaced},
	{name: "ExpiredVersion", run: checkExpiredVersion},
	{name: "DeleteExpired", run: checkDeleteExpired},
	{name: "ReplaceEnvelope", run: checkReplaceEnvelope},
	{name: "ReplaceEnvelopeRace", run: checkReplaceEnvelopeRace},
	{name: "ByKey", run: checkByKey},
	{name: "ByKeyPaging", run: checkByKeyPaging},
	{name: "ImportVersion", run: checkImportVersion},
	{name: "ImportRefused", run: checkImportRefused},
	{name: "ImportHighest", run: checkImportHighest},
	{name: "CopyStore", run: checkCopyStore},

	{name: "ListByName", run: checkListByName},
	{name: "ListByUpdated", run: checkListByUpdated},
	{name: "ListContexts", run: checkListContexts},
	{name: "ListNamespaces", run: checkListNamespaces},
	{name: "ListWhilePutting", run: checkListWhilePutting},
	{name: "ListVersions", run: checkListVersions},
	{name: "ListEmptied", run: checkListEmptied},
	{name: "PageLimits", run: checkPageLimits},
	{name: "Cursors", run: checkCursors},
	{name: "ForgedCursors", run: checkForgedCursors},
	{name: "QueriesInvalid", run: checkQueriesInvalid},

	{name: "System", run: checkSystem},
	{name: "SystemList", run: checkSystemList},
	{name: "SystemRace", run: checkSystemRace},

	{name: "SharesNothingGiven", run: checkSharesNothingGiven},
	{name: "SharesNothingReturned", run: checkSharesNothingReturned},
	{name: "NeverHalfAWrite", run: checkNeverHalfAWrite},
	{name: "CancelledWritesNothing", run: checkCancelledWritesNothing},
	{name: "Reopen", run: checkReopen, needs: func(h Harness) bool { return h.Reopen != nil }},
}

func checkPing(e *env) {
	e.ok(e.s.Ping(e.ctx))
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	e.is(e.s.Ping(ended), context.Canceled)
}
