package tinkkek_test

import (
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/kektest"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func TestConformanceFile(t *testing.T) {
	t.Run("clear", func(t *testing.T) { runFile(t, tinkkek.Options{}) })
	t.Run("encrypted", func(t *testing.T) { runFile(t, tinkkek.Options{Encryption: newAEAD(t)}) })
}

func runFile(t *testing.T, o tinkkek.Options) {
	paths := map[kek.Wrapper]string{}
	open := func(t testing.TB, path string, o tinkkek.Options) kek.Wrapper {
		k := must(tinkkek.LoadOrCreate(path, o))(t)
		paths[k] = path
		return k
	}
	kektest.Run(t, kektest.Harness{
		New: func(t testing.TB) kek.Wrapper { return open(t, filepath.Join(t.TempDir(), "keyset.json"), o) },
		Another: func(t testing.TB) kek.Wrapper {
			o := o
			o.Name = "another"
			return open(t, filepath.Join(t.TempDir(), "keyset.json"), o)
		},
		Peer:   func(t testing.TB, w kek.Wrapper) kek.Wrapper { return open(t, paths[w], o) },
		Rotate: func(t testing.TB, w kek.Wrapper) { ok(t, tinkkek.Rotate(paths[w], o)) },
	})
}

func TestConformanceHandle(t *testing.T) {
	handle := newHandle(t)
	kektest.Run(t, kektest.Harness{
		New: func(t testing.TB) kek.Wrapper { return must(tinkkek.New(handle, tinkkek.Options{}))(t) },
		Another: func(t testing.TB) kek.Wrapper {
			return must(tinkkek.New(newHandle(t), tinkkek.Options{Name: "another"}))(t)
		},
		Peer: func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return must(tinkkek.New(handle, tinkkek.Options{}))(t) },
	})
}

func TestConformanceLocalAEAD(t *testing.T) {
	a, another := newAEAD(t), newAEAD(t)
	from := func(uri string, a tink.AEAD) func(testing.TB) kek.Wrapper {
		return func(t testing.TB) kek.Wrapper {
			return must(tinkkek.FromAEAD(uri, a, tinkkek.Options{Classify: tinkkek.ClassifyLocal}))(t)
		}
	}
	kektest.Run(t, kektest.Harness{
		New:     from("app:a", a),
		Another: from("app:b", another),
		Peer:    func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return from("app:a", a)(t) },
	})
}

func TestConformanceAEAD(t *testing.T) {
	runRemote(t, func(t testing.TB, uri string, k *fakeKMS) kek.Wrapper {
		return must(tinkkek.FromAEAD(uri, k, tinkkek.Options{}))(t)
	})
}

func TestConformanceAEADWithContext(t *testing.T) {
	runRemote(t, func(t testing.TB, uri string, k *fakeKMS) kek.Wrapper {
		return must(tinkkek.FromAEADWithContext(uri, fakeKMSWithContext{k}, tinkkek.Options{}))(t)
	})
}

func TestConformanceKMSClient(t *testing.T) {
	runRemote(t, func(t testing.TB, uri string, k *fakeKMS) kek.Wrapper {
		var client registry.KMSClient = fakeClient{uri: k}
		return must(tinkkek.FromKMSClient(client, uri, tinkkek.Options{}))(t)
	})
}

// runRemote runs the suite for a KMS whose errors only the built-in rules sort.
func runRemote(t *testing.T, open func(t testing.TB, uri string, k *fakeKMS) kek.Wrapper) {
	kmss := map[kek.Wrapper]*fakeKMS{}
	opened := func(t testing.TB, uri string, k *fakeKMS) kek.Wrapper {
		w := open(t, uri, k)
		kmss[w] = k
		return w
	}
	fault := func(err error, hang bool) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() {
			return kmss[w].fail(err, hang)
		}
	}
	kektest.Run(t, kektest.Harness{
		New:         func(t testing.TB) kek.Wrapper { return opened(t, "fake-kms://key/1", newFakeKMS(t)) },
		Another:     func(t testing.TB) kek.Wrapper { return opened(t, "fake-kms://key/2", newFakeKMS(t)) },
		Peer:        func(t testing.TB, w kek.Wrapper) kek.Wrapper { return opened(t, "fake-kms://key/1", kmss[w]) },
		Deny:        fault(codeError("AccessDeniedException"), false),
		Unavailable: fault(codeError("ThrottlingException"), false),
		Hang:        fault(nil, true),
	})
}
