package awskms_test

import (
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
)

// opens makes the calls with a ciphertext and checks their class.
func (b *bench) opens(wrapped []byte, class error) {
	b.Helper()
	_, err := b.kek.Unwrap(b.Context(), wrapped, b.binding)
	wantClass(b, err, class)
	_, err = b.kek.Rewrap(b.Context(), wrapped, b.binding)
	wantClass(b, err, class)
}

// KMS refuses another key's ciphertext by words that would fit a revocation, too.
// It is corrupt, whichever other key it is.
func TestVagueRefusalOfAnotherKeysCiphertext(t *testing.T) {
	b := newBench(t, awskms.Options{})
	others := map[string]*awskmstest.Key{
		"one that we may use": b.srv.CreateKey(awskmstest.KeyOptions{}),
		"one that is gone":    b.srv.CreateKey(awskmstest.KeyOptions{}),
		"an attacker's":       b.srv.CreateKey(awskmstest.KeyOptions{Account: "999999999999"}),
	}
	foreign := map[string][]byte{}
	for name, key := range others {
		key.Allow(b.principal)
		foreign[name] = wrap(t, open(t, b.srv, key, awskms.Options{}), b.secret, b.binding)
	}
	others["one that is gone"].Delete()
	others["an attacker's"].Deny(b.principal)
	for _, vague := range []bool{false, true} {
		b.srv.VagueRefusals(vague)
		for name, wrapped := range foreign {
			t.Run(name, func(t *testing.T) {
				b.TB = t
				b.opens(wrapped, kek.ErrCorrupt)
			})
		}
	}
	b.TB = t
	b.wantWorks()
}

// A permission that was taken away is a revocation, in whatever words KMS says
// so, and even if the ciphertext is another key's as well.
func TestVagueRefusalOfRevokedPermission(t *testing.T) {
	b := newBench(t, awskms.Options{})
	foreign := wrap(t, open(t, b.srv, b.srv.CreateKey(awskmstest.KeyOptions{}), awskms.Options{}), b.secret, b.binding)
	b.srv.VagueRefusals(true)
	b.key.Deny(b.principal, "kms:Decrypt", "kms:ReEncryptFrom")
	b.opens(b.wrapped, kek.ErrDenied)
	b.opens(foreign, kek.ErrDenied)
	b.key.Disable()
	b.opens(foreign, kek.ErrDenied)
	b.key.Enable()
	b.key.Allow(b.principal)
	b.key.RequireContext(map[string]string{"organization_id": "org_beta_02"}, cryptographic...)
	b.opens(b.wrapped, kek.ErrDenied)
	b.key.RequireContext(nil)
	b.wantWorks()
}

// If KMS can't say whether the permission is there, the refusal stands as it was.
func TestVagueRefusalThatCantBeResolved(t *testing.T) {
	b := newBench(t, awskms.Options{})
	foreign := wrap(t, open(t, b.srv, b.srv.CreateKey(awskmstest.KeyOptions{}), awskms.Options{}), b.secret, b.binding)
	b.srv.VagueRefusals(true)
	for name, f := range map[string]awskmstest.Fault{
		"throttled":     awskmstest.Throttled(),
		"garbage":       awskmstest.Garbage(),
		"dry runs fail": {Code: "ValidationException"},
		"an answer":     {Body: []byte(`{"KeyId":"` + b.key.ARN() + `"}`)},
		"a proxy":       {Status: 412, Body: []byte("<html>Precondition Failed</html>")},
	} {
		t.Run(name, func(t *testing.T) {
			b.TB = t
			f.Percent = 50 // each second call: the question
			remove := b.srv.Inject(f)
			defer remove()
			b.srv.Reset()
			_, err := b.kek.Unwrap(t.Context(), foreign, b.binding)
			wantClass(t, err, kek.ErrDenied)
			_, err = b.kek.Rewrap(t.Context(), foreign, b.binding)
			wantClass(t, err, kek.ErrDenied)
			if d, r := b.srv.Calls("Decrypt"), b.srv.Calls("ReEncrypt"); d != 2 || r != 2 {
				t.Errorf("%d and %d calls, want 2 and 2", d, r)
			}
		})
	}
}

// A refusal in clear words costs no second call.
func TestClearRefusalIsNotQuestioned(t *testing.T) {
	b := newBench(t, awskms.Options{})
	b.key.Deny(b.principal, "kms:Decrypt", "kms:ReEncryptFrom")
	b.srv.Reset()
	b.opens(b.wrapped, kek.ErrDenied)
	if got := b.srv.Calls(""); got != 2 {
		t.Errorf("%d calls, want 2", got)
	}
}
