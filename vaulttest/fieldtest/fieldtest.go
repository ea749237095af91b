// Package fieldtest is the conformance suite of adapters for [vault.Encrypted]: of what
// lies between an application, its ORM or driver, and a table with encrypted columns.
// An adapter's test is a harness and one call:
//
//	func TestAdapter(t *testing.T) {
//		fieldtest.Run(t, fieldtest.Harness{
//			New: func(t *testing.T, v *vault.Vault) *fieldtest.DB { … },
//		})
//	}
//
// The suite does what applications do (create, update by struct, map and column,
// upsert, delete by example, transactions, scans into other structs, raw SQL) and what
// happens to them (values moved in the database, shredded keys, lost connections, logs),
// and wants of each that it works or that it is an error: that nothing is stored in
// plaintext, logged, lost, or opened where it doesn't belong.
//
// The suite is itself tested against adapters that break one promise each.
package fieldtest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
)

// Harness says how to get at the adapter to be tested.
type Harness struct {
	// New returns the adapter with v on a fresh database that has the tables of
	// [Schema], empty. It is called for every check, and registers with t.Cleanup
	// what has to be done in the end.
	New func(t *testing.T, v *vault.Vault) *DB

	// Absent are the operations of [DB], by the names of its fields, and the features
	// that the adapter doesn't have, each with the reason. Checks that need them are
	// left out. What is neither there nor absent fails the suite, and so does what
	// is both.
	Absent map[string]string

	// FillsIndex says that the adapter writes the blind indexes it computes into the
	// caller's struct, as ORMs do with what a database makes.
	FillsIndex bool

	// Placeholder is the n-th placeholder, from 1, in the statements that the suite
	// gives to RawExec. nil: "?".
	Placeholder func(n int) string
}

// Features, for [Harness.Absent].
const (
	// RowContext: a row's key context comes from the row, by the model's context tag.
	RowContext = "RowContext"

	// RowBinding: fields are bound to their row, and not to their column alone.
	RowBinding = "RowBinding"

	// GuardPlain: the adapter knows for which column a value in a map or of a column
	// update is, and doesn't let plaintext through to an encrypted one.
	GuardPlain = "GuardPlain"
)

var features = []string{RowContext, RowBinding, GuardPlain}

// DB is an adapter on a database: each operation as the adapter's users would write
// it. Those that are nil stand in [Harness.Absent]. The ctx of an operation has the key
// context of its tenant, if nothing else is said; it never has a vault. What a function
// is given it doesn't change.
type DB struct {
	// Raw is the database without the adapter. It is needed.
	Raw Raw

	// With returns the adapter with another vault on the same database.
	With func(v *vault.Vault) *DB

	// Logs returns what was logged so far, by everything between the application and
	// the database that can, at its most talkative: statements with their arguments,
	// also those that fail.
	Logs func() string

	// Cut breaks the connections that are open. New ones can be made.
	Cut func()

	// Prepared returns the adapter on the same database, through prepared statements.
	Prepared func() *DB

	// Tx runs f in a transaction, which is committed if f returns nil and otherwise
	// rolled back; it returns f's error. Of tx the operations on rows are used.
	Tx func(ctx context.Context, f func(ctx context.Context, tx *DB) error) error

	Create      func(ctx context.Context, p *Patient) error
	CreateAll   func(ctx context.Context, ps []*Patient) error // in as few statements as the adapter can
	CreateVisit func(ctx context.Context, v *Visit) error

	// Get returns a patient by ID; List all of them, in the order of their IDs, with a
	// ctx that has no key context; Find those of a tenant with an e-mail address, by
	// the blind index.
	Get  func(ctx context.Context, id string) (*Patient, error)
	List func(ctx context.Context) ([]*Patient, error)
	Find func(ctx context.Context, email string) ([]*Patient, error)

	// Save writes all columns of a patient that was read. Update writes those columns
	// of p that aren't zero, to the row with its ID. Upsert creates a patient, or
	// writes all columns of the one with this ID.
	Save   func(ctx context.Context, p *Patient) error
	Update func(ctx context.Context, p *Patient) error
	Upsert func(ctx context.Context, p *Patient) error

	// UpdateMap writes columns of one row; UpdateColumn one. A value is a field, a
	// pointer to one, or as the column's Go type is.
	UpdateMap    func(ctx context.Context, id string, set map[string]any) error
	UpdateColumn func(ctx context.Context, id, column string, value any) error

	// DeleteLike deletes the patients whose columns are equal to those of example that
	// aren't zero.
	DeleteLike func(ctx context.Context, example *Patient) error

	// Preload returns a patient with the visits, by a second query; Join all visits,
	// in the order of their IDs and each with its patient, by one.
	Preload func(ctx context.Context, id string) (*Patient, error)
	Join    func(ctx context.Context) ([]*Visit, error)

	// Scan reads some columns of a patient into another struct. Pluck reads one column
	// (email or note) of all patients, in the order of their IDs.
	Scan  func(ctx context.Context, id string) (Card, error)
	Pluck func(ctx context.Context, column string) ([]vault.Encrypted[string], error)

	// RawQuery runs a query of the suite, which gives name and email. RawExec runs a
	// statement of the suite.
	RawQuery func(ctx context.Context, query string) ([]Card, error)
	RawExec  func(ctx context.Context, query string, args ...any) error
}

// patience is how long one check may take before it is said to hang.
const patience = 3 * time.Minute

