package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/embedvault/vault/kek"
)

// policyFile is a file with rules that is being edited: locked, so that of two edits at
// the same time none is lost.
type policyFile struct {
	path string // what symbolic links lead to
	lock string
	old  []byte
	info fs.FileInfo // nil: there is no file yet
}

// How long an edit waits for another one.
const (
	lockWait  = 10 * time.Second
	lockEvery = 20 * time.Millisecond
)

// lockPolicy makes the lock, a file beside the rules, and reads them. A file that isn't
// there is no error.
func lockPolicy(ctx context.Context, path string) (*policyFile, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, linkErr := os.Lstat(path); linkErr == nil {
			return nil, fmt.Errorf("read the policy: %s is a link to no file", path)
		}
		real, err = path, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	f := &policyFile{path: real, lock: real + ".lock"}
	if err := f.acquire(ctx); err != nil {
		return nil, err
	}
	if f.old, f.info, err = readWithInfo(real); err != nil {
		return nil, errors.Join(err, f.unlock())
	}
	return f, nil
}

func (f *policyFile) acquire(ctx context.Context) error {
	deadline := time.Now().Add(lockWait)
	for {
		l, err := os.OpenFile(f.lock, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			return l.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("lock the policy: %w", err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lock the policy: somebody else is editing it; if nobody is, since an edit was killed, remove %s", f.lock)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(lockEvery):
		}
	}
}

func (f *policyFile) unlock() error { return os.Remove(f.lock) }

func readWithInfo(path string) ([]byte, fs.FileInfo, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the policy: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the policy: %w", err)
	}
	return data, info, nil
}

// write puts the rules in place of the file, whole or not at all, with its mode and its
// owner. It refuses if something that takes no lock has changed the file meanwhile.
func (f *policyFile) write(rules *kek.Rules) error {
	data, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(f.path), ".policy-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	if err == nil && f.info != nil {
		err = errors.Join(tmp.Chmod(f.info.Mode().Perm()), keepOwner(tmp, f.info))
	}
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = f.unchanged()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("write the policy: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

// errPolicyChanged ends an edit of a file that isn't what was read any more.
var errPolicyChanged = errors.New("the file was changed by something else meanwhile, and was left as it is: run this again")

func (f *policyFile) unchanged() error {
	now, info, err := readWithInfo(f.path)
	if err == nil && (!bytes.Equal(now, f.old) || (info == nil) != (f.info == nil)) {
		err = errPolicyChanged
	}
	return err
}
