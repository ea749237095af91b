package azurekv_test

import (
	"crypto/rsa"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// A key that was deleted and made anew under its name is another key: what the
// old one wrapped is refused, and never unwraps to something else. Where a
// signature proves that the old one wrapped it, it is not corrupt: its key is gone.
func TestRecreatedKey(t *testing.T) {
	for _, m := range modes {
		e := newEnv(t, m)
		wrapped := wrap(t, e.kek, secret())
		e.key.Purge()
		wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrDenied)
		e.key, e.client = makeKey(t, e.srv, m, "vault-root")
		class := kek.ErrCorrupt
		if m == signed {
			class = kek.ErrDenied
		}
		wantClass(t, unwrapErr(t, e.kek, wrapped), class)
		wantClass(t, unwrapErr(t, e.open(t), wrapped), class)
		key := secret()
		wantOpens(t, e.kek, wrap(t, e.kek, key), key) // the KEK goes on with the new one
	}
}

// A version that Key Vault doesn't know is told from a key that is gone, as far
// as the caller may ask.
func TestUnknownVersion(t *testing.T) {
	e := newEnv(t, unsigned)
	wrapped := wrap(t, e.kek, secret())
	wrapped[5] ^= 1
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrCorrupt)

	restore := e.key.Deny(azurekvtest.App, azurekvtest.Get)
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrDenied) // can't tell: the first answer stands
	restore()
	restore = e.srv.Inject(azurekvtest.Fault{Op: azurekvtest.Get, Status: 503, Code: "ServiceUnavailable"})
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrUnavailable)
	restore()
	e.key.Delete()
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrDenied)
}

// A part of Key Vault that doesn't know a version yet must not have genuine
// wrapped bytes called corrupt: the signature tells who made them.
func TestSignedVersionNotFound(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	defer e.srv.Inject(azurekvtest.Fault{Op: azurekvtest.UnwrapKey, Status: 404, Code: "KeyNotFound", Times: 1})()
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrDenied)
	wantOpens(t, e.kek, wrapped, key)
}

// Every version unwraps what it wrapped; disabling one cuts off just that.
func TestDisabledVersion(t *testing.T) {
	for _, m := range modes {
		e := newEnv(t, m)
		key, first := secret(), e.key.Version()
		old := wrap(t, e.kek, key)
		ok(t, e.key.Rotate())
		fresh := wrap(t, e.kek, key)
		e.key.Disable(first)
		wantClass(t, unwrapErr(t, e.kek, old), kek.ErrDenied)
		wantOpens(t, e.kek, fresh, key)
		e.key.Enable(first)
		e.key.Disable(e.key.Version()) // what "az keyvault key set-attributes" does without a version
		wantOpens(t, e.kek, old, key)
		wantClass(t, unwrapErr(t, e.kek, fresh), kek.ErrDenied)
	}
}

// The type of a key may change with a version. What the old one wrapped still
// unwraps; what can't be wrapped as asked is denied, and New sees the new type.
func TestTypeChanges(t *testing.T) {
	e := newEnv(t, unsigned)
	key := secret()
	old := wrap(t, e.kek, key)
	ok(t, e.key.RotateTo(azurekvtest.AES256))
	_, err := e.kek.Wrap(t.Context(), key, binding(t))
	wantClass(t, err, kek.ErrDenied)
	k := e.open(t)
	fresh := wrap(t, k, key)
	wantOpens(t, k, old, key)
	wantOpens(t, k, fresh, key)
	wantOpens(t, e.kek, fresh, key) // by one that was opened before
	if old[0] != 0x02 || fresh[0] != 0x03 {
		t.Errorf("formats %#x and %#x", old[0], fresh[0])
	}
	ok(t, e.key.RotateTo(azurekvtest.EC256))
	k = e.open(t)
	wantOpens(t, k, old, key)
	wantOpens(t, k, fresh, key)
	_, err = k.Wrap(t.Context(), key, binding(t))
	wantClass(t, err, kek.ErrDenied)
}

// Whatever the newest version has become, a process that starts again reads what
// was wrapped before; and Check says that nothing can be wrapped.
func TestTypeChangesAndRestarts(t *testing.T) {
	for _, m := range modes {
		for _, to := range []azurekvtest.Type{azurekvtest.EC256, azurekvtest.AES256, azurekvtest.RSA2048} {
			e := newEnv(t, m)
			key := secret()
			old := wrap(t, e.kek, key)
			ok(t, e.key.RotateTo(to))
			restarted := e.open(t)
			wantOpens(t, restarted, old, key)
			for _, k := range []*azurekv.KEK{e.kek, restarted} {
				status := must(k.Check(t.Context()))(t)
				wrapped, err := k.Wrap(t.Context(), key, binding(t))
				if status.Usable != (err == nil) {
					t.Errorf("%s to %s: got %+v, Wrap says %v", m, to, status, err)
				}
				if err != nil {
					wantClass(t, err, kek.ErrDenied)
					wantStale(t, k, old)
					continue
				}
				wantOpens(t, k, wrapped, key)
				if got := k.WrappedVersion(wrapped); got != status.PrimaryVersion {
					t.Errorf("%s to %s: wrapped %q, want %q", m, to, got, status.PrimaryVersion)
				}
			}
		}
	}
}

