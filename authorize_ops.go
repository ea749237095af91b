package vault

import "slices"

// Operation names what a call does, for [Config].Authorizer. The list is closed:
// every method of [Vault] and [Scope] that does anything is one of them.
type Operation string

// The operations, and the methods that they are.
const (
	OpEncrypt        Operation = "message.encrypt"   // Encrypt, AppendEncrypt, EncryptString, AEAD
	OpDecrypt        Operation = "message.decrypt"   // Decrypt, AppendDecrypt, DecryptString, AEAD
	OpReencrypt      Operation = "message.reencrypt" // Reencrypt: what comes out is as encrypted as what goes in
	OpNeedsReencrypt Operation = "message.check"     // NeedsReencrypt

	OpSealField  Operation = "field.seal"  // SealField, and whatever seals an Encrypted
	OpOpenField  Operation = "field.open"  // OpenField, and whatever opens an Encrypted: each on its own
	OpIndexField Operation = "field.index" // BlindIndex, PrepareIndex
	OpQueryIndex Operation = "field.query" // BlindIndexQuery

	OpCreateDataKey  Operation = "dek.create"     // CreateDataKey
	OpDecryptDataKey Operation = "dek.decrypt"    // DecryptDataKey
	OpRekeyFrom      Operation = "dek.rekey-from" // RekeyDataKey, the context that the key is of: decided first
	OpRekeyTo        Operation = "dek.rekey-to"   // RekeyDataKey, the context that it is rekeyed to; both must be allowed

	OpPut      Operation = "data.put"      // Put
	OpGet      Operation = "data.get"      // Get, GetByID, and GetMany for each of its names
	OpDelete   Operation = "data.delete"   // Delete
	OpDescribe Operation = "data.describe" // Describe
	OpLookup   Operation = "data.lookup"   // Lookup
	OpList     Operation = "data.list"     // ListPage for each page, List once
	OpVersions Operation = "data.versions" // Versions
	OpSweep    Operation = "data.sweep"    // Sweep

	OpPrepare          Operation = "key.prepare"   // Prepare, for each of its contexts
	OpRotate           Operation = "key.rotate"    // Rotate
	OpKeys             Operation = "key.list"      // Keys
	OpRewrap           Operation = "key.rewrap"    // Rewrap
	OpReencryptObjects Operation = "key.reencrypt" // ReencryptObjects
	OpRetireKeys       Operation = "key.retire"    // RetireKeys
	OpDisable          Operation = "key.disable"   // Disable
	OpEnable           Operation = "key.enable"    // Enable
	OpShred            Operation = "key.shred"     // Shred
	OpVerifyKEK        Operation = "kek.verify"    // VerifyKEK

	OpCancelShred   Operation = "shred.cancel"   // CancelShred
	OpRunShreds     Operation = "shred.run"      // RunShreds
	OpPendingShreds Operation = "shred.pending"  // PendingShreds
	OpShredReceipts Operation = "shred.receipts" // ShredReceipts, ShreddedKeys
	OpVerifyShred   Operation = "shred.verify"   // VerifyShred

	OpJobs      Operation = "job.list"   // Jobs
	OpForgetJob Operation = "job.forget" // ForgetJob

	OpAuditKey Operation = "audit.key" // AuditKey, AuditKeys: who has the key can forge checkpoints

	OpCheck Operation = "vault.check" // Check
)

// operationEvents are the operations, and the event by which a denied one is told.
var operationEvents = map[Operation]EventName{
	OpEncrypt: MessageEncrypted, OpDecrypt: MessageDecrypted, OpReencrypt: MessageReencrypted, OpNeedsReencrypt: AccessDenied,
	OpSealField: FieldEncrypted, OpOpenField: FieldDecrypted, OpIndexField: IndexComputed, OpQueryIndex: IndexComputed,
	OpCreateDataKey: DEKCreated, OpDecryptDataKey: DEKDecrypted, OpRekeyFrom: DEKRekeyed, OpRekeyTo: DEKRekeyed,
	OpPut: DataUpdated, OpGet: DataRead, OpDelete: DataDeleted, OpDescribe: MetadataRead, OpLookup: MetadataRead,
	OpList: NamesListed, OpVersions: NamesListed, OpSweep: DataDeleted,
	OpPrepare: AccessDenied, OpRotate: KeyRotated, OpKeys: AccessDenied, OpRewrap: KeyRewrapped,
	OpReencryptObjects: DataReencrypted, OpRetireKeys: KeyRetired,
	OpDisable: KeyDisabled, OpEnable: KeyEnabled, OpShred: KeyShredded, OpVerifyKEK: KEKVerified,
	OpCancelShred: KeyEnabled, OpRunShreds: KeyShredded,
	OpPendingShreds: AccessDenied, OpShredReceipts: AccessDenied, OpVerifyShred: AccessDenied,
	OpJobs: AccessDenied, OpForgetJob: AccessDenied, OpAuditKey: AuditKeyTaken,
	OpCheck: AccessDenied,
}

// Operations returns all operations, sorted.
func Operations() []Operation {
	ops := make([]Operation, 0, len(operationEvents))
	for op := range operationEvents {
		ops = append(ops, op)
	}
	slices.Sort(ops)
	return ops
}

// Valid reports whether op is one of the operations.
func (op Operation) Valid() bool { return operationEvents[op] != "" }
