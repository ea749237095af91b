package manytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore"
)

// namespace is that of all vaults.
const namespace = "manytest"

// contexts is how many key contexts the processes share.
const contexts = 50

func contextOf(i int) vault.KeyContext {
	return vault.KeyContext{"organization_id": fmt.Sprintf("org_%02d", i)}
}

// Objects whose names start with "k/" are put by vaults that keep the newest
// versions only.
const (
	plainNames = 3
	keptNames  = 2
	keep       = 5
)

func nameOf(i int) string {
	if i < plainNames {
		return fmt.Sprint("p/", i)
	}
	return fmt.Sprint("k/", i-plainNames)
}

func isKept(name string) bool { return strings.HasPrefix(name, "k/") }

// valueOf is the value that an operation puts or encrypts: up to 9 KiB that say
// whose they are all along.
func valueOf(op string, kc int, name string) []byte {
	n := 0
	for _, c := range op {
		n = n*31 + int(c)
	}
	short := 1 + n%20
	if n%7 == 0 {
		short = 1 + n%400
	}
	return []byte(strings.Repeat(fmt.Sprintf("%s|%d|%s|", op, kc, name), short))
}

// opOf returns the operation that put a value under this name, or "" if it is
// nobody's.
func opOf(value []byte, kc int, name string) string {
	op, _, _ := strings.Cut(string(value), "|")
	if string(value) != string(valueOf(op, kc, name)) {
		return ""
	}
	return op
}

// classes are the errors that an operation may meet, by the name that the
// journal has for them. An error that is none of these is "other", which is
// allowed nowhere.
var classes = []struct {
	name string
	is   error
}{
	{"unavailable", vault.ErrStoreUnavailable},
	{"deadline", context.DeadlineExceeded},
	{"canceled", context.Canceled},
	{"exists", vault.ErrExists},
	{"conflict", vault.ErrVersionConflict},
	{"not found", vault.ErrNotFound},
	{"key not found", vault.ErrKeyNotFound},
	{"retry", sqlstore.ErrRetry},
	{"corrupt", vault.ErrStoreCorrupt},
	{"decrypt", vault.ErrDecrypt},
	{"closed", vault.ErrClosed},
}

// classOf names all that an error matches.
func classOf(err error) string {
	if err == nil {
		return ""
	}
	var found []string
	for _, c := range classes {
		if errors.Is(err, c.is) {
			found = append(found, c.name)
		}
	}
	if found == nil {
		return "other"
	}
	return strings.Join(found, "+")
}

// isFault says that a class is what a call may meet while something was taken
// away. Nothing is known of what it was to write.
func isFault(class string) bool {
	return slices.Contains([]string{"unavailable", "deadline", "unavailable+deadline"}, class)
}

// isAnswer says that a class is an answer to the operation, and that nothing
// was written.
func isAnswer(op, guard, class string) bool {
	switch op {
	case opPut:
		return guard == guardAbsent && class == "exists" || guard != guardAbsent && guard != "" && class == "conflict"
	case opDelete:
		return class == "not found" || guard != "" && class == "conflict"
	case opGet, opDescribe:
		return class == "not found"
	}
	return false
}
