package envelope

import (
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// labelAudit is the label of the key that authenticates the audit log.
const labelAudit = "vault/v1/audit"

// AuditKey returns HKDF-Expand-SHA256(k, "vault/v1/audit", 32), under which
// checkpoints of the audit log are MACed. The caller zeroes it. It fails on a key
// whose purpose isn't authentication, and on a destroyed one.
// SPEC: docs/SPEC.md, "Audit log".
func (k *Key) AuditKey() (out [KeySize]byte, err error) {
	if k.purpose != keyctx.PurposeAuthentication {
		return out, fmt.Errorf("envelope: authenticate the audit log with a key for %v", k.purpose)
	}
	st, err := k.expand(labelAudit, nil)
	if err != nil {
		return out, err
	}
	out = st.out
	k.release(st)
	return out, nil
}
