package awskmstest

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// KeyOptions say what key is made: without them, an enabled symmetric one of one
// Region.
type KeyOptions struct {
	Region      string // DefaultRegion if empty
	Account     string // DefaultAccount if empty
	MultiRegion bool
	Spec        types.KeySpec
	Usage       types.KeyUsageType
	Origin      types.OriginType
}

// Key is a KMS key, or one replica of a multi-Region key.
type Key struct {
	server *Server
	raw    [16]byte // the key ID's digits
	id     string
	opts   KeyOptions

	// Guarded by the server's mutex.
	shared  *keyShared
	state   types.KeyState
	grants  map[grant]bool
	needs   map[string]string // pairs that an encryption context must have
	needFor []string          // for these actions; empty: for all
	created time.Time
}

// keyShared is what the replicas of a key share: rotation works on all of them.
// KMS Developer Guide, "Rotate AWS KMS keys".
type keyShared struct {
	materials []material
	rotates   bool
}

// grant is whom and what Allow and Deny are about; "*" is everyone or
// everything.
type grant struct{ arn, action string }

// CreateKey makes a key. Its ID is new: there is no making a deleted key again.
func (s *Server) CreateKey(o KeyOptions) *Key {
	if o.Region == "" {
		o.Region = DefaultRegion
	}
	if o.Account == "" {
		o.Account = DefaultAccount
	}
	if o.Spec == "" {
		o.Spec, o.Usage = types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt
	}
	if o.Origin == "" {
		o.Origin = types.OriginTypeAwsKms
	}
	k := &Key{
		server: s, opts: o, state: types.KeyStateEnabled, grants: map[grant]bool{}, created: time.Now(),
		shared: &keyShared{materials: []material{newMaterial()}},
	}
	_, _ = rand.Read(k.raw[:])
	k.id = keyID(k.raw, o.MultiRegion)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.ARN()] = k
	return k
}

// keyID writes an ID as KMS does: a UUID, or "mrk-" and 32 digits.
func keyID(raw [16]byte, multiRegion bool) string {
	h := hex.EncodeToString(raw[:])
	if multiRegion {
		return "mrk-" + h
	}
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Replicate makes the replica of a multi-Region key in another Region. It has
// the key's ID and material, and a state and permissions of its own.
func (k *Key) Replicate(region string) *Key {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	r := &Key{
		server: k.server, raw: k.raw, id: k.id, opts: k.opts, state: types.KeyStateEnabled,
		grants: map[grant]bool{}, created: time.Now(), shared: k.shared,
	}
	r.opts.Region = region
	k.server.keys[r.ARN()] = r
	return r
}

// ARN returns the key's ARN.
func (k *Key) ARN() string {
	return "arn:aws:kms:" + k.opts.Region + ":" + k.opts.Account + ":key/" + k.id
}

// ID returns the key's ID.
func (k *Key) ID() string { return k.id }

// Region returns the key's Region.
func (k *Key) Region() string { return k.opts.Region }

// SetAlias makes name ("alias/vault") the alias of k in its account and Region,
// whatever it was the alias of before.
func (k *Key) SetAlias(name string) { k.change(func() { k.server.aliases[k.aliasARN(name)] = k }) }

// AliasARN returns the ARN of the alias name in k's account and Region.
func (k *Key) AliasARN(name string) string { return k.aliasARN(name) }

func (k *Key) aliasARN(name string) string {
	return "arn:aws:kms:" + k.opts.Region + ":" + k.opts.Account + ":" + name
}

// Rotate gives the key new material, which it wraps with from now on.
func (k *Key) Rotate() {
	k.change(func() { k.shared.materials = append(k.shared.materials, newMaterial()) })
}

// RotateYearly turns automatic rotation on or off.
func (k *Key) RotateYearly(on bool) { k.change(func() { k.shared.rotates = on }) }

// Disable disables the key.
func (k *Key) Disable() { k.SetState(types.KeyStateDisabled) }

// Enable enables the key.
func (k *Key) Enable() { k.SetState(types.KeyStateEnabled) }

// ScheduleDeletion schedules the key's deletion. Enable takes it back.
func (k *Key) ScheduleDeletion() { k.SetState(types.KeyStatePendingDeletion) }

// SetState puts the key into any state.
func (k *Key) SetState(state types.KeyState) { k.change(func() { k.state = state }) }

// Delete deletes the key for good, as KMS does when the waiting period is over.
// Its aliases go with it.
func (k *Key) Delete() {
	k.change(func() {
		delete(k.server.keys, k.ARN())
		maps.DeleteFunc(k.server.aliases, func(_ string, of *Key) bool { return of == k })
	})
}

// Allow lets p do actions ("kms:Decrypt") with the key. Without actions it is
// everything, and what was said of p's single actions before is forgotten. A nil
// p is everyone. What was said of one principal goes before what was said of
// everyone, and what was said of one action before everything.
func (k *Key) Allow(p *Principal, actions ...string) { k.grant(true, p, actions) }

// Deny is the opposite of Allow.
func (k *Key) Deny(p *Principal, actions ...string) { k.grant(false, p, actions) }

func (k *Key) grant(allow bool, p *Principal, actions []string) {
	arn := "*"
	if p != nil {
		arn = p.arn
	}
	k.change(func() {
		if len(actions) == 0 {
			maps.DeleteFunc(k.grants, func(g grant, _ bool) bool { return g.arn == arn })
			actions = []string{"*"}
		}
		for _, action := range actions {
			k.grants[grant{arn, action}] = allow
		}
	})
}

// RequireContext lets the actions ("kms:Decrypt") be done only with an encryption
// context that has all these pairs, as a condition kms:EncryptionContext:… in the
// statement of a key policy does. Without actions it is every action, and then
// those that have no encryption context, such as kms:DescribeKey, can't be done at
// all: a condition on a key that a request doesn't have is false. IAM User Guide,
// "String condition operators". What was required before is forgotten.
func (k *Key) RequireContext(pairs map[string]string, actions ...string) {
	k.change(func() { k.needs, k.needFor = maps.Clone(pairs), slices.Clone(actions) })
}

func (k *Key) change(f func()) {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	f()
}

// permits says whether p may do action with the encryption context.
func (k *Key) permits(p *Principal, action string, pairs map[string]string) bool {
	for _, g := range []grant{{p.arn, action}, {p.arn, "*"}, {"*", action}, {"*", "*"}} {
		if allow, said := k.grants[g]; said {
			return allow && k.contextFits(action, pairs)
		}
	}
	return p.account() == k.opts.Account && k.contextFits(action, pairs)
}

func (k *Key) contextFits(action string, pairs map[string]string) bool {
	if len(k.needFor) > 0 && !slices.Contains(k.needFor, action) {
		return true
	}
	for name, v := range k.needs {
		if got, ok := pairs[name]; !ok || got != v {
			return false
		}
	}
	return true
}
