package awskms_test

import (
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/kek/kektest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	run(t, awskmstest.KeyOptions{}, "", awskms.Options{})
}

func TestConformanceWithoutPairs(t *testing.T) {
	t.Parallel()
	run(t, awskmstest.KeyOptions{}, "", awskms.Options{OmitPairs: true})
}

func TestConformanceGrantTokens(t *testing.T) {
	t.Parallel()
	run(t, awskmstest.KeyOptions{}, "", awskms.Options{GrantTokens: []string{"token-" + "of a grant"}})
}

// The peer is a process in another Region, with the replica there.
func TestConformanceAnyRegion(t *testing.T) {
	t.Parallel()
	run(t, awskmstest.KeyOptions{MultiRegion: true}, "us-east-2", awskms.Options{AnyRegion: true})
}

func run(t *testing.T, ko awskmstest.KeyOptions, peerRegion string, o awskms.Options) {
	srv := awskmstest.New(t)
	keys := map[kek.Wrapper][]*awskmstest.Key{} // the one that is used, and its replica
	opened := func(t testing.TB, key ...*awskmstest.Key) kek.Wrapper {
		k := open(t, srv, key[0], o)
		keys[k] = key
		return k
	}
	fresh := func(t testing.TB) kek.Wrapper {
		key := srv.CreateKey(ko)
		if peerRegion == "" {
			return opened(t, key)
		}
		return opened(t, key, key.Replicate(peerRegion))
	}
	fault := func(f awskmstest.Fault) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() {
			f.Key = keys[w][0]
			return srv.Inject(f)
		}
	}
	kektest.Run(t, kektest.Harness{
		New:     fresh,
		Another: fresh,
		Peer: func(t testing.TB, w kek.Wrapper) kek.Wrapper {
			replicas := keys[w]
			return opened(t, replicas[len(replicas)-1])
		},
		Rotate: func(_ testing.TB, w kek.Wrapper) { keys[w][0].Rotate() },
		Deny: func(_ testing.TB, w kek.Wrapper) func() {
			keys[w][0].Disable()
			return keys[w][0].Enable
		},
		Unavailable: fault(awskmstest.Throttled()),
		Hang:        fault(awskmstest.Hang()),
	})
}
