package gcpkms_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/embedvault/vault/kek/kektest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// conformance runs the suite on keys with the options, for whoever client is for.
func conformance(t *testing.T, o gcpkmstest.KeyOptions, client func(*gcpkmstest.Server, *gcpkmstest.Key) *kms.KeyManagementClient,
	deny, unavailable func(*gcpkmstest.Server, *gcpkmstest.Key) (restore func())) {
	srv := gcpkmstest.New(t)
	keys := map[string]*gcpkmstest.Key{}
	clients := map[string]*kms.KeyManagementClient{}
	var n atomic.Int32
	create := func(t testing.TB) kek.Wrapper {
		key := srv.CreateKeyWith(fmt.Sprintf("%skey-%d", ring, n.Add(1)), o)
		keys[key.Name()] = key
		clients[key.Name()] = client(srv, key)
		return open(t, clients[key.Name()], key.Name())
	}
	keyOf := func(w kek.Wrapper) *gcpkmstest.Key { return keys[strings.TrimPrefix(w.URI(), "gcp-kms://")] }
	kektest.Run(t, kektest.Harness{
		New:     create,
		Another: create,
		Peer: func(t testing.TB, w kek.Wrapper) kek.Wrapper {
			key := keyOf(w)
			return open(t, client(srv, key), key.Name())
		},
		Rotate:      func(_ testing.TB, w kek.Wrapper) { keyOf(w).Rotate() },
		Deny:        func(_ testing.TB, w kek.Wrapper) func() { return deny(srv, keyOf(w)) },
		Unavailable: func(_ testing.TB, w kek.Wrapper) func() { return unavailable(srv, keyOf(w)) },
		Hang:        func(testing.TB, kek.Wrapper) func() { return srv.Hang() },
	})
}

func disable(_ *gcpkmstest.Server, key *gcpkmstest.Key) func() {
	key.Disable()
	return key.Enable
}

func throttle(srv *gcpkmstest.Server, _ *gcpkmstest.Key) func() {
	srv.Throttle(100)
	return func() { srv.Throttle(0) }
}

// The SDK's client as it comes, by a principal who may also see the key.
func TestConformance(t *testing.T) {
	conformance(t, gcpkmstest.KeyOptions{},
		func(srv *gcpkmstest.Server, _ *gcpkmstest.Key) *kms.KeyManagementClient { return srv.Client() },
		disable, throttle)
}

// With roles/cloudkms.cryptoKeyEncrypterDecrypter and nothing else; revoked by
// taking that away; and an outage to a client that doesn't repeat calls.
func TestConformanceMinimalRole(t *testing.T) {
	conformance(t, gcpkmstest.KeyOptions{Protection: kmspb.ProtectionLevel_HSM},
		func(srv *gcpkmstest.Server, key *gcpkmstest.Key) *kms.KeyManagementClient {
			return once(minimal(t, srv, key))
		},
		func(_ *gcpkmstest.Server, key *gcpkmstest.Key) func() {
			key.Revoke(app)
			return func() { key.Grant(app, gcpkmstest.RoleEncrypterDecrypter) }
		},
		func(srv *gcpkmstest.Server, _ *gcpkmstest.Key) func() {
			return srv.Fail("", status.Error(codes.Unavailable, "down"))
		})
}

// The SDK's other client, which speaks REST.
func TestConformanceREST(t *testing.T) {
	conformance(t, gcpkmstest.KeyOptions{},
		func(srv *gcpkmstest.Server, _ *gcpkmstest.Key) *kms.KeyManagementClient {
			return once(restClient(t, srv))
		},
		func(_ *gcpkmstest.Server, key *gcpkmstest.Key) func() {
			key.ScheduleDestruction()
			return key.Enable
		}, throttle)
}

// What one set-up wrapped, every other reads: no option changes the format.
func TestFormatStaysReadable(t *testing.T) {
	f := newFixture(t)
	b, key := bindingOf(t), secret()
	others := map[string]*gcpkms.KEK{
		"as it is":    f.kek,
		"SkipLookup":  must(gcpkms.New(t.Context(), f.srv.Client(), keyName, gcpkms.Options{SkipLookup: true}))(t),
		"least role":  open(t, minimal(t, f.srv, f.key), keyName),
		"REST client": open(t, restClient(t, f.srv), keyName),
	}
	for from, w := range others {
		wrapped := wrap(t, w, key, b)
		for to, r := range others {
			t.Run(from+" to "+to, func(t *testing.T) { wantOpens(t, r, wrapped, b, key) })
		}
	}
}
