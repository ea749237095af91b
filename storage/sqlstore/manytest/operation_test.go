package manytest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault"
)

// The operations.
const (
	opPrepare  = "prepare"
	opPut      = "put"
	opGet      = "get"
	opDescribe = "describe"
	opDelete   = "delete"
	opEncrypt  = "encrypt"
	opDecrypt  = "decrypt"
	opRotate   = "rotate"
	opList     = "list"

	guardAbsent = "absent"
)

// process is what works on the vaults: a real process, or a part of the test
// that plays one.
type process struct {
	slot, life int
	journal    *journal
	plain      *vault.Vault
	kept       *vault.Vault // with KeepVersions; the same contexts and keys
	rotates    bool
	timeout    time.Duration // of one operation
	ops        atomic.Int64
}

// slack is how much longer than its ctx a call may take on a busy machine.
const slack = 3 * time.Second

// doneKey is under what key a ctx has the entry of its operation, for what only
// events tell: which object was deleted, which key was made.
type doneKey struct{}

func onEvent(ctx context.Context, event vault.Event) error {
	e, _ := ctx.Value(doneKey{}).(*entry)
	switch {
	case e == nil || event.Err != nil:
	case e.Op == opDelete && event.Name == vault.DataDeleted:
		e.Object = &event.ObjectID
	case e.Op == opRotate && event.Name == vault.KeyRotated:
		e.Key = event.KeyID.String()
	}
	return nil
}

// do is one operation, in the journal before and after.
func (p *process) do(e entry, f func(ctx context.Context, e *entry) error) (entry, error) {
	e.Slot, e.Life, e.N = p.slot, p.life, int(p.ops.Add(1))
	e.What = saysBegin
	if err := p.journal.say(e); err != nil {
		return e, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	start := time.Now()
	err := f(ctx, &e)
	took := time.Since(start)
	e.What, e.Millis, e.Class = saysEnd, took.Milliseconds(), classOf(err)
	if err != nil {
		e.Text = err.Error()
	}
	if sayErr := p.journal.say(e); sayErr != nil {
		return e, sayErr
	}
	if isFault(e.Class) {
		time.Sleep(50 * time.Millisecond) // a server that starts is kept busy by those who ask
	}
	if took > p.timeout+slack {
		return e, p.wrong(e, "%s took %v with a ctx of %v", e.Op, took, p.timeout)
	}
	return e, nil
}

// wrong says that something is as it must not be.
func (p *process) wrong(e entry, format string, args ...any) error {
	e.What, e.Text = saysWrong, fmt.Sprintf(format, args...)
	return p.journal.say(e)
}

func (p *process) vaultOf(name string) *vault.Vault {
	if isKept(name) {
		return p.kept
	}
	return p.plain
}

// prepare uses some contexts, for the first time perhaps.
func (p *process) prepare(from, to int) error {
	_, err := p.do(entry{Op: opPrepare}, func(ctx context.Context, _ *entry) error {
		var kcs []vault.KeyContext
		for i := from; i < to; i++ {
			kcs = append(kcs, contextOf(i))
		}
		return p.plain.Prepare(ctx, kcs...)
	})
	return err
}
