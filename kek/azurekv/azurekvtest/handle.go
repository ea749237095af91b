package azurekvtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// handle does what is asked. The order of the checks (permission, existence,
// key_ops, enabled, dates) is ours.
func (s *Server) handle(r request) Answer {
	s.mu.Lock()
	if s.denied(r) {
		s.mu.Unlock()
		return forbidden("ForbiddenByRbac", "Caller is not authorized to perform action on resource.")
	}
	k := s.keys[r.id()]
	if k == nil || k.deleted {
		s.mu.Unlock()
		return notFound(r.name)
	}
	switch r.op {
	case List:
		defer s.mu.Unlock()
		return k.list()
	case GetRotationPolicy:
		defer s.mu.Unlock()
		return k.policy()
	}
	v := k.find(r.version)
	if v == nil {
		s.mu.Unlock()
		return notFound(r.name + "/" + r.version)
	}
	if r.op == Get {
		defer s.mu.Unlock()
		return success(k.bundle(v))
	}
	refused := k.refuses(r.op, v)
	m, kid := v.material, k.ID()+"/"+v.id
	s.mu.Unlock() // what follows takes long
	if refused != nil {
		return *refused
	}
	return operate(r, m, kid)
}

func (k *Key) find(id string) *version {
	if id == "" {
		return k.newest()
	}
	for _, v := range k.versions {
		if v.id == id {
			return v
		}
	}
	return nil
}

// refuses returns why the version can't do the operation now, if it can't. It is
// called with s.mu held.
func (k *Key) refuses(op Op, v *version) *Answer {
	now := time.Now()
	var a Answer
	switch {
	case k.ops != nil && !slices.Contains(k.ops, op):
		a = forbidden("KeyOperationForbidden", fmt.Sprintf("Operation %s is not permitted on this key.", op))
	case v.disabled && (op != WrapKey || !k.s.disabledWraps):
		a = forbidden("KeyDisabled", fmt.Sprintf("Operation %s is not allowed on a disabled key.", op))
	case op == UnwrapKey: // the dates don't matter
		return nil
	case !v.nbf.IsZero() && now.Before(v.nbf):
		a = forbidden("KeyNotYetValid", fmt.Sprintf("Operation %s is not allowed on a key that is not yet valid.", op))
	case !v.exp.IsZero() && !now.Before(v.exp):
		a = forbidden("KeyExpired", fmt.Sprintf("Operation %s is not allowed on an expired key.", op))
	default:
		return nil
	}
	return &a
}

// operate wraps, unwraps or signs. The forms of request and answer are those of
// azkeys' models: KeyOperationParameters, SignParameters, KeyOperationResult.
func operate(r request, m material, kid string) Answer {
	var params struct {
		Alg   string `json:"alg"`
		Value string `json:"value"`
	}
	if json.Unmarshal(r.body, &params) != nil {
		return badParameter()
	}
	value, err := base64.RawURLEncoding.DecodeString(params.Value)
	if err != nil {
		return badParameter()
	}
	do := map[Op]func(string, []byte) ([]byte, error){WrapKey: m.wrap, UnwrapKey: m.unwrap, Sign: m.sign}[r.op]
	result, err := do(params.Alg, value)
	if err != nil {
		return badParameter()
	}
	return success(map[string]string{"kid": kid, "value": base64.RawURLEncoding.EncodeToString(result)})
}

// bundle is azkeys' model KeyBundle.
func (k *Key) bundle(v *version) map[string]any {
	key := map[string]any{"kid": k.ID() + "/" + v.id, "kty": v.kty, "key_ops": k.keyOps(v)}
	switch {
	case v.material.rsa != nil:
		public := v.material.rsa.PublicKey
		key["n"] = base64.RawURLEncoding.EncodeToString(public.N.Bytes())
		key["e"] = base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes())
	case v.material.ec != nil:
		key["crv"] = "P-256"
	}
	return map[string]any{"key": key, "attributes": v.attributes()}
}

func (k *Key) keyOps(v *version) []Op {
	switch {
	case k.ops != nil:
		return k.ops
	case v.material.rsa != nil:
		return []Op{"encrypt", "decrypt", Sign, "verify", WrapKey, UnwrapKey}
	case v.material.aes != nil:
		return []Op{"encrypt", "decrypt", WrapKey, UnwrapKey}
	}
	return []Op{Sign, "verify"}
}

func (v *version) attributes() map[string]any {
	a := map[string]any{
		"enabled": !v.disabled, "created": v.created.Unix(), "updated": v.created.Unix(),
		"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90,
	}
	if !v.nbf.IsZero() {
		a["nbf"] = v.nbf.Unix()
	}
	if !v.exp.IsZero() {
		a["exp"] = v.exp.Unix()
	}
	return a
}

// list is azkeys' model KeyPropertiesListResult, on one page.
func (k *Key) list() Answer {
	value := []any{}
	for _, v := range k.versions {
		value = append(value, map[string]any{"kid": k.ID() + "/" + v.id, "attributes": v.attributes()})
	}
	return success(map[string]any{"value": value, "nextLink": nil})
}

// policy is azkeys' model KeyRotationPolicy.
func (k *Key) policy() Answer {
	actions := []any{map[string]any{
		"trigger": map[string]any{"timeBeforeExpiry": "P30D"}, "action": map[string]any{"type": "Notify"},
	}}
	if k.rotates {
		actions = append(actions, map[string]any{
			"trigger": map[string]any{"timeAfterCreate": "P90D"}, "action": map[string]any{"type": "Rotate"},
		})
	}
	return success(map[string]any{"id": k.ID() + "/rotationpolicy", "lifetimeActions": actions, "attributes": map[string]any{}})
}
