package boltstore_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/embedvault/vault/storage/boltstore"
)

// The test binary runs itself as another process: what that does is in the
// environment.
const (
	childEnv = "BOLTSTORE_TEST_CHILD"
	pathEnv  = "BOLTSTORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "hold":
		childHolds(os.Getenv(pathEnv))
	case "put":
		childPuts(os.Getenv(pathEnv))
	}
}

// childHolds opens the store and keeps it until it is killed.
func childHolds(path string) {
	s, err := boltstore.Open(path)
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("open")
	time.Sleep(time.Minute) // the parent kills it
	_ = s.Close()
}
