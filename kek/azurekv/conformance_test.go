package azurekv_test

import (
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
	"github.com/embedvault/vault/kek/kektest"
)

func TestConformanceSigned(t *testing.T)    { t.Parallel(); conformance(t, signed) }
func TestConformanceUnsigned(t *testing.T)  { t.Parallel(); conformance(t, unsigned) }
func TestConformanceSymmetric(t *testing.T) { t.Parallel(); conformance(t, symmetric) }

func conformance(t *testing.T, m mode) {
	envs := map[kek.Wrapper]*env{}
	open := func(t testing.TB, e *env) kek.Wrapper {
		k := e.open(t)
		envs[k] = e
		return k
	}
	fault := func(f azurekvtest.Fault) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() { return envs[w].srv.Inject(f) }
	}
	kektest.Run(t, kektest.Harness{
		New: func(t testing.TB) kek.Wrapper { return open(t, newEnv(t, m)) },
		Another: func(t testing.TB) kek.Wrapper {
			e := newEnv(t, m)
			e.key, e.client = makeKey(t, e.srv, m, "another")
			return open(t, e)
		},
		Peer:   func(t testing.TB, w kek.Wrapper) kek.Wrapper { return open(t, envs[w]) },
		Rotate: func(t testing.TB, w kek.Wrapper) { ok(t, envs[w].key.Rotate()) },
		Deny: func(_ testing.TB, w kek.Wrapper) func() {
			envs[w].key.Disable()
			return func() { envs[w].key.Enable() }
		},
		Unavailable: fault(azurekvtest.Throttled(100)),
		Hang:        fault(azurekvtest.Fault{Hang: true}),
	})
}
