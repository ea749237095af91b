// Package audit writes a vault's events to files, and tells later whether anyone has
// touched them.
//
// [JSONLines] is the plain sink: one JSON object a line. [Log] is the tamper-evident
// one: each record carries the hash of the one before, and checkpoints are MACed under
// a key that the vault keeps:
//
//	log, err := audit.Open("audit.log", audit.Options{})
//	defer log.Close()
//	v, err := vault.New(vault.Config{KEK: root, Store: store, OnEvent: log.OnEvent, FailClosed: true})
//	defer v.Close()
//	err = log.Start(ctx, v) // fetches the key; what came before is covered too
//
// [VerifyFiles] finds what was changed, removed, inserted, moved or cut off, and says
// where. [Read] answers who, when, why, and under which key.
//
// What it proves: nobody without the key has changed the records that a checkpoint
// covers. What it doesn't: that the process told the truth, or that nobody with both
// the key and the file has written another. docs/THREATMODEL.md has the whole of it;
// docs/SPEC.md, "Audit log", the format.
package audit
