package access

import (
	"slices"

	"github.com/embedvault/vault"
)

// Groups of operations, for [Rule].Operations. Each operation is in exactly one.
const (
	// Read gives plaintext: get, decrypt, open a field, data keys, and to rekey a data key out of a
	// context.
	Read vault.Operation = "read"

	// Write makes and removes data: put, delete, encrypt, seal a field, index it, create a data key (which gives
	// that key, and no other), rekey one into a context, re-encrypt a message, and
	// prepare the context's key.
	Write vault.Operation = "write"

	// Describe gives names, metadata and states, and no plaintext: describe, look up,
	// list, versions, query an index, keys, shreddings and their receipts, jobs, and the readiness probe.
	Describe vault.Operation = "describe"

	// Manage is for keys' life and for jobs: rotate, rewrap, re-encrypt objects, retire,
	// disable, enable, shred, cancel, forget a job, sweep, verify a KEK, have the audit
	// log's key.
	Manage vault.Operation = "manage"
)

// groups are the operations of each group.
var groups = map[vault.Operation][]vault.Operation{
	Read: {vault.OpGet, vault.OpDecrypt, vault.OpOpenField, vault.OpDecryptDataKey, vault.OpRekeyFrom},
	Write: {
		vault.OpPut, vault.OpDelete, vault.OpEncrypt, vault.OpSealField, vault.OpIndexField, vault.OpCreateDataKey, vault.OpRekeyTo,
		vault.OpReencrypt, vault.OpNeedsReencrypt, vault.OpPrepare,
	},
	Describe: {
		vault.OpDescribe, vault.OpLookup, vault.OpList, vault.OpVersions, vault.OpQueryIndex, vault.OpKeys,
		vault.OpPendingShreds, vault.OpShredReceipts, vault.OpVerifyShred, vault.OpJobs, vault.OpCheck,
	},
	Manage: {
		vault.OpRotate, vault.OpRewrap, vault.OpReencryptObjects, vault.OpRetireKeys,
		vault.OpDisable, vault.OpEnable, vault.OpShred, vault.OpCancelShred, vault.OpRunShreds,
		vault.OpForgetJob, vault.OpSweep, vault.OpVerifyKEK, vault.OpAuditKey,
	},
}

// Group returns the operations of a group; none if there is no such group.
func Group(name vault.Operation) []vault.Operation { return slices.Clone(groups[name]) }

// expand returns the operations that one name stands for; none if it is unknown.
func expand(op vault.Operation) []vault.Operation {
	if op.Valid() {
		return []vault.Operation{op}
	}
	return groups[op]
}