// Run runs the suite, each check as a subtest. Checks that need what the harness says
// is absent are left out.
func Run(t *testing.T, h Harness) {
	t.Run("Harness", func(t *testing.T) {
		for _, failure := range runCheck(t, h, check{"Harness", checkHarness, nil}, patience) {
			t.Error(failure)
		}
	})
	for _, c := range checks {
		if lacks := c.lacks(h); lacks != "" {
			t.Logf("%s is left out: no %s: %s", c.name, lacks, h.Absent[lacks])
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, failure := range runCheck(t, h, c, patience) {
				t.Error(failure)
			}
		})
	}
}

// check is one check. It fails by its env, not by testing.T, so that the suite's own
// test can run it and see it fail.
type check struct {
	name  string
	run   func(*env)
	needs []string
}

// lacks returns what the check needs and the harness doesn't have.
func (c check) lacks(h Harness) string {
	for _, n := range c.needs {
		if h.Absent[n] != "" {
			return n
		}
	}
	return ""
}

var checks = []check{
	{"Create", checkCreate, ops("Create Get")},
	{"CreateAll", checkCreateAll, ops("CreateAll Get")},
	{"CreateWithoutContext", checkWithoutContext, ops("Create")},
	{"ContextConflict", checkContextConflict, ops("Create RowContext")},
	{"NullAndEmpty", checkNullAndEmpty, ops("Create Get")},
	{"ListDecryptsNothing", checkListDecryptsNothing, ops("Create List")},
	{"OpenAll", checkOpenAll, ops("Create List RowContext")},
	{"Damaged", checkDamaged, ops("Create Get")},

	{"Save", checkSave, ops("Create Get Save")},
	{"SaveUnchanged", checkSaveUnchanged, ops("Create Get Save")},
	{"SaveNull", checkSaveNull, ops("Create Get Save")},
	{"Update", checkUpdate, ops("Create Get Update")},
	{"UpdateMap", checkUpdateMap, ops("Create Get UpdateMap")},
	{"UpdateMapPlain", checkUpdateMapPlain, ops("Create Get UpdateMap GuardPlain")},
	{"UpdateColumn", checkUpdateColumn, ops("Create Get UpdateColumn")},
	{"UpdateColumnPlain", checkUpdateColumnPlain, ops("Create Get UpdateColumn GuardPlain")},
	{"Upsert", checkUpsert, ops("Upsert Get")},
	{"DeleteLike", checkDeleteLike, ops("Create DeleteLike")},
	{"CopyToAnotherRow", checkCopyToAnotherRow, ops("Create Get")},

	{"Preload", checkPreload, ops("Create CreateVisit Preload")},
	{"Join", checkJoin, ops("Create CreateVisit Join")},
	{"Scan", checkScan, ops("Create Scan")},
	{"Pluck", checkPluck, ops("Create Pluck")},
	{"RawQuery", checkRawQuery, ops("Create RawQuery")},
	{"RawExec", checkRawExec, ops("RawExec")},
	{"Prepared", checkPrepared, ops("Prepared Create Get")},

	{"TxRollback", checkTxRollback, ops("Tx Create Get")},
	{"TxRetry", checkTxRetry, ops("Tx Create Get")},

	{"Find", checkFind, ops("Create Find")},
	{"FindWithoutKey", checkFindWithoutKey, ops("Create Find")},
	{"FindWithAnotherVault", checkFindWithAnotherVault, ops("Create Find With")},
	{"FindAfterUpdate", checkFindAfterUpdate, ops("Create Find Get Update Save")},

	{"TwoTenants", checkTwoTenants, ops("Create Get")},
	{"TwoTenantsInOneList", checkTwoTenantsInOneList, ops("Create List RowContext")},
	{"TwoVaults", checkTwoVaults, ops("Create Get With")},
	{"RowSwap", checkRowSwap, ops("Create Get RowBinding")},
	{"ColumnSwap", checkColumnSwap, ops("Create Get")},
	{"TableSwap", checkTableSwap, ops("Create CreateVisit Get")},
	{"Shredded", checkShredded, ops("Create Get")},

	{"Logs", checkLogs, ops("Logs Create Get")},
	{"LogsOfFailures", checkLogsOfFailures, ops("Logs Create")},
	{"Cancelled", checkCancelled, ops("Create Get")},
	{"KEKUnavailable", checkKEKUnavailable, ops("Create Get")},
	{"ConnectionLoss", checkConnectionLoss, ops("Cut Create Get")},
	{"Concurrent", checkConcurrent, ops("Create Get")},
}

func ops(names string) []string { return strings.Fields(names) }

// checkHarness wants everything to be there, or absent with a reason.
func checkHarness(e *env) {
	known := slices.Clone(features)
	db := reflect.ValueOf(e.db).Elem()
	for i := range db.NumField() {
		name := db.Type().Field(i).Name
		if name == "Raw" {
			continue
		}
		known = append(known, name)
		_, absent := e.h.Absent[name]
		switch there := !db.Field(i).IsNil(); {
		case there && absent:
			e.errorf("the operation %s is there, and stands in Absent", name)
		case !there && !absent:
			e.errorf("the operation %s is nil; if the adapter has none, say why in Absent", name)
		}
	}
	for name, reason := range e.h.Absent {
		if !slices.Contains(known, name) {
			e.errorf("Absent has %q, which is no operation or feature", name)
		}
		if len(strings.Fields(reason)) < 2 {
			e.errorf("Absent[%q] gives no reason", name)
		}
	}
}

// placeholders fills %1, %2 in a statement.
func (e *env) statement(s string, n int) string {
	for i := 1; i <= n; i++ {
		p := "?"
		if e.h.Placeholder != nil {
			p = e.h.Placeholder(i)
		}
		s = strings.ReplaceAll(s, fmt.Sprintf("%%%d", i), p)
	}
	return s
}
