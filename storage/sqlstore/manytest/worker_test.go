package manytest

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/embedvault/vault"
)

// message is what a worker has encrypted.
type message struct {
	op      string
	context int
	data    []byte
}

// worker does one operation after the other.
type worker struct {
	*process
	rand     *rand.Rand
	messages []message
}

// work goes on until stop is closed. An error says that the journal can't be
// written; all else is in the journal.
func (w *worker) work(stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		// A few contexts are used by all, at all times.
		kc := w.rand.IntN(contexts)
		if w.rand.IntN(3) == 0 {
			kc %= 3
		}
		if err := w.step(kc, nameOf(w.rand.IntN(plainNames+keptNames))); err != nil {
			return err
		}
	}
}

func (w *worker) step(kc int, name string) error {
	switch n := w.rand.IntN(100); {
	case n < 25:
		return w.put(kc, name, "")
	case n < 33:
		return w.put(kc, name, guardAbsent)
	case n < 45:
		return w.guarded(kc, name)
	case n < 62:
		return w.get(kc, name)
	case n < 65:
		return w.delete(kc, name, "")
	case n < 77:
		return w.encrypt(kc)
	case n < 83:
		return w.decrypt()
	case n < 86:
		return w.list(kc)
	case n < 96 || !w.rotates:
		return w.get(kc, name)
	}
	return w.rotate(kc)
}

func (w *worker) put(kc int, name, guard string) error {
	e := entry{Op: opPut, Context: kc, Name: name, Guard: guard}
	_, err := w.do(e, func(ctx context.Context, e *entry) error {
		var opts []vault.PutOption
		switch guard {
		case "":
		case guardAbsent:
			opts = append(opts, vault.IfAbsent())
		default:
			opts = append(opts, vault.IfVersion(mustID(guard)))
		}
		m, err := w.vaultOf(name).Put(ctx, contextOf(kc), name, valueOf(e.id(), kc, name), opts...)
		if err == nil {
			e.Object, e.Version, e.Number = &m.ID, &m.VersionID, m.Number
		}
		return err
	})
	return err
}

func mustID(s string) (id vault.ID) {
	if err := id.UnmarshalText([]byte(s)); err != nil {
		panic(err) // it was made by String
	}
	return id
}

// guarded puts or deletes what it has seen, if it is still so.
func (w *worker) guarded(kc int, name string) error {
	var seen vault.Metadata
	_, err := w.do(entry{Op: opDescribe, Context: kc, Name: name}, func(ctx context.Context, e *entry) (err error) {
		seen, err = w.plain.Describe(ctx, contextOf(kc), name)
		return err
	})
	if err != nil || seen.ID.IsZero() {
		return err
	}
	if w.rand.IntN(6) == 0 {
		return w.delete(kc, name, seen.VersionID.String())
	}
	return w.put(kc, name, seen.VersionID.String())
}

func (w *worker) get(kc int, name string) error {
	e, err := w.do(entry{Op: opGet, Context: kc, Name: name}, func(ctx context.Context, e *entry) error {
		obj, err := w.vaultOf(name).Get(ctx, contextOf(kc), name)
		if err != nil {
			return err
		}
		e.Object, e.Version, e.Number, e.Value = &obj.ID, &obj.VersionID, obj.Number, opOf(obj.Value, kc, name)
		return nil
	})
	if err == nil && e.Class == "" && e.Value == "" {
		err = w.wrong(e, "the value isn't one that was put there")
	}
	return err
}

func (w *worker) delete(kc int, name, guard string) error {
	_, err := w.do(entry{Op: opDelete, Context: kc, Name: name, Guard: guard}, func(ctx context.Context, e *entry) error {
		var opts []vault.DeleteOption
		if guard != "" {
			opts = append(opts, vault.IfVersion(mustID(guard)))
		}
		return w.vaultOf(name).Delete(context.WithValue(ctx, doneKey{}, e), contextOf(kc), name, opts...)
	})
	return err
}

func (w *worker) encrypt(kc int) error {
	e, err := w.do(entry{Op: opEncrypt, Context: kc}, func(ctx context.Context, e *entry) (err error) {
		e.Data, err = w.plain.Encrypt(ctx, contextOf(kc), valueOf(e.id(), kc, ""), []byte(e.id()))
		return err
	})
	if err == nil && e.Class == "" {
		w.messages = append(w.messages, message{e.id(), kc, e.Data})
	}
	return err
}

// decrypt opens with one vault what the other has sealed.
func (w *worker) decrypt() error {
	if len(w.messages) == 0 {
		return nil
	}
	m := w.messages[w.rand.IntN(len(w.messages))]
	e, err := w.do(entry{Op: opDecrypt, Context: m.context}, func(ctx context.Context, e *entry) error {
		got, err := w.kept.Decrypt(ctx, contextOf(m.context), m.data, []byte(m.op))
		e.Value = opOf(got, m.context, "")
		return err
	})
	if err == nil && e.Class == "" && e.Value != m.op {
		err = w.wrong(e, "%s decrypts to something else", m.op)
	}
	return err
}

func (w *worker) rotate(kc int) error {
	_, err := w.do(entry{Op: opRotate, Context: kc}, func(ctx context.Context, e *entry) error {
		return w.plain.Rotate(context.WithValue(ctx, doneKey{}, e), contextOf(kc))
	})
	return err
}

// errDisorder is what a list must not show.
var errDisorder = errors.New("names come twice or in disorder")

func (w *worker) list(kc int) error {
	opts := vault.ListOptions{Limit: 1 + w.rand.IntN(4)}
	_, err := w.do(entry{Op: opList, Context: kc}, func(ctx context.Context, _ *entry) error {
		last := ""
		for m, err := range w.plain.List(ctx, contextOf(kc), opts) {
			if err != nil {
				return err
			}
			if m.Name <= last {
				return errDisorder // a class that is allowed nowhere
			}
			last = m.Name
		}
		return nil
	})
	return err
}
