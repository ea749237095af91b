//go:build live

package hashivault_test

import (
	"os"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/kektest"
	"github.com/hashicorp/vault/api"
)

// TestLive runs the conformance suite against a Vault that is there:
//
//	VAULT_ADDR=… VAULT_TOKEN=… EMBEDVAULT_TEST_TRANSIT_KEY=a EMBEDVAULT_TEST_TRANSIT_KEY_2=b \
//	    go test -tags live -run TestLive .
//
// Both keys must exist, in the mount EMBEDVAULT_TEST_TRANSIT_MOUNT ("transit"
// by default). With EMBEDVAULT_TEST_TRANSIT_ROTATE=1 the first is rotated, for
// which the token needs the right to. It needs the documented policy otherwise.
func TestLive(t *testing.T) {
	name, name2 := os.Getenv("EMBEDVAULT_TEST_TRANSIT_KEY"), os.Getenv("EMBEDVAULT_TEST_TRANSIT_KEY_2")
	if name == "" {
		t.Skip("EMBEDVAULT_TEST_TRANSIT_KEY is not set")
	}
	mount := os.Getenv("EMBEDVAULT_TEST_TRANSIT_MOUNT")
	if mount == "" {
		mount = "transit"
	}
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	opened := func(name string) func(testing.TB) kek.Wrapper {
		return func(t testing.TB) kek.Wrapper {
			return open(t, client, name, hashivault.Options{Mount: mount})
		}
	}
	h := kektest.Harness{
		New:    opened(name),
		Peer:   func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return opened(name)(t) },
		Costly: true,
	}
	if name2 != "" {
		h.Another = opened(name2)
	}
	if os.Getenv("EMBEDVAULT_TEST_TRANSIT_ROTATE") != "" {
		h.Rotate = func(t testing.TB, _ kek.Wrapper) {
			if _, err := client.Logical().WriteWithContext(t.Context(), mount+"/keys/"+name+"/rotate", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	kektest.Run(t, h)
}
