package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault"
)

var (
	// ErrSlow is matched when the file didn't take an event within Options.Timeout, or
	// too many wait for it. The event may still be written.
	ErrSlow = errors.New("the audit log is too slow")

	// ErrDamaged is matched by Open of a log whose chain is broken: nothing may be
	// written behind it. Move the file away, keep it for the inquiry, and open again.
	ErrDamaged = errors.New("the audit log is damaged")

	// ErrHead is matched by Start if the log's end is not what the vault's store knows:
	// records were cut off, or rewritten, while the log was closed. The log says so
	// itself from then on, and goes on; tell somebody.
	ErrHead = errors.New("the audit log is not the one that the vault's store knows")
)

// Options are the options of a [Log]. The zero value is good.
type Options struct {
	// NoSync leaves it to the operating system when events reach the disk: they survive
	// the process, and not the machine. Checkpoints are always synced. Without it
	// OnEvent returns when its event lasts; events that come together share one fsync.
	NoSync bool

	// Every is after how many records a checkpoint is made, at the latest. Default 1000,
	// at most [MaxUnchecked].
	Every int

	// Interval is after what time a checkpoint is made, if there is something to check.
	// Default one minute.
	Interval time.Duration

	// MaxSize is the size in bytes at which the file becomes path.000001, and so on, and
	// another is begun. Default 256 MiB; negative: never. Opening a log reads its file.
	MaxSize int64

	// Timeout is how long OnEvent waits for the disk: then it fails with ErrSlow.
	// Default ten seconds.
	Timeout time.Duration

	// OnError is told what no call returns: a checkpoint, a new part, or a head in the
	// vault's store that failed. It must not call the log. Default: nobody is told.
	OnError func(error)
}

func (o Options) withDefaults() (Options, error) {
	if o.Every < 0 || o.Every > MaxUnchecked || o.Interval < 0 || o.Timeout < 0 {
		return o, fmt.Errorf("audit: Options: Every must be 0 to %d, Interval and Timeout not negative", MaxUnchecked)
	}
	orElse(&o.Every, 1000)
	orElse(&o.Interval, time.Minute)
	orElse(&o.MaxSize, 256<<20)
	orElse(&o.Timeout, 10*time.Second)
	return o, nil
}

func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxWaiting is how many bytes of events may wait for the disk.
const maxWaiting = 16 << 20

// Log is a tamper-evident audit log: see the package's comment. Its file is open in one
// process only; several processes have several logs, and may share one vault. It is
// safe for concurrent use.
type Log struct {
	opts  Options
	w     *writer
	id    vault.ID
	ended chan struct{} // the writer has
	heads *heads

	mu      sync.Mutex // guards what follows
	waiting []*entry
	size    int    // of their members
	lost    uint64 // events that weren't taken since the last note of it
	closing bool
	closed  error         // what Close said
	wake    chan struct{} // has room for one

	starting sync.Mutex // one Start at a time
}

// entry is what the writer has to do: to write an event, or to run something between
// two of them.
type entry struct {
	members []byte
	failed  bool
	run     func() error
	done    chan error // has room for one
}

// Open opens the log at path and goes on with it; it is made, with mode 0600, if it
// isn't there. What a killed process left of a record is cut off, and a note in the log
// says so. Its whole file is read, and its chain checked.
//
// Errors: [ErrLocked], [ErrNotRegular], [ErrDamaged]; the file system's.
func Open(path string, opts Options) (*Log, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w, err := openWriter(path, opts)
	if err != nil {
		return nil, fmt.Errorf("audit: open: %w", err)
	}
	l := &Log{opts: opts, w: w, id: w.log, ended: make(chan struct{}), wake: make(chan struct{}, 1), heads: newHeads(w.tell)}
	w.onHead = l.heads.offer
	go l.loop()
	return l, nil
}

// ID returns the log's ID, which all its files have.
func (l *Log) ID() vault.ID { return l.id }

// OnEvent appends an event: for vault.Config.OnEvent. It returns when the event lasts
// (see Options.NoSync), or says that it doesn't; the end of ctx doesn't matter, since
// what was done was done. Errors: ErrSlow; the file system's.
func (l *Log) OnEvent(_ context.Context, e vault.Event) error {
	if e.Name == "" {
		return errors.New("audit: an event without a name")
	}
	en := &entry{members: appendEvent(make([]byte, 0, 512), e), failed: e.Err != nil, done: make(chan error, 1)}
	if err := l.enqueue(en); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := l.wait(en); err != nil {
		return fmt.Errorf("audit: write: %w", err)
	}
	return nil
}

func (l *Log) enqueue(e *entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return errClosed
	}
	if e.run == nil && l.size > maxWaiting {
		l.lost++
		return fmt.Errorf("%w: %d events wait for the disk", ErrSlow, len(l.waiting))
	}
	l.waiting = append(l.waiting, e)
	l.size += len(e.members)
	l.signal()
	return nil
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Log) wait(e *entry) error {
	timer := time.NewTimer(l.opts.Timeout)
	defer timer.Stop()
	select {
	case err := <-e.done:
		return err
	case <-timer.C:
		return fmt.Errorf("%w: not written after %v; it may still be", ErrSlow, l.opts.Timeout)
	}
}

// do runs f between two writes, and waits for it.
func (l *Log) do(f func() error) error {
	e := &entry{run: f, done: make(chan error, 1)}
	if err := l.enqueue(e); err != nil {
		return err
	}
	return l.wait(e)
}

// loop is the goroutine that writes.
func (l *Log) loop() {
	defer close(l.ended)
	tick := time.NewTicker(l.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
		case <-tick.C:
			l.w.periodic()
		}
		batch, lost, last := l.take()
		l.w.lost += lost
		l.w.process(batch)
		if last {
			return
		}
	}
}

// take takes all that waits; last: nothing more will come.
func (l *Log) take() (batch []*entry, lost uint64, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	batch, lost = l.waiting, l.lost
	l.waiting, l.size, l.lost = nil, 0, 0
	return batch, lost, l.closing
}

// Rotate ends the file, which becomes path.000001 and so on, and begins the next one.
// If that fails the file goes on being written.
func (l *Log) Rotate() error {
	if err := l.do(l.w.rotate); err != nil {
		return fmt.Errorf("audit: rotate: %w", err)
	}
	return nil
}

// Close writes what waits, a record that says that the log was closed, and a last
// checkpoint, keeps the log's head in the vault's store, and closes the file. Events
// after it fail: close the vault first. It waits for the disk, and for the store, at most
// Options.Timeout each. Called again it says what it said.
func (l *Log) Close() error {
	e := &entry{run: l.w.finish, done: make(chan error, 1)}
	l.mu.Lock()
	if l.closing {
		defer l.mu.Unlock()
		return l.closed
	}
	l.closing, l.closed = true, fmt.Errorf("audit: close: %w: it is being closed", ErrSlow)
	l.waiting = append(l.waiting, e)
	l.signal()
	l.mu.Unlock()

	timer := time.NewTimer(l.opts.Timeout)
	defer timer.Stop()
	var err error
	select {
	case <-l.ended:
		err = <-e.done
	case <-timer.C:
		err = fmt.Errorf("%w: not closed after %v; it will be when the disk answers", ErrSlow, l.opts.Timeout)
	}
	if err = errors.Join(err, l.heads.close(l.opts.Timeout)); err != nil {
		err = fmt.Errorf("audit: close: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = err
	return err
}
