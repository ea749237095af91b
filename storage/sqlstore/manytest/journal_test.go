package manytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/embedvault/vault"
)

// entry is one line of the journal.
type entry struct {
	What string `json:"w"`           // one of those below
	Slot int    `json:"s"`           // of the process
	Life int    `json:"l,omitempty"` // counts the processes that had the slot
	N    int    `json:"n,omitempty"` // counts the process's operations

	// Of begin and end.
	Op      string `json:"o,omitempty"`
	Context int    `json:"c,omitempty"`
	Name    string `json:"m,omitempty"`
	Guard   string `json:"g,omitempty"` // "", "absent", or the version's ID

	// Of end.
	Class   string    `json:"e,omitempty"` // of the error; see classOf
	Text    string    `json:"t,omitempty"` // of the error
	Object  *vault.ID `json:"i,omitempty"`
	Version *vault.ID `json:"v,omitempty"`
	Number  uint64    `json:"u,omitempty"`
	Value   string    `json:"x,omitempty"` // get: whose the value is
	Data    []byte    `json:"d,omitempty"` // encrypt: the envelope
	Key     string    `json:"k,omitempty"` // rotate: the new key's ID, if this call made it
	Millis  int64     `json:"ms,omitempty"`
	At      int64     `json:"at,omitempty"` // milliseconds since 1970
}

// What an entry says.
const (
	saysReady   = "ready"   // the process has opened the vault
	saysBegin   = "begin"   // an operation begins
	saysEnd     = "end"     // it has returned
	saysWrong   = "wrong"   // the process saw what must not be; Text says what
	saysDown    = "down"    // the test takes something away; from now on calls may fail
	saysSettled = "settled" // all is well again; from now on they may not
	saysKilled  = "killed"  // the test has killed a process
)

// id is the name of the operation.
func (e entry) id() string { return fmt.Sprintf("%d.%d.%d", e.Slot, e.Life, e.N) }

// journal is where many processes say what they do. Each entry is one write
// call that appends to one file: it is there when the call returns, whatever
// becomes of the process, and entries are in the order of time.
type journal struct {
	mu sync.Mutex // guards f: within one process only
	f  *os.File
}

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{f: f}, nil
}

// say appends an entry. It begins with a line feed, too, so that one that was
// cut off spoils no other.
func (j *journal) say(e entry) error {
	e.At = time.Now().UnixMilli()
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line := make([]byte, 0, len(b)+2)
	line = append(append(append(line, '\n'), b...), '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.f.Write(line)
	return err
}

// follower reads the journal while it grows.
type follower struct {
	f    *os.File
	rest []byte // of a line that has no end yet
	all  []entry
	torn int // lines that can't be read
}

func follow(path string) (*follower, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &follower{f: f}, nil
}

// read reads what is new.
func (f *follower) read() error {
	b, err := io.ReadAll(f.f)
	if err != nil {
		return err
	}
	b = append(f.rest, b...)
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if !ended {
			f.rest = bytes.Clone(line)
			return nil
		}
		b = rest
		if len(line) == 0 {
			continue
		}
		var e entry
		if json.Unmarshal(line, &e) != nil {
			f.torn++
			continue
		}
		f.all = append(f.all, e)
	}
}

// until reads until ok, and reports whether it got so.
func (f *follower) until(within time.Duration, ok func([]entry) bool) (bool, error) {
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if err := f.read(); err != nil {
			return false, err
		}
		if ok(f.all) {
			return true, nil
		}
		if time.Now().After(end) {
			return false, nil
		}
	}
}