// RSA keys of other sizes.
func TestRSASizes(t *testing.T) {
	e := newEnv(t, unsigned)
	big := must(e.srv.CreateKey("https://"+host+"/keys/big", azurekvtest.RSA3072))(t)
	e.key = big
	k := e.open(t)
	key := secret()
	wrapped := wrap(t, k, key)
	wantOpens(t, k, wrapped, key)
	if n := 1 + 16 + 384; len(wrapped) != n {
		t.Errorf("%d bytes, want %d", len(wrapped), n)
	}
	ok(t, big.RotateTo(azurekvtest.RSA2048))
	wantOpens(t, k, wrapped, key)
	wantOpens(t, k, wrap(t, k, key), key)
}

// RSA keys in an HSM are like the others, to wrap and to sign.
func TestRSAHSM(t *testing.T) {
	e := newEnv(t, signed)
	ok(t, e.key.RotateTo(azurekvtest.RSAHSM2048))
	ok(t, e.signing.RotateTo(azurekvtest.RSAHSM2048))
	e.options = azurekv.Options{SigningKey: e.signing.VersionID(), VerifyingKeys: []*rsa.PublicKey{e.signing.PublicKey()}}
	k := e.open(t)
	key := secret()
	wantOpens(t, k, wrap(t, k, key), key)
	if status := must(k.Check(t.Context()))(t); !status.Usable {
		t.Errorf("got %+v", status)
	}
}

// wrappedAs is what WrappedVersion says after the version.
func (e *env) wrappedAs(t testing.TB) string {
	t.Helper()
	if e.mode != signed {
		return ":" + string(e.mode)
	}
	hash := must(azurekv.HashOf(e.signing.PublicKey()))(t)
	return fmt.Sprintf(":signed:%x", hash[:8])
}

func TestStatus(t *testing.T) {
	for _, m := range modes {
		e := newEnv(t, m)
		status := func() kek.Status { t.Helper(); return must(e.kek.Check(t.Context()))(t) }
		as := e.wrappedAs(t)
		if got, want := status(), (kek.Status{Usable: true, PrimaryVersion: e.key.Version() + as}); got != want {
			t.Errorf("%s: got %+v, want %+v", m, got, want)
		}
		ok(t, e.key.Rotate())
		e.key.SetRotates(true)
		if got, want := status(), (kek.Status{Usable: true, PrimaryVersion: e.key.Version() + as, Rotates: true}); got != want {
			t.Errorf("%s, rotated: got %+v, want %+v", m, got, want)
		}
		restore := e.key.Deny(azurekvtest.App, azurekvtest.GetRotationPolicy)
		if got := status(); !got.Usable || got.Rotates {
			t.Errorf("%s, may not read the policy: got %+v", m, got)
		}
		restore()
		for reason, happen := range map[string]func() func(){
			"KeyDisabled":           func() func() { e.key.Disable(e.key.Version()); return func() { e.key.Enable() } },
			"KeyExpired":            func() func() { e.key.SetDates(time.Time{}, time.Now().Add(-hour)); return func() { noDates(e) } },
			"KeyNotYetValid":        func() func() { e.key.SetDates(time.Now().Add(hour), time.Time{}); return func() { noDates(e) } },
			"KeyOperationForbidden": func() func() { e.key.SetOps(azurekvtest.WrapKey); return func() { e.key.SetOps() } },
			"KeyNotFound":           func() func() { e.key.Delete(); return e.key.Recover },
		} {
			restore := happen()
			if got := status(); got.Usable || got.Reason != reason {
				t.Errorf("%s: got %+v, want reason %s", m, got, reason)
			}
			restore()
		}
		if got := status(); !got.Usable {
			t.Errorf("%s, restored: got %+v", m, got)
		}
	}
}

func TestStatusOfTheSigningKey(t *testing.T) {
	e := newEnv(t, signed)
	status := func() kek.Status { t.Helper(); return must(e.kek.Check(t.Context()))(t) }
	e.signing.Disable()
	if got := status(); got.Usable || got.Reason != "signing key: KeyDisabled" {
		t.Errorf("got %+v", got)
	}
	e.signing.Enable()
	e.signing.Delete()
	if got := status(); got.Usable || got.Reason != "signing key: KeyNotFound" {
		t.Errorf("got %+v", got)
	}
	e.signing.Recover()
	e.signing.Deny(azurekvtest.App)
	_, err := e.kek.Check(t.Context())
	wantClass(t, err, kek.ErrDenied)
}

// A token that expires is replaced by the SDK without the driver's doing.
func TestExpiringCredentials(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	cred := e.srv.Credential(azurekvtest.App)
	restore := cred.Expire()
	wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrUnavailable)
	restore()
	wantOpens(t, e.kek, wrapped, key)
	cred.Fail(nil)() // all tokens that were given out are worth nothing now
	wantOpens(t, e.kek, wrapped, key)
}
